//! What must be true of machines that are left alone: each for failures that happened there, nothing is given to it before its
//! time, and it is trusted again for a reason. Nothing here knows how likely failures are: that is decided in the product alone.

use std::collections::{BTreeMap, BTreeSet};

use heats_core::fact::{AgentQuarantined, AgentReleased, FailedAttempt};
use heats_core::health::Part;
use heats_core::ops::quarantine::{FAILURES_MIN, START_FAILURES_MIN};
use heats_core::{Fact, Record, State};
use heats_domain::{AgentId, FailureKind};

use crate::check::Witness;

/// What coordinators showed of the machines that are left alone, across all of their lives.
#[derive(Debug, Default)]
pub struct Quarantines {
    /// The log index of the last that was seen of each agent.
    seen: BTreeMap<AgentId, u64>,
    /// The last quarantine that was seen of each.
    last: BTreeMap<AgentId, AgentQuarantined>,
    count: u32,
}

impl Quarantines {
    /// An agent was given something by `record`: not while it was to be left alone, as far as `state` shows.
    pub fn expect_open(state: &State, agent: AgentId, record: &Record) {
        let Some((quarantine, _)) = state.quarantine(Part::machine(agent)) else { return };
        let said_at = state.quarantines.get(&Part::machine(agent)).map_or(0, |said| said.log_index);
        let is_before = record.log_index <= said_at || record.at_ms >= quarantine.until_ms;
        assert!(is_before, "{agent} is left alone by index {said_at}, and given something at {}", record.log_index);
    }

    /// How many were seen.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Looks at what is new in a state.
    pub fn look(&mut self, state: &State, witness: &Witness) {
        for (Part { agent, gpu: _ }, record) in &state.quarantines {
            let seen = self.seen.entry(*agent).or_default();
            if record.log_index <= std::mem::replace(seen, record.log_index.max(*seen)) {
                continue;
            }
            match &record.cell.fact {
                Some(Fact::AgentQuarantined(fact)) => {
                    expect_evidence(state, fact, record.at_ms);
                    self.last.insert(*agent, fact.clone());
                    self.count += 1;
                }
                Some(Fact::AgentReleased(fact)) => expect_reason(state, fact, self.last.get(agent), witness),
                other => panic!("neither a quarantine nor a release: {other:?}"),
            }
        }
    }
}

/// As many trials as it takes failed there, each in the way that is said.
fn expect_evidence(state: &State, fact: &AgentQuarantined, at_ms: u64) {
    let AgentQuarantined { agent, since_ms, until_ms, delay_ms, proven: _, why: _, failures } = fact;
    assert_eq!(
        (*until_ms, *since_ms <= at_ms),
        (at_ms + delay_ms, true),
        "the times of {fact:?}, which was at {at_ms}"
    );
    let failed = |one: &FailedAttempt| {
        let trial = state.sweeps.get(&one.sweep)?.trial(one.trial)?;
        let attempt = trial.attempts.get(one.attempt.checked_sub(1)? as usize)?;
        let kind = FailureKind::try_from(one.failure).ok()?;
        (attempt.only_agent() == Some(*agent) && attempt.end?.failure == Some(kind)).then_some((one.sweep, one.trial))
    };
    let trials: BTreeSet<_> = failures.iter().map(failed).collect();
    assert!(!trials.contains(&None), "{agent} is left alone for what did not fail there: {fact:?}");
    assert_eq!(trials.len(), failures.len(), "{agent} is left alone for one trial twice: {fact:?}");
    let unstarted = failures.iter().filter(|one| one.failure() == FailureKind::StartFailed).count();
    let are_enough = failures.len() >= FAILURES_MIN || unstarted >= START_FAILURES_MIN;
    // Later ones are for the same, or for a single trial that was tried there.
    assert!(are_enough || *since_ms < at_ms, "{agent} is left alone for too little: {fact:?}");
}

/// Somebody asked for it, or what was tried there since worked, or others turned out to be no better.
fn expect_reason(state: &State, fact: &AgentReleased, before: Option<&AgentQuarantined>, witness: &Witness) {
    let AgentReleased { agent, why, by } = fact;
    let tried_there = |since_ms| {
        let trials = state.sweeps.values().flat_map(|sweep| &sweep.trials);
        let mut attempts = trials.flat_map(|trial| &trial.attempts).filter(|one| one.only_agent() == Some(*agent));
        attempts.any(|attempt| attempt.leased_ms > since_ms && attempt.worked)
    };
    let is_founded = match (by.is_empty(), why.as_str()) {
        (false, _) => witness.has_released(*agent),
        (true, "a trial that was tried there worked") => before.is_none_or(|before| tried_there(before.since_ms)),
        (true, why) => why.starts_with("its trials fail elsewhere as well"),
    };
    assert!(is_founded, "{agent} is trusted again for no reason: {fact:?}");
}
