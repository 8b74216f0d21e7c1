//! What agents say about artifacts: kept, or not. They go with their sweep, or make way for another one of the same name.

use heats_domain::{
    ARTIFACT_NAME_MAX, ARTIFACT_WHY_MAX, ARTIFACTS_BYTES_MAX, ARTIFACTS_MAX, Artifact, ArtifactLimit, NotKept,
    is_artifact_name,
};

use super::Decision;
use super::attempts::{Key, fenced};
use super::checkpoints::check;
use crate::fact::{ArtifactDropped, ArtifactKept, ArtifactNotKept, Fact};
use crate::refusal::Refusal;
use crate::state::State;
use crate::sweep::Sweep;

/// An artifact of a live attempt is complete: it takes the place of the one of the same name. One that is known already changes
/// nothing.
///
/// # Errors
/// [`Refusal::Stale`] where the trial has gone to another attempt, [`Refusal::TooLarge`] where it would keep too many or too much:
/// then nothing knows of the object, and it may be removed.
pub fn keep(state: &State, artifact: Artifact) -> Decision<()> {
    let key = key(&artifact);
    let known = state.sweeps.get(&key.sweep).and_then(|sweep| sweep.trial(key.trial));
    if known.is_some_and(|trial| trial.artifacts.contains(&artifact)) {
        return Ok((Vec::new(), ()));
    }
    check(&artifact.place, &artifact.hash)?;
    let name = &artifact.name;
    check_name(name)?;
    let (_, trial) = fenced(state, key)?;
    let before = trial.artifact(name);
    let others = || trial.artifacts.iter().filter(|other| other.name != *name);
    match ArtifactLimit::hit(artifact.bytes, others().map(|other| other.bytes)) {
        None => {}
        Some(ArtifactLimit::Files) => {
            let what = "the list of a trial's artifacts";
            return Err(Refusal::TooLarge { what, bytes: others().count() + 1, limit: ARTIFACTS_MAX });
        }
        Some(ArtifactLimit::Bytes) => {
            let bytes = others().map(|other| other.bytes).fold(artifact.bytes, u64::saturating_add);
            let (bytes, limit) = (usize::try_from(bytes), usize::try_from(ARTIFACTS_BYTES_MAX));
            let (bytes, limit) = (bytes.unwrap_or(usize::MAX), limit.unwrap_or(usize::MAX));
            return Err(Refusal::TooLarge { what: "a trial's artifacts", bytes, limit });
        }
    }
    let make_way = before.map(|before| dropped(before, "another one of its name is kept"));
    Ok((make_way.into_iter().chain([Fact::ArtifactKept(ArtifactKept { artifact })]).collect(), ()))
}

/// A file of a live attempt is not kept: that stays with the trial, for whoever looks for it. What was said before changes
/// nothing; of more than [`ARTIFACTS_MAX`] names the others are not recorded.
///
/// # Errors
/// [`Refusal::Stale`] where the trial has gone to another attempt, [`Refusal::TooLarge`] where a text is too long.
pub fn leave_out(state: &State, not_kept: NotKept) -> Decision<()> {
    let (name, why) = (&not_kept.name, &not_kept.why);
    check_name(name)?;
    if why.len() > ARTIFACT_WHY_MAX {
        return Err(Refusal::TooLarge { what: "a reason", bytes: why.len(), limit: ARTIFACT_WHY_MAX });
    }
    let (_, trial) = fenced(state, key_of(&not_kept))?;
    let others = trial.not_kept.iter().filter(|other| other.name != *name).count();
    let changes_nothing = others >= ARTIFACTS_MAX || trial.not_kept.contains(&not_kept);
    let fact = (!changes_nothing).then_some(Fact::ArtifactNotKept(ArtifactNotKept { not_kept }));
    Ok((fact.into_iter().collect(), ()))
}

/// The attempt that made an artifact.
pub const fn key(artifact: &Artifact) -> Key {
    Key { sweep: artifact.sweep, trial: artifact.trial, attempt: artifact.attempt }
}

/// The attempt that made a file which is not kept.
pub const fn key_of(file: &NotKept) -> Key {
    Key { sweep: file.sweep, trial: file.trial, attempt: file.attempt }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let refused = || Refusal::TooLarge { what: "an artifact's name", bytes: name.len(), limit: ARTIFACT_NAME_MAX };
    is_artifact_name(name).then_some(()).ok_or_else(refused)
}

/// Every artifact of the sweep, before it is removed.
pub fn all(sweep: &Sweep) -> impl Iterator<Item = Fact> {
    let artifacts = sweep.trials.iter().flat_map(|trial| &trial.artifacts);
    artifacts.map(|artifact| dropped(artifact, "the sweep was removed"))
}

fn dropped(artifact: &Artifact, why: &str) -> Fact {
    Fact::ArtifactDropped(ArtifactDropped { artifact: artifact.clone(), why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use heats_domain::{AgentId, Object, SweepId};

    use super::*;
    use crate::ops::attempts::{End, Key};
    use crate::testing::{Cluster, SweepBuilder};
    use crate::{Op, Reply};

    fn artifact(key: Key, name: &str, content: u8) -> Artifact {
        let Key { sweep, trial, attempt } = key;
        let (name, place) = (name.to_owned(), "local:1".to_owned());
        Artifact { sweep, trial, attempt, hash: vec![content; 32], bytes: 100, place, name }
    }

    fn running() -> (Cluster, SweepId, Key) {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        (cluster, id, key)
    }

    fn keep(cluster: &mut Cluster, artifact: Artifact) -> Result<Reply, Refusal> {
        cluster.op(Op::KeepArtifact(artifact))
    }

    fn to_erase(cluster: &Cluster) -> Vec<Object> {
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
        assert_eq!(to_erase(&cluster), [Object::from(first)], "nobody knows it by its name any more");
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
        assert_eq!(to_erase(&cluster), [Object::from(kept.clone())]);
        cluster.op(Op::Erase(kept.into())).expect("was asked for");
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
        let large = Artifact { bytes: ARTIFACTS_BYTES_MAX, ..artifact(key, "plot-2", 3) };
        assert!(matches!(keep(&mut cluster, large), Err(Refusal::TooLarge { .. })));
        assert!(matches!(keep(&mut cluster, artifact(key, "../x", 1)), Err(Refusal::TooLarge { .. })));
        assert_eq!(cluster.trial(id, 0).artifacts.len(), ARTIFACTS_MAX);
    }

    fn not_kept(key: Key, name: &str, bytes: u64) -> NotKept {
        let (name, limit) = (name.to_owned(), ArtifactLimit::Bytes);
        let Key { sweep, trial, attempt } = key;
        NotKept { sweep, trial, attempt, name, bytes, why: limit.to_string(), limit: limit.bytes() }
    }

    #[test]
    fn what_is_not_kept_is_said_once_and_until_it_is_kept_after_all() {
        let (mut cluster, id, key) = running();
        let (first, larger) = (not_kept(key, "model", 1 << 40), not_kept(key, "model", 1 << 41));
        let mut leave_out = |not_kept: &NotKept| cluster.op(Op::LeaveOutArtifact(not_kept.clone()));
        for said in [&first, &first, &larger] {
            assert_eq!(leave_out(said), Ok(Reply::Done));
        }
        assert!(matches!(leave_out(&not_kept(key, "../x", 1)), Err(Refusal::TooLarge { .. })));
        let long = NotKept { why: "x".repeat(ARTIFACT_WHY_MAX + 1), ..first };
        assert!(matches!(leave_out(&long), Err(Refusal::TooLarge { .. })));
        let facts = cluster.entries.iter().flat_map(|entry| &entry.facts).filter_map(|cell| cell.fact.as_ref());
        assert_eq!(facts.filter(|fact| fact.name() == "artifact_not_kept").count(), 2);
        assert_eq!(cluster.trial(id, 0).not_kept, [larger]);
        keep(&mut cluster, artifact(key, "model", 1)).expect("is live");
        assert_eq!(cluster.trial(id, 0).not_kept, []);
        let late = cluster.op(Op::LeaveOutArtifact(not_kept(Key { attempt: 2, ..key }, "model", 1)));
        assert_eq!(late, Err(Refusal::Stale { sweep: id, trial: 0, attempt: 2 }));
    }

    #[test]
    fn no_more_than_so_many_files_are_said_not_to_be_kept() {
        let (mut cluster, id, key) = running();
        for number in 0..=ARTIFACTS_MAX {
            cluster.op(Op::LeaveOutArtifact(not_kept(key, &format!("plot-{number}"), 1))).expect("is live");
        }
        assert_eq!(cluster.trial(id, 0).not_kept.len(), ARTIFACTS_MAX);
    }
}
