//! The commands that need no coordinator, run as a user runs them. Those that need one are tested in `/tests`.

use std::path::Path;

use assert_cmd::Command;

const VALID: &str = "name: s\ncommand: [sh, train.sh, \"${args}\"]\nspace: { x: { float: [0.0, 1.0] } }\nobjective: { minimize: loss }\nbudget: { trials: 4 }\n";

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let world = Self { folder };
        world.write("train.sh", "true\n");
        world.write("sweep.yaml", VALID);
        world
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("writes");
    }

    /// The command in this folder, with nothing of the developer's own settings.
    fn heats(&self, args: &[&str]) -> Output {
        let mut command = Command::cargo_bin("heats").expect("is built");
        command.current_dir(self.path()).args(args).env("XDG_CONFIG_HOME", self.path().join("config"));
        for name in [
            "HEATS_ADDRESS",
            "HEATS_OUTPUT",
            "HEATS_COLOR",
            "HEATS_PATIENCE",
            "HEATS_DATA_DIR",
            "HEATS_API_SOCK",
            "HEATS_GPUS",
            "HEATS_LABELS",
            "HEATS_PARAMS_FILE",
            "HEATS_BENCH_DATA",
        ] {
            command.env_remove(name);
        }
        let output = command.output().expect("runs");
        Output {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path())
            .expect("reads")
            .map(|entry| entry.expect("reads").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

struct Output {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Output {
    #[track_caller]
    fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

#[test]
fn a_good_file_is_valid_and_shows_its_first_trials() {
    let world = World::new();
    let output = world.heats(&["check", "sweep.yaml", "--show-trials", "9", "-o", "json"]).ends_with(0);
    let json = output.json();
    assert_eq!((&json["schema"], &json["check"]["valid"]), (&"heats.check/v1".into(), &true.into()));
    let trials = json["check"]["trials"].as_array().expect("a list");
    assert_eq!(trials.len(), 4, "the budget allows no more");
    assert_eq!(trials[0]["argv"][2], format!("--x={}", trials[0]["params"]["x"]));
    assert!(world.heats(&["check", "sweep.yaml"]).ends_with(0).err.contains("heats run sweep.yaml"));
}

#[test]
fn every_fault_of_every_layer_is_reported_at_once_with_exit_4_and_nothing_written() {
    let world = World::new();
    world.write(
        "bad.yaml",
        "comand: 1\ncommand: [sh, trian.sh, \"${args}\"]\nspace: { x: { float: [0.0, 1.0] } }\nobjective: { minimize: loss }\nsearch: { algorithm: tpee }\nbudget: { trials: 4 }\nenv: { python: none.txt }\n",
    );
    let before = world.files();
    for command in [
        &["check", "bad.yaml"][..],
        &["run", "bad.yaml"],
        &["submit", "bad.yaml"],
        &["submit", "bad.yaml", "--dry-run"],
    ] {
        let output = world.heats(command).ends_with(4);
        for part in [
            "bad.yaml:1:1",
            "did you mean `command`",
            "bad.yaml:2:15",
            "did you mean `train.sh`",
            "did you mean `tpe`",
            "`none.txt` is not there",
            "4 errors",
        ] {
            assert!(output.err.contains(part), "{command:?} lacks {part}:\n{}", output.err);
        }
        assert_eq!(output.out, "");
    }
    assert_eq!(world.files(), before);
    let json = world.heats(&["check", "bad.yaml", "-o", "json"]).ends_with(4).json();
    let lines: Vec<_> =
        json["check"]["errors"].as_array().expect("a list").iter().map(|fault| &fault["line"]).collect();
    assert_eq!(lines, [1, 2, 5, 7]);
}

#[test]
fn several_objectives_are_for_searchers_and_rules_that_know_them() {
    let world = World::new();
    let two = "objective=[{minimize: loss}, {maximize: speed}]";
    let good = world.heats(&["check", "sweep.yaml", "--set", two, "--set", "search={algorithm: nsga2}"]).ends_with(0);
    assert!(good.out.contains("minimize loss and maximize speed over"), "{}", good.out);
    let gp = world.heats(&["check", "sweep.yaml", "--set", two, "--set", "search={algorithm: gp}"]).ends_with(4);
    assert!(gp.err.contains("`sobol`, `tpe` or `nsga2`"), "{}", gp.err);
    world.write("half.log", "::metric step=1 loss=0.5\n::metric step=2 speed=0.5\n");
    let half = world
        .heats(&["check", "sweep.yaml", "--set", two, "--set", "search={algorithm: tpe}", "--sample-log", "half.log"])
        .ends_with(1);
    assert!(half.out.contains("::metric step={step} loss={loss} speed={speed}"), "{}", half.out);
}

#[test]
fn what_the_command_line_changes_is_checked_like_the_file() {
    let world = World::new();
    let set = |change: &str| world.heats(&["submit", "sweep.yaml", "--dry-run", "-o", "json", "--set", change]);
    assert_eq!(set("budget.trials=9").ends_with(0).json()["dry_run"]["spec"]["budget"]["trials"], 9);
    let named =
        world.heats(&["submit", "sweep.yaml", "--dry-run", "-o", "value:spec.name", "--name", "other"]).ends_with(0);
    assert_eq!(named.out, "other\n");
    assert!(set("budget.trails=9").ends_with(4).err.contains("did you mean `trials`"));
    assert!(set("budget.trials").ends_with(2).err.contains("KEY=VALUE"));
}

#[test]
fn a_sweep_may_be_made_of_options() {
    let world = World::new();
    let args = "submit --dry-run -o json --float x=1e-3:1:log --choice o=a,2 --minimize loss --trials 4 -- sh train.sh";
    let json = world.heats(&args.split(' ').collect::<Vec<_>>()).ends_with(0).json();
    assert_eq!(json["dry_run"]["spec"]["command"], serde_json::json!(["sh", "train.sh", "${args}"]));
    assert!(world.heats(&["submit"]).ends_with(2).err.contains("neither a sweep file nor a command"));
    world.heats(&["submit", "sweep.yaml", "--trials", "3"]).ends_with(2);
}

#[test]
fn a_file_that_is_not_there_is_not_found_and_its_neighbour_is_named() {
    let world = World::new();
    assert!(world.heats(&["check", "swep.yaml"]).ends_with(3).err.contains("did you mean sweep.yaml"));
    assert!(world.heats(&["check", "."]).ends_with(4).err.contains("./sweep.yaml"));
}

#[test]
fn a_log_without_the_objective_says_what_to_print() {
    let world = World::new();
    world.write("good.log", "::metric step=1 loss=0.5\n");
    world.write("bad.log", "loss: 0.5\n");
    assert!(
        world.heats(&["check", "sweep.yaml", "--sample-log", "good.log"]).ends_with(0).out.contains("step 1: loss=0.5")
    );
    let bad = world.heats(&["check", "sweep.yaml", "--sample-log", "bad.log"]).ends_with(1);
    assert!(
        bad.out.contains("line 1 names it: loss: 0.5") && bad.out.contains("::metric step={step} loss={value}"),
        "{}",
        bad.out
    );
}

#[test]
fn every_template_is_valid_and_nothing_is_overwritten() {
    for template in ["sklearn", "torch", "xgboost", "shell"] {
        let world = World::new();
        world.heats(&["init", "new", "--template", template]).ends_with(0);
        world.heats(&["check", "new/sweep.yaml", "--show-trials", "2"]).ends_with(0);
        let again = world.heats(&["init", "new", "--template", template]).ends_with(5);
        assert!(again.err.contains("nothing was written"), "{}", again.err);
        world.heats(&["init", "new", "--template", template, "--force"]).ends_with(0);
    }
}

#[test]
fn another_tools_file_becomes_a_sweep_file_with_warnings() {
    let world = World::new();
    world.write("wandb.yaml", "program: train.sh\nmethod: bayes\nrun_cap: 5\nproject: p\nmetric: {name: loss}\ncommand: [sh, \"${program}\", \"${args}\"]\nparameters: {lr: {distribution: log_uniform, min: -9.2, max: -2.3}}\n");
    let output = world.heats(&["init", "--from", "wandb", "wandb.yaml", "."]).ends_with(5);
    assert!(output.err.contains("sweep.yaml is there already"), "{}", output.err);
    let output = world.heats(&["init", "--from", "wandb", "wandb.yaml", ".", "--force"]).ends_with(0);
    assert!(output.err.contains("warning: `project: p` has no counterpart"), "{}", output.err);
    world.heats(&["check", "sweep.yaml"]).ends_with(0);
}

#[test]
fn hwdetect_shows_what_an_agent_would_offer_and_writes_nothing() {
    let world = World::new();
    let before = world.files();
    let args = ["agent", "hwdetect", "--gpus", "fake:2,H100,80GiB", "--cpus", "3", "--label", "rack=b3"];
    let shown = world.heats(&args).ends_with(0).out;
    for line in ["cpus      3\n", "gpus      2\n", "    1 H100, 80.0 GiB\n", "labels    rack=b3\n", "kernel    "] {
        assert!(shown.contains(line), "{shown}");
    }
    let json = world.heats(&[&args[..], &["-o", "json"]].concat()).ends_with(0).json();
    assert_eq!((&json["schema"], &json["hardware"]["labels"]["rack"]), (&"heats.hardware/v1".into(), &"b3".into()));
    let gpu = &json["hardware"]["gpus"][1];
    assert_eq!((&gpu["memory"], &gpu["offered"]), (&(80_u64 << 30).into(), &true.into()), "{gpu}");
    assert!(json["hardware"]["memory"].as_u64() > Some(0) && json["hardware"]["disk"].as_u64() > Some(0), "{json}");
    assert_eq!(world.heats(&["agent", "hwdetect", "--gpus", "none", "-o", "value:gpu_count"]).ends_with(0).out, "0\n");
    let refused = world.heats(&["agent", "hwdetect", "--label", "rack"]).ends_with(2);
    assert!(refused.err.contains("`rack` is not `key=value`"), "{}", refused.err);
    assert_eq!(world.files(), before);
}

#[test]
fn settings_say_where_they_came_from() {
    let world = World::new();
    std::fs::create_dir(world.path().join(".heats")).expect("a folder");
    world.write(".heats/config.toml", "address = 'node:1'\n");
    let json = world.heats(&["config", "show", "--origin", "-o", "json", "--patience", "5s"]).ends_with(0).json();
    let origin = |name: &str| {
        let settings = json["settings"].as_array().expect("a list");
        let setting = settings.iter().find(|setting| setting["name"] == name).expect(name);
        setting["origin"].as_str().expect("a text").to_owned()
    };
    assert!(origin("address").ends_with(".heats/config.toml"), "{}", origin("address"));
    assert_eq!((origin("patience").as_str(), origin("color").as_str()), ("flag --patience", "default"));
}

#[test]
fn where_no_coordinator_answers_the_exit_code_says_to_try_again() {
    let world = World::new();
    // Port 1 needs rights that no coordinator has.
    let output = world.heats(&["ls", "--address", "127.0.0.1:1", "--patience", "10ms"]).ends_with(7);
    assert!(output.err.contains("127.0.0.1:1") && output.err.contains("heats dev"), "{}", output.err);
    assert!(world.heats(&["ls", "--address", "nonsense"]).ends_with(2).err.contains("HOST:PORT"));
}

#[test]
fn outside_of_a_trial_nothing_is_reported_and_nothing_is_to_stop() {
    let world = World::new();
    world.heats(&["trial", "report", "loss=0.5", "--step", "1"]).ends_with(0);
    world.heats(&["trial", "should-stop"]).ends_with(0);
    assert_eq!(world.heats(&["trial", "params", "lr", "--default", "0.1"]).ends_with(0).out, "0.1\n");
    world.heats(&["trial", "params", "lr"]).ends_with(3);
    world.heats(&["trial", "report", "loss"]).ends_with(2);
}

#[test]
fn the_schema_and_the_completions_are_printed() {
    let world = World::new();
    assert_eq!(world.heats(&["schema"]).ends_with(0).json()["title"], "Heats sweep");
    for shell in ["bash", "zsh", "fish"] {
        let output = world.heats(&["completions", shell]).ends_with(0);
        assert!(output.out.contains("submit"), "{shell}");
    }
}

#[test]
fn the_help_of_every_command_is_what_was_released() {
    let world = World::new();
    let help = |args: &[&str]| world.heats(&[args, &["--help"]].concat()).ends_with(0).out;
    insta::assert_snapshot!("help", help(&[]));
    for command in ["run", "dev", "submit", "trials", "check", "init", "export"] {
        insta::assert_snapshot!(format!("help_{command}"), help(&[command]));
    }
    for command in ["submit", "ls", "watch", "best"] {
        let noun = help(&["sweep", command]).replace("heats sweep ", "heats ");
        assert_eq!(noun, help(&[command]), "the noun form is the same command");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    let world = World::new();
    for args in [&["nonsense"][..], &["show", "a/b/c"], &["best", "s", "-o", "jsno"], &["trials"], &["retry", "s"]] {
        assert!(!world.heats(args).ends_with(2).err.is_empty());
    }
}

/// A sweep over the small benchmarks that the crate `sim` is tested with.
const OVER_CURVES: &str = "name: s\ncommand: ['true']\nspace: { lr: { float: [1e-3, 1.0], log: true } }\nobjective: { maximize: val_accuracy }\nsearch: { algorithm: random, seed: 5 }\nbudget: { trials: 4 }\n";

const CURVES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sim/tests/data");

fn simulate(world: &World, args: &[&str]) -> Output {
    let base = ["simulate", "curves.yaml", "--data-dir", CURVES];
    world.write("curves.yaml", OVER_CURVES);
    world.heats(&base.iter().chain(args).copied().collect::<Vec<_>>())
}

#[test]
fn a_sweep_is_simulated_over_a_benchmark_and_the_same_seed_finds_the_same() {
    let world = World::new();
    let all = simulate(&world, &["--benchmark", "lcbench", "--seeds", "2", "-o", "json"]).ends_with(0).json();
    assert_eq!((&all["schema"], &all["agents"]), (&"heats.simulations/v1".into(), &4.into()));
    let runs = all["simulations"].as_array().expect("a list");
    let named = runs.iter().map(|run| (run["task"].as_str().expect("text"), run["seed"].as_u64().expect("a number")));
    let expected = [("lcbench/11", 5), ("lcbench/11", 6), ("lcbench/12", 5), ("lcbench/12", 6)];
    assert_eq!(named.collect::<Vec<_>>(), expected);
    for run in runs {
        assert_eq!((&run["trials"], &run["steps"]), (&4.into(), &20.into()), "{run}");
        let (low, high, best) = if run["task"] == "lcbench/11" { (20.0, 70.0, 80.0) } else { (30.0, 75.0, 75.0) };
        let short = (best - run["best"].as_f64().expect("a number")) / (high - low);
        assert!((run["regret"].as_f64().expect("a number") - short).abs() < 1e-9, "{run}");
    }
    assert_ne!(runs[0]["best"], runs[1]["best"], "seeds differ");
    let again = simulate(&world, &["--benchmark", "lcbench/11", "-o", "json"]).ends_with(0).json();
    assert_eq!(again["simulations"][0], runs[0]);
    let people = simulate(&world, &["--benchmark", "lcbench", "--seeds", "2"]).ends_with(0);
    assert!(people.out.lines().count() == 3 && people.err.contains("mean regret"), "{}{}", people.out, people.err);
}

#[test]
fn a_budget_of_time_ends_a_simulated_sweep_and_more_agents_do_more_in_it() {
    let world = World::new();
    let run = |agents: &str, budget: &str| {
        let args = ["--benchmark", "lcbench/11", "--agents", agents, "--budget", budget, "-o", "json"];
        simulate(&world, &args).ends_with(0).json()["simulations"][0].clone()
    };
    let (few, many, long) = (run("2", "5x"), run("8", "5x"), run("2", "20x"));
    let number = |run: &serde_json::Value, field: &str| run[field].as_f64().expect("a number");
    for (run, until) in [(&few, 400.0), (&many, 400.0), (&long, 1600.0)] {
        let took = number(run, "duration");
        assert!(took >= until && took < until + 2.0, "{run}");
    }
    assert!(
        number(&many, "steps") > 3.0 * number(&few, "steps") && number(&long, "steps") > 3.0 * number(&few, "steps")
    );
}

#[test]
fn what_cannot_be_simulated_says_why() {
    let world = World::new();
    for (args, says) in [
        (&["--benchmark", "imagenet"][..], "there is no benchmark `imagenet`"),
        (&["--benchmark", "lcbench/13"], "lcbench/11, lcbench/12"),
        (&["--benchmark", "hpobench"], "objective: { maximize: val_acc }"),
        (&["--benchmark", "lcbench", "--set", "space.lr=3", "--set", "objective.maximize=time"], "another metric"),
        (&["--benchmark", "lcbench", "--set", "objective=[{maximize: a}, {minimize: b}]"], "takes one objective"),
        (&["--benchmark", "lcbench", "--budget", "5"], "for example 5x"),
        (&["--benchmark", "lcbench", "--agents", "0"], "--agents"),
    ] {
        let output = simulate(&world, args).ends_with(2);
        assert!(output.err.contains(says), "{args:?}: {}", output.err);
    }
    world.write("other.yaml", &OVER_CURVES.replace("lr:", "rate:"));
    for (data, says) in [(CURVES, "needs the parameter `lr`"), ("nowhere", "HEATS_BENCH_DATA")] {
        let args = ["simulate", "other.yaml", "--data-dir", data, "--benchmark", "lcbench/11"];
        let output = world.heats(&args).ends_with(2);
        assert!(output.err.contains(says), "{}", output.err);
    }
}
