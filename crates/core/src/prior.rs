//! What a sweep took over from earlier ones when it was submitted: part of the fact that it was, so that it stays repeatable
//! when they are removed.

use heats_domain::{Direction, Params, SweepId, TrialState};
use heats_search::{Outcome, Past};

/// What was taken over from one sweep.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Prior {
    /// The sweep.
    #[prost(message, required, tag = "1")]
    pub sweep: SweepId,
    /// What it was called.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its trials, as far as they were taken, in the order of their numbers.
    #[prost(message, repeated, tag = "3")]
    pub trials: Vec<PriorTrial>,
    /// How many of its trials are no configurations of the new sweep's space.
    #[prost(uint32, tag = "4")]
    pub unfit: u32,
    /// How many would have been, and were left out because there is a limit.
    #[prost(uint32, tag = "5")]
    pub left_out: u32,
}

/// A trial of an earlier sweep.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PriorTrial {
    /// Its number there.
    #[prost(uint32, tag = "1")]
    pub trial: u32,
    /// Its configuration, as one of the new sweep's space.
    #[prost(message, required, tag = "2")]
    pub params: Params,
    /// Steps that it reported at, ascending: those that matter to the new sweep.
    #[prost(uint64, repeated, tag = "3")]
    pub steps: Vec<u64>,
    /// The objective's value at each of them.
    #[prost(double, repeated, tag = "4")]
    pub values: Vec<f64>,
    /// How it ended: completed, stopped or infeasible.
    #[prost(enumeration = "TrialState", tag = "5")]
    pub state: i32,
    /// The value that it ended with, where it had one: the best where it completed, the last where it was stopped.
    #[prost(double, optional, tag = "6")]
    pub value: Option<f64>,
}

impl Prior {
    /// As a searcher sees it; values become losses by `direction`, which both sweeps have.
    pub fn learned(&self, direction: Direction) -> heats_search::Prior {
        // As of the sweep's own trials: what is no finite number is the worst.
        let loss = |value: f64| if value.is_finite() { direction.loss(value) + 0.0 } else { f64::INFINITY };
        let past = |one: &PriorTrial| {
            let last = one.value.map_or(f64::INFINITY, loss);
            let outcome = match one.state() {
                TrialState::Completed => Outcome::Completed(last),
                TrialState::Stopped => Outcome::Stopped(last),
                TrialState::Infeasible => Outcome::Infeasible,
                TrialState::Waiting
                | TrialState::Leased
                | TrialState::Running
                | TrialState::Paused
                | TrialState::Failed
                | TrialState::Cancelled => Outcome::Failed,
            };
            let reports = one.steps.iter().copied().zip(one.values.iter().map(|value| loss(*value))).collect();
            Past { params: one.params.clone(), reports, outcome }
        };
        heats_search::Prior { trials: self.trials.iter().map(past).collect() }
    }
}
