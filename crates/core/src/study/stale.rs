//! Trials whose client is gone. Optuna's protocol has no heartbeat: all that is known of a client is what it writes about its
//! trials. So it is only looked for where an operator says how long a trial may be silent.

use super::Studies;
use crate::fact::{Fact, Owner, Stage, StudyAttribute, StudyEvent, StudyTrialAttributeSet, StudyTrialMoved};

/// The attribute of a trial, Optuna's own kind, that says why Heats has failed it.
pub const FAILURE: &str = "heats:failure";
/// Looks that are further apart than this are those of a leader that stood still: nobody could be heard meanwhile.
const STOOD_STILL_MS: u64 = 10_000;

/// How long a leader has listened, and how long it waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    silent_ms_max: u64,
    since_ms: u64,
    looked_ms: u64,
}

impl Patience {
    /// Trials may be silent for `silent_ms_max` milliseconds; nothing before `now_ms` counts.
    pub(crate) const fn new(silent_ms_max: u64, now_ms: u64) -> Self {
        Self { silent_ms_max, since_ms: now_ms, looked_ms: now_ms }
    }

    /// The facts that fail the trials of which nothing was heard for too long.
    pub(crate) fn look(&mut self, studies: &Studies, now_ms: u64) -> Vec<Fact> {
        if now_ms.saturating_sub(self.looked_ms) > STOOD_STILL_MS {
            self.since_ms = now_ms;
        }
        self.looked_ms = now_ms;
        let Self { silent_ms_max, since_ms, looked_ms: _ } = *self;
        let open = studies
            .iter()
            .flat_map(|study| study.unfinished.iter().filter_map(|number| study.trials.get(*number as usize)));
        let running = open.filter(|trial| trial.stage == Stage::Running);
        let silent = running.filter(|trial| now_ms.saturating_sub(trial.last.at_ms.max(since_ms)) > silent_ms_max);
        silent.flat_map(|trial| failed(trial.id, silent_ms_max)).collect()
    }
}

fn failed(trial: u64, silent_ms_max: u64) -> [Fact; 2] {
    let why = format!("node_lost: its client wrote nothing about it for {} s", silent_ms_max / 1_000);
    let (owner, key, value) = (Owner::System.into(), FAILURE.to_owned(), serde_json::Value::from(why).to_string());
    let attribute = StudyAttribute { owner, key, value };
    let moved = StudyTrialMoved { trial, stage: Stage::Failed.into(), values: Vec::new(), request: 0 };
    [
        StudyEvent::TrialAttributeSet(StudyTrialAttributeSet { trial, attribute }).into(),
        StudyEvent::TrialMoved(moved).into(),
    ]
}

#[cfg(test)]
mod tests {
    use heats_domain::SweepId;

    use super::FAILURE;
    use crate::fact::{Goal, Owner, Stage};
    use crate::study::{Change, Done};
    use crate::testing::Cluster;
    use crate::{Op, Reply};

    fn made(cluster: &mut Cluster, change: Change) -> u64 {
        match cluster.op(Op::Study(change)) {
            Ok(Reply::Study(Done::Made(id))) => id,
            other => panic!("{other:?}"),
        }
    }

    /// A study with so many running trials, under a leader that lets them be silent for a minute.
    fn running(count: usize) -> (Cluster, Vec<u64>) {
        let mut cluster = Cluster::default();
        cluster.leading.expect_word_of_trials(60_000);
        let (sweep, name, goals) = (SweepId { bits: 5 }, "s".to_owned(), vec![Goal::Minimize]);
        let study = made(&mut cluster, Change::Create { sweep, name, goals, request: 0 });
        let trial = |cluster: &mut Cluster| made(cluster, Change::CreateTrial { study, template: None, request: 0 });
        let trials = (0..count).map(|_| trial(&mut cluster)).collect();
        (cluster, trials)
    }

    fn stage(cluster: &Cluster, trial: u64) -> Stage {
        cluster.applied.studies.trial(trial).expect("is there").1.stage
    }

    fn pass(cluster: &mut Cluster, ms: u64) {
        (0..ms / 5_000).for_each(|_| cluster.pass(5_000));
    }

    #[test]
    fn a_trial_of_which_nothing_is_heard_for_too_long_is_failed_and_says_why() {
        let (mut cluster, trials) = running(2);
        pass(&mut cluster, 40_000);
        cluster.op(Op::Study(Change::Report { trial: trials[1], step: 1, value: 0.5 })).expect("runs");
        pass(&mut cluster, 40_000);
        assert_eq!((stage(&cluster, trials[0]), stage(&cluster, trials[1])), (Stage::Failed, Stage::Running));
        let (_, failed) = cluster.applied.studies.trial(trials[0]).expect("is there");
        let why: Vec<_> = failed.attributes(Owner::System).collect();
        assert_eq!(why, [(FAILURE, "\"node_lost: its client wrote nothing about it for 60 s\"")]);
        pass(&mut cluster, 40_000);
        assert_eq!(stage(&cluster, trials[1]), Stage::Failed);
    }

    #[test]
    fn a_new_leader_and_one_that_stood_still_give_every_trial_its_whole_time() {
        let (mut cluster, trials) = running(1);
        pass(&mut cluster, 50_000);
        cluster.fail_over();
        cluster.leading.begin(cluster.now_ms);
        cluster.leading.expect_word_of_trials(60_000);
        pass(&mut cluster, 50_000);
        assert_eq!(stage(&cluster, trials[0]), Stage::Running);
        cluster.pass(600_000);
        pass(&mut cluster, 50_000);
        assert_eq!(stage(&cluster, trials[0]), Stage::Running);
        pass(&mut cluster, 20_000);
        assert_eq!(stage(&cluster, trials[0]), Stage::Failed);
    }

    #[test]
    fn without_a_word_of_the_operator_a_trial_may_be_silent_for_ever() {
        let (mut cluster, trials) = running(1);
        cluster.fail_over();
        pass(&mut cluster, 5_000_000);
        assert_eq!(stage(&cluster, trials[0]), Stage::Running);
    }
}
