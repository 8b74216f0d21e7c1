//! What the commands print, for programs: every form of output, and nothing beside it on standard output.

use heats_testkit::{Expected, Workspace};
use heats_tests::PARABOLA;

const SWEEP: &str = "
version: 1
name: parabola
command: [./trial.sh]
space: { x: { int: [0, 1000] } }
objective: { minimize: loss }
search: { algorithm: random, seed: 4 }
budget: { trials: 6 }
";

#[test]
fn a_run_with_json_output_prints_one_document_and_nothing_else() {
    let workspace = Workspace::with(SWEEP, PARABOLA);
    let run = workspace.ok(&["run", "sweep.yaml", "-o", "json"]);
    let document = run.json();
    assert_eq!(document["schema"], "heats.sweep/v1", "{run}");
    assert_eq!(document["sweep"]["status"], "finished", "{run}");
    assert!(!run.stdout.contains('\u{1b}') && !run.stderr.contains('\u{1b}'), "a pipe gets no colours\n{run}");
    let audit = workspace.audit(&Expected::trials(6));
    assert_eq!(document["sweep"]["best"]["value"].as_f64(), audit.best().map(|(_, value)| value));
}

#[test]
fn every_form_of_output_says_the_same() {
    let workspace = Workspace::with(SWEEP, PARABOLA);
    workspace.ok(&["run", "sweep.yaml", "-q"]);
    let dev = workspace.dev(&[]);
    let trials = |form: &str| workspace.ok(&["trials", "parabola", "-o", form]).stdout;
    let json = workspace.ok(&["trials", "parabola", "-o", "json"]).json();
    assert_eq!(json["schema"], "heats.trials/v1");
    let listed = json["trials"].as_array().expect("a list").clone();
    assert_eq!(listed.len(), 6);

    let lines = workspace.ok(&["trials", "parabola", "-o", "jsonl"]).json_lines();
    assert!(lines.iter().all(|line| line["schema"] == "heats.trial/v1"), "{lines:?}");
    assert_eq!(
        lines.iter().map(|line| &line["value"]).collect::<Vec<_>>(),
        listed.iter().map(|t| &t["value"]).collect::<Vec<_>>()
    );
    assert_eq!(trials("name"), (0..6).map(|number| format!("parabola/{number}\n")).collect::<String>());
    let values: String = listed.iter().map(|trial| format!("{}\n", trial["params"]["x"])).collect();
    assert_eq!(trials("value:params.x"), values);
    let csv = trials("csv");
    assert_eq!(csv.lines().count(), 7, "{csv}");
    assert!(csv.starts_with("number,state,") && csv.contains("completed"), "{csv}");
    assert_eq!(trials("table").lines().count(), 7);
    assert!(trials("wide").lines().next().is_some_and(|header| header.contains("ATTEMPTS")));
    assert!(trials("yaml").starts_with("schema: heats.trials/v1\n"), "{}", trials("yaml"));

    let exported = workspace.ok(&["export", "parabola", "-f", "csv"]).stdout;
    assert!(exported.starts_with("address,number,state,params.x,"), "{exported}");
    assert_eq!(exported.lines().count(), 7);
    let series = workspace.ok(&["export", "parabola", "-f", "jsonl", "--series"]).json_lines();
    assert_eq!(series.len(), 18, "six trials of three reports");
    let file = workspace.file("trials.csv");
    let to_file = workspace.ok(&["export", "parabola", "--to", &file.display().to_string()]);
    assert_eq!((to_file.stdout.as_str(), std::fs::read_to_string(file).expect("is there")), ("", exported));

    workspace.run(&["trials", "parabola", "-o", "value:nonsense"]).expect(2);
    workspace.run(&["trials", "parabola", "-o", "nonsense"]).expect(2);
    dev.interrupt();
    dev.finish().expect(130);
}

#[test]
fn addresses_name_sweeps_trials_and_attempts() {
    let workspace = Workspace::with(SWEEP, PARABOLA);
    workspace.ok(&["run", "sweep.yaml", "-q"]);
    let dev = workspace.dev(&[]);
    let show = |address: &str| workspace.ok(&["show", address, "-o", "json"]).json();
    let sweep = show("last");
    let id = sweep["sweep"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(show(&id)["sweep"]["name"], "parabola");
    assert_eq!(show("parabola/3")["trial"]["number"], 3);
    assert_eq!(show(&format!("{id}/last"))["trial"]["number"], 5);
    let attempt = show("parabola/3@1");
    assert_eq!((attempt["schema"].as_str(), &attempt["attempt"]["attempt"]), (Some("heats.attempt/v1"), &1.into()));
    let some = workspace.ok(&["trials", "parabola/1,3-5", "-o", "value:number"]).stdout;
    assert_eq!(some, "1\n3\n4\n5\n");
    let best = workspace.ok(&["best", "parabola", "-n", "3", "-o", "value:value"]).stdout;
    let sorted = workspace.ok(&["trials", "parabola", "--sort", "loss", "-n", "3", "-o", "value:value"]).stdout;
    assert_eq!(best, sorted);
    let pareto = workspace.ok(&["best", "parabola", "--pareto", "-n", "3", "-o", "value:value"]).stdout;
    assert_eq!(Some(pareto.trim_end()), best.lines().next(), "of one objective, the front is the best");
    let agent = show("parabola/0")["trial"]["agent"].as_str().expect("an agent").to_owned();
    assert_eq!(show(&agent)["agent"]["attached"], true);

    for (address, code) in
        [("nope", 3), ("parabola/99", 3), ("parabola/3@9", 3), ("parabola/x", 2), ("parabola/1,2", 2), ("@1", 2)]
    {
        workspace.run(&["show", address]).expect(code);
    }
    dev.interrupt();
    dev.finish().expect(130);
}
