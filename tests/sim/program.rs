//! A program that speaks Optuna's storage protocol: it makes a study, and in it one trial after the other, each with its
//! reports and its value. Where no answer comes it asks again under the same number, as a coordinator does that was asked by it.

use std::collections::BTreeMap;
use std::time::Duration;

use heats_core::State;
use heats_core::fact::Stage;

use crate::chance::Dice;
use crate::net::{Net, Parcel, Place, Reply, Request};

/// How long it waits for an answer before it asks somebody else.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it waits where somebody has answered that he does not lead.
const PAUSE: Duration = Duration::from_millis(200);

/// A call of the protocol.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Demand {
    Study { request: u64 },
    Trial { study: i64, request: u64 },
    Report { trial: i64, step: i64, value: f64 },
    End { trial: i64, value: f64, request: u64 },
}

/// What it knows of a trial of its own.
#[derive(Debug)]
struct Row {
    id: i64,
    reports_max: usize,
    reports: BTreeMap<i64, f64>,
    value: Option<f64>,
}

struct Asked {
    call: u64,
    demand: Demand,
    last: Duration,
}

pub struct Program {
    dice: Dice,
    net: Net,
    leader: Option<u64>,
    asked: Option<Asked>,
    next_at: Duration,
    study: Option<i64>,
    trials_max: usize,
    trials: Vec<Row>,
}

impl Program {
    pub fn new(mut dice: Dice, net: Net) -> Self {
        let next_at = Duration::from_millis(dice.between(0, 20_000));
        let trials_max = dice.between(1, 20) as usize;
        Self { dice, net, leader: None, asked: None, next_at, study: None, trials_max, trials: Vec::new() }
    }

    /// All its trials have ended.
    pub fn is_done(&self) -> bool {
        self.trials.len() == self.trials_max && self.trials.iter().all(|trial| trial.value.is_some())
    }

    /// What is to be asked next.
    fn demand(&mut self) -> Option<Demand> {
        let request = self.dice.between(1, u64::MAX);
        let value = f64::from(self.dice.between(0, 1_000) as u32);
        let Some(study) = self.study else { return Some(Demand::Study { request }) };
        match self.trials.last() {
            Some(Row { id, reports_max, reports, value: None }) if reports.len() < *reports_max => {
                let step = reports.keys().next_back().map_or(0, |last| last + 1);
                Some(Demand::Report { trial: *id, step, value })
            }
            Some(Row { id, value: None, .. }) => Some(Demand::End { trial: *id, value, request }),
            Some(_) | None => (self.trials.len() < self.trials_max).then_some(Demand::Trial { study, request }),
        }
    }

    fn send(&mut self, now: Duration) {
        let target = self.leader.unwrap_or_else(|| self.net.somebody(&mut self.dice));
        let Some(asked) = &mut self.asked else { return };
        (asked.call, asked.last) = (self.net.number(), now);
        let parcel = Parcel::Request { call: asked.call, request: Request::Study(asked.demand) };
        self.net.send(Place::Program, Place::Node { id: target, life: 0 }, parcel);
    }

    /// Does what is due.
    pub fn step(&mut self, now: Duration) {
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
        self.next_at = now + Duration::from_millis(self.dice.between(10, 1_000));
        if let Some(demand) = self.demand() {
            self.asked = Some(Asked { call: 0, demand, last: now });
            self.send(now);
        }
    }

    pub fn receive(&mut self, now: Duration, parcel: &Parcel) {
        let (call, reply) = match parcel {
            Parcel::Reply { call, reply } => (*call, reply),
            Parcel::Refused { call } => (*call, &Reply::No { leader: None, for_good: false }),
            _ => return,
        };
        // The answer to an earlier try is an answer all the same, but its question is not known any more.
        let Some(asked) = self.asked.take_if(|asked| asked.call == call) else { return };
        match (asked.demand, reply) {
            (_, Reply::No { leader, for_good: false }) => {
                self.leader = *leader;
                self.asked = Some(Asked { last: now.saturating_sub(PATIENCE - PAUSE), ..asked });
            }
            (Demand::Study { .. }, Reply::Made(study)) => self.study = Some(*study),
            (Demand::Trial { .. }, Reply::Made(id)) => {
                let reports_max = self.dice.between(0, 10) as usize;
                self.trials.push(Row { id: *id, reports_max, reports: BTreeMap::new(), value: None });
            }
            (Demand::Report { step, value, .. }, Reply::Obeyed) => {
                self.trials.last_mut().map(|trial| trial.reports.insert(step, value));
            }
            (Demand::End { value, .. }, Reply::Moved(true)) => {
                self.trials.iter_mut().for_each(|trial| trial.value = trial.value.or(Some(value)));
            }
            (demand, reply) => panic!("a program asked {demand:?} and was told {reply:?}"),
        }
    }

    /// Whether there is what it was told of, and nothing else: no call that was made again was carried out twice.
    pub fn check(&self, state: &State) {
        assert_eq!(state.studies.iter().count(), 1, "one study was made");
        let study = self.study.and_then(|study| state.studies.get(study as u64)).expect("its study is there");
        assert_eq!(study.trials.len(), self.trials.len(), "O1 is broken: as many trials as were made");
        for (row, trial) in self.trials.iter().zip(&study.trials) {
            assert_eq!((row.id as u64, Stage::Complete), (trial.id, trial.stage), "trial {}", trial.number);
            let reports: BTreeMap<i64, f64> = trial.reports.iter().map(|(step, value)| (*step, *value)).collect();
            assert_eq!((&row.reports, row.value), (&reports, trial.values.first().copied()), "trial {}", trial.number);
        }
    }
}
