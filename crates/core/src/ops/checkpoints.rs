//! What agents say about checkpoints: saved, erased. An artifact is erased in the same way.

use heats_domain::{Checkpoint, Object};

use super::Decision;
use super::attempts::{Key, reporting};
use crate::fact::{CheckpointErased, CheckpointSaved, Fact};
use crate::refusal::Refusal;
use crate::state::State;

/// The longest name of a storage, in bytes.
pub const PLACE_MAX: usize = 512;
/// The length of a hash, in bytes.
pub const HASH_LEN: usize = 32;

/// A checkpoint of a live attempt is complete. One that is known already, or that a later one of the attempt has overtaken,
/// changes nothing.
///
/// # Errors
/// [`Refusal::Stale`] where the trial has gone to another attempt: then nothing knows of the object, and it may be removed.
pub fn save(state: &State, checkpoint: Checkpoint) -> Decision<()> {
    let key = key(&checkpoint);
    let known = state.sweeps.get(&key.sweep).and_then(|sweep| sweep.trial(key.trial));
    if known.is_some_and(|trial| trial.checkpoints.contains(&checkpoint)) {
        return Ok((Vec::new(), ()));
    }
    check(&checkpoint.place, &checkpoint.hash)?;
    let (_, trial) = reporting(state, key)?;
    if trial.has_saved(key.attempt, checkpoint.step) {
        return Ok((Vec::new(), ()));
    }
    Ok((vec![Fact::CheckpointSaved(CheckpointSaved { checkpoint })], ()))
}

/// Whether the texts of an object are as long as they may be.
///
/// # Errors
/// [`Refusal::TooLarge`].
pub(super) fn check(place: &str, hash: &[u8]) -> Result<(), Refusal> {
    for (what, bytes, limit) in [("the storage's name", place.len(), PLACE_MAX), ("the hash", hash.len(), HASH_LEN)] {
        if bytes > limit {
            return Err(Refusal::TooLarge { what, bytes, limit });
        }
    }
    Ok(())
}

/// A checkpoint or an artifact is gone from its storage. One that nobody asked to be removed changes nothing, nor does one twice.
pub fn erase(state: &State, object: Object) -> Vec<Fact> {
    let asked_for = state.dropped.contains_key(&object);
    asked_for.then_some(Fact::CheckpointErased(CheckpointErased { object })).into_iter().collect()
}

/// The attempt that made a checkpoint.
pub const fn key(checkpoint: &Checkpoint) -> Key {
    Key { sweep: checkpoint.sweep, trial: checkpoint.trial, attempt: checkpoint.attempt }
}

#[cfg(test)]
mod tests {
    use heats_domain::{AgentId, Checkpoint};

    use crate::ops::agents::Attach;
    use crate::ops::attempts::{End, Key};
    use crate::ops::control::Verb;
    use crate::testing::{Cluster, SweepBuilder, attach, checkpoint};
    use crate::{Fact, Op, Refusal, Reply};

    /// What the last entry says of the attempt that it leases.
    fn from(cluster: &Cluster) -> Option<Checkpoint> {
        let facts = cluster.entries.last().into_iter().flat_map(|entry| &entry.facts);
        facts
            .filter_map(|cell| if let Some(Fact::TrialLeased(fact)) = &cell.fact { fact.from.clone() } else { None })
            .next()
    }

    fn save(cluster: &mut Cluster, key: Key, step: u64, place: &str) -> Result<Reply, Refusal> {
        cluster.op(Op::SaveCheckpoint(checkpoint(key, step, place)))
    }

    #[test]
    fn a_trial_goes_on_from_the_checkpoint_of_the_last_step_that_was_reported() {
        let mut cluster = Cluster::default();
        let id = cluster
            .submit(SweepBuilder::minimize("loss").trials(1).top("checkpoints", serde_json::json!({"latest": 9})));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        for step in 1..=4 {
            save(&mut cluster, key, step, "local:1").expect("is live");
            if step < 4 {
                cluster.report(key, step, 0.5).expect("is live");
            }
        }
        cluster.finish(key, End::Lost);
        cluster.dispatch();
        assert_eq!(from(&cluster), Some(checkpoint(key, 3, "local:1")), "step 4 was never reported");
        assert_eq!(cluster.trial(id, 0).checkpoints.len(), 4);
    }

    #[test]
    fn a_trial_goes_where_its_checkpoint_is_and_waits_for_nobody() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(2));
        cluster.attach(2, 1);
        let key = cluster.dispatch()[0];
        save(&mut cluster, key, 1, "local:2").expect("is live");
        cluster.attach(1, 1);
        let other = cluster.dispatch()[0];
        cluster.complete(other, 0.5);
        cluster.finish(key, End::Lost);
        cluster.dispatch();
        let agent = |attempt: usize| cluster.trial(id, 0).attempts[attempt].agent.bits;
        assert_eq!((agent(1), from(&cluster).is_some()), (2, true), "both were free, and 1 comes first");
        let again = Key { attempt: 2, ..key };
        cluster.leading.detach(AgentId { bits: 2 });
        cluster.finish(again, End::Lost);
        cluster.dispatch();
        assert_eq!((cluster.trial(id, 0).attempts[2].agent.bits, from(&cluster)), (1, None), "from the beginning");
    }

    #[test]
    fn an_agent_with_a_place_takes_the_trial_that_goes_on_there_before_one_that_does_not() {
        let mut cluster = Cluster::default();
        cluster.submit(SweepBuilder::minimize("loss").trials(2));
        cluster.attach(1, 1);
        cluster.attach(2, 1);
        let keys = cluster.dispatch();
        for (key, place) in keys.iter().zip(["local:1", "local:2"]) {
            save(&mut cluster, *key, 1, place).expect("is live");
        }
        cluster.leading.detach(AgentId { bits: 1 });
        for key in &keys {
            cluster.finish(*key, End::Lost);
        }
        assert_eq!(cluster.dispatch(), [Key { attempt: 2, ..keys[1] }], "trial 0 is first, and agent 2 has trial 1's");
    }

    #[test]
    fn a_repeated_checkpoint_changes_nothing_and_one_of_another_attempt_is_refused() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        save(&mut cluster, key, 2, "local:1").expect("is live");
        let entries = cluster.entries.len();
        for step in [1, 2] {
            assert_eq!(save(&mut cluster, key, step, "local:1"), Ok(Reply::Done));
        }
        cluster.finish(key, End::Lost);
        assert_eq!(save(&mut cluster, key, 2, "local:1"), Ok(Reply::Done), "it is in the catalogue, whoever says so");
        assert_eq!(cluster.entries.len(), entries + 1);
        let stale = Err(Refusal::Stale { sweep: id, trial: 0, attempt: 1 });
        assert_eq!(save(&mut cluster, key, 3, "local:1"), stale);
    }

    #[test]
    fn what_is_dropped_is_told_until_it_is_erased_and_outlives_its_sweep() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
        cluster.op(Op::Attach(Attach { places: vec!["shared:1".into()], ..attach(1, 1, 0) })).expect("attaches");
        let key = cluster.dispatch()[0];
        for step in [1, 2] {
            cluster.report(key, step, 1.0 / step as f64).expect("is live");
            save(&mut cluster, key, step, "shared:1").expect("is live");
        }
        let to_erase = |cluster: &Cluster, agent| {
            cluster.applied.to_erase(AgentId { bits: agent }).map(|checkpoint| checkpoint.step).collect::<Vec<_>>()
        };
        assert_eq!((to_erase(&cluster, 1), to_erase(&cluster, 2)), (vec![1], vec![]));
        cluster.control(id, Verb::Cancel).expect("lives");
        cluster.finish(key, End::Stopped);
        cluster.op(Op::Remove(id)).expect("has ended");
        assert_eq!(to_erase(&cluster, 1), [1, 2]);
        // A snapshot knows it too.
        let records: Vec<_> = cluster.applied.records().map(|record| record.as_ref().clone()).collect();
        let again = crate::State::from_records(cluster.applied.applied, cluster.applied.turn, records).expect("reads");
        assert_eq!((again.dropped.len(), again.hash()), (2, cluster.applied.hash()));
        for _ in 0..2 {
            cluster.op(Op::Erase(checkpoint(key, 1, "shared:1").into())).expect("is noted");
        }
        assert_eq!(to_erase(&cluster, 1), [2]);
    }
}
