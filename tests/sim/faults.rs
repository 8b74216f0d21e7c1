//! What goes wrong, and when. Each kind is drawn as often as its weight says; how bad it gets is the run's.

use std::time::Duration;

use crate::chance::Dice;
use crate::coordinator::Coordinator;
use crate::machine::{Life, Machine};
use crate::net::Place;
use crate::world::World;

#[derive(Clone, Copy, Debug)]
enum Kind {
    KillLeader,
    Kill,
    PowerCut,
    PowerCutOfAll,
    PowerCutMidway,
    Freeze,
    FreezeLeader,
    Isolate,
    Split,
    OneWay,
    Quality,
    ClockJump,
    SlowDisk,
    FullDisk,
    FailedSync,
    AgentRestart,
    AgentLoss,
    AgentCut,
    AgentBroken,
    BreakStreams,
    Heal,
}

const KINDS: [Kind; 28] = [
    Kind::KillLeader,
    Kind::KillLeader,
    Kind::Kill,
    Kind::PowerCut,
    Kind::PowerCut,
    Kind::PowerCutOfAll,
    Kind::PowerCutMidway,
    Kind::PowerCutMidway,
    Kind::Freeze,
    Kind::FreezeLeader,
    Kind::Isolate,
    Kind::Split,
    Kind::OneWay,
    Kind::Quality,
    Kind::ClockJump,
    Kind::SlowDisk,
    Kind::FullDisk,
    Kind::FailedSync,
    Kind::AgentRestart,
    Kind::AgentLoss,
    Kind::AgentCut,
    Kind::AgentBroken,
    Kind::AgentBroken,
    Kind::BreakStreams,
    Kind::Heal,
    Kind::Heal,
    Kind::Heal,
    Kind::Heal,
];

pub struct Faults {
    dice: Dice,
    next: Duration,
    /// The usual time between two, in milliseconds.
    pace_ms: u64,
    count: u32,
}

impl Faults {
    pub fn new(mut dice: Dice) -> Self {
        let pace_ms = dice.pick(&[500, 2_000, 8_000]).unwrap_or(2_000);
        // First it comes to life.
        Self { dice, next: Duration::from_secs(3), pace_ms, count: 0 }
    }

    pub const fn count(&self) -> u32 {
        self.count
    }

    fn time(&mut self, low_ms: u64, high_ms: u64) -> Duration {
        Duration::from_millis(self.dice.between(low_ms, high_ms))
    }

    /// Lets something go wrong, where it is time.
    pub fn strike(&mut self, world: &mut World) {
        if world.now < self.next {
            return;
        }
        self.next = world.now + self.time(self.pace_ms / 10, self.pace_ms * 2);
        let Some(kind) = self.dice.pick(&KINDS) else { return };
        self.count += 1;
        let nodes: Vec<u64> = world.machines.iter().filter(|machine| !machine.is_gone()).map(|one| one.id).collect();
        let Some(any) = self.dice.pick(&nodes).map(|node| node as usize - 1) else { return };
        let leads = |machine: &Machine| machine.up().is_some_and(Coordinator::leads);
        let leader = world.machines.iter().position(leads).unwrap_or(any);
        let down = self.time(100, 20_000);
        match kind {
            Kind::KillLeader => world.kill(leader, down, false),
            Kind::Kill => world.kill(any, down, false),
            Kind::PowerCut => world.kill(any, down, true),
            Kind::PowerCutOfAll => {
                for place in 0..world.machines.len() {
                    let down = self.time(100, 5_000);
                    world.kill(place, down, true);
                }
            }
            Kind::PowerCutMidway => {
                let folder = self.dice.pick(&["log", "snapshots", "snapshots"]).unwrap_or("snapshots");
                let operations = self.dice.between(0, 8) as u32;
                if let Some(up) = world.machines[any].up() {
                    up.cut_power_after(folder, operations);
                }
            }
            Kind::Freeze => world.freeze(any, down),
            Kind::FreezeLeader => world.freeze(leader, down),
            Kind::Isolate => self.split(world, &[any as u64 + 1], true),
            Kind::Split => {
                let side: Vec<u64> = nodes.into_iter().filter(|_| self.dice.chance(0.5)).collect();
                self.split(world, &side, true);
            }
            Kind::OneWay => self.split(world, &[any as u64 + 1], false),
            Kind::Quality => {
                let loss = self.dice.pick(&[0.0, 0.01, 0.1, 0.3]).unwrap_or_default();
                let repeats = self.dice.pick(&[0.0, 0.01, 0.2]).unwrap_or_default();
                let slowest = self.dice.pick(&[2, 10, 100, 400]).unwrap_or(4);
                world.net.set_quality(loss, repeats, slowest);
            }
            Kind::ClockJump => {
                let hours = self.dice.between(0, 48) as i64 - 24;
                world.machines[any].skew_ms = hours * 3_600_000 / 7;
            }
            Kind::SlowDisk => {
                let delay = self.time(1, 400);
                if let Some(up) = world.machines[any].up() {
                    up.disk.set_delay(delay);
                }
            }
            Kind::FullDisk => {
                if let Some(up) = world.machines[any].up() {
                    up.disk.set_full(true);
                }
            }
            Kind::FailedSync => {
                if let Some(up) = world.machines[any].up() {
                    up.disk.fail_syncs();
                }
            }
            Kind::AgentBroken => {
                let number = self.dice.between(0, world.agents.len() as u64 - 1) as usize;
                let until = world.now + self.time(5_000, 90_000);
                world.agents[number].break_machine(until);
            }
            Kind::AgentRestart | Kind::AgentLoss | Kind::AgentCut => {
                let number = self.dice.between(0, world.agents.len() as u64 - 1) as usize;
                let now = world.now;
                match kind {
                    Kind::AgentRestart => world.agents[number].restart(now, down, &mut world.witness),
                    Kind::AgentLoss => world.agents[number].lose(now, down, &mut world.witness),
                    _ => {
                        for node in nodes {
                            self.cut(world, Place::Agent(number), Place::Node { id: node, life: 0 }, true);
                        }
                    }
                }
            }
            Kind::BreakStreams => {
                let number = self.dice.between(0, world.agents.len() as u64 - 1) as usize;
                world.net.break_streams(Place::Agent(number));
            }
            Kind::Heal => {
                world.net.heal();
                world.net.set_quality(0.0, 0.0, 4);
            }
        }
    }

    /// Cuts the coordinators of one side off from the others; agents and clients stay with either or both.
    fn split(&mut self, world: &World, side: &[u64], both_ways: bool) {
        let node = |id| Place::Node { id, life: 0 };
        let others: Vec<u64> = (1..=world.machines.len() as u64).filter(|id| !side.contains(id)).collect();
        for &one in side {
            for &other in &others {
                self.cut(world, node(one), node(other), both_ways);
            }
            for number in 0..world.agents.len() {
                if self.dice.chance(0.5) {
                    self.cut(world, Place::Agent(number), node(one), both_ways);
                }
            }
        }
    }

    fn cut(&mut self, world: &World, from: Place, to: Place, both_ways: bool) {
        world.net.cut(from, to);
        if both_ways {
            world.net.cut(to, from);
        }
    }

    /// Nothing more goes wrong, and what was broken is mended.
    pub fn cease(&mut self, world: &mut World) {
        world.net.heal();
        world.net.set_quality(0.0, 0.0, 4);
        world.mend_agents();
        for machine in &mut world.machines {
            match &mut machine.state {
                Life::Up(up) | Life::Frozen(up, ..) => {
                    up.disk.set_delay(Duration::ZERO);
                    up.disk.set_full(false);
                    up.disk.cut_after(None);
                }
                Life::Down(_) | Life::Gone => {}
            }
        }
    }
}
