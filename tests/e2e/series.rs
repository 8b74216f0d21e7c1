//! What a trial reported, a little of it for people and all of it for programs; what was no number; and what is
//! said where nobody answers.

use heats_testkit::{Finished, Workspace};
use serde_json::Value;

/// Enough for several chunks and for what people do not want on their screen.
const STEPS: u64 = 10_000;
const BEST: u64 = 7_777;

fn sweep(trials: u32) -> String {
    format!(
        "
version: 1
name: long
command: [./trial.sh]
space: {{ x: {{ int: [0, 1000] }} }}
objective: {{ minimize: loss }}
search: {{ algorithm: random, seed: 4 }}
budget: {{ trials: {trials} }}
run: {{ retries: 0 }}
"
    )
}

/// The points of `heats show long/0` for programs, by form of output.
fn told(workspace: &Workspace) -> [Vec<Value>; 3] {
    let show = |form: &str| workspace.ok(&["show", "long/0", "-o", form]);
    let series = |document: &Value| document["series"].as_array().expect("a list").clone();
    let line = show("jsonl").json_lines();
    assert_eq!(line.len(), 1, "one document a line");
    [
        series(&show("json").json()["trial"]),
        series(&line[0]),
        show("value:series").json_lines()[0].as_array().expect("a list").clone(),
    ]
}

#[test]
fn a_long_series_is_shown_in_part_told_whole_and_the_same_after_a_kill() {
    let line = r#"printf "::metric step=%d loss=%d acc=%.3f\n", i, (i - b) * (i - b) + 1, i / n"#;
    let script = format!("exec awk 'BEGIN {{ n = {STEPS}; b = {BEST}; for (i = 1; i <= n; i++) {line} }}'");
    let workspace = Workspace::with(&sweep(1), &script);
    let dev = workspace.dev(&[]);
    workspace.ok(&["submit", "sweep.yaml", "-w"]);

    let human = |workspace: &Workspace| workspace.ok(&["show", "long/0"]).stdout;
    let shown = human(&workspace);
    let points: Vec<&str> = shown.lines().filter(|line| line.trim_start().starts_with("step ")).collect();
    assert_eq!(points.len(), 12, "{shown}");
    for (place, text) in [(0, "  1  loss="), (11, " 10000  loss=")] {
        assert!(points[place].contains(text), "{shown}");
    }
    assert!(points.iter().any(|line| line.contains(" 7777  loss=1 ") && line.contains("(best)")), "{shown}");
    assert!(
        shown.contains("10000 reports, 12 of them here; the other 9988 too: `heats show long/0 -o csv`"),
        "{shown}"
    );

    let [json, jsonl, bare] = told(&workspace);
    let steps: Vec<u64> = json.iter().map(|point| point["step"].as_u64().expect("a step")).collect();
    assert_eq!(steps, (1..=STEPS).collect::<Vec<_>>());
    assert_eq!((&json[7_776]["metrics"]["loss"], &json[7_776]["attempt"]), (&Value::from(1.0), &Value::from(1)));
    assert!(json == jsonl && json == bare, "every form has the same points");
    let yaml = workspace.ok(&["show", "long/0", "-o", "yaml"]).stdout;
    assert_eq!(yaml.lines().filter(|line| line.starts_with("  - step: ")).count(), STEPS as usize);

    let csv = workspace.ok(&["show", "long/0", "-o", "csv"]).stdout;
    assert!(
        csv.starts_with("address,number,step,attempt,at,params.x,metrics.loss,metrics.acc\nlong/0,0,1,1,"),
        "{csv:.200}"
    );
    assert_eq!(csv.lines().count(), STEPS as usize + 1);
    let export = |form: &str| workspace.ok(&["export", "long", "-f", form, "--series"]);
    assert!(export("csv").stdout == csv, "the sweep has one trial");
    let lines = export("jsonl").json_lines();
    assert!(
        lines.len() == json.len() && lines.iter().zip(&json).all(|(line, point)| line["metrics"] == point["metrics"])
    );

    dev.kill();
    dev.finish();
    let dev = workspace.dev(&[]);
    assert_eq!(human(&workspace), shown);
    assert!(told(&workspace) == [json, jsonl, bare], "not a point is lost or made up");
    assert!(workspace.ok(&["show", "long/0", "-o", "csv"]).stdout == csv);
    dev.interrupt();
    dev.finish().expect(130);
}

#[test]
fn trials_are_compared_at_the_last_step_that_all_have_reported() {
    let script = r#"
case "$HEATS_TRIAL" in
  0) steps='1 3 5 7' ;;
  *) steps='2 3 4 6 8 9' ;;
esac
for step in $steps; do echo "::metric step=$step loss=$((step * 10 + HEATS_TRIAL))"; done
"#;
    let workspace = Workspace::with(&sweep(2), script);
    let dev = workspace.dev(&[]);
    workspace.ok(&["submit", "sweep.yaml", "-w"]);
    let rows = workspace.ok(&["compare", "long/0,1", "-o", "jsonl"]).json_lines();
    let compared: Vec<&Value> =
        rows.iter().filter(|row| row["field"].as_str().unwrap_or("").contains(" at step ")).collect();
    assert_eq!(compared.len(), 1, "{rows:?}");
    assert_eq!(
        (&compared[0]["field"], &compared[0]["long/0"], &compared[0]["long/1"]),
        (&"loss at step 3".into(), &"30".into(), &"31".into())
    );
    dev.interrupt();
    dev.finish().expect(130);
}

#[test]
fn a_trial_whose_objective_was_never_a_finite_number_says_so_in_every_form() {
    let script = "echo '::metric step=1 loss=-inf'; echo '::metric step=2 loss=nan'";
    let workspace = Workspace::with(&sweep(1), script);
    let dev = workspace.dev(&[]);
    let submitted = workspace.run(&["submit", "sweep.yaml", "-w"]).expect(8);
    assert!(submitted.stdout.contains("has reported a finite `loss`"), "{submitted}");
    let output = |args: &[&str]| workspace.ok(args).stdout;
    let flagged = |trial: &Value| {
        assert_eq!((&trial["value"], &trial["value_not_finite"]), (&Value::Null, &"nan".into()), "{trial}");
        assert_eq!((&trial["last_value"], &trial["last_value_not_finite"]), (&Value::Null, &"nan".into()), "{trial}");
    };

    let show = |form: &str| workspace.ok(&["show", "long/0", "-o", form]);
    let trial = show("json").json()["trial"].clone();
    flagged(&trial);
    assert_eq!(trial["series"][0]["metrics"]["loss_not_finite"], "-inf", "{trial}");
    flagged(&show("jsonl").json_lines()[0]);
    assert!(show("yaml").stdout.contains("value_not_finite: \"nan\"\n  value: null\n"), "{}", show("yaml"));
    assert!(show("csv").stdout.contains(",-inf\n") && show("csv").stdout.ends_with(",nan\n"), "{}", show("csv"));
    assert_eq!(show("value:value").stdout, "nan\n");
    let human = show("table").stdout;
    assert!(
        human.contains("value     none: not one that it reported is a finite number, and the last is nan"),
        "{human}"
    );

    flagged(&workspace.ok(&["trials", "long", "-o", "json"]).json()["trials"][0]);
    flagged(&workspace.ok(&["trials", "long", "-o", "jsonl"]).json_lines()[0]);
    flagged(&workspace.ok(&["export", "long", "-f", "jsonl"]).json_lines()[0]);
    assert_eq!(output(&["trials", "long", "-o", "value:value"]), "nan\n");
    assert!(output(&["trials", "long", "-o", "yaml"]).contains("value_not_finite: \"nan\"\n"));
    for table in [
        &["trials", "long"][..],
        &["trials", "long", "-o", "wide"],
        &["trials", "long", "-o", "csv"],
        &["export", "long"],
    ] {
        assert!(output(table).contains("nan"), "{table:?}: {}", output(table));
    }
    assert!(
        output(&["explain", "long/0"]).contains("was never a finite number: the last is nan"),
        "{}",
        output(&["explain", "long/0"])
    );
    let best = workspace.run(&["best", "long"]).expect(8);
    assert!(best.stderr.contains("has a finite value"), "{best}");
    // It is no value: nothing compares with it.
    assert_eq!(output(&["trials", "long", "--where", "value < 1.0 || value > 0.0", "-o", "name"]), "");
    dev.interrupt();
    dev.finish().expect(130);
}

#[test]
fn who_asks_a_coordinator_that_was_stopped_is_told_what_to_look_at() {
    let workspace = Workspace::with(&sweep(1), "echo '::metric step=1 loss=1'");
    let dev = workspace.dev(&[]);
    workspace.ok(&["submit", "sweep.yaml", "-w"]);
    dev.freeze();
    let asked = |args: &[&str]| -> Finished {
        let args: Vec<&str> = args.iter().copied().chain(["--patience", "300ms"]).collect();
        workspace.run(&args)
    };
    for args in
        [&["ls"][..], &["show", "long"], &["show", "long/0"], &["show", "long/0", "-o", "json"], &["watch", "long"]]
    {
        let refused = asked(args).expect(7);
        assert_eq!(refused.stdout, "", "{refused}");
        for part in ["is there but does not answer: it was silent for ", "hint: ", "kill -CONT", "--patience"] {
            assert!(refused.stderr.contains(part), "`{part}` is missing\n{refused}");
        }
    }
    dev.thaw();
    assert_eq!(workspace.ok(&["ls", "-o", "name"]).stdout, "long\n");
    dev.interrupt();
    dev.finish().expect(130);
}
