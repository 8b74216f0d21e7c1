//! The examples that train real models, run as their READMEs say: real packages from the package index, real data,
//! a short budget. Their environments are kept in the target folder, so that the index is asked once; where
//! there is none yet it is made. A test that cannot have its packages fails and says why.

use std::path::Path;
use std::time::Duration;

use heats_testkit::{Audit, Expected, Finished, Trial, Workspace};

const TRIALS: u64 = 6;
/// Where environments are kept between runs of the tests: by the hash of their requirements, as always.
const ENVIRONMENTS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/environments");
/// How long the package index may take, once.
const DOWNLOAD: Duration = Duration::from_secs(600);

/// What pip and uv say where they reach nobody.
const UNREACHABLE: [&str; 8] = [
    "connection broken by",
    "Failed to establish a new connection",
    "name resolution",
    "dns error",
    "error sending request",
    "Network is unreachable",
    "timed out",
    "(from versions: none)",
];

/// An example in a folder of its own, with the environments of earlier tests.
fn example(name: &str) -> Workspace {
    let workspace = Workspace::of_example(name);
    std::fs::create_dir_all(ENVIRONMENTS).expect("a folder");
    workspace.link(".heats/envs", Path::new(ENVIRONMENTS));
    workspace
}

/// Runs the example's sweep to its end, two trials at a time.
fn run(workspace: &Workspace, args: &[&str]) -> Finished {
    let trials = format!("budget.trials={TRIALS}");
    let words = ["run", "sweep.yaml", "--set", &trials, "--set", "budget.parallel=2", "-o", "json"];
    let words: Vec<&str> = words.into_iter().chain(args.iter().copied()).collect();
    let run = workspace.start(&words).finish_within(DOWNLOAD);
    if run.stderr.contains("the environment could not be made") {
        let why = if UNREACHABLE.iter().any(|words| run.stderr.contains(words)) {
            "the package index cannot be reached: this test needs it once, for packages that it then keeps in"
        } else {
            "the packages of the example cannot be installed; what is installed is kept in"
        };
        panic!("{why} {ENVIRONMENTS}\n{run}");
    }
    run.expect(0)
}

/// The trials that were stopped early, each with a verdict that names its rule and its rung, and is right.
fn stopped(audit: &Audit, rungs: &[u64]) -> usize {
    let stopped = audit.trials.iter().filter(|trial| trial.state == "stopped");
    let verdict = |Trial { number, json, .. }: &Trial| {
        let verdict = &json["stopped"];
        assert_eq!(verdict["rule"], "asha", "trial {number}: {verdict}");
        let rung = verdict["rung"].as_u64().expect("a rung");
        assert!(rungs.contains(&rung) && verdict["step"] == rung, "trial {number}: {verdict}");
        assert!(verdict["rank"].as_u64().expect("a rank") > 1, "trial {number}: {verdict}");
        let [value, cutoff] = ["value", "cutoff"].map(|key| verdict[key].as_f64().expect("a number"));
        let worse = if audit.sweep["direction"] == "maximize" { value < cutoff } else { value > cutoff };
        assert!(worse, "trial {number}: {verdict}");
    };
    stopped.inspect(|trial| verdict(trial)).count()
}

/// The last step of a trial that counts: a fast one runs on for a moment after it was told to stop.
fn last_step(trial: &Trial) -> u64 {
    trial.json["last_step"].as_u64().unwrap_or(0)
}

#[test]
fn the_digits_example_reports_the_accuracies_that_its_script_printed() {
    let workspace = example("digits");
    let told = run(&workspace, &[]).json()["sweep"]["best"]["value"].as_f64().expect("a best");
    let audit = workspace.audit(&Expected::trials(TRIALS).without_side_file());
    assert_eq!(audit.best().map(|(_, value)| value), Some(told));
    // The script measures it on 540 images, and knows nothing better.
    let images = told * 540.0;
    assert!(told > 0.8 && told <= 1.0 && (images - images.round()).abs() < 1e-9, "{told}");

    let dev = workspace.dev(&[]);
    let logs = workspace.ok(&["logs", "digits", "--stdout"]).stdout;
    let printed = logs.lines().filter_map(|line| {
        let (trial, line) = line.split_once(" | epoch ")?;
        let trial = audit.trial(trial.trim().parse().expect("a trial"));
        let epoch: u64 = line.split_ascii_whitespace().next()?.parse().expect("an epoch");
        let (_, accuracy) = line.rsplit_once("val accuracy ").expect("an accuracy");
        (epoch <= last_step(trial)).then(|| accuracy.to_owned())
    });
    // Texts of one length order as their numbers do.
    assert_eq!(printed.max(), Some(format!("{told:.4}")), "{logs}");
    assert!(stopped(&audit, &[1, 3, 9]) > 0, "the third trial learns too fast to learn anything");

    // Run again from what is recorded, in the environment that is there, it learns the same to the last bit.
    let best = format!("digits/{}", audit.best().expect("a best").0);
    let shown = workspace.ok(&["show", &best, "-o", "json"]).json()["trial"].clone();
    let name = shown["attempt_list"][0]["environment_name"].as_str().expect("has one").to_owned();
    let packages = shown["environments"][&name]["packages"].as_array().expect("a list").clone();
    assert!(packages.iter().any(|package| package["name"] == "scikit-learn"), "{packages:?}");
    let again = workspace.ok(&["reproduce", &best, "--run", "-o", "json"]).json()["reproduction"].clone();
    let nothing = serde_json::json!([]);
    assert_eq!((&again["again"]["identical"], &again["again"]["environment_changes"]), (&true.into(), &nothing));
    assert_eq!(again["differs_here"], nothing, "{again}");

    dev.interrupt();
    dev.finish().expect(130);
}

/// A sweep of one trial in the same environment, which must not be made again.
const MEASURE: &str = "
version: 1
name: measure
command: [python, measure.py]
env: { python: requirements.txt }
space: { once: { choice: [true] } }
objective: { minimize: done }
search: { algorithm: grid }
";

/// Loads the boosters that the trials left, and measures each after each of its rounds, with scikit-learn's
/// own loss: a line `TRIAL ROUND LOSS ACCURACY` each.
const MEASURE_SCRIPT: &str = r#"
import pathlib, re, xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

rows, labels = load_breast_cancer(return_X_y=True)
_, x_val, _, y_val = train_test_split(rows, labels, test_size=0.4, stratify=labels, random_state=0)
validation = xgboost.DMatrix(x_val, nthread=1)
with open("losses.txt", "w") as file:
    for path in pathlib.Path(".heats/outputs").glob("*/model.json"):
        trial = re.fullmatch(r"swp_\w+-(\d+)@\d+", path.parent.name).group(1)
        booster = xgboost.Booster({"nthread": 1}, model_file=path)
        for k in range(1, booster.num_boosted_rounds() + 1):
            p = booster.predict(validation, iteration_range=(0, k)).astype(float)
            print(trial, k, log_loss(y_val, p), accuracy_score(y_val, p > 0.5), file=file)
print("::metric step=1 done=1")
"#;

/// What a booster is worth after a round, measured apart from Heats.
struct Worth {
    trial: u64,
    round: u64,
    loss: f64,
    accuracy: f64,
}

fn worth(line: &str) -> Worth {
    let words: Vec<&str> = line.split(' ').collect();
    let [trial, round, loss, accuracy] = words[..] else { panic!("`{line}`") };
    let number = |word: &str| word.parse::<f64>().expect("a number");
    Worth {
        trial: trial.parse().expect("a trial"),
        round: round.parse().expect("a round"),
        loss: number(loss),
        accuracy: number(accuracy),
    }
}

#[test]
fn the_xgboost_example_reports_the_losses_of_the_boosters_that_it_leaves() {
    let workspace = example("xgboost");
    let told = run(&workspace, &["--agents", "2"]).json()["sweep"]["best"]["value"].as_f64().expect("a best");
    let audit = workspace.audit(&Expected::trials(TRIALS).without_side_file());
    let (best, value) = audit.best().expect("a best");
    assert_eq!(value, told);

    workspace.write("measure.yaml", MEASURE);
    workspace.write("measure.py", MEASURE_SCRIPT);
    let measured = workspace.ok(&["run", "measure.yaml"]);
    assert!(!measured.stderr.contains("making the environment"), "it is there\n{measured}");
    let losses: Vec<Worth> = workspace.read("losses.txt").lines().map(worth).collect();
    let mut compared = 0;
    for event in audit.events.iter().filter(|event| event.kind == "trial_reported") {
        let (trial, round) = (event.trial.expect("a trial"), event.fact["step"].as_u64().expect("a round"));
        let reported = event.fact["metrics"]["logloss"].as_f64().expect("a loss");
        // One that was stopped leaves a booster only where it had the time to.
        let Some(Worth { loss, .. }) = losses.iter().find(|it| (it.trial, it.round) == (trial, round)) else {
            continue;
        };
        assert!((reported - loss).abs() < 1e-6, "trial {trial}, round {round}: told {reported}, measured {loss}");
        compared += 1;
    }
    assert!(compared >= 243, "only {compared} reports could be compared");
    let of_best = losses.iter().filter(|worth| worth.trial == best);
    let least = of_best.min_by(|one, other| one.loss.total_cmp(&other.loss)).expect("the best one leaves its booster");
    assert!((least.loss - told).abs() < 1e-6, "{told} was told, {} is its least", least.loss);
    assert!(least.accuracy > 0.8, "{}", least.accuracy);
    assert!(stopped(&audit, &[9, 27, 81]) > 0, "of six trials some fall behind");
}
