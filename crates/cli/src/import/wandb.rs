//! W&B's sweep file. Its traps: `log_uniform` gives exponents of e, a missing `method` of distribution follows from
//! the types of `min` and `max`, Hyperband counts from `max_iter` down, and a sweep without `run_cap` has no end.

use serde_json::{Map, Value, json};

use super::draft::{Draft, Style, escape};
use super::read::{Taken, whole_or_real};

pub(super) fn import(tree: &Value, draft: &mut Draft) {
    let mut file = Taken::of(tree);
    draft.name = file.text("name");
    draft.description = file.text("description");
    let mut parameters = Taken::of(&Value::Null);
    if let Some(value) = file.take("parameters") {
        parameters = Taken::of(&value);
    }
    for (name, domain) in parameters.rest() {
        parameter(draft, &name, &domain);
    }
    let method = file.text("method").unwrap_or_else(|| "bayes".into());
    let algorithm = match method.as_str() {
        "grid" | "random" => method.as_str(),
        "bayes" => {
            draft.remark("`method: bayes` was a Gaussian process there; `tpe` takes its place");
            "tpe"
        }
        other => {
            draft.remark(format!("`method: {other}` has no counterpart; `tpe` takes its place"));
            "tpe"
        }
    };
    draft.search.insert("algorithm".into(), algorithm.into());
    metric(draft, file.map("metric"));
    early_terminate(draft, &mut file, algorithm);
    match file.whole("run_cap") {
        Some(cap) => {
            draft.budget.insert("trials".into(), cap.into());
        }
        None if method == "grid" => {}
        None => {
            draft.remark(
                "there is no `run_cap`: that sweep went on until it was stopped, this one ends after 100 trials",
            );
            draft.budget.insert("trials".into(), 100.into());
        }
    }
    command(draft, &mut file);
    for ours in ["kind", "apiVersion"] {
        file.take(ours);
    }
    draft.left_over("", &file.rest());
    draft.remark("the script must print `::metric step=N METRIC=VALUE` or call `heats.trial()`, beside or in place of `wandb.log`");
}

fn metric(draft: &mut Draft, mut metric: Taken) {
    let Some(name) = metric.text("name") else { return };
    let maximize = metric.text("goal").is_some_and(|goal| goal == "maximize");
    let target = metric.number("target");
    draft.objective(&name, maximize, target);
    draft.left_over("metric", &metric.rest());
}

fn early_terminate(draft: &mut Draft, file: &mut Taken, algorithm: &str) {
    if !file.has("early_terminate") {
        return;
    }
    let mut rule = file.map("early_terminate");
    rule.take("type");
    let eta = rule.number("eta").filter(|eta| *eta > 1.0).unwrap_or(3.0);
    let (max, brackets) = (rule.number("max_iter"), rule.number("s"));
    let min = match (rule.number("min_iter"), max, brackets) {
        (Some(min), _, _) => min,
        // Brackets lie at max_iter / eta, max_iter / eta^2, ...: `s` of them.
        (None, Some(max), Some(s)) => (max / eta.powf(s)).max(1.0).floor(),
        (None, _, _) => 1.0,
    };
    draft.early_stop.insert("algorithm".into(), "asha".into());
    draft.early_stop.insert("min".into(), (min as u64).max(1).into());
    if let Some(max) = max {
        draft.early_stop.insert("max".into(), (max as u64).into());
    }
    draft.early_stop.insert("eta".into(), whole_or_real(eta));
    draft.remark(format!(
        "`early_terminate: hyperband` becomes ASHA beside `{algorithm}`; a step there was one call of `wandb.log`, here it is what the script reports"
    ));
    rule.take("strict");
    draft.left_over("early_terminate", &rule.rest());
}

/// One parameter, or a mapping of them.
fn parameter(draft: &mut Draft, name: &str, domain: &Value) {
    let mut given = Taken::of(domain);
    if given.has("parameters") {
        for (inner, domain) in given.map("parameters").rest() {
            parameter(draft, &format!("{name}.{inner}"), &domain);
        }
        return draft.left_over(&format!("parameters.{name}"), &given.rest());
    }
    let distribution = given.text("distribution");
    let (ours, note) = match distribution.as_deref() {
        None | Some("constant" | "categorical" | "categorical_w_probabilities") => listed(draft, name, &mut given),
        Some(_) => (None, None),
    };
    let (ours, note) = match ours {
        Some(ours) => (Some(ours), note),
        None => ranged(draft, name, distribution.as_deref(), &mut given),
    };
    match ours {
        Some(ours) => draft.parameter(name, ours, note),
        None => draft.remark(format!("parameter `{name}` could not be read and is missing in `space`")),
    }
    draft.left_over(&format!("parameters.{name}"), &given.rest());
}

/// `value` and `values`.
fn listed(draft: &mut Draft, name: &str, given: &mut Taken) -> (Option<Value>, Option<String>) {
    if let Some(value) = given.take("value") {
        if is_scalar(&value) {
            return (Some(value), None);
        }
        return (Some(value.to_string().into()), Some("a list or mapping there: JSON text here".into()));
    }
    let Some(Value::Array(values)) = given.take("values") else { return (None, None) };
    if given.take("probabilities").is_some() {
        draft.remark(format!("`parameters.{name}.probabilities` has no counterpart: every value is as likely"));
    }
    let nested = values.iter().any(|value| !is_scalar(value));
    let mut choice: Vec<Value> = Vec::new();
    for value in values {
        let value = if is_scalar(&value) { value } else { value.to_string().into() };
        if !choice.contains(&value) {
            choice.push(value);
        }
    }
    let note = nested.then(|| "lists or mappings there: JSON texts here".to_owned());
    (Some(json!({ "choice": choice })), note)
}

const fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

/// Everything with bounds.
fn ranged(
    draft: &mut Draft,
    name: &str,
    distribution: Option<&str>,
    given: &mut Taken,
) -> (Option<Value>, Option<String>) {
    let (min, max) = (given.take("min"), given.take("max"));
    let whole = |value: &Option<Value>| value.as_ref().is_some_and(|value| value.is_i64() || value.is_u64());
    let both_whole = whole(&min) && whole(&max);
    let bounds = min.as_ref().and_then(super::read::number).zip(max.as_ref().and_then(super::read::number));
    let distribution = distribution.unwrap_or(if both_whole { "int_uniform" } else { "uniform" });
    let q = given.number("q");
    if let Some(shape) = distribution.strip_prefix("q_").unwrap_or(distribution).strip_suffix("normal") {
        return (Some(bell(draft, name, distribution, shape == "log_", given)), None);
    }
    if distribution.ends_with("beta") {
        let (a, b) = (given.number("a").unwrap_or(1.0), given.number("b").unwrap_or(1.0));
        draft.remark(format!("`parameters.{name}` was Beta({a}, {b}); it is uniform over its range here"));
        return (Some(json!({ "float": [0.0, 1.0] })), None);
    }
    let Some((min, max)) = bounds else { return (None, None) };
    let exponents = || Some(format!("{distribution} there: exponents {min} and {max} of e"));
    let log = |low: f64, high: f64| json!({ "float": [low, high], "log": true });
    let values = distribution.ends_with("_values");
    match distribution {
        "int_uniform" => (Some(json!({ "int": [min.round() as i64, max.round() as i64] })), None),
        "uniform" => (Some(json!({ "float": [min, max] })), None),
        "q_uniform" => (Some(stepped(min, max, q.unwrap_or(1.0))), None),
        "log_uniform" => (Some(log(min.exp(), max.exp())), exponents()),
        "inv_log_uniform" => (Some(log((-max).exp(), (-min).exp())), exponents()),
        "log_uniform_values" | "inv_log_uniform_values" => (Some(log(min, max)), None),
        "q_log_uniform" | "q_log_uniform_values" => {
            let (low, high) = if values { (min, max) } else { (min.exp(), max.exp()) };
            let note = if values { None } else { exponents() };
            match q.unwrap_or(1.0) {
                1.0 => (Some(json!({ "int": [low.round().max(1.0) as i64, high.round() as i64], "log": true })), note),
                q => {
                    draft
                        .remark(format!("`parameters.{name}.q: {q}` is dropped: a logarithmic range has no step here"));
                    (Some(log(low, high)), note)
                }
            }
        }
        other => {
            draft.remark(format!("`parameters.{name}.distribution: {other}` is not known; it is uniform here"));
            (Some(json!({ "float": [min, max] })), None)
        }
    }
}

/// Multiples of `q` between the bounds.
fn stepped(min: f64, max: f64, q: f64) -> Value {
    let low = (min / q).round() * q;
    let high = low + ((max - low) / q + 1e-9).floor() * q;
    if [low, high, q].iter().all(|number| number.fract() == 0.0) {
        let mut map = Map::from_iter([("int".to_owned(), json!([low as i64, high as i64]))]);
        if q != 1.0 {
            map.insert("step".into(), (q as i64).into());
        }
        return map.into();
    }
    json!({ "float": [low, high], "step": q })
}

/// A normal distribution, cut at two standard deviations.
fn bell(draft: &mut Draft, name: &str, distribution: &str, log: bool, given: &mut Taken) -> Value {
    let (mu, sigma) = (given.number("mu").unwrap_or(0.0), given.number("sigma").unwrap_or(1.0));
    draft.remark(format!(
        "`parameters.{name}` was {distribution} with mu {mu} and sigma {sigma}; here it is {}uniform within two sigma",
        if log { "log-" } else { "" }
    ));
    let (low, high) = (mu - 2.0 * sigma, mu + 2.0 * sigma);
    if log { json!({ "float": [low.exp(), high.exp()], "log": true }) } else { json!({ "float": [low, high] }) }
}

/// The word with each `${envvar:NAME}` replaced by the name, and the names.
fn without_variables(word: &str) -> (String, Vec<String>) {
    let (mut out, mut names, mut rest) = (String::new(), Vec::new(), word);
    while let Some((before, after)) = rest.split_once("${envvar:") {
        let Some((name, behind)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(name);
        names.push(name.to_owned());
        rest = behind;
    }
    (out + rest, names)
}

fn command(draft: &mut Draft, file: &mut Taken) {
    let program = file.text("program");
    let default = || ["${env}", "${interpreter}", "${program}", "${args}"].map(Value::from).to_vec();
    let given = match file.take("command") {
        Some(Value::Array(words)) => words,
        Some(_) | None => default(),
    };
    let mut command = Vec::new();
    for word in given {
        let word = match word {
            Value::String(text) => text,
            other => other.to_string(),
        };
        match word.as_str() {
            // There it looked the interpreter up on the path, which happens here anyway.
            "${env}" | "/usr/bin/env" if command.is_empty() => {}
            "${interpreter}" => command.push("python".to_owned()),
            "${program}" => match &program {
                Some(program) => command.push(escape(program)),
                None => {
                    draft.remark("there is no `program`: write the script's name in place of `train.py`");
                    command.push("train.py".to_owned());
                }
            },
            "${args}" => command.extend(draft.arguments(Style::Flags)),
            "${args_no_hyphens}" => command.extend(draft.arguments(Style::Plain)),
            "${args_no_boolean_flags}" => {
                draft.remark(
                    "`${args_no_boolean_flags}`: true and false are given as `--flag=true` and `--flag=false` here",
                );
                command.extend(draft.arguments(Style::Flags));
            }
            "${args_json}" => {
                draft
                    .remark("`${args_json}` was JSON text; the script gets the path of a file with the same JSON here");
                command.push("${args_json_file}".to_owned());
            }
            "${args_json_file}" => command.push(word),
            other => {
                let (word, variables) = without_variables(other);
                for variable in variables {
                    draft.remark(format!(
                        "`${{envvar:{variable}}}`: variables are not filled into a command; write the value of {variable} in its place"
                    ));
                }
                command.push(escape(&word));
            }
        }
    }
    draft.command = command;
}

#[cfg(test)]
mod tests {
    use super::super::tests::imported;
    use heats_domain::{Domain, Value};

    /// From W&B's documentation of nested parameters, Hydra and Hyperband, put together.
    const FILE: &str = r#"
program: train.py
name: My sweep!
description: tune the net
project: demo
method: bayes
run_cap: 80
metric: { name: val/acc, goal: maximize, target: 0.99 }
early_terminate: { type: hyperband, max_iter: 27, s: 2 }
parameters:
  lr: { distribution: log_uniform, min: -9.21034, max: -2.302585 }
  decay: { distribution: log_uniform_values, min: 1.0e-6, max: 1.0e-2 }
  layers: { min: 1, max: 5 }
  dropout: { min: 0.0, max: 0.5 }
  width: { distribution: q_uniform, min: 32, max: 500, q: 32 }
  noise: { distribution: normal, mu: 0, sigma: 0.1 }
  batch-size: { values: [64, 128, 256] }
  optimizer:
    parameters:
      name: { values: [sgd, adam], probabilities: [0.3, 0.7] }
      momentum: { value: 0.9 }
command: ["${env}", "${interpreter}", "${program}", "--data=${envvar:DATA}/x", "${args}"]
"#;

    #[test]
    fn every_distribution_lands_where_it_was() {
        let (spec, imported) = imported("wandb", FILE);
        let space = spec.space();
        let domain = |name: &str| space.get(name).unwrap_or_else(|| panic!("{name}: {}", imported.yaml)).domain.clone();
        let Domain::Float { low, high, log: true, step: None } = domain("lr") else { panic!("{}", imported.yaml) };
        assert!((low - 1e-4).abs() < 1e-8 && (high - 0.1).abs() < 1e-6, "exponents of e: {low} {high}");
        assert_eq!(domain("decay"), Domain::Float { low: 1e-6, high: 1e-2, log: true, step: None });
        assert_eq!(domain("layers"), Domain::Int { low: 1, high: 5, log: false, step: 1 });
        assert_eq!(domain("dropout"), Domain::Float { low: 0.0, high: 0.5, log: false, step: None });
        assert_eq!(domain("width"), Domain::Int { low: 32, high: 480, log: false, step: 32 });
        assert_eq!(domain("noise"), Domain::Float { low: -0.2, high: 0.2, log: false, step: None });
        assert_eq!(domain("batch_size"), Domain::Choice([64, 128, 256].map(Value::Int).into()));
        assert_eq!(domain("optimizer_momentum"), Domain::Const(Value::Float(0.9)));
    }

    #[test]
    fn the_command_gives_the_program_its_own_names() {
        let (spec, _) = imported("wandb", FILE);
        let command: Vec<&str> = spec.command.iter().map(String::as_str).collect();
        assert_eq!(&command[..4], ["python", "train.py", "--data=DATA/x", "--lr=${lr}"]);
        assert!(command.contains(&"--batch-size=${batch_size}"), "{command:?}");
        assert!(command.contains(&"--optimizer.momentum=${optimizer_momentum}"), "{command:?}");
    }

    #[test]
    fn the_rest_is_mapped_or_said() {
        let (spec, imported) = imported("wandb", FILE);
        assert_eq!(spec.name.as_deref(), Some("My-sweep"));
        let objective = spec.objective().expect("an objective");
        assert_eq!((objective.maximize.as_deref(), objective.stop_at), (Some("val/acc"), Some(0.99)));
        assert_eq!(spec.early_stop.algorithm, "asha");
        // 27 / 3^2
        assert_eq!((&spec.early_stop.params["min"], &spec.early_stop.params["max"]), (&3.into(), &27.into()));
        assert_eq!(spec.budget.trials, Some(80));
        for word in ["project", "probabilities", "normal", "bayes", "envvar:DATA"] {
            assert!(imported.warnings.iter().any(|warning| warning.contains(word)), "{word}: {:?}", imported.warnings);
            assert!(imported.yaml.lines().any(|line| line.starts_with('#') && line.contains(word)), "{word}");
        }
    }

    #[test]
    fn a_grid_needs_no_budget_and_a_plain_file_keeps_args() {
        let (spec, _) = imported(
            "wandb",
            "program: t.py\nmethod: grid\nmetric: {name: loss}\nparameters: {a: {values: [1, 2]}, b: {value: x}}\n",
        );
        assert_eq!(spec.budget.trials, None);
        assert_eq!(spec.command, ["python", "t.py", "${args}"]);
    }
}
