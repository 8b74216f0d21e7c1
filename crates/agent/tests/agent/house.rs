//! A data directory, a coordinator and an agent, with what tests ask of them. Cleans up the processes of failed tests.

use std::path::PathBuf;
use std::time::Duration;

use heats_agent::{Agent, AgentConfig};
use heats_domain::Inventory;

use crate::fake::{self, Fake, config};

pub struct House {
    pub data: tempfile::TempDir,
    pub fake: Fake,
    cpus: u32,
}

impl House {
    pub async fn new() -> Self {
        Self::with_cpus(2).await
    }

    /// A house whose agents offer so many processors.
    pub async fn with_cpus(cpus: u32) -> Self {
        Self { data: tempfile::tempdir().expect("a folder"), fake: Fake::start().await, cpus }
    }

    pub fn config(&self) -> AgentConfig {
        let config = config(self.data.path(), &self.fake);
        AgentConfig { inventory: Inventory { cpus: self.cpus, ..config.inventory.clone() }, ..config }
    }

    pub async fn agent(&self) -> Agent {
        Agent::start(self.config()).await.expect("the agent starts")
    }

    /// A file that the trial may use, by its absolute path.
    pub fn file(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// A pipe that a trial waits at until [`House::open_gate`].
    pub fn gate(&self, name: &str) -> String {
        let path = self.file(name);
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo is there");
        assert!(made.success());
        path.display().to_string()
    }

    /// Lets the trial at the gate go on.
    pub async fn open_gate(&self, name: &str) {
        let path = self.file(name);
        tokio::task::spawn_blocking(move || std::fs::write(path, "go\n")).await.expect("runs").expect("writes");
    }

    /// The folder of the trial's first attempt.
    pub fn attempt(&self, trial: u32) -> PathBuf {
        self.data.path().join(format!("agent/attempts/{}-{trial}@1", fake::sweep()))
    }

    /// Returns once the attempt has the file `name`.
    pub async fn is_there(&self, trial: u32, name: &str) -> PathBuf {
        let path = self.attempt(trial).join(name);
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        path
    }

    /// What a line of the file that tells of the attempt says, once it does: 0 the processes, 2 the end.
    async fn told(&self, trial: u32, line: usize) -> serde_json::Value {
        let path = self.is_there(trial, "attempt.json").await;
        loop {
            let text = std::fs::read_to_string(&path).expect("reads");
            if let Some(Ok(told)) = text.split('\n').nth(line).map(serde_json::from_str) {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The process that supervises the trial.
    pub async fn supervisor(&self, trial: u32) -> Process {
        let live = self.told(trial, 0).await;
        Process { id: live["shim"].as_i64().expect("a number") as i32 }
    }

    /// Returns once the trial's supervisor has noted the end.
    pub async fn has_ended(&self, trial: u32) {
        self.told(trial, 2).await;
    }

    /// The process whose id the trial wrote into the file `name`.
    pub fn process(&self, name: &str) -> Process {
        let text = std::fs::read_to_string(self.file(name)).expect("the trial wrote its id");
        Process { id: text.trim().parse().expect("a number") }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let mark = self.data.path().display().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let ours = String::from_utf8_lossy(&environ).contains(&format!("HEATS_METRICS_FILE={mark}"));
            if let (true, Some(pid)) = (ours, rustix::process::Pid::from_raw(id)) {
                let _ended = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

pub struct Process {
    pub id: i32,
}

impl Process {
    /// Whether it runs; one that has ended and waits to be reaped does not.
    pub fn runs(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    /// Returns once it has ended.
    pub async fn is_gone(&self) {
        while self.runs() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The process that forked it, as long as that is there.
    pub fn parent(&self) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).expect("it runs");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("has a parent");
        Self { id: parent.trim().parse().expect("a number") }
    }

    pub fn kill(&self) {
        let pid = rustix::process::Pid::from_raw(self.id).expect("an id");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("is there");
    }
}
