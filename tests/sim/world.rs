//! One run: machines, what happens to them, and what is looked at after every step. Everything is on one thread, and
//! follows from the seed.

use std::path::PathBuf;
use std::time::Duration;

use heats_core::Status;

use crate::agent::Agent;
use crate::chance::Dice;
use crate::check::{self, Ordered, Replicas, Witness};
use crate::client::{self, Client, Known};
use crate::coordinator::{Coordinator, Habits};
use crate::faults::Faults;
use crate::machine::{Life, Machine};
use crate::net::{Net, Parcel, Place};
use crate::operator::{Act, Operator};
use crate::program::Program;
use crate::trace::Trace;

/// How far the time goes at once.
pub const TICK: Duration = Duration::from_millis(5);
/// How often states are looked at as a whole.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long everything may take to come to its end once nothing more goes wrong.
const SETTLE: Duration = Duration::from_secs(3_600);

pub struct World {
    pub now: Duration,
    pub dice: Dice,
    pub net: Net,
    pub machines: Vec<Machine>,
    pub agents: Vec<Agent>,
    clients: Vec<Client>,
    program: Program,
    operator: Operator,
    pub witness: Witness,
    replicas: Replicas,
    trace: Trace,
    pub habits: Habits,
    /// How many coordinators made the cluster.
    pub founders: u64,
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
    /// How often a machine was left alone.
    pub quarantines: u32,
    /// Of everything that was carried, in order.
    pub trace: String,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let net = Net::new(dice.split());
        let founders = dice.pick(&[3, 3, 5]).unwrap_or(3);
        let habits = Habits {
            snapshot_every: dice.between(20, 400),
            log_keep: dice.between(0, 50),
            segment_bytes: dice.between(4 << 10, 64 << 10),
            lease_ttl: Duration::from_secs(15),
        };
        let root = tempfile::Builder::new().prefix("heats-sim-").tempdir_in(memory()).expect("makes a folder");
        // Errors name files, and are carried: where a run is must not be in it.
        std::env::set_current_dir(root.path()).expect("enters the folder");
        let agents = if dice.chance(0.1) { dice.between(10, 50) } else { dice.between(1, 8) } as usize;
        let mut world = Self {
            now: Duration::ZERO,
            operator: Operator::new(founders, agents, dice.split(), net.clone()),
            founders,
            machines: Vec::new(),
            agents: Vec::new(),
            clients: Vec::new(),
            // Its chance is apart, so that seeds stay what they were to the others.
            program: Program::new(Dice::new(!seed), net.clone()),
            witness: Witness::default(),
            replicas: Replicas::default(),
            trace: Trace::begin(),
            looked: Duration::ZERO,
            dice,
            net,
            habits,
            _root: root,
        };
        for id in 1..=founders {
            world.add_machine(id, Duration::ZERO);
        }
        for number in 0..agents {
            let cpus = world.dice.between(1, 4) as u32;
            let dice = world.dice.split();
            world.agents.push(Agent::new(number, cpus, dice, world.net.clone()));
        }
        let known = Known::default();
        // In one world of three there are trials that span machines.
        let nodes_max = if seed.is_multiple_of(3) { agents } else { 1 };
        for number in 0..world.dice.between(1, 3) as usize {
            let order = client::order(&mut world.dice, number, nodes_max);
            let (dice, known) = (world.dice.split(), known.clone());
            world.clients.push(Client::new(number, order, known, dice, world.net.clone()));
        }
        world
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
        self.program.step(self.now);
        let act = self.operator.step(self.now, settle, &mut self.witness);
        act.into_iter().for_each(|act| self.carry_out(act));
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
                Place::Program => self.program.receive(self.now, &parcel),
                Place::Operator => {
                    let act = self.operator.receive(self.now, &parcel, &mut self.witness);
                    act.into_iter().for_each(|act| self.carry_out(act));
                }
                Place::Node { id, life } => {
                    let machine = &self.machines[id as usize - 1];
                    match &machine.state {
                        Life::Up(up) | Life::Frozen(up, ..) if life == 0 || life == machine.lives => {
                            up.receive(from, parcel);
                        }
                        Life::Up(_) | Life::Frozen(..) | Life::Down(_) | Life::Gone => {
                            self.refuse(to, from, &parcel);
                        }
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

    fn carry_out(&mut self, act: Act) {
        match act {
            Act::Start { node, after } => self.add_machine(node, after),
            Act::Retire { node, after } => self.retire(node, after),
            Act::Votes(node) => {
                let lives = self.machines[node as usize - 1].lives;
                assert!(lives > 0, "coordinator {node} was given a vote, and has never run");
            }
        }
    }

    /// No machine of an agent is broken any more, and whoever mended one says so.
    pub fn mend_agents(&mut self) {
        for agent in &mut self.agents {
            if agent.mend() {
                self.operator.has_mended(agent.id(), self.now);
            }
        }
    }

    fn look(&mut self) {
        for machine in &self.machines {
            if let Some(state) = machine.up().and_then(Coordinator::state) {
                self.replicas.look(machine.id, &state, self.now, self.habits.lease_ttl, &self.witness);
            }
        }
    }

    /// The members of the cluster, and whether each votes, as the one that leads knows them.
    fn members(&self) -> Option<Vec<(u64, bool)>> {
        let leader = self.machines.iter().filter_map(Machine::up).find(|up| up.leads())?;
        Some(leader.members().into_iter().map(|member| (member.node, member.voter)).collect())
    }

    /// Nobody waits, every sweep has ended, and all members are up and have applied the same.
    fn is_settled(&self) -> bool {
        if !self.operator.is_done()
            || !self.clients.iter().all(Client::is_done)
            || !self.program.is_done()
            || self.agents.iter().any(|agent| agent.running().next().is_some())
        {
            return false;
        }
        let Some(members) = self.members() else { return false };
        let state_of = |&(node, _): &(u64, bool)| self.machines[node as usize - 1].up().and_then(Coordinator::state);
        let Some(states) = members.iter().map(state_of).collect::<Option<Vec<_>>>() else { return false };
        let Some(first) = states.first() else { return false };
        let ended = |status: &Status| matches!(status, Status::Ended { .. });
        states.iter().all(|state| state.applied == first.applied)
            && first.sweeps.len() == self.clients.len()
            && first.sweeps.values().all(|sweep| ended(&sweep.status))
    }

    fn finish(mut self, faults: u32) -> Outcome {
        self.look();
        let mut ordered = Ordered::default();
        self.clients.iter().for_each(|client| client.tell(&mut ordered));
        let members = self.members().expect("one leads");
        self.operator.check(&members);
        let leader = self.machines.iter().filter_map(Machine::up).find(|up| up.leads());
        let state = leader.and_then(Coordinator::state).expect("it is open");
        check::at_the_end(&state, &self.witness, &ordered);
        self.program.check(&state);
        let calls: Vec<_> = self.clients.iter().flat_map(|client| client.calls.iter().copied()).collect();
        check::in_order(&calls);
        ordered.pausing.iter().for_each(|sweep| self.witness.history.pauses(*sweep));
        self.witness.history.expect_linearizable();
        Outcome {
            simulated: self.now,
            coordinators: self.machines.len(),
            faults,
            promises: self.witness.promises(),
            trials: state.sweeps.values().map(|sweep| sweep.created()).sum(),
            quarantines: self.replicas.quarantines(),
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
            Life::Gone => format!("{} is gone", machine.id),
        });
        let running = self.agents.iter().map(|agent| agent.running().count()).sum::<usize>();
        let machines = machines.collect::<Vec<_>>().join("; ");
        format!(
            "{machines}; members {:?}; {running} trials run; the operator: {}",
            self.members(),
            self.operator.describe()
        )
    }
}

/// Where the files of a run are: in memory, where the machine offers that.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}
