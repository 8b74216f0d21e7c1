//! What becomes of the machines of coordinators: they start, run, stand still, are killed, and are taken away.

use std::path::PathBuf;
use std::time::Duration;

use crate::coordinator::Coordinator;
use crate::net::Place;
use crate::world::{TICK, World};

/// The wall clock when a run begins, in milliseconds.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// A coordinator's machine.
pub struct Machine {
    pub id: u64,
    /// How often it has started.
    pub lives: u32,
    dir: PathBuf,
    /// What its wall clock is wrong by.
    pub skew_ms: i64,
    pub state: Life,
    /// Its operator takes it away then.
    leaves_at: Option<Duration>,
}

pub enum Life {
    Up(Box<Coordinator>),
    /// Stands still since then, until then.
    Frozen(Box<Coordinator>, Duration, Duration),
    Down(Duration),
    /// It was taken away.
    Gone,
}

impl Machine {
    /// One without anything on its disk, which starts at `at` for the first time.
    pub fn new(id: u64, at: Duration) -> Self {
        let dir = PathBuf::from(format!("{id}-1"));
        Self { id, lives: 0, dir, skew_ms: 0, state: Life::Down(at), leaves_at: None }
    }

    pub const fn is_gone(&self) -> bool {
        matches!(self.state, Life::Gone)
    }

    /// What runs on it, where it runs.
    pub fn up(&self) -> Option<&Coordinator> {
        match &self.state {
            Life::Up(up) => Some(up),
            Life::Frozen(..) | Life::Down(_) | Life::Gone => None,
        }
    }
}

impl World {
    /// Lets a machine run for one tick.
    pub fn run_machine(&mut self, place: usize) {
        let now = self.now;
        let machine = &mut self.machines[place];
        if machine.leaves_at.is_some_and(|at| now >= at) {
            return self.take_away(place);
        }
        let wall = (BEGIN_MS + now.as_millis() as u64).saturating_add_signed(machine.skew_ms);
        match &mut machine.state {
            Life::Up(up) => {
                up.clock.set(wall);
                up.host.run(TICK);
                if up.disk.is_out() {
                    let down = Duration::from_millis(self.dice.between(100, 20_000));
                    return self.kill(place, down, true);
                }
                match up.failure() {
                    Err(why) => panic!("coordinator {} does not start on what it left behind: {why}", machine.id),
                    // Its process ends, and whoever runs the machine makes room and starts it again.
                    Ok(Some(_)) => {
                        let after = Duration::from_millis(self.dice.between(200, 5_000));
                        self.kill(place, after, false);
                    }
                    Ok(None) => {}
                }
            }
            Life::Frozen(_, since, until) if now >= *until => {
                let gap = now - *since;
                if let Life::Frozen(up, ..) = std::mem::replace(&mut machine.state, Life::Down(now)) {
                    up.host.wake_after(gap);
                    machine.state = Life::Up(up);
                }
            }
            Life::Down(until) if now >= *until => self.start(place),
            Life::Frozen(..) | Life::Down(_) | Life::Gone => {}
        }
    }

    fn start(&mut self, place: usize) {
        let drift = self.dice.between(0, 2_000) as i64 - 1_000;
        let machine = &mut self.machines[place];
        machine.lives += 1;
        let at = Place::Node { id: machine.id, life: machine.lives };
        let up = Coordinator::start(at, machine.dir.clone(), self.founders, self.habits, self.net.clone(), drift);
        machine.state = Life::Up(Box::new(up));
    }

    /// Kills a coordinator, which starts again after `time`; by a power cut, or its process alone.
    pub fn kill(&mut self, place: usize, time: Duration, power: bool) {
        let machine = &mut self.machines[place];
        if matches!(machine.state, Life::Down(_) | Life::Gone) {
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
            other @ (Life::Frozen(..) | Life::Down(_) | Life::Gone) => other,
        };
    }

    /// Adds a machine, which starts after `time`.
    pub fn add_machine(&mut self, id: u64, time: Duration) {
        assert_eq!(id, self.machines.len() as u64 + 1, "coordinators are numbered in their order");
        self.machines.push(Machine::new(id, self.now + time));
        self.net.know(id);
    }

    /// Takes a machine away after `time`, for good.
    pub fn retire(&mut self, id: u64, time: Duration) {
        self.machines[id as usize - 1].leaves_at = Some(self.now + time);
    }

    fn take_away(&mut self, place: usize) {
        self.kill(place, Duration::ZERO, false);
        let machine = &mut self.machines[place];
        (machine.state, machine.leaves_at) = (Life::Gone, None);
        let id = machine.id;
        self.net.forget(id);
    }
}
