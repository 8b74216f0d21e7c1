//! Agents that an operator drains: they get nothing more. Not the draining of sweeps: that is `drain`. And what agents are
//! asked to give back, which includes the places that another sweep gets.
//!
//! What an agent holds is not taken from it here: it is asked for it (see [`leaving`]), and gives it back by the end of
//! the attempt. So no trial runs twice at once.

use heats_domain::{AgentId, SweepId};

use super::attempts::Key;
use super::quarantine::is_probe;
use super::{Decision, agent};
use crate::fact::{AgentDrained, AgentUndrained, Fact};
use crate::refusal::Refusal;
use crate::state::State;

/// The longest reason, and the longest name of who drained, in bytes.
pub const REASON_MAX: usize = 1_024;

/// What an operator asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drain {
    /// Whom.
    pub agent: AgentId,
    /// Why, in the operator's words; may be empty.
    pub reason: String,
    /// Who asks.
    pub by: String,
    /// What runs there is ended and waits for another agent; otherwise it runs to its end.
    pub now: bool,
}

impl Drain {
    /// Drains the agent. One that is drained already keeps its reason where this gives none, and what was to be
    /// ended stays so.
    pub fn decide(self, state: &State) -> Decision<()> {
        let Self { agent: id, reason, by, now } = self;
        agent(state, id)?;
        for (what, text) in [("the reason", &reason), ("the operator's name", &by)] {
            if text.len() > REASON_MAX {
                return Err(Refusal::TooLarge { what, bytes: text.len(), limit: REASON_MAX });
            }
        }
        let fact = match state.drain(id) {
            None => AgentDrained { agent: id, reason, by, now },
            Some((old, _)) => {
                let reason = if reason.is_empty() { old.reason.clone() } else { reason };
                if reason == old.reason && (old.now || !now) {
                    return Ok((Vec::new(), ()));
                }
                AgentDrained { agent: id, reason, by, now: now || old.now }
            }
        };
        Ok((vec![Fact::AgentDrained(fact)], ()))
    }
}

/// Leases to the agent again; what was asked of it before is not taken back.
pub fn undrain(state: &State, id: AgentId) -> Decision<()> {
    agent(state, id)?;
    let fact = Fact::AgentUndrained(AgentUndrained { agent: id });
    Ok((if state.drain(id).is_some() { vec![fact] } else { Vec::new() }, ()))
}

/// What a drained agent is asked to give back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    /// The attempt, unless its process was started.
    Unstarted(Key),
    /// The attempt, whether or not it runs.
    Whole(Key),
    /// The same, for this sweep of a higher priority.
    Recalled(Key, SweepId),
}

impl Leaving {
    /// Which attempt.
    pub const fn key(self) -> Key {
        match self {
            Self::Unstarted(key) | Self::Whole(key) | Self::Recalled(key, _) => key,
        }
    }
}

/// What `id` is asked to give back: what a drain asks for, what a sweep of higher priority does, and where it is quarantined, or a
/// GPU of it, what it got of that before and has not begun. Trials that are over are being ended anyway.
pub fn leaving(state: &State, id: AgentId) -> Vec<Leaving> {
    let drain = state.drain(id).map(|(drain, _)| drain.now);
    let quarantines: Vec<_> = state.quarantined(id).collect();
    let leases = state.leases.get(&id).into_iter().flatten();
    let asked = leases.filter_map(|(&(sweep, number), lease)| {
        let key = Key { sweep, trial: number, attempt: lease.attempt };
        let trial = state.sweeps.get(&sweep)?.trial(number)?;
        let leased_ms = trial.live().map(|(_, attempt)| attempt.leased_ms)?;
        let mut own = quarantines.iter().filter(|(part, _)| part.is_in(&lease.grant));
        let is_suspended = own.any(|(_, quarantine)| !is_probe(quarantine, leased_ms));
        match (drain, lease.recalled) {
            _ if trial.is_being_ended() => None,
            (Some(true), _) => Some(Leaving::Whole(key)),
            (_, Some(by)) => Some(Leaving::Recalled(key, by)),
            (Some(false), None) if !trial.has_begun(lease.rank) => Some(Leaving::Unstarted(key)),
            (None, None) if is_suspended && !trial.has_begun(lease.rank) => Some(Leaving::Unstarted(key)),
            (Some(false) | None, None) => None,
        }
    });
    asked.collect()
}

#[cfg(test)]
mod tests {
    use heats_domain::{AgentId, FailureKind, TrialState};

    use super::{Drain, Leaving, REASON_MAX, leaving};
    use crate::ops::attempts::{End, Key};
    use crate::ops::retries::REQUEUES_MAX;
    use crate::testing::{Cluster, SweepBuilder, attach};
    use crate::{Op, Refusal};

    const A: AgentId = AgentId { bits: 1 };

    fn drain(cluster: &mut Cluster, reason: &str, now: bool) {
        let drain = Drain { agent: A, reason: reason.into(), by: "ann@desk".into(), now };
        cluster.op(Op::Drain(drain)).expect("is drained");
    }

    #[test]
    fn a_drained_agent_gets_nothing_more_and_what_runs_goes_on_to_its_end() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(4));
        cluster.attach(1, 2);
        let keys = cluster.dispatch();
        cluster.start(keys[0]);
        cluster.now_ms += 1;
        drain(&mut cluster, "new disk", false);
        assert_eq!(leaving(&cluster.applied, A), [Leaving::Unstarted(keys[1])]);
        cluster.complete(keys[0], 0.5);
        assert_eq!((cluster.state(id, 0), cluster.dispatch()), (TrialState::Completed, vec![]));
        // Neither another leader nor the agent's restart changes that.
        cluster.fail_over();
        cluster.attach_holding(1, 2, &keys[1..]);
        assert_eq!(cluster.dispatch(), []);
        let drained = cluster.applied.drain(A).map(|(drain, _)| (drain.reason.as_str(), drain.by.as_str()));
        assert_eq!(drained, Some(("new disk", "ann@desk")));
        cluster.op(Op::Undrain(A)).expect("is there");
        assert_eq!(cluster.dispatch().len(), 1);
        assert_eq!(leaving(&cluster.applied, A), []);
    }

    #[test]
    fn what_a_drained_agent_gives_back_waits_for_another_and_counts_for_nothing() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1).set("run", "retries", 0));
        let mut key = Key { sweep: id, trial: 0, attempt: 0 };
        for attempt in 1..REQUEUES_MAX + 9 {
            key.attempt = attempt;
            cluster.attach(1, 1);
            assert_eq!(cluster.dispatch(), [key]);
            cluster.start(key);
            drain(&mut cluster, "", true);
            assert_eq!(leaving(&cluster.applied, A), [Leaving::Whole(key)]);
            cluster.finish(key, End::Preempted);
            assert_eq!(cluster.dispatch(), [], "not to the drained one");
            cluster.op(Op::Undrain(A)).expect("is there");
        }
        let trial = cluster.trial(id, 0);
        assert_eq!((trial.state, trial.retries_used), (TrialState::Waiting, 0));
        let failures = trial.attempts.iter().map(|attempt| attempt.end.and_then(|end| end.failure));
        assert!(failures.into_iter().all(|failure| failure == Some(FailureKind::Preempted)));
    }

    #[test]
    fn the_limit_of_requeues_is_for_what_was_lost_and_not_for_what_was_given_back() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
        cluster.attach(1, 1);
        let end = |cluster: &mut Cluster, end| {
            let key = cluster.dispatch()[0];
            cluster.finish(key, end);
        };
        for _ in 0..REQUEUES_MAX {
            end(&mut cluster, End::Preempted);
            end(&mut cluster, End::Lost);
        }
        end(&mut cluster, End::Preempted);
        assert_eq!(cluster.state(id, 0), TrialState::Waiting);
        end(&mut cluster, End::Lost);
        assert_eq!(cluster.state(id, 0), TrialState::Failed);
    }

    #[test]
    fn a_trial_that_is_given_back_to_a_sweep_that_ends_is_cancelled() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.control(id, crate::ops::control::Verb::Stop).expect("lives");
        cluster.finish(key, End::Preempted);
        assert_eq!(cluster.state(id, 0), TrialState::Cancelled);
    }

    #[test]
    fn an_agent_that_can_start_nothing_gets_nothing_until_it_can() {
        let mut cluster = Cluster::default();
        cluster.submit(SweepBuilder::minimize("loss").trials(4));
        let full = crate::ops::agents::Attach { able: false, ..attach(1, 1, 0) };
        cluster.op(Op::Attach(full)).expect("attaches");
        assert_eq!(cluster.dispatch(), []);
        cluster.leading.set_able(A, true);
        let key = cluster.dispatch()[0];
        cluster.leading.set_able(A, false);
        cluster.complete(key, 0.5);
        assert_eq!(cluster.dispatch(), []);
        // One that attaches anew says so anew.
        cluster.attach(1, 1);
        assert_eq!(cluster.dispatch().len(), 1);
    }

    #[test]
    fn a_gpu_that_must_not_be_leased_is_not_and_the_agents_others_are() {
        let mut cluster = Cluster::default();
        cluster.submit(SweepBuilder::minimize("loss").trials(9).set("resources", "gpus", 1));
        let with = |gpus: &[u32]| gpus.iter().copied().collect();
        let two = crate::ops::agents::Attach { unusable: with(&[0]), ..attach(1, 8, 3) };
        cluster.op(Op::Attach(two)).expect("attaches");
        let grants = |cluster: &Cluster| {
            let leases = cluster.leading.draft().leases.get(&A).into_iter().flatten();
            leases.flat_map(|(_, lease)| lease.grant.gpus.clone()).collect::<Vec<_>>()
        };
        let keys = cluster.dispatch();
        assert_eq!(grants(&cluster), [1, 2]);
        // One that fails while it is held: the trial goes on, and is the last there.
        cluster.leading.set_unusable(A, with(&[0, 1]));
        cluster.complete(keys[0], 0.5);
        cluster.complete(keys[1], 0.5);
        assert_eq!((cluster.dispatch().len(), grants(&cluster)), (1, vec![2]));
        cluster.leading.set_unusable(A, with(&[]));
        assert_eq!((cluster.dispatch().len(), grants(&cluster).len()), (2, 3));
    }

    #[test]
    fn twice_is_as_good_as_once_and_says_more_where_it_is_told_more() {
        let mut cluster = Cluster::default();
        let unknown = Drain { agent: A, reason: String::new(), by: String::new(), now: false };
        assert_eq!(cluster.op(Op::Drain(unknown.clone())), Err(Refusal::NoSuchAgent(A.to_string())));
        assert_eq!(cluster.op(Op::Undrain(A)), Err(Refusal::NoSuchAgent(A.to_string())));
        cluster.attach(1, 1);
        let told = |cluster: &Cluster| {
            let drain = cluster.applied.drain(A).map(|(drain, _)| (drain.reason.clone(), drain.now));
            (cluster.entries.len(), drain.unwrap_or_default())
        };
        drain(&mut cluster, "fans", false);
        drain(&mut cluster, "", false);
        assert_eq!(told(&cluster), (2, ("fans".into(), false)));
        drain(&mut cluster, "", true);
        drain(&mut cluster, "fans", false);
        assert_eq!(told(&cluster), (3, ("fans".into(), true)), "what was to be ended stays so");
        drain(&mut cluster, "disk", false);
        assert_eq!(told(&cluster), (4, ("disk".into(), true)));
        let long = Drain { reason: "x".repeat(REASON_MAX + 1), ..unknown };
        assert!(matches!(cluster.op(Op::Drain(long)), Err(Refusal::TooLarge { .. })));
        cluster.op(Op::Undrain(A)).expect("is there");
        cluster.op(Op::Undrain(A)).expect("is there");
        assert_eq!(cluster.entries.len(), 5);
    }
}
