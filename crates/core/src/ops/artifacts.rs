//! What agents say about artifacts: kept. They go with their sweep, or make way for another one of the same name.

use heats_domain::{ARTIFACT_NAME_MAX, ARTIFACTS_BYTES_MAX, ARTIFACTS_MAX, Checkpoint, is_artifact_name};

use super::Decision;
use super::attempts::fenced;
use super::checkpoints::{check, key};
use crate::fact::{ArtifactDropped, ArtifactKept, Fact};
use crate::refusal::Refusal;
use crate::state::State;
use crate::sweep::Sweep;

/// An artifact of a live attempt is complete: it takes the place of the one of the same name. One that is known already changes
/// nothing.
///
/// # Errors
/// [`Refusal::Stale`] where the trial has gone to another attempt, [`Refusal::TooLarge`] where it would keep too many or too much:
/// then nothing knows of the object, and it may be removed.
pub fn keep(state: &State, artifact: Checkpoint) -> Decision<()> {
    let key = key(&artifact);
    let known = state.sweeps.get(&key.sweep).and_then(|sweep| sweep.trial(key.trial));
    if known.is_some_and(|trial| trial.artifacts.contains(&artifact)) {
        return Ok((Vec::new(), ()));
    }
    check(&artifact)?;
    let name = &artifact.artifact;
    if !is_artifact_name(name) {
        return Err(Refusal::TooLarge { what: "an artifact's name", bytes: name.len(), limit: ARTIFACT_NAME_MAX });
    }
    let (_, trial) = fenced(state, key)?;
    let before = trial.artifact(name);
    let others = || trial.artifacts.iter().filter(|other| other.artifact != *name);
    if others().count() >= ARTIFACTS_MAX {
        let what = "the list of a trial's artifacts";
        return Err(Refusal::TooLarge { what, bytes: trial.artifacts.len() + 1, limit: ARTIFACTS_MAX });
    }
    let bytes = others().map(|other| other.bytes).fold(artifact.bytes, u64::saturating_add);
    if bytes > ARTIFACTS_BYTES_MAX {
        let (bytes, limit) = (usize::try_from(bytes), usize::try_from(ARTIFACTS_BYTES_MAX));
        let (bytes, limit) = (bytes.unwrap_or(usize::MAX), limit.unwrap_or(usize::MAX));
        return Err(Refusal::TooLarge { what: "a trial's artifacts", bytes, limit });
    }
    let make_way = before.map(|before| dropped(before, "another one of its name is kept"));
    Ok((make_way.into_iter().chain([Fact::ArtifactKept(ArtifactKept { artifact })]).collect(), ()))
}

/// Every artifact of the sweep, before it is removed.
pub fn all(sweep: &Sweep) -> impl Iterator<Item = Fact> {
    let artifacts = sweep.trials.iter().flat_map(|trial| &trial.artifacts);
    artifacts.map(|artifact| dropped(artifact, "the sweep was removed"))
}

fn dropped(artifact: &Checkpoint, why: &str) -> Fact {
    Fact::ArtifactDropped(ArtifactDropped { artifact: artifact.clone(), why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use heats_domain::{AgentId, SweepId};

    use super::*;
    use crate::ops::attempts::{End, Key};
    use crate::testing::{Cluster, SweepBuilder, checkpoint};
    use crate::{Op, Reply};

    fn artifact(key: Key, name: &str, content: u8) -> Checkpoint {
        Checkpoint { artifact: name.to_owned(), hash: vec![content; 32], ..checkpoint(key, 0, "local:1") }
    }

    fn running() -> (Cluster, SweepId, Key) {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        (cluster, id, key)
    }

    fn keep(cluster: &mut Cluster, artifact: Checkpoint) -> Result<Reply, Refusal> {
        cluster.op(Op::KeepArtifact(artifact))
    }

    fn to_erase(cluster: &Cluster) -> Vec<Checkpoint> {
        cluster.applied.to_erase(AgentId { bits: 1 }).cloned().collect()
    }

    #[test]
    fn what_is_said_twice_is_kept_once_and_a_name_stands_for_what_was_kept_last() {
        let (mut cluster, id, key) = running();
        let (first, second, plot) = (artifact(key, "model", 1), artifact(key, "model", 2), artifact(key, "plot", 1));
        for kept in [&first, &plot, &plot, &second, &second] {
            assert_eq!(keep(&mut cluster, kept.clone()), Ok(Reply::Done));
        }
        assert_eq!(cluster.trial(id, 0).artifacts, [plot, second]);
        assert_eq!(to_erase(&cluster), [first], "nobody knows it by its name any more");
    }

    #[test]
    fn artifacts_outlive_their_attempts_and_end_with_their_sweep() {
        let (mut cluster, id, key) = running();
        let kept = artifact(key, "model", 1);
        keep(&mut cluster, kept.clone()).expect("is live");
        cluster.finish(key, End::Lost);
        let again = cluster.dispatch()[0];
        let late = keep(&mut cluster, artifact(key, "late", 1));
        assert_eq!(late, Err(Refusal::Stale { sweep: id, trial: 0, attempt: 1 }));
        assert_eq!(keep(&mut cluster, kept.clone()), Ok(Reply::Done), "it is known, whoever says so");
        cluster.report(again, 1, 0.5).expect("is live");
        cluster.finish(again, End::Exited(0));
        cluster.dispatch();
        assert_eq!(cluster.trial(id, 0).artifacts, std::slice::from_ref(&kept));
        assert_eq!(to_erase(&cluster), []);
        cluster.op(Op::Remove(id)).expect("has ended");
        assert_eq!(to_erase(&cluster), std::slice::from_ref(&kept));
        cluster.op(Op::EraseCheckpoint(kept)).expect("was asked for");
        assert_eq!(to_erase(&cluster), []);
    }

    #[test]
    fn a_trial_keeps_so_many_and_so_much_and_by_names_of_files() {
        let (mut cluster, id, key) = running();
        for number in 0..ARTIFACTS_MAX {
            keep(&mut cluster, artifact(key, &format!("plot-{number}"), 1)).expect("is not too many");
        }
        assert!(matches!(keep(&mut cluster, artifact(key, "one more", 1)), Err(Refusal::TooLarge { .. })));
        keep(&mut cluster, artifact(key, "plot-1", 2)).expect("takes the place of another one");
        let large = Checkpoint { bytes: ARTIFACTS_BYTES_MAX, ..artifact(key, "plot-2", 3) };
        assert!(matches!(keep(&mut cluster, large), Err(Refusal::TooLarge { .. })));
        assert!(matches!(keep(&mut cluster, artifact(key, "../x", 1)), Err(Refusal::TooLarge { .. })));
        assert_eq!(cluster.trial(id, 0).artifacts.len(), ARTIFACTS_MAX);
    }
}
