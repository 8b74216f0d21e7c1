//! Warm starts: 200 trials of the digits sweep, 9 epochs at most, two at once, against the same training in two bare processes
//! and against Optuna and Ray; and trials that import scikit-learn and do nothing, against Ray's.
//!
//! One agent runs everything, as it would for weeks: its template is made by a trial before, and what that costs is a figure of its
//! own. The rivals have imported, too, before their time begins. Each trains with one thread per trial.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::machine;
use crate::report::{Report, Target};

const TRIALS: u32 = 200;
/// Ray's function trainables start a process for each trial: so few are enough.
const TRIALS_BY_FUNCTION: u32 = 20;
const TRIALS_OF_NOTHING: u32 = 200;
const SLOTS: &str = "budget.parallel=2";
const TIMES: usize = 3;

/// Imports what the digits sweep imports, and reports once.
const NOTHING: &str = "import sklearn.neural_network\nprint('::metric step=1 accuracy=0')\n";
const SWEEP_OF_NOTHING: &str = "
version: 1
name: nothing
command: [python, nothing.py]
env: { python: requirements.txt }
space: { x: { float: [0.0, 1.0] } }
objective: { maximize: accuracy }
search: { algorithm: random, seed: 1 }
run: { warm: true }
";

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let rivals = Rivals::install(report)?;
    let code = folder.path().join("digits");
    copy(&machine::repository().join("examples/digits"), &code)?;
    std::fs::write(code.join("nothing.py"), NOTHING)?;
    std::fs::write(code.join("nothing.yaml"), SWEEP_OF_NOTHING)?;
    let dev = Dev::start(&code)?;
    dev.digits(1, false).context("the sweep that makes the environment")?;
    // Twice, so that the first pays for the page cache.
    let cold: Vec<f64> = (0..TIMES).map(|_| Ok(dev.digits(1, false)?.seconds)).collect::<Result<_>>()?;
    let first = dev.digits(1, true)?.seconds;
    report.figure("the first trial of an agent, which makes its template", "s", vec![first], None);
    report.figure("a cold trial", "s", cold, None);
    let (mut of_bare, mut of_optuna, mut of_reuse, mut of_function) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let ours = dev.digits(TRIALS, true)?;
        let trained = folder.path().join("trained.json");
        std::fs::write(&trained, serde_json::to_vec(&ours.trained)?)?;
        let bare = rivals.seconds(&["bare", &trained.display().to_string()])?;
        report.note(&format!(
            "{TRIALS} trials, {} epochs: {:.1} s, bare {bare:.1} s, best {}",
            ours.epochs, ours.seconds, ours.best
        ));
        of_bare.push(ours.seconds / bare);
        let place = tempfile::tempdir()?;
        let optuna = rivals.seconds(&["optuna", &place.path().display().to_string(), &TRIALS.to_string()])?;
        report.note(&format!("Optuna {optuna:.1} s"));
        of_optuna.push(optuna / ours.seconds);
        if rivals.has_ray {
            let reuse = rivals.seconds(&["ray-reuse", &TRIALS.to_string()])?;
            let function = rivals.seconds(&["ray-function", &TRIALS_BY_FUNCTION.to_string()])?;
            report.note(&format!("Ray {reuse:.1} s, {TRIALS_BY_FUNCTION} trials by a function {function:.1} s"));
            of_reuse.push(reuse / ours.seconds);
            of_function.push(function / ours.seconds * f64::from(TRIALS) / f64::from(TRIALS_BY_FUNCTION));
        }
    }
    report.figure("the digits sweep's time, of the bare training's", "", of_bare, Some(Target::AtMost(1.4)));
    report.figure("Optuna's time on SQLite, of the sweep's", "", of_optuna, Some(Target::AtLeast(2.0)));
    if rivals.has_ray {
        report.figure("Ray's time with actors used again, of the sweep's", "", of_reuse, Some(Target::AtLeast(2.0)));
        report.figure("Ray's time with functions, of the sweep's", "", of_function, Some(Target::AtLeast(30.0)));
    }
    nothing(report, &dev, &rivals)
}

fn nothing(report: &mut Report, dev: &Dev<'_>, rivals: &Rivals) -> Result<()> {
    let trials = format!("budget.trials={TRIALS_OF_NOTHING}");
    let (mut rate, mut ratio) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let sweep = dev.sweep(&["nothing.yaml", "--set", &trials, "--set", SLOTS])?;
        let seconds = sweep["duration"].as_f64().context("a duration")?;
        rate.push(f64::from(TRIALS_OF_NOTHING) / seconds);
        if rivals.has_ray {
            ratio.push(rivals.seconds(&["ray-nothing", &TRIALS_OF_NOTHING.to_string()])? / seconds);
        }
    }
    report.figure("warm trials that do nothing", "per second", rate, None);
    if rivals.has_ray {
        report.figure("the same, of Ray's with actors used again", "", ratio, Some(Target::AtLeast(5.0)));
    }
    Ok(())
}

/// A coordinator and an agent that stay up. Dropped, they are killed: what they leave goes with the folder.
struct Dev<'a> {
    process: Child,
    folder: &'a Path,
}

/// What became of a digits sweep.
struct Swept {
    /// From submission to end.
    seconds: f64,
    epochs: u64,
    best: Value,
    /// What was trained, for whoever is to train the same.
    trained: Vec<Value>,
}

impl<'a> Dev<'a> {
    fn start(folder: &'a Path) -> Result<Self> {
        let mut process = machine::command(folder, &["dev"])?
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start heats dev")?;
        let mut lines = BufReader::new(process.stderr.take().context("is piped")?).lines();
        let dev = Self { process, folder };
        let listening = |line: &std::io::Result<String>| line.as_ref().is_ok_and(|line| line.contains("listening on"));
        ensure!(lines.any(|line| listening(&line)), "heats dev did not come up");
        // What it says later goes nowhere, but must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(dev)
    }

    /// Submits a sweep and waits for its end.
    fn sweep(&self, args: &[&str]) -> Result<Value> {
        let words: Vec<&str> = ["submit", "-w", "-o", "json"].into_iter().chain(args.iter().copied()).collect();
        let begun = Instant::now();
        let document = machine::json(self.folder, &words)?;
        let sweep = document["sweep"].clone();
        ensure!(sweep["state"] == "completed", "after {:?}: {sweep}", begun.elapsed());
        Ok(sweep)
    }

    fn digits(&self, trials: u32, warm: bool) -> Result<Swept> {
        let (trials, warm) = (format!("budget.trials={trials}"), format!("run.warm={warm}"));
        let settings = [&trials, &warm, SLOTS, "space.epochs=9", "early_stop.max=9"];
        let words = settings.into_iter().flat_map(|setting| ["--set", setting]);
        let words: Vec<&str> = ["sweep.yaml"].into_iter().chain(words).collect();
        let sweep = self.sweep(&words)?;
        let name = sweep["name"].as_str().context("a name")?;
        let document = machine::json(self.folder, &["trials", name, "-o", "json"])?;
        let trials = document["trials"].as_array().context("trials")?;
        let trained: Vec<Value> = trials
            .iter()
            .map(|trial| json!({"params": trial["params"], "seed": trial["number"], "epochs": trial["last_step"]}))
            .collect();
        Ok(Swept {
            seconds: sweep["duration"].as_f64().context("a duration")?,
            epochs: trials.iter().filter_map(|trial| trial["last_step"].as_u64()).sum(),
            best: sweep["best"]["value"].clone(),
            trained,
        })
    }
}

impl Drop for Dev<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// A Python with scikit-learn, Optuna and, where it can be had, Ray.
struct Rivals {
    python: PathBuf,
    has_ray: bool,
}

impl Rivals {
    fn install(report: &mut Report) -> Result<Self> {
        let venv = machine::repository().join("target/bench-venv-digits");
        let python = venv.join("bin/python");
        let has = |module: &str| {
            let words = ["-c", &format!("import {module}")].map(str::to_owned);
            let found = Command::new(&python).args(words).stderr(Stdio::null()).status();
            found.is_ok_and(|status| status.success())
        };
        let pip = |packages: &[&str]| {
            println!("  installing {}", packages.join(" "));
            let installed = Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages).status();
            installed.is_ok_and(|status| status.success())
        };
        if !python.exists() {
            let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).status().context("python3 -m venv")?;
            ensure!(made.success(), "cannot make a virtual environment");
        }
        if !(has("optuna") && has("sklearn")) {
            let requirements = machine::repository().join("examples/digits/requirements.txt");
            ensure!(pip(&["optuna==5.0.0", "-r", &requirements.display().to_string()]), "cannot install Optuna");
        }
        let has_ray = has("ray.tune") || (pip(&["ray[tune]==2.60.0"]) && has("ray.tune"));
        if !has_ray {
            report.note("Ray cannot be installed here, and is left out");
        }
        Ok(Self { python, has_ray })
    }

    fn seconds(&self, words: &[&str]) -> Result<f64> {
        let script = machine::repository().join("benches/src/rivals/digits.py");
        let output = Command::new(&self.python).arg(script).args(words).stderr(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // Frameworks print as well.
        let seconds = text.lines().next_back().and_then(|line| line.trim().parse().ok());
        seconds.with_context(|| format!("{words:?} ended with {} and said no time", output.status))
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
