//! What trials of the simulation do: a curve over the configuration and the step, and now and then a failure. The same
//! attempt does the same whoever runs it.

use std::time::Duration;

use heats_core::ops::attempts::Key;
use heats_domain::{Artifact, Checkpoint, Digest, Environment, Package, Params};
use heats_wire::v1;
use heats_wire::v1::stop::Purpose;

/// What the process of one attempt is.
#[derive(Clone, Debug)]
pub struct Training {
    key: Key,
    params: Params,
    seed: u64,
    /// Whether the coordinator knows what its environment is.
    environment_is_known: bool,
    /// The step of the checkpoint that it goes on from.
    resumed: u64,
    /// Which member of the attempt it is, where that spans machines: only rank 0 measures.
    pub rank: u32,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Measured(f64),
    /// It came to the step, and says nothing.
    Silent,
    Exited(i32),
}

fn number(params: &Params, name: &str) -> f64 {
    params
        .get(name)
        .and_then(heats_domain::Value::as_f64)
        .unwrap_or_else(|| panic!("the configuration has no `{name}`"))
}

/// The curve: better with every step, best at `x` = 0.3.
pub fn loss(params: &Params, step: u64) -> f64 {
    let x = number(params, "x");
    (x - 0.3).powi(2) + 1.0 / step as f64
}

/// How many steps a trial takes.
pub fn steps(params: &Params) -> u64 {
    number(params, "steps") as u64
}

/// The storage that every agent reaches.
pub const STORAGE: &str = "shared:simulated";

/// The environment of a trial with this seed: one of three.
pub fn environment(seed: u64) -> Environment {
    let package = Package { name: "numpy".into(), version: (seed % 3).to_string(), origin: String::new() };
    Environment { summary: "cpython 3.12".into(), packages: vec![package], ..Environment::default() }
}

impl Training {
    pub fn of(key: Key, run: &v1::Run) -> Self {
        let environment_is_known = run.known.contains(&Digest::of_environment(&environment(run.seed)));
        let resumed = run.from.as_ref().map_or(0, |checkpoint| checkpoint.step);
        let rank = run.gang.as_ref().map_or(0, |gang| gang.rank);
        let (params, seed) = (run.params.clone().unwrap_or_default(), run.seed);
        Self { key, params, seed, environment_is_known, resumed, rank }
    }

    /// The first step of this attempt.
    pub const fn first_step(&self) -> u64 {
        self.resumed + 1
    }

    /// What it keeps for people after its last step, where it keeps anything.
    pub fn artifact(&self, step: u64) -> Option<Artifact> {
        let last = self.checkpoint(step).filter(|_| step == steps(&self.params))?;
        let Checkpoint { sweep, trial, attempt, step: _, hash, bytes, place } = last;
        Some(Artifact { sweep, trial, attempt, hash, bytes, place, name: "model".to_owned() })
    }

    /// The checkpoint that it keeps at a step, where it keeps one.
    pub fn checkpoint(&self, step: u64) -> Option<Checkpoint> {
        let every = self.params.get("keep_every").and_then(heats_domain::Value::as_f64)? as u64;
        let Key { sweep, trial, attempt } = self.key;
        let (place, hash) = (STORAGE.to_owned(), vec![1; 32]);
        let made = Checkpoint { sweep, trial, attempt, step, hash, bytes: 1, place };
        step.is_multiple_of(every).then_some(made)
    }

    /// What its agent says at its start.
    pub fn started(&self) -> v1::Started {
        let environment = environment(self.seed);
        v1::Started {
            key: Some(self.key.into()),
            environment: environment.summary.clone(),
            environment_name: Some(Digest::of_environment(&environment)),
            found: (!self.environment_is_known).then_some(environment),
            // Some are warm, and some of the others should be.
            warm: self.seed.is_multiple_of(3),
            cold: if self.seed % 3 == 1 { "its imports have started a thread".to_owned() } else { String::new() },
        }
    }

    /// How long a step takes: some configurations are slower than others.
    pub fn step_time(&self) -> Duration {
        Duration::from_millis(number(&self.params, "step_ms") as u64 * (1 + self.seed % 3))
    }

    pub fn step(&self, step: u64) -> Step {
        // One process in eight fails, in its second step; a trial's third attempt never does.
        let which = (u64::from(self.key.attempt) << 7) ^ (u64::from(self.rank) << 17);
        let mixed = (self.seed ^ which).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61;
        if mixed == 0 && self.key.attempt < 3 && step == 2 {
            return Step::Exited(1);
        }
        if step > steps(&self.params) {
            return Step::Exited(0);
        }
        if self.rank == 0 { Step::Measured(loss(&self.params, step)) } else { Step::Silent }
    }
}

fn finished(key: Key, kind: v1::end::Kind, code: i32, ran: Duration) -> v1::Finished {
    v1::Finished {
        key: Some(key.into()),
        end: Some(v1::End { kind: kind.into(), code, signal: 0 }),
        ran_ms: ran.as_millis() as u64,
        ..v1::Finished::default()
    }
}

/// The process exited by itself.
pub fn exited(key: Key, code: i32, ran: Duration) -> v1::Finished {
    finished(key, v1::end::Kind::Exited, code, ran)
}

/// The process is gone, and nobody knows how.
pub fn lost(key: Key) -> v1::Finished {
    finished(key, v1::end::Kind::Lost, 0, Duration::ZERO)
}

/// The process was told to end, because its trial is over or is to go on elsewhere.
pub fn stopped(key: Key, cause: Purpose, ran: Duration) -> v1::Finished {
    let kind = match cause {
        Purpose::End => v1::end::Kind::Stopped,
        Purpose::Preempt | Purpose::GiveBack => v1::end::Kind::Preempted,
    };
    finished(key, kind, 0, ran)
}
