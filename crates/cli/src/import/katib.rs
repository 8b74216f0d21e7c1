//! Katib's Experiment. Its traps: every value is a text, metrics are read from the log by a pattern, and each trial
//! is a Kubernetes job whose first container is the program.

use serde_json::{Map, Value, json};

use super::draft::{Draft, escape};
use super::read::{Taken, number, scalar, whole_or_real};

pub(super) fn import(tree: &Value, draft: &mut Draft) {
    let mut file = Taken::of(tree);
    draft.name = file.map("metadata").text("name");
    let mut spec = file.map("spec");
    for (i, given) in list(spec.take("parameters")).iter().enumerate() {
        parameter(draft, i, given);
    }
    objective(draft, spec.map("objective"));
    algorithm(draft, spec.map("algorithm"));
    early_stopping(draft, &mut spec);
    match spec.whole("maxTrialCount") {
        Some(trials) => {
            draft.budget.insert("trials".into(), trials.into());
        }
        None if draft.search.get("algorithm") == Some(&"grid".into()) => {}
        None => {
            draft.remark(
                "there is no `maxTrialCount`: that experiment went on until its goal, this one ends after 100 trials",
            );
            draft.budget.insert("trials".into(), 100.into());
        }
    }
    let parallel = spec.whole("parallelTrialCount").unwrap_or(3);
    let trials = draft.budget.get("trials").and_then(Value::as_u64).unwrap_or(u64::MAX);
    draft.budget.insert("parallel".into(), parallel.min(trials).into());
    if let Some(failures) = spec.whole("maxFailedTrialCount") {
        // There the experiment fails once more than this have failed.
        draft.budget.insert("max_failures".into(), (failures + 1).into());
    }
    template(draft, spec.map("trialTemplate"));
    collector(draft, &mut spec);
    draft.left_over("spec", &spec.rest());
    for known in ["apiVersion", "kind", "status"] {
        file.take(known);
    }
    draft.left_over("", &file.rest());
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        Some(_) | None => Vec::new(),
    }
}

/// `[{name, value}]`
fn settings(given: &mut Taken, key: &str) -> Taken {
    let pairs = list(given.take(key)).into_iter().filter_map(|pair| {
        let mut pair = Taken::of(&pair);
        Some((pair.text("name")?, pair.take("value")?))
    });
    Taken::of(&Value::Object(pairs.collect::<Map<_, _>>()))
}

fn parameter(draft: &mut Draft, i: usize, given: &Value) {
    let mut given = Taken::of(given);
    let name = given.text("name").unwrap_or_else(|| format!("parameter{i}"));
    let kind = given.text("parameterType").unwrap_or_default();
    let mut space = given.map("feasibleSpace");
    let values = list(space.take("list"));
    let (min, max, step) = (space.number("min"), space.number("max"), space.number("step"));
    let log = match space.text("distribution").as_deref() {
        None | Some("uniform") => false,
        Some("logUniform") => true,
        Some(other) => {
            draft.remark(format!("parameter `{name}` was {other} over its range; it is uniform here"));
            other == "logNormal"
        }
    };
    let domain = match (kind.as_str(), min.zip(max)) {
        ("double", Some((low, high))) => Some(range("float", low, high, log, step)),
        ("int", Some((low, high))) => Some(range("int", low, high, log, step)),
        ("discrete" | "categorical", _) if !values.is_empty() => {
            let typed = |value: &Value| match value {
                Value::String(text) if kind == "discrete" => scalar(text),
                other => other.clone(),
            };
            Some(json!({ "choice": values.iter().map(typed).collect::<Vec<_>>() }))
        }
        _ => None,
    };
    match domain {
        Some(domain) => draft.parameter(&name, domain, None),
        None => draft.remark(format!("parameter `{name}` could not be read and is missing in `space`")),
    }
    draft.left_over(&format!("parameters.{name}.feasibleSpace"), &space.rest());
    draft.left_over(&format!("parameters.{name}"), &given.rest());
}

fn range(kind: &str, low: f64, high: f64, log: bool, step: Option<f64>) -> Value {
    let bound = |bound: f64| if kind == "int" { json!(bound as i64) } else { json!(bound) };
    let mut map = Map::new();
    // A step need not reach `max` there; here the range ends at its last multiple.
    let step = step.filter(|step| *step > 0.0 && !log);
    let high = step.map_or(high, |step| low + ((high - low) / step + 1e-9).floor() * step);
    map.insert(kind.to_owned(), json!([bound(low), bound(high)]));
    if log {
        map.insert("log".into(), true.into());
    }
    if let Some(step) = step.filter(|step| kind == "float" || *step != 1.0) {
        map.insert("step".into(), bound(step));
    }
    map.into()
}

fn objective(draft: &mut Draft, mut objective: Taken) {
    let maximize = objective.text("type").is_some_and(|kind| kind == "maximize");
    let goal = objective.number("goal");
    if let Some(metric) = objective.text("objectiveMetricName") {
        draft.objective(&metric, maximize, goal);
        for strategy in list(objective.take("metricStrategies")) {
            let mut strategy = Taken::of(&strategy);
            let (of, value) = (strategy.text("name"), strategy.text("value").unwrap_or_default());
            let usual = if maximize { "max" } else { "min" };
            if of.as_deref() == Some(metric.as_str()) && value != usual {
                draft.remark(format!(
                    "`metricStrategies` ranked `{metric}` by its {value} value; here a trial counts by its best"
                ));
            }
        }
    }
    // Every metric that a trial reports is kept.
    objective.take("additionalMetricNames");
    draft.left_over("spec.objective", &objective.rest());
}

fn algorithm(draft: &mut Draft, mut algorithm: Taken) {
    let name = algorithm.text("algorithmName").unwrap_or_else(|| "random".into());
    let mut settings = settings(&mut algorithm, "algorithmSettings");
    let ours = match name.as_str() {
        "random" | "grid" | "sobol" | "tpe" => name.as_str(),
        "multivariate-tpe" => "tpe",
        "hyperband" => {
            draft.early_stop.insert("algorithm".into(), "asha".into());
            if let Some(eta) = settings.number("eta").filter(|eta| *eta > 1.0) {
                draft.early_stop.insert("eta".into(), whole_or_real(eta));
            }
            if let Some(max) = settings.number("r_l").filter(|max| *max >= 1.0) {
                draft.early_stop.insert("max".into(), (max as u64).into());
            }
            if let Some(resource) = settings.text("resource_name") {
                draft.remark(format!("hyperband gave each trial its length as `{resource}`; here every trial may run to the end and is stopped early: set `{resource}` to a constant"));
            }
            draft.remark("`hyperband` becomes random search with ASHA");
            "random"
        }
        other => {
            draft.remark(format!("`{other}` has no counterpart; `tpe` takes its place"));
            "tpe"
        }
    };
    draft.search.insert("algorithm".into(), ours.into());
    if let Some(seed) = settings.whole("random_state") {
        draft.search.insert("seed".into(), seed.into());
    }
    if ours == "tpe" {
        for (theirs, key) in [("n_startup_trials", "n_startup_trials"), ("n_ei_candidates", "n_ei_candidates")] {
            if let Some(value) = settings.whole(theirs) {
                draft.search.insert(key.into(), value.into());
            }
        }
    }
    draft.left_over("spec.algorithm.algorithmSettings", &settings.rest());
    draft.left_over("spec.algorithm", &algorithm.rest());
}

fn early_stopping(draft: &mut Draft, spec: &mut Taken) {
    if !spec.has("earlyStopping") {
        return;
    }
    let mut rule = spec.map("earlyStopping");
    let name = rule.text("algorithmName").unwrap_or_default();
    let mut settings = settings(&mut rule, "algorithmSettings");
    if name == "medianstop" {
        draft.early_stop.insert("algorithm".into(), "median".into());
        if let Some(samples) = settings.whole("min_trials_required").filter(|samples| *samples > 0) {
            draft.early_stop.insert("min_samples".into(), samples.into());
        }
        if let Some(grace) = settings.whole("start_step") {
            draft.early_stop.insert("grace".into(), grace.into());
        }
    } else {
        draft.remark(format!("`earlyStopping: {name}` has no counterpart: no trial is stopped early"));
    }
    draft.left_over("spec.earlyStopping.algorithmSettings", &settings.rest());
    draft.left_over("spec.earlyStopping", &rule.rest());
}

fn template(draft: &mut Draft, mut template: Taken) {
    let primary = template.text("primaryContainerName");
    let mut references: Vec<(String, String)> = Vec::new();
    for given in list(template.take("trialParameters")) {
        let mut given = Taken::of(&given);
        if let (Some(name), Some(reference)) = (given.text("name"), given.text("reference")) {
            references.push((name, reference));
        }
    }
    let containers = template.take("trialSpec").map(|spec| containers(&spec)).unwrap_or_default();
    let container = containers
        .iter()
        .find(|container| primary.is_some() && container.get("name").and_then(Value::as_str) == primary.as_deref())
        .or_else(|| containers.first())
        .cloned();
    let Some(container) = container else {
        draft.remark("no container was found in `trialTemplate`: write the command");
        draft.command = vec!["python3".into(), "train.py".into(), "${args}".into()];
        return;
    };
    let mut container = Taken::of(&container);
    let words = list(container.take("command")).into_iter().chain(list(container.take("args")));
    let words: Vec<String> = words.map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect();
    draft.command = words.iter().map(|word| filled(draft, word, &references)).collect();
    if draft.command.is_empty() {
        draft.remark("the container runs its image's own command: write it down");
        draft.command = vec!["python3".into(), "train.py".into(), "${args}".into()];
    }
    if let Some(image) = container.text("image") {
        draft.remark(format!("trials ran in the image `{image}`: see that the command and its packages are here"));
    }
    variables(draft, &mut container);
    resources(draft, container.map("resources"));
    container.take("name");
    draft.left_over("trialTemplate.container", &container.rest());
    for known in ["retain", "successCondition", "failureCondition", "primaryPodLabels"] {
        template.take(known);
    }
    draft.left_over("trialTemplate", &template.rest());
}

/// The containers of whatever kind of job it is: wherever the first list of that name stands.
fn containers(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(map) => match map.get("containers") {
            Some(Value::Array(containers)) => containers.clone(),
            Some(_) | None => map.values().map(containers).find(|found| !found.is_empty()).unwrap_or_default(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Vec::new(),
    }
}

/// A word with `${trialParameters.X}` replaced by our `${x}`.
fn filled(draft: &mut Draft, word: &str, references: &[(String, String)]) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find("${trialParameters.") {
        let inside = &rest[at + "${trialParameters.".len()..];
        let Some(end) = inside.find('}') else { break };
        out.push_str(&escape(&rest[..at]));
        let name = &inside[..end];
        let reference = references.iter().find(|(known, _)| known == name).map_or(name, |(_, reference)| reference);
        match draft.ours(reference) {
            Some(ours) => out.push_str(&format!("${{{ours}}}")),
            None => {
                draft.remark(format!("`${{trialParameters.{name}}}` names no parameter: write its value"));
                out.push_str(&escape(name));
            }
        }
        rest = &inside[end + 1..];
    }
    out.push_str(&escape(rest));
    out
}

fn variables(draft: &mut Draft, container: &mut Taken) {
    let mut env = Map::new();
    for given in list(container.take("env")) {
        let mut given = Taken::of(&given);
        match (given.text("name"), given.text("value")) {
            (Some(name), Some(value)) => {
                env.insert(name, value.into());
            }
            (Some(name), None) => {
                draft.remark(format!("the variable `{name}` came from the cluster: set it under `run.env`"))
            }
            (None, _) => {}
        }
    }
    if !env.is_empty() {
        draft.run.insert("env".into(), env.into());
    }
}

fn resources(draft: &mut Draft, mut resources: Taken) {
    let requests = resources.map("requests");
    let mut limits = resources.map("limits");
    if limits.is_empty() {
        limits = requests;
    }
    let gpus = ["nvidia.com/gpu", "amd.com/gpu"].into_iter().find_map(|key| limits.number(key));
    if let Some(gpus) = gpus.filter(|gpus| *gpus > 0.0) {
        draft.resources.insert("gpus".into(), whole_or_real(gpus));
    }
    if let Some(cpu) = limits.take("cpu") {
        // `500m` are half a processor.
        let cpus = match &cpu {
            Value::String(text) if text.ends_with('m') => {
                text.trim_end_matches('m').parse::<f64>().ok().map(|milli| milli / 1000.0)
            }
            other => number(other),
        };
        if let Some(cpus) = cpus {
            draft.resources.insert("cpus".into(), (cpus.ceil().max(1.0) as u64).into());
        }
    }
    if let Some(memory) = limits.text("memory") {
        // `4Gi` there is `4GiB` here; `4G` is `4GB`.
        let ours = if memory.ends_with(['i', 'k', 'M', 'G', 'T']) { format!("{memory}B") } else { memory };
        draft.resources.insert("memory".into(), ours.into());
    }
    draft.left_over("resources", &limits.rest());
}

fn collector(draft: &mut Draft, spec: &mut Taken) {
    let mut collector = spec.map("metricsCollectorSpec");
    let kind = collector.map("collector").text("kind").unwrap_or_else(|| "StdOut".into());
    let how = match kind.as_str() {
        "StdOut" => "lines `name=value` of its output",
        "File" => "a file",
        "TensorFlowEvent" => "TensorFlow's event files",
        "PrometheusMetric" => "a page of Prometheus metrics",
        _ => "a collector of its own",
    };
    draft.remark(format!(
        "metrics were read from {how}: let the script print `::metric step=N METRIC=VALUE`; `heats check --sample-log LOG` shows what would be read"
    ));
    // Where it stands is of no use any more.
    collector.take("source");
    draft.left_over("spec.metricsCollectorSpec", &collector.rest());
}

#[cfg(test)]
mod tests {
    use super::super::tests::imported;
    use heats_domain::{Domain, Value};

    /// In the form of Katib's random-search example.
    const FILE: &str = r#"
apiVersion: kubeflow.org/v1beta1
kind: Experiment
metadata: { namespace: kubeflow, name: random }
spec:
  objective:
    type: minimize
    goal: 0.001
    objectiveMetricName: loss
    additionalMetricNames: [Train-accuracy]
    metricStrategies: [{ name: loss, value: latest }]
  algorithm:
    algorithmName: bayesianoptimization
    algorithmSettings: [{ name: random_state, value: "10" }, { name: base_estimator, value: GP }]
  earlyStopping:
    algorithmName: medianstop
    algorithmSettings: [{ name: min_trials_required, value: "2" }, { name: start_step, value: "4" }]
  parallelTrialCount: 3
  maxTrialCount: 12
  maxFailedTrialCount: 3
  parameters:
    - name: lr
      parameterType: double
      feasibleSpace: { min: "0.0001", max: "0.1", distribution: logUniform }
    - name: num-layers
      parameterType: int
      feasibleSpace: { min: "1", max: "64", step: "4" }
    - name: batch
      parameterType: discrete
      feasibleSpace: { list: ["64", "128"] }
    - name: optimizer
      parameterType: categorical
      feasibleSpace: { list: ["sgd", "adam", "1"] }
  trialTemplate:
    primaryContainerName: training-container
    trialParameters:
      - { name: learningRate, description: Learning rate, reference: lr }
      - { name: layers, reference: num-layers }
    trialSpec:
      apiVersion: batch/v1
      kind: Job
      spec:
        template:
          spec:
            containers:
              - name: sidecar
                image: other
              - name: training-container
                image: docker.io/kubeflowkatib/pytorch-mnist-cpu:latest
                command: ["python3", "/opt/mnist/mnist.py", "--epochs=1", "--lr=${trialParameters.learningRate}", "--layers", "${trialParameters.layers}"]
                env: [{ name: OMP_NUM_THREADS, value: "2" }]
                resources: { limits: { memory: "4Gi", cpu: "500m", "nvidia.com/gpu": 1 } }
            restartPolicy: Never
"#;

    #[test]
    fn texts_become_numbers_and_categories_stay_texts() {
        let (spec, imported) = imported("katib", FILE);
        let space = spec.space();
        let domain = |name: &str| space.get(name).unwrap_or_else(|| panic!("{name}: {}", imported.yaml)).domain.clone();
        assert_eq!(domain("lr"), Domain::Float { low: 1e-4, high: 0.1, log: true, step: None });
        assert_eq!(domain("num_layers"), Domain::Int { low: 1, high: 61, log: false, step: 4 });
        assert_eq!(domain("batch"), Domain::Choice(vec![Value::Int(64), Value::Int(128)]));
        assert_eq!(domain("optimizer"), Domain::Choice(["sgd", "adam", "1"].map(|s| Value::Str(s.into())).into()));
    }

    #[test]
    fn the_primary_containers_command_refers_to_our_names() {
        let (spec, _) = imported("katib", FILE);
        assert_eq!(
            spec.command,
            ["python3", "/opt/mnist/mnist.py", "--epochs=1", "--lr=${lr}", "--layers", "${num_layers}"]
        );
        assert_eq!(spec.run.env.get("OMP_NUM_THREADS").map(String::as_str), Some("2"));
        assert_eq!((spec.variants()[0].gpus, spec.variants()[0].cpus), (1.0, 1));
        assert_eq!(spec.variants()[0].memory.map(|memory| memory.count), Some(4 << 30));
    }

    #[test]
    fn the_rest_is_mapped_or_said() {
        let (spec, imported) = imported("katib", FILE);
        assert_eq!((spec.search.algorithm.as_str(), spec.search.seed), ("tpe", Some(10)));
        assert_eq!(spec.early_stop.algorithm, "median");
        assert_eq!(spec.early_stop.params["min_samples"], 2);
        assert_eq!((spec.budget.trials, spec.budget.parallel, spec.budget.max_failures), (Some(12), Some(3), Some(4)));
        for word in ["bayesianoptimization", "latest", "base_estimator", "pytorch-mnist-cpu", "name=value"] {
            assert!(imported.warnings.iter().any(|warning| warning.contains(word)), "{word}: {:?}", imported.warnings);
        }
    }
}
