//! One run: machines, what happens to them, and what is looked at after every step. Everything is on one thread, and
//! follows from the seed.

use std::path::PathBuf;
use std::time::Duration;

use heats_core::Status;

use crate::agent::Agent;
use crate::chance::Dice;
use crate::check::{self, Ordered, Replicas, Witness};
use crate::client::{Client, Known};
use crate::coordinator::{Coordinator, Habits};
use crate::faults::Faults;
use crate::net::{Net, Parcel, Place};
use crate::trace::Trace;

/// How far the time goes at once.
const TICK: Duration = Duration::from_millis(5);
/// How often states are looked at as a whole.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long everything may take to come to its end once nothing more goes wrong.
const SETTLE: Duration = Duration::from_secs(3_600);
/// The wall clock when a run begins, in milliseconds.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// A coordinator's machine.
pub struct Machine {
    pub id: u64,
    pub lives: u32,
    dir: PathBuf,
    /// What its wall clock is wrong by.
    pub skew_ms: i64,
    pub state: Life,
}

pub enum Life {
    Up(Box<Coordinator>),
    /// Stands still since then, until then.
    Frozen(Box<Coordinator>, Duration, Duration),
    Down(Duration),
}

pub struct World {
    pub now: Duration,
    pub dice: Dice,
    pub net: Net,
    pub machines: Vec<Machine>,
    pub agents: Vec<Agent>,
    clients: Vec<Client>,
    pub witness: Witness,
    replicas: Replicas,
    trace: Trace,
    habits: Habits,
    /// Where the run is; removed with it.
    _root: tempfile::TempDir,
    looked: Duration,
}

/// What a run comes to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub simulated: Duration,
    pub coordinators: usize,
    pub faults: u32,
    pub promises: usize,
    pub trials: u32,
    /// Of everything that was carried, in order.
    pub trace: String,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let net = Net::new(dice.split());
        let coordinators = dice.pick(&[3, 3, 5]).unwrap_or(3);
        let habits = Habits {
            snapshot_every: dice.between(20, 400),
            log_keep: dice.between(0, 50),
            segment_bytes: dice.between(4 << 10, 64 << 10),
            lease_ttl: Duration::from_secs(15),
        };
        let root = tempfile::Builder::new().prefix("heats-sim-").tempdir_in(memory()).expect("makes a folder");
        // Errors name files, and are carried: where a run is must not be in it.
        std::env::set_current_dir(root.path()).expect("enters the folder");
        let mut world = Self {
            now: Duration::ZERO,
            machines: Vec::new(),
            agents: Vec::new(),
            clients: Vec::new(),
            witness: Witness::default(),
            replicas: Replicas::default(),
            trace: Trace::begin(),
            looked: Duration::ZERO,
            dice,
            net,
            habits,
            _root: root,
        };
        for id in 1..=coordinators {
            let dir = PathBuf::from(format!("{id}-1"));
            let drift = world.drift();
            let place = Place::Node { id, life: 1 };
            let up = Coordinator::start(place, dir.clone(), coordinators, habits, world.net.clone(), drift);
            world.machines.push(Machine { id, lives: 1, dir, skew_ms: 0, state: Life::Up(Box::new(up)) });
        }
        let agents = if world.dice.chance(0.1) { world.dice.between(10, 50) } else { world.dice.between(1, 8) };
        for number in 0..agents as usize {
            let cpus = world.dice.between(1, 4) as u32;
            let dice = world.dice.split();
            world.agents.push(Agent::new(number, coordinators, cpus, dice, world.net.clone()));
        }
        let known = Known::default();
        for number in 0..world.dice.between(1, 3) as usize {
            let (trials, spec) = sweep(&mut world.dice, number);
            let (dice, known) = (world.dice.split(), known.clone());
            world.clients.push(Client::new(number, coordinators, trials, spec, known, dice, world.net.clone()));
        }
        world
    }

    fn drift(&mut self) -> i64 {
        self.dice.between(0, 2_000) as i64 - 1_000
    }

    /// Runs with faults for a while, then without until everything is done.
    pub fn run(mut self) -> Outcome {
        let mut faults = Faults::new(self.dice.split());
        let trouble = Duration::from_secs(self.dice.between(30, 240));
        while self.now < trouble {
            faults.strike(&mut self);
            self.step(false);
        }
        faults.cease(&mut self);
        let deadline = self.now + SETTLE;
        while !self.is_settled() {
            assert!(
                self.now < deadline,
                "nothing goes wrong any more, and it does not come to an end: {}",
                self.describe()
            );
            self.step(true);
        }
        self.finish(faults.count())
    }

    fn step(&mut self, settle: bool) {
        self.now += TICK;
        self.deliver();
        for place in 0..self.machines.len() {
            self.run_machine(place);
        }
        for agent in &mut self.agents {
            agent.step(self.now, &mut self.witness);
        }
        for client in &mut self.clients {
            client.step(self.now, settle);
        }
        if self.now >= self.looked + LOOK_EVERY {
            self.looked = self.now;
            self.look();
        }
    }

    fn deliver(&mut self) {
        for (from, to, parcel) in self.net.arrive(self.now) {
            self.trace.add(self.now, from, to, &parcel);
            match to {
                Place::Agent(number) => self.agents[number].receive(self.now, parcel, &mut self.witness),
                Place::Client(number) => self.clients[number].receive(self.now, &parcel, &mut self.witness),
                Place::Node { id, life } => {
                    let machine = &self.machines[id as usize - 1];
                    match &machine.state {
                        Life::Up(up) | Life::Frozen(up, ..) if life == 0 || life == machine.lives => {
                            up.receive(from, parcel);
                        }
                        Life::Up(_) | Life::Frozen(..) | Life::Down(_) => self.refuse(to, from, &parcel),
                    }
                }
            }
        }
    }

    /// Nobody listens there.
    fn refuse(&self, at: Place, from: Place, parcel: &Parcel) {
        match parcel {
            Parcel::Ask { call, .. } | Parcel::Request { call, .. } => {
                self.net.send(at, from, Parcel::Refused { call: *call });
            }
            Parcel::Open { stream } | Parcel::Up { stream, .. } => {
                self.net.send(at, from, Parcel::Closed { stream: *stream, leader: None });
            }
            _ => {}
        }
    }

    fn run_machine(&mut self, place: usize) {
        let now = self.now;
        let machine = &mut self.machines[place];
        let wall = (BEGIN_MS + now.as_millis() as u64).saturating_add_signed(machine.skew_ms);
        let next = match &mut machine.state {
            Life::Up(up) => {
                up.clock.set(wall);
                up.host.run(TICK);
                match up.failure() {
                    Err(why) => panic!("coordinator {} does not start on what it left behind: {why}", machine.id),
                    // Its process ends, and whoever runs the machine makes room and starts it again.
                    Ok(Some(_)) => Some(None),
                    Ok(None) => None,
                }
            }
            Life::Frozen(_, since, until) if now >= *until => Some(Some(*since)),
            Life::Frozen(..) => None,
            Life::Down(until) if now >= *until => {
                let drift = self.drift();
                let machine = &mut self.machines[place];
                machine.lives += 1;
                let at = Place::Node { id: machine.id, life: machine.lives };
                let (members, net) = (self.machines.len() as u64, self.net.clone());
                let machine = &mut self.machines[place];
                let up = Coordinator::start(at, machine.dir.clone(), members, self.habits, net, drift);
                machine.state = Life::Up(Box::new(up));
                return;
            }
            Life::Down(_) => None,
        };
        match next {
            Some(None) => {
                let after = Duration::from_millis(self.dice.between(200, 5_000));
                self.kill(place, after, false);
            }
            Some(Some(since)) => {
                let machine = &mut self.machines[place];
                if let Life::Frozen(up, ..) = std::mem::replace(&mut machine.state, Life::Down(now)) {
                    up.host.wake_after(now - since);
                    machine.state = Life::Up(up);
                }
            }
            None => {}
        }
    }

    /// Kills a coordinator, which starts again after `time`; by a power cut, or its process alone.
    pub fn kill(&mut self, place: usize, time: Duration, power: bool) {
        let machine = &mut self.machines[place];
        if matches!(machine.state, Life::Down(_)) {
            return;
        }
        let dir = PathBuf::from(format!("{}-{}", machine.id, machine.lives + 1));
        let dead = std::mem::replace(&mut machine.state, Life::Down(self.now + time));
        machine.dir.clone_from(&dir);
        let (Life::Up(dead) | Life::Frozen(dead, ..)) = dead else { return };
        let at = dead.place;
        dead.kill(&dir, power.then_some(&mut self.dice));
        if power {
            // Nobody is told: the machine is gone with its connections.
            return;
        }
        self.net.break_streams(at);
    }

    /// Lets a coordinator stand still.
    pub fn freeze(&mut self, place: usize, time: Duration) {
        let (now, machine) = (self.now, &mut self.machines[place]);
        machine.state = match std::mem::replace(&mut machine.state, Life::Down(now)) {
            Life::Up(up) => Life::Frozen(up, now, now + time),
            other @ (Life::Frozen(..) | Life::Down(_)) => other,
        };
    }

    fn look(&mut self) {
        for machine in &self.machines {
            if let Life::Up(up) = &machine.state
                && let Some(state) = up.state()
            {
                self.replicas.look(machine.id, &state, self.now, self.habits.lease_ttl, &self.witness);
            }
        }
    }

    /// Everybody is up and has applied the same, every sweep has ended, and nobody waits.
    fn is_settled(&self) -> bool {
        let mut states = Vec::new();
        for machine in &self.machines {
            let Life::Up(up) = &machine.state else { return false };
            let Some(state) = up.state() else { return false };
            states.push(state);
        }
        let Some(first) = states.first() else { return false };
        let ended = |status: &Status| matches!(status, Status::Ended { .. });
        states.iter().all(|state| state.applied == first.applied)
            && self.clients.iter().all(Client::is_done)
            && first.sweeps.len() == self.clients.len()
            && first.sweeps.values().all(|sweep| ended(&sweep.status))
            && self.agents.iter().all(|agent| agent.running().next().is_none())
    }

    fn finish(mut self, faults: u32) -> Outcome {
        self.look();
        let mut ordered = Ordered::default();
        self.clients.iter().for_each(|client| client.tell(&mut ordered));
        let Some(Life::Up(up)) = self.machines.first().map(|machine| &machine.state) else { panic!("all are up") };
        let state = up.state().expect("all are open");
        check::at_the_end(&state, &self.witness, &ordered);
        let calls: Vec<_> = self.clients.iter().flat_map(|client| client.calls.iter().copied()).collect();
        check::in_order(&calls);
        self.witness.history.expect_linearizable();
        Outcome {
            simulated: self.now,
            coordinators: self.machines.len(),
            faults,
            promises: self.witness.promises(),
            trials: state.sweeps.values().map(|sweep| sweep.created()).sum(),
            trace: self.trace.end(&state),
        }
    }

    fn describe(&self) -> String {
        let machines = self.machines.iter().map(|machine| match &machine.state {
            Life::Up(up) => {
                let applied = up.state().map(|state| state.applied);
                let sweeps = up.state().map(|state| {
                    let sweep = |sweep: &heats_core::Sweep| format!("{:?} {:?}", sweep.status, sweep.counts);
                    state.sweeps.values().map(|found| sweep(found)).collect::<Vec<_>>()
                });
                format!("{} leads: {}, applied {applied:?}, {sweeps:?}", machine.id, up.leads())
            }
            Life::Frozen(..) => format!("{} stands still", machine.id),
            Life::Down(_) => format!("{} is down", machine.id),
        });
        let running = self.agents.iter().map(|agent| agent.running().count()).sum::<usize>();
        format!("{}; {running} trials run", machines.collect::<Vec<_>>().join("; "))
    }
}

/// Where the files of a run are: in memory, where the machine offers that.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// A sweep, and how many trials it has.
fn sweep(dice: &mut Dice, number: usize) -> (u32, String) {
    let trials = dice.between(3, 40) as u32;
    let steps = dice.between(1, 27);
    let step_ms = dice.between(20, 700);
    let algorithm = dice.pick(&["random", "sobol"]).unwrap_or("random");
    let stopper = dice.pick(&["none", "none", "asha", "median"]).unwrap_or("none");
    let stopper = match stopper {
        "asha" if steps >= 3 => {
            format!(r#"{{"algorithm": "asha", "resource": "step", "min": 1, "max": {steps}, "eta": 3}}"#)
        }
        "none" | "asha" => r#"{"algorithm": "none"}"#.to_owned(),
        other => format!(r#"{{"algorithm": "{other}"}}"#),
    };
    let spec = format!(
        r#"{{"version": 1, "name": "sweep-{number}", "command": ["train"],
            "space": {{"x": {{"float": [0.0, 1.0]}}, "steps": {steps}, "step_ms": {step_ms}}},
            "objective": {{"minimize": "loss"}}, "search": {{"algorithm": "{algorithm}", "seed": 7}},
            "early_stop": {stopper}, "budget": {{"trials": {trials}}}, "run": {{"retries": 2}}}}"#
    );
    (trials, spec)
}
