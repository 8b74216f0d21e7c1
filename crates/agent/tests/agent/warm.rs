//! Trials that are forked from a process which has their imports: as good as processes of their own.

use std::path::{Path, PathBuf};

use heats_wire::v1;
use heats_wire::v1::end::Kind;
use serde_json::{Value, json};

use crate::house::{House, Process};
use crate::restarts::Doomed;

/// A module that is not the script's own: it counts how often it is imported, and by whom.
const LIBRARY: &str = r#"
import os
with open(os.environ["COUNT"], "a") as count:
    print(os.getpid(), file=count)
changed = []
"#;

/// A script with its library, in the house.
struct Script {
    code: PathBuf,
    library: PathBuf,
    count: PathBuf,
}

impl Script {
    fn new(house: &House, text: &str) -> Self {
        let [code, library, count] = ["code", "library", "count"].map(|name| house.file(name));
        for (folder, file, text) in [(&code, "train.py", text), (&library, "slow.py", LIBRARY)] {
            std::fs::create_dir_all(folder).expect("creates");
            std::fs::write(folder.join(file), text).expect("writes");
        }
        Self { code, library, count }
    }

    fn cold(&self) -> Value {
        json!({
            "command": ["python3", "train.py", "${args}"],
            "code": { "path": self.code },
            "objective": { "minimize": "loss" },
            "run": { "env": { "PYTHONPATH": self.library, "COUNT": self.count } },
        })
    }

    fn warm(&self) -> Value {
        let mut spec = self.cold();
        spec["run"]["warm"] = true.into();
        spec
    }

    /// The processes that have imported the library.
    fn importers(&self) -> Vec<Process> {
        let ids = std::fs::read_to_string(&self.count).unwrap_or_default();
        ids.lines().map(|id| Process { id: id.parse().expect("a number") }).collect()
    }
}

fn kind(finished: &v1::Finished) -> (Kind, i32, i32) {
    let end = finished.end.expect("an end");
    (end.kind(), end.code, end.signal)
}

/// How a trial was started: warm, or why not.
async fn start(house: &House, trial: u32) -> (bool, String) {
    let v1::Started { warm, cold, .. } = house.fake.started(trial).await;
    (warm, cold)
}

fn output(house: &House, trial: u32) -> String {
    std::fs::read_to_string(house.attempt(trial).join("stdout.log")).expect("reads")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imports_are_paid_for_once_and_no_trial_sees_what_another_has_changed() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = Script::new(
        &house,
        "import os, random, slow\n\
         slow.changed.append(1)\n\
         os.environ['CHANGED'] = os.environ.get('CHANGED', '') + 'x'\n\
         os.chdir('/')\n\
         print(random.random())\n\
         print(f'::metric step=1 loss={len(slow.changed) + len(os.environ[\"CHANGED\"])}')\n",
    );
    for trial in 0..4 {
        house.fake.run(trial, script.warm()).await;
    }
    for trial in 0..4 {
        assert_eq!(kind(&house.fake.finished(trial).await), (Kind::Exited, 0, 0));
        assert_eq!(start(&house, trial).await, (true, String::new()));
        assert_eq!(house.fake.reports(trial, 1).await, [(1, 2.0)]);
    }
    assert_eq!(script.importers().len(), 1);
    let mut drawn: Vec<String> = (0..4).map(|trial| output(&house, trial)).collect();
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn.len(), 4, "each has random numbers of its own: {drawn:?}");
}

/// What a process can find out about itself, but for what is another's anyway.
const LOOK: &str = r#"
import json, os, resource, signal, sys
import slow
state = {
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "flags": str(sys.flags),
    "name": __name__, "file": __file__, "spec": __spec__, "package": __package__, "doc": __doc__,
    "main": sys.modules["__main__"].__dict__ is globals(), "builtins": __builtins__.__name__,
    "cwd": os.getcwd(), "umask": os.umask(0o22), "stdin": sys.stdin.read(), "nice": os.nice(0),
    **{"env " + name: value for name, value in os.environ.items()},
    "leads its group": os.getpgid(0) == os.getpid(), "session": os.getsid(0) == os.getppid(),
    "signals": {s.name: str(signal.getsignal(s)) for s in signal.Signals if s not in (signal.SIGKILL, signal.SIGSTOP)},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "limits": {n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith("RLIMIT_")},
    "open": sorted(fd for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)),
    "oom_score_adj": open("/proc/self/oom_score_adj").read(), "threads": len(os.listdir("/proc/self/task")),
    "unbuffered": sys.stdout.write_through, "encoding": sys.stdout.encoding, "alarm": signal.alarm(0),
}
print(json.dumps(state))
print("::metric step=1 loss=1")
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_trial_finds_itself_as_a_cold_one_does() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = Script::new(&house, LOOK);
    let mut seen = Vec::new();
    for (trial, spec) in [(0, script.cold()), (1, script.warm())] {
        house.fake.run(trial, spec).await;
        assert_eq!(kind(&house.fake.finished(trial).await), (Kind::Exited, 0, 0));
        assert_eq!(start(&house, trial).await.0, trial == 1);
        // Its own number and socket it has in any case.
        let text = output(&house, trial).replace(&format!("-{trial}@1"), "-N@1");
        let text = text.replace(&format!("HEATS_TRIAL\": \"{trial}\""), "HEATS_TRIAL\": \"N\"");
        let state: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("reads");
        seen.push(state);
    }
    let (warm, cold) = (seen.pop().expect("two"), seen.pop().expect("two"));
    let [warm, cold] = [warm, cold].map(|state| state.as_object().expect("an object").clone());
    for (name, value) in &cold {
        assert_eq!(warm.get(name), Some(value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_a_warm_trial_ends_it_is_told_as_that_of_a_cold_one() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = Script::new(&house, "import os, sys, slow\nexec(open(os.environ['HOW']).read())\n");
    let cases = [
        ("sys.exit(3)", (Kind::Exited, 3, 0), ""),
        ("sys.exit('it is over')", (Kind::Exited, 1, 0), "it is over"),
        ("raise ValueError('odd')", (Kind::Exited, 1, 0), "train.py\", line 2, in <module>"),
        ("os._exit(75)", (Kind::Exited, 75, 0), ""),
        ("os.kill(os.getpid(), 11)", (Kind::Signaled, 0, 11), "SIGSEGV"),
        ("raise KeyboardInterrupt", (Kind::Signaled, 0, 2), "KeyboardInterrupt"),
        ("os.chdir('/'); print('::metric step=1 loss=1')", (Kind::Exited, 0, 0), ""),
    ];
    for (trial, (how, end, detail)) in (0..).zip(cases) {
        let file = house.file("how");
        std::fs::write(&file, how).expect("writes");
        let mut spec = script.warm();
        spec["run"]["env"]["HOW"] = file.display().to_string().into();
        house.fake.run(trial, spec).await;
        let finished = house.fake.finished(trial).await;
        assert_eq!((kind(&finished), start(&house, trial).await.0), (end, true), "{how}: {}", finished.detail);
        assert!(finished.detail.contains(detail), "{how}: {}", finished.detail);
        assert!(!finished.detail.contains("_template.py"), "{}", finished.detail);
        assert!(!finished.detail.contains("_script.py"), "{}", finished.detail);
    }
    std::fs::remove_file(script.code.join("train.py")).expect("is there");
    house.fake.run(90, script.warm()).await;
    let finished = house.fake.finished(90).await;
    assert_eq!(kind(&finished), (Kind::Exited, 2, 0), "as Python says it");
    assert!(finished.detail.contains("can't open file"), "{}", finished.detail);
    assert_eq!(script.importers().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_warm_trial_leaves_open_is_written_to_its_end() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = Script::new(
        &house,
        "import atexit, ctypes, os, slow, threading, time\n\
         left = open(os.path.join(os.environ['HEATS_OUTPUT_DIR'], 'left'), 'w')\n\
         left.write('all of it')\n\
         atexit.register(print, 'at its exit')\n\
         threading.Thread(target=lambda: (time.sleep(0.1), print('::metric step=1 loss=1'))).start()\n\
         ctypes.CDLL(None).printf(b'from C\\n')\n\
         class Last:\n    def __del__(self): print('the last')\n\
         last = Last()\n",
    );
    house.fake.run(0, script.warm()).await;
    assert_eq!(kind(&house.fake.finished(0).await), (Kind::Exited, 0, 0));
    assert_eq!(start(&house, 0).await, (true, String::new()));
    assert_eq!(house.fake.reports(0, 1).await, [(1, 1.0)]);
    for line in ["at its exit\n", "from C\n", "the last\n"] {
        assert!(output(&house, 0).contains(line), "{line}: {}", output(&house, 0));
    }
    let mut left = Vec::new();
    find(&house.data.path().join("outputs"), &mut left);
    assert_eq!(
        left.iter().map(|file| std::fs::read_to_string(file).expect("reads")).collect::<Vec<_>>(),
        ["all of it"]
    );
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("is there").flatten() {
        if entry.path().is_dir() { find(&entry.path(), files) } else { files.push(entry.path()) }
    }
}

/// A script that says its process, and waits at a gate before it exits with 5.
fn waits(house: &House, gate: &str) -> String {
    let gate = house.gate(gate);
    format!(
        "import os, slow, subprocess\n\
         child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n\
         print(f'::metric step=1 loss={{os.getpid()}}')\n\
         print(f'::metric step=2 loss={{child.pid}}')\n\
         open('{gate}').read()\n\
         raise SystemExit(5)\n"
    )
}

/// The processes that such a script says.
async fn said(house: &House, trial: u32) -> [Process; 2] {
    let reports = house.fake.reports(trial, 2).await;
    [0, 1].map(|place: usize| Process { id: reports[place].1 as i32 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trials_run_on_without_their_template_and_the_next_one_gets_another() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = Script::new(&house, &waits(&house, "gate"));
    house.fake.run(0, script.warm()).await;
    let [_, child] = said(&house, 0).await;
    let template = &script.importers()[0];
    assert_eq!(house.supervisor(0).await.parent().id, template.id);
    template.kill();
    template.is_gone().await;
    house.open_gate("gate").await;
    assert_eq!(kind(&house.fake.finished(0).await), (Kind::Exited, 5, 0));
    assert!(!child.runs(), "what it left behind is ended with it");
    house.fake.run(1, script.warm()).await;
    said(&house, 1).await;
    house.open_gate("gate").await;
    assert_eq!(kind(&house.fake.finished(1).await), (Kind::Exited, 5, 0));
    assert_eq!((start(&house, 1).await, script.importers().len()), ((true, String::new()), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_is_lost_again_and_again_is_not_made_again() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = Script::new(&house, "import slow\nprint('::metric step=1 loss=1')\n");
    for trial in 0..3 {
        house.fake.run(trial, script.warm()).await;
        house.fake.finished(trial).await;
        assert!(start(&house, trial).await.0);
        let template = script.importers().pop().expect("one more");
        template.kill();
        template.is_gone().await;
    }
    house.fake.run(3, script.warm()).await;
    assert_eq!(kind(&house.fake.finished(3).await), (Kind::Exited, 0, 0));
    let (warm, cold) = start(&house, 3).await;
    assert!(!warm && cold.contains("lost 3 times"), "{cold}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_agent_takes_the_template_along_and_finds_its_warm_trial_again() {
    let house = House::new().await;
    let script = Script::new(&house, &waits(&house, "gate"));
    let agent = Doomed::start(&house).await;
    house.fake.run(0, script.warm()).await;
    let [trial, _] = said(&house, 0).await;
    agent.kill().await;
    script.importers()[0].is_gone().await;
    assert!(trial.runs());
    let _agent = house.agent().await;
    house.open_gate("gate").await;
    assert_eq!(kind(&house.fake.finished(0).await), (Kind::Exited, 5, 0));
    let starts = house.fake.seen(|seen| {
        let starts = seen.messages.iter().filter_map(|message| match message {
            v1::from_agent::Message::Started(started) => Some(started.warm),
            _ => None,
        });
        starts.collect::<Vec<_>>()
    });
    assert!(starts.iter().all(|warm| *warm), "its successor says the same: {starts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_warm_trial_whose_supervisor_was_killed_without_an_agent_nothing_runs_on() {
    let house = House::new().await;
    let script = Script::new(&house, &waits(&house, "gate"));
    let agent = Doomed::start(&house).await;
    house.fake.run(0, script.warm()).await;
    let processes = said(&house, 0).await;
    agent.kill().await;
    house.supervisor(0).await.kill();
    let _agent = house.agent().await;
    assert_eq!(house.fake.finished(0).await.end.map(|end| end.kind()), Some(Kind::Lost));
    assert!(processes.iter().all(|process| !process.runs()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_trial_that_runs_too_long_is_ended_with_all_that_it_started() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = Script::new(&house, &waits(&house, "gate"));
    let mut spec = script.warm();
    spec["run"]["timeout"] = "1s".into();
    spec["run"]["stop_grace"] = "100ms".into();
    house.fake.run(0, spec).await;
    assert_eq!(house.fake.finished(0).await.end.map(|end| end.kind()), Some(Kind::TimedOut));
    let [trial, child] = said(&house, 0).await;
    assert!(!trial.runs() && !child.runs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_copy_would_not_be_safe_trials_start_cold_and_say_why() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = Script::new(&house, "import unsafe\nprint('::metric step=1 loss=1')\n");
    let library = script.library.join("unsafe.py");
    let cases = [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()", "a thread"),
        ("raise SystemExit", "ends the process"),
        ("import os\nos._exit(1)", "ended before it was ready"),
        ("import os; print('the last word', flush=True); os.abort()", "the last word"),
        ("import helper", "`helper.py` beside the script"),
    ];
    std::fs::write(script.code.join("helper.py"), "").expect("writes");
    std::fs::write(script.library.join("helper.py"), "").expect("writes");
    for (trial, (text, why)) in (0..).zip(cases) {
        std::fs::write(&library, text).expect("writes");
        let mut spec = script.warm();
        // Another sweep, as far as templates are concerned.
        spec["run"]["env"]["CASE"] = trial.to_string().into();
        house.fake.run(trial, spec).await;
        house.fake.finished(trial).await;
        let (warm, cold) = start(&house, trial).await;
        assert!(!warm && cold.contains(why), "{why}: {cold}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scripts_own_modules_are_imported_before_only_where_they_are_named() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = Script::new(&house, "import own\nprint(f'::metric step=1 loss={own.importers}')\n");
    let text = "import os, slow\nimporters = int(os.getpid() == int(open(os.environ['COUNT']).read()))\n";
    std::fs::write(script.code.join("own.py"), text).expect("writes");
    let mut named = script.warm();
    named["run"]["imports"] = json!(["own"]);
    for (trial, spec) in [(0, script.warm()), (1, named.clone())] {
        let _first = std::fs::remove_file(&script.count);
        house.fake.run(trial, spec).await;
        house.fake.finished(trial).await;
        assert_eq!(start(&house, trial).await, (true, String::new()));
        let by_template = f64::from(trial);
        assert_eq!(house.fake.reports(trial, 1).await, [(1, by_template)], "its library came before in both");
    }
    named["run"]["imports"] = json!(["slow", "no_such_module"]);
    house.fake.run(2, named).await;
    house.fake.finished(2).await;
    let (warm, cold) = start(&house, 2).await;
    assert!(!warm && cold.contains("`no_such_module` of `run.imports` cannot be imported"), "{cold}");
}
