//! `heats simulate` as users run it: over the record of a sweep that a coordinator holds, and in conversation with
//! another program.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use assert_cmd::cargo::CommandCargoExt;
use serde_json::{Value, json};

/// Six curves of three steps. All but the last fall by one each step, from ten times their number; the last begins
/// worst and ends best.
const CURVES: &str = r#"
for step in 1 2 3; do
  loss=$((HEATS_PARAM_X * 10 + 3 - step))
  [ "$HEATS_PARAM_X" = 5 ] && loss=$((90 - step * 31))
  echo "::metric step=$step loss=$loss time=$step"
done
"#;

const SWEEP: &str = "
name: whole
command: [sh, train.sh]
space: { x: { int: [0, 5] } }
objective: { minimize: loss }
search: { algorithm: grid }
budget: { parallel: 1 }
";

const ASHA: &str = "early_stop={algorithm: asha, min: 1, max: 3, eta: 3}";

struct World {
    folder: tempfile::TempDir,
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

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// Lines of JSON.
    fn lines(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }
}

impl World {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("heats-").tempdir().expect("a folder");
        let world = Self { folder };
        world.write("sweep.yaml", SWEEP);
        world.write("train.sh", CURVES);
        world
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("writes");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("heats").expect("is built");
        command.current_dir(self.path()).args(args).env("XDG_CONFIG_HOME", self.path().join("config"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HEATS_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn heats(&self, args: &[&str]) -> Output {
        self.fed(args, "")
    }

    /// The command with `input` on its standard input.
    fn fed(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.command(args).spawn().expect("starts");
        // A command that does not read to the end is judged by what it says.
        let _unread = child.stdin.take().expect("is piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("ends");
        Output {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    fn ask_tell(&self, args: &[&str], input: &str) -> Output {
        self.fed(&[&["simulate", "sweep.yaml", "--ask-tell"], args].concat(), input)
    }
}

/// A coordinator with one agent in the world's folder, where commands find it.
struct Dev {
    process: Child,
}

impl Dev {
    fn start(world: &World) -> Self {
        let mut process =
            world.command(&["dev", "--listen", "127.0.0.1:0"]).stdout(Stdio::null()).spawn().expect("starts");
        let mut lines = BufReader::new(process.stderr.take().expect("is piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("listening on")), "it says when it is up");
        // What else it says is read, so that it may say it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let interrupted = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        if !interrupted.is_ok_and(|status| status.success()) {
            let _ended = self.process.kill();
        }
        let _reaped = self.process.wait();
    }
}

/// A world in which the sweep `whole` has ended.
fn recorded() -> (World, Dev) {
    let world = World::new();
    let dev = Dev::start(&world);
    world.heats(&["submit", "sweep.yaml", "-w"]).ends_with(0);
    (world, dev)
}

fn replay(world: &World, args: &[&str]) -> Value {
    let args = [&["simulate", "-o", "json", "--from"], args].concat();
    world.heats(&args).ends_with(0).json()["replay"].clone()
}

#[test]
fn a_replay_says_what_another_rule_would_have_found_and_that_the_winner_would_have_been_stopped() {
    let (world, _dev) = recorded();
    std::fs::remove_file(world.path().join("train.sh")).expect("what ran need not be there any more");
    let json = world.heats(&["simulate", "--from", "whole", "--with", ASHA, "-o", "json"]).ends_with(0).json();
    assert_eq!(json["schema"], "heats.replay/v1");
    let asha = &json["replay"];
    assert_eq!((&asha["best"], &asha["trial"], &asha["params"]), (&json!(0.0), &json!(0), &json!({"x": 0})));
    let recorded = &asha["recorded"];
    assert_eq!(
        (&recorded["best"], &recorded["trial"], &recorded["params"]),
        (&json!(-3.0), &json!(5), &json!({"x": 5}))
    );
    assert_eq!((&asha["trials"], &asha["stopped"], &asha["steps"]), (&json!(6), &json!(5), &json!(8)));
    assert_eq!((&recorded["trials"], &recorded["stopped"], &recorded["steps"]), (&json!(6), &json!(0), &json!(18)));
    let winner = &asha["winner"];
    assert_eq!(
        (&winner["number"], &winner["survives"], &winner["state"]),
        (&json!(5), &json!(false), &json!("stopped"))
    );
    let stop = &winner["stop"];
    assert_eq!(
        (&stop["rule"], &stop["rung"], &stop["rank"], &stop["peers"]),
        (&json!("asha"), &json!(1), &json!(6), &json!(6))
    );
    let number = |of: &Value, field: &str| of[field].as_f64().unwrap_or_else(|| panic!("{field}: {of}"));
    let after: Vec<f64> = asha["stops"].as_array().expect("a list").iter().map(|stop| number(stop, "after")).collect();
    assert!(after.is_sorted() && after[4] == number(stop, "after"), "{asha}");
    assert!(number(asha, "slot_hours") <= number(recorded, "slot_hours"), "{asha}");
    assert_eq!((&asha["beyond"], &asha["notes"]), (&json!([]), &json!([])), "all of it is known");

    let people = world.heats(&["simulate", "--from", "whole", "--with", ASHA]).ends_with(0).out;
    for part in [
        "whole replayed on 1 agent, early stop asha",
        "5 by asha at rung 1",
        "whole/5, the recorded best, would have been stopped after",
    ] {
        assert!(people.contains(part), "{part}: {people}");
    }
}

#[test]
fn a_replay_as_it_was_finds_what_was_found_and_more_agents_find_it_sooner() {
    let (world, _dev) = recorded();
    let one = replay(&world, &["whole"]);
    assert_eq!((&one["best"], &one["trial"], &one["agents"]), (&json!(-3.0), &json!(5), &json!(1)));
    assert_eq!((&one["winner"]["survives"], &one["steps"]), (&json!(true), &json!(18)));
    assert_eq!(one["slot_hours"], one["recorded"]["slot_hours"], "each process takes as long as it did");
    let six = replay(&world, &["whole", "--agents", "6", "--with", "budget.parallel=6"]);
    let after = |of: &Value| of["found_after"].as_f64().expect("is found");
    assert_eq!(six["trial"], json!(5));
    assert!(after(&six) < after(&one), "{six}{one}");
    let few = replay(&world, &["whole", "--with", "budget.trials=2"]);
    assert_eq!((&few["trial"], &few["trials"], &few["winner"]["state"]), (&json!(0), &json!(2), &json!("not_started")));
}

#[test]
fn what_a_record_does_not_say_is_counted_and_said() {
    let (world, _dev) = recorded();
    world.heats(&["submit", "sweep.yaml", "-w", "--name", "early", "--set", ASHA]).ends_with(0);
    let open = replay(&world, &["early", "--with", "early_stop={algorithm: none}"]);
    assert_eq!((&open["beyond"], &open["best"], &open["steps"]), (&json!([1, 2, 3, 4, 5]), &json!(0.0), &json!(8)));
    assert!(
        open["notes"][0].as_str().is_some_and(|note| note.starts_with("5 trials would have gone on past the end")),
        "{open}"
    );
    // A file takes the place of the recorded settings, and its searcher does not count.
    world.write(
        "file.yaml",
        &SWEEP
            .replace("grid }", "tpe }\nearly_stop: { algorithm: threshold, upper: 45 }")
            .replace("parallel: 1", "trials: 9"),
    );
    let args = ["simulate", "file.yaml", "--from", "whole", "-o", "json"];
    let file = world.heats(&args).ends_with(0).json()["replay"].clone();
    assert_eq!(
        (&file["trial"], &file["stops"][0]["number"], &file["stops"][0]["step"]),
        (&json!(0), &json!(5), &json!(1))
    );
    let notes = file["notes"].to_string();
    assert!(notes.contains("whatever `search` says") && notes.contains("9 trials, and 6 were recorded"), "{notes}");
    let time = replay(&world, &["whole", "--with", "objective={maximize: time}"]);
    assert_eq!((&time["best"], &time["metric"]), (&json!(3.0), &json!("time")));
    assert!(time["notes"].to_string().contains("would minimize `loss`"), "{time}");
}

#[test]
fn the_limit_of_a_sweep_is_the_one_that_it_had_at_last_and_a_searcher_that_learns_is_named() {
    let (world, _dev) = recorded();
    let learns = SWEEP.replace("whole", "learns").replace("grid }", "tpe }").replace("parallel: 1", "trials: 5");
    world.write("learns.yaml", &learns);
    world.heats(&["submit", "learns.yaml", "-w"]).ends_with(0);
    world.heats(&["edit", "learns", "--trials", "+1"]).ends_with(0);
    world.heats(&["watch", "learns"]).ends_with(0);
    let json = replay(&world, &["learns"]);
    assert_eq!(json["trials"], json!(6));
    let notes = json["notes"].to_string();
    assert!(notes.contains("`tpe` proposed"), "{notes}");
}

#[test]
fn a_sweep_that_has_not_ended_is_replayed_as_far_as_it_is() {
    let world = World::new();
    let made = Command::new("mkfifo").arg(world.path().join("gate")).status().expect("runs");
    assert!(made.success());
    // Each trial waits for a word after its last report.
    world.write("train.sh", &format!("{CURVES}\ncat gate"));
    let _dev = Dev::start(&world);
    world.heats(&["submit", "sweep.yaml"]).ends_with(0);
    let mut events = world.command(&["events", "whole", "-f", "-o", "jsonl"]).spawn().expect("starts");
    let mut lines = BufReader::new(events.stdout.take().expect("is piped")).lines().map_while(Result::ok);
    assert!(lines.by_ref().filter(|line| line.contains("trial_reported")).nth(2).is_some());
    let json = replay(&world, &["whole"]);
    assert_eq!((&json["trials"], &json["best"], &json["beyond"]), (&json!(1), &json!(0.0), &json!([0])));
    assert!(json["notes"][0].as_str().is_some_and(|note| note.contains("has not ended")), "{json}");
    world.heats(&["cancel", "whole"]).ends_with(0);
    drop(lines);
    let _ended = events.kill();
    events.wait().expect("ends");
}

#[test]
fn what_cannot_be_replayed_says_why() {
    let (world, _dev) = recorded();
    for (args, code, says) in [
        (&["nothing"][..], 3, "nothing"),
        (&["whole/3"], 2, "--from whole"),
        (&["whole", "--with", "early_stop"], 2, "KEY=VALUE"),
        (&["whole", "--with", "early_stop={algorithm: asha, etaa: 4}"], 4, "did you mean `eta`"),
        (&["whole", "--with", "objective.minimize=acc"], 5, "they reported loss and time"),
        (&["whole", "--benchmark", "lcbench"], 2, "cannot be used with"),
        (&["whole", "--seeds", "3"], 2, "--benchmark"),
    ] {
        let output = world.heats(&[&["simulate", "--from"], args].concat()).ends_with(code);
        assert!(output.err.contains(says), "{args:?}: {}", output.err);
    }
    world
        .write("mute.yaml", &SWEEP.replace("name: whole", "name: mute").replace("objective: { minimize: loss }\n", ""));
    world.write("train.sh", "true");
    world.heats(&["submit", "mute.yaml", "-w"]).ends_with(0);
    let output = world.heats(&["simulate", "--from", "mute"]).ends_with(5);
    assert!(
        output.err.contains("has no objective") && output.err.contains("objective.minimize=METRIC"),
        "{}",
        output.err
    );
    let output = world.heats(&["simulate", "--from", "mute", "--with", "objective.minimize=loss"]).ends_with(5);
    assert!(output.err.contains("none has reported anything"), "{}", output.err);
    for args in [&["simulate"][..], &["simulate", "sweep.yaml"], &["simulate", "--ask-tell"]] {
        world.heats(args).ends_with(2);
    }
}

fn value(trial: u32, value: f64) -> String {
    json!({ "tell": { "trial": trial, "value": value } }).to_string() + "\n"
}

#[test]
fn the_questions_are_the_trials_of_the_file_and_the_answer_is_the_best() {
    let world = World::new();
    let file = SWEEP
        .replace("grid }", "random, seed: 3 }")
        .replace("parallel: 1", "trials: 3")
        .replace("int: [0, 5]", "float: [0.0, 1.0]");
    world.write("sweep.yaml", &file);
    let trials = world.heats(&["check", "sweep.yaml", "--show-trials", "3", "-o", "json"]).ends_with(0).json();
    let input = [value(0, 0.5), value(1, 0.25), value(2, 0.75)].concat();
    let lines = world.ask_tell(&[], &input).ends_with(0).lines();
    for trial in 0..3 {
        assert_eq!(lines[trial]["ask"], json!({"trial": trial, "params": trials["check"]["trials"][trial]["params"]}));
    }
    assert_eq!(lines[3..], [json!({"done": {"best": 0.25, "trial": 1}})]);
    let largest = world.ask_tell(&["--with", "objective={maximize: loss}"], &input).ends_with(0).lines();
    assert_eq!(largest.last(), Some(&json!({"done": {"best": 0.75, "trial": 2}})));
    let ended = world.ask_tell(&["--agents", "2"], &value(1, 0.25)).ends_with(0).lines();
    let asked: Vec<_> = ended.iter().filter_map(|line| line["ask"]["trial"].as_u64()).collect();
    assert_eq!(asked, [0, 1, 2], "two are open at once");
    assert_eq!(ended.last(), Some(&json!({"done": {"best": 0.25, "trial": 1}})), "the input is over before the budget");
}

/// A program that is asked.
struct Evaluator {
    process: Child,
    tells: ChildStdin,
    asks: BufReader<ChildStdout>,
}

impl Evaluator {
    fn hears(&mut self) -> Value {
        let mut line = String::new();
        self.asks.read_line(&mut line).expect("reads");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn tells(&mut self, tell: &Value) {
        writeln!(self.tells, "{}", json!({ "tell": tell })).expect("writes");
    }
}

#[test]
fn a_searcher_learns_from_what_it_is_told() {
    let world = World::new();
    world.write(
        "sweep.yaml",
        &SWEEP
            .replace("grid }", "tpe, seed: 5 }")
            .replace("parallel: 1", "trials: 60")
            .replace("int: [0, 5]", "float: [0.0, 1.0]"),
    );
    let mut process = world.command(&["simulate", "sweep.yaml", "--ask-tell"]).spawn().expect("starts");
    let (tells, asks) = (process.stdin.take().expect("is piped"), process.stdout.take().expect("is piped"));
    let mut evaluator = Evaluator { process, tells, asks: BufReader::new(asks) };
    let mut distances = Vec::new();
    for trial in 0..60 {
        // Each question comes before the answer to the one before is needed, or this would wait for ever.
        let ask = evaluator.hears()["ask"].clone();
        assert_eq!(ask["trial"], trial);
        let distance = (ask["params"]["x"].as_f64().expect("a number") - 0.3).abs();
        distances.push(distance);
        evaluator.tells(&json!({ "trial": trial, "value": distance }));
    }
    let best = distances.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(evaluator.hears()["done"]["best"], json!(best));
    assert!(evaluator.process.wait().expect("ends").success());
    let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
    // Half of what uniform draws have on average.
    assert!(mean(&distances[40..]) < 0.145, "{distances:?}");
}

#[test]
fn a_value_at_a_step_is_answered_and_a_failure_is_no_value() {
    let world = World::new();
    let rule = ["--with", "early_stop={algorithm: threshold, upper: 10}"];
    let input = r#"{"tell": {"trial": 0, "step": 1, "value": 9}}
{"tell": {"trial": 0, "step": 2, "value": 11}}
{"tell": {"trial": 1, "failed": true}}
{"tell": {"trial": 2, "value": null}}
{"tell": {"trial": 3, "step": 5, "value": 8.5}}
{"tell": {"trial": 3}}
"#;
    let lines = world.ask_tell(&rule, input).ends_with(0).lines();
    let said: Vec<_> = lines.iter().filter(|line| line.get("ask").is_none()).collect();
    assert_eq!(
        said,
        [
            &json!({"go_on": {"trial": 0, "step": 1}}),
            &json!({"stop": {"trial": 0, "step": 2, "rule": "threshold", "rung": null}}),
            &json!({"go_on": {"trial": 3, "step": 5}}),
            &json!({"done": {"best": 8.5, "trial": 3}}),
        ]
    );
    assert_eq!(lines.len(), 9, "five trials were asked for: {lines:?}");
    let none = world.ask_tell(&rule, "{\"tell\": {\"trial\": 0, \"failed\": true}}\n").ends_with(8);
    assert_eq!(none.lines().last(), Some(&json!({"done": {"best": null, "trial": null}})));
}

#[test]
fn a_line_that_makes_no_sense_ends_the_conversation_with_its_number() {
    let world = World::new();
    for (line, says) in [
        ("0.5", "line 2"),
        (r#"{"tell": {"trial": 1, "value": NaN}}"#, "line 2"),
        (r#"{"tell": {"trial": 1, "valeu": 1}}"#, "unknown field `valeu`"),
        (r#"{"tell": {"trial": 0, "value": 1}}"#, "trial 0 is not one that was asked for and is open"),
        (r#"{"tell": {"trial": 1}}"#, "trial 1 has told no value"),
        (r#"{"tell": {"trial": 1, "step": 3}}"#, "a step comes with a value"),
        (r#"{"tell": {"trial": 1, "value": 1, "failed": true}}"#, "neither a step nor a value"),
    ] {
        let output = world.ask_tell(&[], &format!("{}{line}\n", value(0, 1.0))).ends_with(1);
        assert!(output.err.contains(says) && output.err.contains("line 2 of the input"), "{line}: {}", output.err);
        assert!(!output.out.contains("done"), "{}", output.out);
    }
    let unranked = SWEEP.replace("objective: { minimize: loss }\n", "");
    world.write("sweep.yaml", &unranked);
    assert!(world.ask_tell(&[], "").ends_with(2).err.contains("the sweep has no objective"));
    let output = world.fed(&["simulate", "-", "--ask-tell"], SWEEP).ends_with(2);
    assert!(output.err.contains("standard input"), "{}", output.err);
}
