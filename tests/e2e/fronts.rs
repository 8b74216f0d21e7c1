//! Several objectives, from the sweep file to the front.

use heats_testkit::Workspace;
use serde_json::{Value, json};

const SWEEP: &str = "
version: 1
name: trade
command: [./trial.sh]
space: { x: { int: [0, 9] } }
objective: [{ minimize: loss }, { maximize: speed }]
search: { algorithm: grid }
run: { retries: 0 }
";

/// Between 2 and 5 a smaller loss is a smaller speed; elsewhere both are worse. A trial reports better values on the way than it
/// ends with, and the last never reports both.
const SCRIPT: &str = r#"
loss=$(((HEATS_PARAM_X - 2) * (HEATS_PARAM_X - 2)))
speed=$((0 - (HEATS_PARAM_X - 5) * (HEATS_PARAM_X - 5)))
[ "$HEATS_PARAM_X" = 9 ] && { echo "::metric step=1 loss=0"; exit 0; }
echo "::metric step=1 loss=-100 speed=100"
echo "::metric step=2 loss=$loss speed=$speed"
echo "::metric step=3 loss=-100"
"#;

#[test]
fn a_sweep_with_two_objectives_ends_with_its_front() {
    let workspace = Workspace::with(SWEEP, SCRIPT);
    let run = workspace.ok(&["run", "sweep.yaml"]);
    // From loss 36 and speed -25: 1 by 16, 3 by 21, 5 by 24 and 27 by 25.
    let front = "4 trials, hypervolume 874, counted from loss=36 speed=-25, the worst of each objective";
    assert!(run.stdout.contains(front), "{run}");
    assert!(run.stdout.contains("loss=0 speed=-9  trade/2"), "{run}");

    let dev = workspace.dev(&[]);
    let best = workspace.ok(&["best", "trade", "--pareto", "-o", "json"]).json();
    let points: Vec<Value> =
        best["trials"].as_array().expect("a list").iter().map(|trial| trial["objectives"].clone()).collect();
    let expected = [(0.0, -9.0), (1.0, -4.0), (4.0, -1.0), (9.0, 0.0)];
    assert_eq!(points, expected.map(|(loss, speed)| json!({"loss": loss, "speed": speed})));
    let objectives = json!([{"metric": "loss", "direction": "minimize"}, {"metric": "speed", "direction": "maximize"}]);
    let told = json!({"size": 4, "worst": {"loss": 36.0, "speed": -25.0}, "hypervolume": 874.0});
    assert_eq!((&best["objectives"], &best["front"], &best["metric"]), (&objectives, &told, &Value::Null));

    let plain = workspace.ok(&["best", "trade", "-n", "2"]);
    assert_eq!(plain.stdout.lines().count(), 3, "{plain}");
    assert!(plain.stdout.lines().next().is_some_and(|header| header.contains("loss") && header.contains("speed")));
    assert!(plain.stderr.contains("the front of 4 trials"), "{plain}");

    let shown = workspace.ok(&["show", "trade", "-o", "json"]).json();
    assert_eq!((&shown["sweep"]["best"], &shown["sweep"]["front"]), (&Value::Null, &told));
    assert!(workspace.ok(&["ls"]).stdout.contains("FRONT"));
    let kept = workspace.ok(&["trials", "trade", "--where", "loss < 2.0 && speed > -5.0", "-o", "value:params.x"]);
    assert_eq!(kept.stdout, "3\n");
    assert!(workspace.ok(&["show", "trade/3"]).stdout.contains("loss=1 speed=-4 at step 2"));
    let exported = workspace.ok(&["export", "trade"]).stdout;
    assert!(
        exported.lines().next().is_some_and(|header| header.contains("objectives.loss,objectives.speed")),
        "{exported}"
    );

    let failed = workspace.ok(&["show", "trade/9", "-o", "json"]).json();
    assert_eq!((&failed["trial"]["state"], &failed["trial"]["failure"]), (&"failed".into(), &"no_metric".into()));
    let detail = failed["trial"]["detail"].as_str().expect("a detail");
    assert!(detail.contains("`loss` and `speed` in one report"), "{detail}");
    workspace.run(&["simulate", "--from", "trade"]).expect(2);
    dev.interrupt();
    dev.finish().expect(130);
}

/// Proposals and verdicts that follow from both objectives.
#[test]
fn nsga2_and_asha_run_a_sweep_with_two_objectives() {
    let sweep = SWEEP
        .replace("{ algorithm: grid }", "{ algorithm: nsga2, population: 6, seed: 3 }")
        .replace("int: [0, 9]", "int: [-500, 500]")
        .replace("run:", "budget: { trials: 24 }\nearly_stop: { algorithm: asha, max: 9, eta: 2 }\nrun:");
    let script = SCRIPT.replace("loss=-100 speed=100", "loss=$loss speed=$speed");
    let workspace = Workspace::with(&sweep, &script);
    workspace.ok(&["run", "sweep.yaml", "-q"]);
    let dev = workspace.dev(&[]);
    let shown = workspace.ok(&["show", "trade", "-o", "json"]).json();
    assert!(shown["sweep"]["front"]["size"].as_u64().is_some_and(|size| size > 0), "{shown}");
    assert_eq!(shown["sweep"]["done"], 24, "{shown}");
    dev.interrupt();
    dev.finish().expect(130);
}
