//! Which sweep gets the next free place, and on which agent. Takes a waiting trial before it makes a new one.
//!
//! Decides; records nothing itself: the leader's turn does, after each lease, so that no place is given twice.

use heats_domain::{AgentId, Grant, Inventory, Params, SweepId, SweepSpec};

use crate::fact::{Fact, TrialCreated, TrialLeased};
use crate::sweep::Sweep;

/// What a suggester has for the next trial of a sweep.
#[derive(Clone, PartialEq, Debug)]
pub enum Offer {
    /// This configuration.
    Ready {
        /// The configuration.
        params: Params,
        /// The log index up to which the searcher had seen the history.
        saw_index: u64,
    },
    /// It is being thought about; ask again.
    Later,
    /// Every configuration was suggested.
    Exhausted,
    /// No configuration satisfies the constraints, as far as this many draws can tell.
    Infeasible {
        /// How many were drawn.
        draws: u32,
    },
}

/// Where suggestions come from.
pub trait Suggestions {
    /// The configuration of the sweep's next trial, `sweep.created()`, with the `fixed` values kept where
    /// a user enqueued a point. A call that answers [`Offer::Later`] also asks for it to be made.
    fn offer(&mut self, sweep: &Sweep, fixed: Option<&Params>) -> Offer;
}

/// What a trial of this sweep takes of an agent that has `free` left; `None` where it does not fit.
///
/// Whole GPUs, those with the lowest indices first.
pub fn fit(spec: &SweepSpec, free: &Inventory) -> Option<Grant> {
    let need = &spec.resources;
    let memory = need.memory.map_or(0, |m| m.count);
    let gpus = need.gpus.ceil() as usize;
    if free.cpus < need.cpus || free.memory < memory || free.gpus.len() < gpus {
        return None;
    }
    let gpus = free.gpus.iter().take(gpus).map(|gpu| gpu.index).collect();
    Some(Grant { cpus: need.cpus, memory, gpus })
}

/// The next trial of `sweep` for `agent`: a waiting one, else a new one.
///
/// # Errors
/// The offer that is not a configuration.
pub fn next(
    sweep: &Sweep,
    agent: AgentId,
    grant: Grant,
    suggestions: &mut dyn Suggestions,
) -> Result<Vec<Fact>, Offer> {
    let lease = |trial, attempt| Fact::TrialLeased(TrialLeased { sweep: sweep.id, trial, attempt, agent, grant });
    if let Some(trial) = sweep.waiting.get_min().and_then(|&number| sweep.trial(number)) {
        return Ok(vec![lease(trial.number, trial.attempt() + 1)]);
    }
    let fixed = sweep.queue.front();
    match suggestions.offer(sweep, fixed) {
        Offer::Ready { params, saw_index } => {
            let trial = sweep.created();
            let created = TrialCreated { sweep: sweep.id, trial, params, saw_index, enqueued: fixed.is_some() };
            Ok(vec![Fact::TrialCreated(created), lease(trial, 1)])
        }
        other => Err(other),
    }
}

/// Whether the sweep could use a place now.
pub fn is_hungry(sweep: &Sweep) -> bool {
    sweep.may_lease() && (!sweep.waiting.is_empty() || sweep.may_create())
}

/// The order in which sweeps are asked: fewest leases first, so that each gets its share, then the oldest.
pub fn turn(sweep: &Sweep) -> (usize, SweepId) {
    (sweep.live.len(), sweep.id)
}
