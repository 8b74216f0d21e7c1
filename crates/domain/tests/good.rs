//! Good files: read, the same in every language, and unchanged by a way through JSON.

#![expect(clippy::disallowed_methods, reason = "tests read their own files; the crate does not")]

use std::fs;
use std::path::{Path, PathBuf};

use heats_domain::document::{Format, read, schema};
use heats_domain::spec::{NotifyOn, ParameterSpec, SweepSpec};
use heats_domain::{Domain, Value};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good").join(name)
}

fn good(name: &str) -> SweepSpec {
    match read(&fs::read(file(name)).expect("is there"), Format::of(name)) {
        Ok((spec, _)) => spec,
        Err(faults) => panic!("{name}: {faults}"),
    }
}

#[test]
fn every_language_says_the_same() {
    let yaml = good("interface.yaml");
    assert_eq!(good("interface.toml"), yaml);
    assert_eq!(good("interface.json"), yaml);
    let names: Vec<&str> = yaml.space.parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["lr", "width", "batch", "opt", "momentum", "country", "epochs"], "the file's order");
    assert_eq!(yaml.search.seed, Some(u64::MAX));
    assert_eq!(yaml.search.params["n_startup_trials"], 10);
}

#[test]
fn scalars_keep_the_type_that_the_file_gives_them() {
    let spec = good("interface.yaml");
    let domain = |name: &str| spec.space().get(name).expect("is there").domain.clone();
    assert_eq!(domain("lr"), Domain::Float { low: 1e-5, high: 0.1, log: true, step: None });
    assert_eq!(domain("country"), Domain::Choice(vec![Value::Str("no".into()), Value::Str("se".into())]), "Norway");
    assert_eq!(domain("epochs"), Domain::Const(Value::Int(27)));
    let grid = good("grid.yaml");
    assert_eq!(grid.space().get("limit").expect("is there").domain, Domain::Const(Value::Int(16)));
    assert_eq!(grid.command, ["python", "train.py", "${args}"]);
}

#[test]
fn a_sweep_is_unchanged_by_a_way_through_json() {
    for name in ["interface.yaml", "grid.yaml", "small.yaml"] {
        let spec = good(name);
        let json = serde_json::to_vec(&spec).expect("serialises");
        let (back, _) = read(&json, Format::Json).unwrap_or_else(|faults| panic!("{name}: {faults}"));
        assert_eq!(back, spec, "{name}");
    }
}

#[test]
fn the_published_schema_has_a_name_and_describes_every_key() {
    let schema = schema();
    assert_eq!(schema["title"], "Heats sweep");
    assert!(schema["$id"].as_str().is_some_and(|id| id.starts_with("urn:")));
    for (key, property) in schema["properties"].as_object().expect("has properties") {
        assert!(property["description"].is_string(), "{key}");
    }
}

#[test]
fn a_constant_may_be_any_scalar() {
    let text = "command: [a]\nbudget: { trials: 1 }\nspace: { a: 1, b: 1.0, c: \"1\", d: true, e: yes }\n";
    let (spec, _) = read(text.as_bytes(), Format::Yaml).expect("is good");
    let values: Vec<Value> = spec
        .space
        .parameters
        .into_iter()
        .map(|(name, spec)| match spec {
            ParameterSpec::Const(value) => value,
            ParameterSpec::Float(_) | ParameterSpec::Int(_) | ParameterSpec::Choice(_) => panic!("{name}"),
        })
        .collect();
    assert_eq!(
        values,
        [Value::Int(1), Value::Float(1.0), Value::Str("1".into()), Value::Bool(true), Value::Str("yes".into())]
    );
}

#[test]
fn variants_of_resources_are_read_in_their_order() {
    let spec = good("resources.yaml");
    let [big, small] = spec.variants() else { panic!("{:?}", spec.resources) };
    let width = |width: i64| [("width", Value::Int(width))].into_iter().collect();
    assert_eq!((big.gpu_parts(), big.is_for(&width(257)), big.is_for(&width(256))), (100, true, false));
    assert_eq!((small.gpu_parts(), small.shares_a_gpu(), small.is_for(&width(257))), (25, true, true));
    assert_eq!(small.disk.map(|disk| disk.count), Some(50 << 30));
}

#[test]
fn webhooks_are_told_of_what_they_name() {
    let spec = good("notify.yaml");
    let asked: Vec<(&[NotifyOn], &str)> =
        spec.notify.iter().map(|hook| (hook.on.as_slice(), hook.webhook.as_str())).collect();
    assert_eq!(asked[0].0, [NotifyOn::Finished, NotifyOn::Failed]);
    assert_eq!(asked[1], (&[NotifyOn::NewBest][..], "http://[2606:4700::1111]:8080/best?key=1"));
}
