//! A user of the simulation: submits a sweep, looks at it and at those of others, pauses it, asks for more trials of it.
//! Asks again with the same request where no answer comes, as the real client does.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use heats_wire::v1;

use crate::chance::Dice;
use crate::check::{Call, Ordered, Promised, Witness};
use crate::net::{Net, Parcel, Place, Reply, Request};

/// How long a client waits for an answer before it asks somebody else.
const PATIENCE: Duration = Duration::from_secs(3);

struct Asked {
    call: u64,
    request: Request,
    /// When it was asked for the first time, and the last.
    begun: Duration,
    last: Duration,
}

/// Sweeps that users tell each other of, whose trials are looked at one by one: those that stop no trial early, and whose
/// trials are on one machine each, so that every trial's end is its agent's word.
pub type Known = Rc<RefCell<Vec<u64>>>;

pub struct Client {
    number: usize,
    dice: Dice,
    net: Net,
    leader: Option<u64>,
    asked: Option<Asked>,
    next_at: Duration,
    /// Its own request, the sweep that it became, its budget.
    request: u64,
    spec: String,
    population: Option<u32>,
    retries: u32,
    known: Known,
    sweep: Option<u64>,
    trials: u32,
    /// Budgets that were asked for, and may have come to be or not: the sweep ended before an answer came.
    maybe_trials: Vec<u32>,
    paused: bool,
    pub calls: Vec<Call>,
}

impl Client {
    pub fn new(number: usize, order: Order, known: Known, mut dice: Dice, net: Net) -> Self {
        let Order { trials, population, retries, spec } = order;
        let request = dice.between(1, u64::MAX);
        let next_at = Duration::from_millis(dice.between(0, 20_000));
        Self {
            number,
            dice,
            net,
            leader: None,
            asked: None,
            next_at,
            request,
            spec,
            population,
            retries,
            known,
            sweep: None,
            trials,
            maybe_trials: Vec::new(),
            paused: false,
            calls: Vec::new(),
        }
    }

    const fn place(&self) -> Place {
        Place::Client(self.number)
    }

    fn stops_trials(&self) -> bool {
        self.population.is_some() || !self.spec.contains(r#""early_stop": {"algorithm": "none"}"#)
    }

    /// Whether each end of a trial is one agent's word. Where retries run out no agent knows which failure was the last.
    fn is_told_by_one(&self) -> bool {
        !self.stops_trials() && self.spec.contains(r#""nodes": 1"#) && self.retries == RETRIES
    }

    /// Adds what it was promised.
    pub fn tell(&self, ordered: &mut Ordered) {
        ordered.requests.insert(self.request);
        if self.stops_trials() {
            ordered.stopping.insert(self.request);
        }
        // A member of a population holds where it is far ahead of the others.
        if self.population.is_some() || self.spec.contains(PROMOTION) {
            ordered.pausing.extend(self.sweep);
        }
        let trials = [self.trials].into_iter().chain(self.maybe_trials.iter().copied()).collect();
        let Self { request, population, retries, .. } = *self;
        ordered.sweeps.extend(self.sweep.map(|sweep| Promised { request, sweep, trials, population, retries }));
    }

    /// Its sweep is submitted, and nothing is left to ask but to resume.
    pub fn is_done(&self) -> bool {
        self.sweep.is_some() && !self.paused && self.asked.is_none()
    }

    fn ask(&mut self, now: Duration, request: Request) {
        self.asked = Some(Asked { call: 0, request, begun: now, last: now });
        self.send(now);
    }

    fn send(&mut self, now: Duration) {
        let target = self.leader.unwrap_or_else(|| self.net.somebody(&mut self.dice));
        let (place, call) = (self.place(), self.net.number());
        let Some(asked) = &mut self.asked else { return };
        (asked.call, asked.last) = (call, now);
        let parcel = Parcel::Request { call, request: asked.request.clone() };
        self.net.send(place, Place::Node { id: target, life: 0 }, parcel);
    }

    /// Does what is due; in the end, `settle`, only what has to be done still.
    pub fn step(&mut self, now: Duration, settle: bool) {
        if let Some(asked) = &self.asked {
            if now >= asked.last + PATIENCE {
                self.leader = None;
                self.send(now);
            }
            return;
        }
        if now < self.next_at {
            return;
        }
        self.next_at = now + Duration::from_millis(self.dice.between(100, 10_000));
        let Some(sweep) = self.sweep else { return self.ask(now, self.submit()) };
        let looks_at = self.dice.pick(&self.known.borrow());
        let request = match self.dice.between(0, 11) {
            _ if self.paused && settle => Request::Control { sweep, pause: false },
            0 if !settle => Request::Control { sweep, pause: !self.paused },
            1 if !settle => Request::Grow { sweep, trials: self.trials + self.dice.between(1, 3) as u32 },
            2 => self.submit(),
            3..=7 => looks_at.map_or(Request::Read(sweep), Request::Trials),
            _ => Request::Read(sweep),
        };
        self.ask(now, request);
    }

    fn submit(&self) -> Request {
        Request::Submit(v1::SubmitRequest {
            request: self.request,
            spec: self.spec.clone(),
            base_dir: "/".to_owned(),
            name: String::new(),
            provenance: "{}".to_owned(),
            code: String::new(),
        })
    }

    pub fn receive(&mut self, now: Duration, parcel: &Parcel, witness: &mut Witness) {
        let (call, reply) = match parcel {
            Parcel::Reply { call, reply } => (*call, reply),
            Parcel::Refused { call } => (*call, &Reply::No { leader: None, for_good: false }),
            _ => return,
        };
        // The answer to an earlier try is an answer all the same, but its question is not known any more.
        let Some(asked) = self.asked.take_if(|asked| asked.call == call) else { return };
        let mut answered = |index| self.calls.push(Call { begun: asked.begun, answered: now, index });
        match (&asked.request, reply) {
            (_, Reply::No { leader, for_good: false }) => {
                self.leader = *leader;
                self.asked = Some(Asked { last: now.saturating_sub(PATIENCE - Duration::from_millis(200)), ..asked });
            }
            (Request::Submit(_), Reply::Submitted { sweep, existed: _ }) => {
                let call = witness.history.submit(asked.begun, self.request);
                witness.history.submitted(call, now, *sweep);
                if self.sweep.replace(*sweep).is_none() && self.is_told_by_one() {
                    self.known.borrow_mut().push(*sweep);
                }
            }
            (Request::Trials(sweep), Reply::Trials { log_index, trials }) => {
                answered(*log_index);
                witness.history.read(self.number, asked.begun, now, *sweep, trials.iter().copied());
            }
            (Request::Read(_), Reply::Sweep { log_index, created, trials }) => {
                answered(*log_index);
                assert!(created <= trials, "S1 is broken: {created} of {trials} trials");
                assert!(
                    *trials >= self.trials,
                    "a budget that was promised is not there: {trials}, not {}",
                    self.trials
                );
            }
            (Request::Control { pause, .. }, Reply::Done { log_index }) => {
                answered(*log_index);
                self.paused = *pause;
            }
            (Request::Grow { trials, .. }, Reply::Done { log_index }) => {
                answered(*log_index);
                self.trials = *trials;
            }
            // It has ended meanwhile.
            (Request::Control { .. }, Reply::No { for_good: true, .. }) => self.paused = false,
            (Request::Grow { trials, .. }, Reply::No { for_good: true, .. }) => self.maybe_trials.push(*trials),
            (request, reply) => panic!("a client asked {request:?} and was told {reply:?}"),
        }
    }
}

/// The rule by which trials hold at rungs.
const PROMOTION: &str = "asha_promotion";

/// How often a sweep trains a population.
const POPULATION: f64 = 0.2;

/// As many retries as a sweep may have: a machine that fails everything has no other to be compared with where it is alone, and
/// then its failures are the trials'.
const RETRIES: u32 = 1_000;
/// How often a sweep has so few that they may run out.
const FEW_RETRIES: f64 = 0.25;

/// A sweep to be submitted.
pub struct Order {
    /// How many trials it has; with a population at most.
    trials: u32,
    /// How many members its population has, where it has one.
    population: Option<u32>,
    /// How often each trial may be tried again.
    retries: u32,
    spec: String,
}

/// Draws a sweep, whose trials span up to so many machines.
pub fn order(dice: &mut Dice, number: usize, nodes_max: usize) -> Order {
    if dice.chance(POPULATION) { population(dice, number) } else { sweep(dice, number, nodes_max) }
}

/// A population whose members keep checkpoints, and are replaced by forks of better ones.
fn population(dice: &mut Dice, number: usize) -> Order {
    let members = dice.between(2, 8) as u32;
    let trials = members + dice.between(0, 30) as u32;
    let steps = dice.between(4, 27);
    let step_ms = dice.between(20, 700);
    let interval = dice.between(1, 4);
    let keep_every = dice.between(1, interval);
    let spec = format!(
        r#"{{"version": 1, "name": "sweep-{number}", "command": ["train"],
            "space": {{"x": {{"float": [0.0, 1.0]}}, "steps": {steps}, "step_ms": {step_ms}, "keep_every": {keep_every}}},
            "objective": {{"minimize": "loss"}}, "early_stop": {{"algorithm": "none"}},
            "search": {{"algorithm": "pbt", "seed": 7, "population": {members}, "perturbation_interval": {interval},
                "max": {steps}}}, "budget": {{"trials": {trials}}}, "run": {{"retries": {RETRIES}}}}}"#
    );
    Order { trials, population: Some(members), retries: RETRIES, spec }
}

fn sweep(dice: &mut Dice, number: usize, nodes_max: usize) -> Order {
    let retries = if dice.chance(FEW_RETRIES) { dice.between(0, 3) as u32 } else { RETRIES };
    let trials = dice.between(3, 40) as u32;
    let steps = dice.between(1, 27);
    let step_ms = dice.between(20, 700);
    let algorithm = dice.pick(&["random", "sobol"]).unwrap_or("random");
    let stopper = dice.pick(&["none", "none", "asha", "median", PROMOTION]).unwrap_or("none");
    let stopper = match stopper {
        "asha" | PROMOTION if steps >= 3 => {
            format!(r#"{{"algorithm": "{stopper}", "resource": "step", "min": 1, "max": {steps}, "eta": 3}}"#)
        }
        "none" | "asha" | PROMOTION => r#"{"algorithm": "none"}"#.to_owned(),
        other => format!(r#"{{"algorithm": "{other}"}}"#),
    };
    let nodes = if nodes_max == 1 { 1 } else { dice.pick(&[1, 2, 2, 3]).unwrap_or(1).min(nodes_max) };
    let spec = format!(
        r#"{{"version": 1, "name": "sweep-{number}", "command": ["train"],
            "space": {{"x": {{"float": [0.0, 1.0]}}, "steps": {steps}, "step_ms": {step_ms}}},
            "objective": {{"minimize": "loss"}}, "search": {{"algorithm": "{algorithm}", "seed": 7}},
            "early_stop": {stopper}, "budget": {{"trials": {trials}}}, "resources": {{"nodes": {nodes}}}, "run": {{"retries": {retries}}}}}"#
    );
    Order { trials, population: None, retries, spec }
}
