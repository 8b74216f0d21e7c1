//! Determined's experiment file. Its traps: `log` gives exponents of `base`, bounds are included, `count` matters to
//! grids only, a rung ladder is counted from the longest trial down.

use serde_json::{Map, Value, json};

use super::draft::{Draft, Style, escape};
use super::read::{Taken, whole_or_real};

pub(super) fn import(tree: &Value, draft: &mut Draft) {
    let mut file = Taken::of(tree);
    draft.name = file.text("name");
    draft.description = file.text("description");
    let mut searcher = file.map("searcher");
    let algorithm = searcher.text("name").unwrap_or_else(|| "single".into());
    if let Some(parameters) = file.take("hyperparameters") {
        for (name, domain) in Taken::of(&parameters).rest() {
            parameter(draft, &name, &domain, algorithm == "grid");
        }
    }
    search(draft, &algorithm, searcher);
    entrypoint(draft, file.take("entrypoint"));
    if let Some(restarts) = file.whole("max_restarts") {
        draft.run.insert("retries".into(), restarts.into());
    }
    let mut reproducibility = file.map("reproducibility");
    if let Some(seed) = reproducibility.whole("experiment_seed") {
        draft.search.insert("seed".into(), seed.into());
    }
    draft.left_over("reproducibility", &reproducibility.rest());
    let mut resources = file.map("resources");
    if let Some(slots) = resources.whole("slots_per_trial").filter(|slots| *slots > 0) {
        draft.resources.insert("gpus".into(), slots.into());
    }
    draft.left_over("resources", &resources.rest());
    let mut environment = file.map("environment");
    if let Some(variables) = environment.take("environment_variables") {
        self::variables(draft, &variables);
    }
    draft.left_over("environment", &environment.rest());
    draft.left_over("", &file.rest());
    draft.remark("the script got its hyperparameters from Determined's API: let it read its arguments, or `heats.trial().params`");
    draft.remark(
        "the script reported to Determined's API: let it print `::metric step=N METRIC=VALUE`, or call `heats.trial()`",
    );
}

fn search(draft: &mut Draft, algorithm: &str, mut searcher: Taken) {
    let smaller = searcher.take("smaller_is_better").and_then(|value| value.as_bool()).unwrap_or(true);
    if let Some(metric) = searcher.text("metric") {
        draft.objective(&metric, !smaller, None);
    }
    let max_trials = searcher.whole("max_trials");
    let trials = if algorithm == "single" { Some(1) } else { max_trials };
    if let Some(trials) = trials {
        draft.budget.insert("trials".into(), trials.into());
    }
    if let Some(parallel) = searcher.whole("max_concurrent_trials").filter(|parallel| *parallel > 0) {
        draft.budget.insert("parallel".into(), parallel.min(trials.unwrap_or(u64::MAX)).into());
    }
    let ours = if algorithm == "grid" { "grid" } else { "random" };
    draft.search.insert("algorithm".into(), ours.into());
    match algorithm {
        "single" | "random" | "grid" => {}
        "async_halving" | "adaptive_asha" => halving(draft, algorithm, &mut searcher),
        other => draft.remark(format!("`searcher.name: {other}` has no counterpart; `random` takes its place")),
    }
    draft.left_over("searcher", &searcher.rest());
}

fn halving(draft: &mut Draft, algorithm: &str, searcher: &mut Taken) {
    let divisor = searcher.number("divisor").filter(|divisor| *divisor > 1.0).unwrap_or(4.0);
    let rungs = searcher.whole("num_rungs").or_else(|| searcher.whole("max_rungs")).unwrap_or(5).max(1);
    // `max_length: { epochs: 16 }` in older files, `max_time: 16` beside `time_metric: epoch` in newer ones.
    let (max, mut unit) = match (searcher.number("max_time"), searcher.take("max_length")) {
        (Some(max), _) => (Some(max), None),
        (None, Some(Value::Object(length))) => {
            let (unit, length) = length.iter().next().map_or((None, None), |(unit, length)| {
                (Some(unit.trim_end_matches("es").trim_end_matches('s').to_owned()), super::read::number(length))
            });
            (length, unit)
        }
        (None, Some(length)) => (super::read::number(&length), None),
        (None, None) => (None, None),
    };
    unit = searcher.text("time_metric").or(unit);
    draft.early_stop.insert("algorithm".into(), "asha".into());
    if let Some(unit) = unit {
        draft.early_stop.insert("resource".into(), unit.into());
    }
    match max {
        Some(max) => {
            let min = (max / divisor.powi(i32::try_from(rungs - 1).unwrap_or(i32::MAX))).floor().max(1.0);
            draft.early_stop.insert("min".into(), (min as u64).into());
            draft.early_stop.insert("max".into(), (max as u64).into());
        }
        None => draft.remark("the searcher has no `max_time`: write the longest trial's last step as `early_stop.max`"),
    }
    draft.early_stop.insert("eta".into(), whole_or_real(divisor));
    if algorithm == "adaptive_asha" {
        let mode = searcher.text("mode").unwrap_or_else(|| "standard".into());
        let brackets = match mode.as_str() {
            "aggressive" => 1,
            "conservative" => rungs,
            _ => rungs / 2 + 1,
        };
        // A ladder that starts above the longest trial has no rung.
        let min = draft.early_stop.get("min").and_then(Value::as_u64).unwrap_or(1) as f64;
        let fit =
            max.map_or(1, |max| (1..=brackets).rev().find(|s| min * divisor.powi(*s as i32 - 1) < max).unwrap_or(1));
        if fit > 1 {
            draft.early_stop.insert("brackets".into(), fit.into());
        }
        draft.remark(format!("`adaptive_asha`, mode {mode}: {fit} of its brackets become ladders of ASHA"));
    }
    if searcher.take("stop_once").is_none() {
        draft.remark(
            "halving there promoted paused trials; here trials that fall behind are stopped, and none comes back",
        );
    }
}

/// One hyperparameter, or a mapping of them.
fn parameter(draft: &mut Draft, name: &str, domain: &Value, grid: bool) {
    let Value::Object(map) = domain else {
        return match domain {
            Value::Array(_) | Value::Null => {
                draft.parameter(name, domain.to_string().into(), Some("a list there: JSON text here".into()));
            }
            scalar => draft.parameter(name, scalar.clone(), None),
        };
    };
    let mut given = Taken::of(domain);
    let Some(kind) = map
        .get("type")
        .and_then(Value::as_str)
        .filter(|kind| ["int", "double", "log", "categorical", "const"].contains(kind))
    else {
        // A mapping without a type holds further hyperparameters.
        for (inner, domain) in map {
            parameter(draft, &format!("{name}.{inner}"), domain, grid);
        }
        return;
    };
    given.take("type");
    let (ours, note) = typed(kind, &mut given, grid);
    match ours {
        Some(ours) => draft.parameter(name, ours, note),
        None => draft.remark(format!("hyperparameter `{name}` could not be read and is missing in `space`")),
    }
    draft.left_over(&format!("hyperparameters.{name}"), &given.rest());
}

fn typed(kind: &str, given: &mut Taken, grid: bool) -> (Option<Value>, Option<String>) {
    if kind == "const" {
        let value = given.take("val");
        return (
            value.map(|value| if value.is_array() || value.is_object() { value.to_string().into() } else { value }),
            None,
        );
    }
    if kind == "categorical" {
        let Some(Value::Array(values)) = given.take("vals") else { return (None, None) };
        let nested = |value: &Value| value.is_array() || value.is_object() || value.is_null();
        let note = values.iter().any(nested).then(|| "lists or mappings there: JSON texts here".to_owned());
        let choice: Vec<Value> =
            values.into_iter().map(|value| if nested(&value) { value.to_string().into() } else { value }).collect();
        return (Some(json!({ "choice": choice })), note);
    }
    let (Some(min), Some(max)) = (given.number("minval"), given.number("maxval")) else { return (None, None) };
    // Points of a grid; anything else searches the range.
    let count = given.whole("count").filter(|count| grid && *count > 0);
    let at = |i: u64, count: u64| if count == 1 { min } else { min + (max - min) * i as f64 / (count - 1) as f64 };
    match (kind, count) {
        ("int", None) => (Some(json!({ "int": [min as i64, max as i64] })), None),
        ("int", Some(count)) => {
            let mut points: Vec<i64> = (0..count).map(|i| at(i, count).round() as i64).collect();
            points.dedup();
            (Some(json!({ "choice": points })), Some(format!("{count} points of a grid there")))
        }
        ("double", None) => (Some(json!({ "float": [min, max] })), None),
        ("double", Some(count)) => {
            let points: Vec<f64> = (0..count).map(|i| at(i, count)).collect();
            (Some(json!({ "choice": points })), Some(format!("{count} points of a grid there")))
        }
        (_, count) => {
            let base = given.number("base").filter(|base| *base > 0.0).unwrap_or(10.0);
            let note = Some(format!("log there: exponents {min} and {max} of {base}"));
            match count {
                None => (Some(json!({ "float": [base.powf(min), base.powf(max)], "log": true })), note),
                Some(count) => {
                    let points: Vec<f64> = (0..count).map(|i| base.powf(at(i, count))).collect();
                    (Some(json!({ "choice": points })), note)
                }
            }
        }
    }
}

fn entrypoint(draft: &mut Draft, entrypoint: Option<Value>) {
    let mut words: Vec<String> = match entrypoint {
        Some(Value::Array(words)) => {
            words.into_iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect()
        }
        Some(Value::String(line)) if line.contains(['|', '&', ';', '>', '<', '"', '\'', '`', '(', '$']) => {
            draft.remark("`entrypoint` is a shell's line: it runs in `sh -c`, and parameters are its `$@`");
            let mut command =
                vec!["sh".to_owned(), "-c".to_owned(), format!("{} \"$$@\"", escape(&line)), "sh".to_owned()];
            command.extend(draft.arguments(Style::Flags));
            draft.command = command;
            return;
        }
        Some(Value::String(line)) => line.split_whitespace().map(str::to_owned).collect(),
        Some(_) | None => Vec::new(),
    };
    if let [class] = words.as_slice()
        && class.contains(':')
    {
        draft.remark(format!("`entrypoint: {class}` is a class for Determined's own trainer: write a script that trains it in place of `train.py`"));
        words = vec!["python3".into(), "train.py".into()];
    }
    if words.is_empty() {
        draft.remark("there is no `entrypoint`: write the command");
        words = vec!["python3".into(), "train.py".into()];
    }
    draft.command = words.iter().map(|word| escape(word)).collect();
    let arguments = draft.arguments(Style::Flags);
    draft.command.extend(arguments);
}

/// `[A=1, B=2]`, or a mapping from kinds of machines to such lists.
fn variables(draft: &mut Draft, given: &Value) {
    let lists: Vec<&Value> = match given {
        Value::Object(map) => map.values().collect(),
        other => vec![other],
    };
    let mut env = Map::new();
    for text in lists.into_iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str) {
        if let Some((name, value)) = text.split_once('=') {
            env.insert(name.to_owned(), value.into());
        }
    }
    if !env.is_empty() {
        draft.run.insert("env".into(), env.into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::imported;
    use heats_domain::{Domain, Value};

    /// In the form of Determined's MNIST tutorial.
    const FILE: &str = r#"
name: mnist_pytorch_adaptive_search
data: { url: https://example.com/mnist.tar.gz }
hyperparameters:
  learning_rate: { type: log, minval: -5.0, maxval: 1.0, base: 10 }
  n_filters1: { type: int, minval: 8, maxval: 64 }
  dropout1: { type: double, minval: 0.2, maxval: 0.8 }
  optimizer:
    type: categorical
    vals: [adam, sgd]
  net:
    depth: { type: const, val: 3 }
  global_batch_size: 64
searcher:
  name: adaptive_asha
  metric: validation_loss
  smaller_is_better: true
  max_trials: 16
  time_metric: epochs
  max_time: 64
  mode: standard
  max_concurrent_trials: 8
entrypoint: python3 train.py --data-dir /tmp
max_restarts: 3
resources: { slots_per_trial: 2, resource_pool: gpus }
reproducibility: { experiment_seed: 42 }
environment: { environment_variables: ["OMP_NUM_THREADS=1"], image: "determinedai/environments:cuda" }
"#;

    #[test]
    fn exponents_are_of_the_base_and_nested_names_are_kept_for_the_program() {
        let (spec, imported) = imported("determined", FILE);
        let space = spec.space();
        let domain = |name: &str| space.get(name).unwrap_or_else(|| panic!("{name}: {}", imported.yaml)).domain.clone();
        let Domain::Float { low, high, log: true, step: None } = domain("learning_rate") else { panic!() };
        assert!((low - 1e-5).abs() < 1e-12 && (high - 10.0).abs() < 1e-9, "{low} {high}");
        assert_eq!(domain("n_filters1"), Domain::Int { low: 8, high: 64, log: false, step: 1 });
        assert_eq!(domain("net_depth"), Domain::Const(Value::Int(3)));
        assert_eq!(domain("global_batch_size"), Domain::Const(Value::Int(64)));
        assert!(spec.command.contains(&"--net.depth=${net_depth}".to_owned()), "{:?}", spec.command);
        assert_eq!(&spec.command[..4], ["python3", "train.py", "--data-dir", "/tmp"]);
    }

    #[test]
    fn the_searcher_becomes_random_search_with_asha() {
        let (spec, imported) = imported("determined", FILE);
        assert_eq!((spec.search.algorithm.as_str(), spec.search.seed), ("random", Some(42)));
        assert_eq!(spec.objective().and_then(|objective| objective.minimize.as_deref()), Some("validation_loss"));
        assert_eq!((spec.budget.trials, spec.budget.parallel), (Some(16), Some(8)));
        let stop = &spec.early_stop;
        assert_eq!((stop.algorithm.as_str(), stop.resource.as_deref()), ("asha", Some("epochs")));
        // Five rungs with divisor 4 would begin below step 1: 64 / 4^4.
        assert_eq!((&stop.params["min"], &stop.params["max"], &stop.params["eta"]), (&1.into(), &64.into(), &4.into()));
        assert_eq!(spec.run.retries, 3);
        assert_eq!(spec.run.env.get("OMP_NUM_THREADS").map(String::as_str), Some("1"));
        assert_eq!(spec.variants()[0].gpus, 2.0);
        for word in ["data", "resource_pool", "image", "Determined's API"] {
            assert!(imported.warnings.iter().any(|warning| warning.contains(word)), "{word}: {:?}", imported.warnings);
        }
    }

    #[test]
    fn a_grid_keeps_its_points() {
        let (spec, _) = imported(
            "determined",
            "entrypoint: model_def:MNistTrial\nhyperparameters:\n  lr: {type: log, minval: -3, maxval: -1, count: 3}\n  n: {type: int, minval: 1, maxval: 9, count: 3}\nsearcher: {name: grid, metric: acc, smaller_is_better: false, max_length: {batches: 100}}\n",
        );
        let choice = |name: &str| match spec.space().get(name).map(|p| p.domain.clone()) {
            Some(Domain::Choice(values)) => values.iter().filter_map(Value::as_f64).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(choice("n"), [1.0, 5.0, 9.0]);
        assert!(choice("lr").iter().zip([1e-3, 1e-2, 1e-1]).all(|(a, b)| (a - b).abs() < 1e-9));
        assert_eq!(spec.search.algorithm, "grid");
    }
}
