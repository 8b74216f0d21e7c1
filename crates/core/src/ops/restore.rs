//! A new cluster that begins with the state of another one's backup.
//!
//! What the backup does not know of has happened all the same: attempts ended, others began. So every lease of the old
//! cluster is over here, and agents that come from there begin anew; see `State::lineage`.

use crate::fact::{ClusterRestored, Fact};
use crate::leading::{Leading, Op, TurnError};
use crate::ops::attempts::lose_all;
use crate::state::State;

/// The state of a new cluster of `lineage` whose first entry is of `term`, made from the state of a backup.
///
/// # Errors
/// See [`TurnError`].
pub fn begin_anew(mut state: State, term: u64, lineage: u64) -> Result<State, TurnError> {
    // Its time is the backup's: how long attempts ran on after that is not known.
    let mut leading = Leading::new(term, 0, state.clone());
    // It is never refused.
    let _done = leading.decide(Op::Restore(lineage))?;
    if let Some(entry) = leading.finish() {
        // Nothing was recorded in its term before it.
        let recorded = state.apply(state.applied + 1, term, entry)?;
        debug_assert!(recorded, "the first entry of a term counts");
    }
    Ok(state)
}

/// The facts that begin a new cluster with this state.
pub(crate) fn restore(state: &State, now_ms: u64, lineage: u64) -> Vec<Fact> {
    let mut facts = vec![Fact::ClusterRestored(ClusterRestored { lineage, index: state.applied })];
    facts.extend(state.studies.skip_ids());
    let why = "the cluster was restored from a backup that was taken while it ran";
    for sweep in state.sweeps.values() {
        let live = sweep.live.iter().filter_map(|&number| sweep.trial(number));
        facts.extend(live.flat_map(|trial| lose_all(state, sweep, trial, now_ms, why)));
    }
    facts
}

#[cfg(test)]
mod tests {
    use heats_domain::{FailureKind, TrialState};

    use super::begin_anew;
    use crate::invariants::violations;
    use crate::ops::agents::Attach;
    use crate::ops::control::Verb;
    use crate::testing::{Cluster, SweepBuilder, attach};
    use crate::{Leading, Op, Refusal, State, Status};

    #[test]
    fn what_ran_is_lost_and_tried_again_and_what_ended_stays_as_it_was() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(3));
        cluster.attach(1, 2);
        let keys = cluster.dispatch();
        cluster.complete(keys[0], 0.5);
        cluster.start(keys[1]);
        cluster.now_ms += 700;
        cluster.report(keys[1], 4, 0.7).expect("is live");
        let state = begin_anew(cluster.applied.clone(), 1 << 20, 77).expect("no contradiction");
        assert_eq!(violations(&state), []);
        assert_eq!((state.lineage(), state.applied), (77, cluster.applied.applied + 1));
        let sweep = &state.sweeps[&id];
        assert_eq!(sweep.trial(0), cluster.sweep(id).trial(0));
        let trial = sweep.trial(1).expect("is there");
        let end = trial.attempts[0].end.expect("has ended");
        assert_eq!((trial.state, end.failure, end.ran_ms), (TrialState::Waiting, Some(FailureKind::NodeLost), 700));
        assert_eq!((trial.retries_used, trial.last_step), (0, Some(4)));
        assert!(state.leases.values().all(|held| held.is_empty()));

        // The agents of the old cluster are known by another name until they have begun anew.
        let mut leading = Leading::new(1 << 21, 0, state.clone());
        let old = Attach { holding: keys.iter().copied().collect(), ..attach(1, 2, 0) };
        let refused = leading.decide(Op::Attach(old)).expect("no contradiction");
        assert_eq!(refused, Err(Refusal::OtherLineage { lineage: 77 }));
        leading.dispatch(&mut cluster.suggestions).expect("no contradiction");
        assert_eq!(leading.finish(), None, "nothing is leased to who was refused");
        let new = Attach { lineage: 77, ..attach(1, 2, 0) };
        leading.decide(Op::Attach(new)).expect("no contradiction").expect("attaches");
        leading.dispatch(&mut cluster.suggestions).expect("no contradiction");
        let live = &leading.draft().sweeps[&id].trial(1).expect("is there").live().map(|(attempt, _)| attempt);
        assert_eq!(*live, Some(2));
    }

    #[test]
    fn a_sweep_that_was_ending_ends() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(3));
        cluster.attach(1, 1);
        cluster.dispatch();
        cluster.control(id, Verb::Stop).expect("lives");
        let state = begin_anew(cluster.applied, 1 << 20, 77).expect("no contradiction");
        assert_eq!(violations(&state), []);
        assert!(matches!(state.sweeps[&id].status, Status::Ended { .. }));
        let records = state.records().map(|record| record.as_ref().clone());
        let again = State::from_records(state.applied, state.turn, records).expect("restores");
        assert_eq!((again.hash(), again.lineage()), (state.hash(), 77));
    }
}
