//! Real coordinators are killed and frozen while agents and users of the test's own talk to them, and note when they asked
//! what, when they were answered, and how. Whether such a history is linearizable is searched for by a checker that
//! knows nothing of Heats; the auditor looks at what is left.

mod agent;
mod user;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use heats_testkit::{Audit, Cluster, Expected, History, Workspace, eventually};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::agent::Agent;
use self::user::User;
use crate::setting;

/// Trials of each sweep, and how many steps each takes.
const TRIALS: u32 = 40;
const STEPS: u64 = 12;
const SWEEPS: u64 = 3;
const AGENTS: u64 = 3;
const READERS: usize = 3;

/// The history, and the clock that it is written by.
#[derive(Clone)]
struct Notes {
    begun: Instant,
    history: Arc<Mutex<History>>,
    /// Everything is done.
    over: Arc<AtomicBool>,
}

impl Notes {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn write<T>(&self, note: impl FnOnce(&mut History) -> T) -> T {
        note(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// The specification of the sweep with this number.
fn spec(number: u64) -> String {
    format!(
        r#"{{"version": 1, "name": "sweep-{number}", "command": ["none"], "space": {{"x": {{"float": [0.0, 1.0]}}}},
            "objective": {{"minimize": "loss"}}, "search": {{"algorithm": "random", "seed": 7}},
            "early_stop": {{"algorithm": "none"}}, "budget": {{"trials": {TRIALS}}}}}"#
    )
}

#[test]
fn what_was_answered_while_coordinators_were_killed_and_frozen_is_linearizable() {
    let kills = setting("TESTKIT_KILLS", 4);
    let mut cluster = Cluster::start(Workspace::new(), 3, 0);
    let coordinators: Vec<String> = (0..3).map(|number| cluster.address(number)).collect();
    let notes = Notes { begun: Instant::now(), history: Arc::default(), over: Arc::default() };
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    let mut tasks = Vec::new();
    for number in 0..AGENTS {
        let agent = Agent::new(number, coordinators.clone(), notes.clone());
        tasks.push(runtime.spawn(agent.run()));
    }
    for number in 0..READERS {
        let user = User::new(number, coordinators.clone(), notes.clone());
        tasks.push(runtime.spawn(user.run(SWEEPS)));
    }
    let mut random = ChaCha8Rng::seed_from_u64(setting("TESTKIT_SEED", 7));
    for kill in 0..kills {
        // Something has to happen between one disturbance and the next.
        let before = notes.write(|history| history.len());
        eventually("calls", || (notes.write(|history| history.len()) >= before + 150).then_some(()));
        let victim = if random.random_bool(0.7) { cluster.leader() } else { random.random_range(0..3) };
        if kill % 2 == 0 {
            cluster.kill_coordinator(victim);
            cluster.start_coordinator(victim);
        } else {
            cluster.coordinator_process(victim).freeze();
            eventually("another leader", || (cluster.leader() != victim).then_some(()));
            cluster.coordinator_process(victim).thaw();
        }
    }
    for number in 1..=SWEEPS {
        cluster.workspace().ok(&["watch", &format!("sweep-{number}")]);
    }
    notes.over.store(true, Ordering::Relaxed);
    for task in tasks {
        runtime.block_on(task).expect("does not panic");
    }
    notes.write(|history| {
        println!("{} calls", history.len());
        history.expect_linearizable();
    });
    for number in 1..=SWEEPS {
        let audit = Audit::take(cluster.workspace(), &format!("sweep-{number}"));
        audit.expect(&Expected::trials(u64::from(TRIALS)).without_side_file());
        assert!(audit.trials.iter().all(|trial| trial.state == "completed"), "{:?}", audit.trials);
    }
}
