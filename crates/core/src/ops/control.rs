//! What users do to sweeps that run: pause, resume, stop, cancel, edit, enqueue, retry.

use std::collections::BTreeSet;

use heats_domain::spec::PRIORITY_MAX;
use heats_domain::{Params, SweepId, TrialState};

use super::drain::{Running, cancelled, drain, settled};
use super::{Decision, live_sweep, sweep};
use crate::fact::{Ending, Fact, PointEnqueued, SweepEdited, SweepPaused, SweepReopened, SweepResumed};
use crate::refusal::Refusal;
use crate::state::State;
use crate::sweep::{Status, Sweep};
use crate::trial::Trial;

/// The most points that may wait in a sweep's queue.
pub const QUEUE_MAX: usize = 10_000;

/// What to do with a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Lease nothing more; running trials go on.
    Pause,
    /// Lease again.
    Resume,
    /// Create nothing more, let running trials finish, then end.
    Stop,
    /// End running trials now.
    Cancel,
}

/// Carries out `verb`; one that changes nothing is not an error.
pub fn control(state: &State, id: SweepId, verb: Verb) -> Decision<()> {
    let sweep = live_sweep(state, id)?;
    let facts = match (verb, &sweep.status) {
        (Verb::Pause, Status::Running) => vec![Fact::SweepPaused(SweepPaused { sweep: id })],
        (Verb::Resume, Status::Paused) => vec![Fact::SweepResumed(SweepResumed { sweep: id })],
        (Verb::Pause | Verb::Resume, _) => Vec::new(),
        (Verb::Stop, Status::Draining(..)) => Vec::new(),
        (Verb::Stop, _) => drain(sweep, Ending::Stopped, "a user stopped it".into(), Running::Finish),
        (Verb::Cancel, Status::Draining(Ending::Cancelled, _)) => Vec::new(),
        (Verb::Cancel, _) => drain(sweep, Ending::Cancelled, "a user cancelled it".into(), Running::Cancel),
    };
    Ok((facts, ()))
}

/// Cancels one trial.
pub fn cancel_trial(state: &State, id: SweepId, number: u32) -> Decision<()> {
    let sweep = live_sweep(state, id)?;
    let no_trial = || Refusal::NoSuchTrial { sweep: sweep.name.clone(), trial: number };
    let trial = sweep.trial(number).ok_or_else(no_trial)?;
    let facts =
        if trial.state.is_terminal() { Vec::new() } else { vec![cancelled(sweep, trial, "a user cancelled it")] };
    Ok((facts, ()))
}

/// New limits; `None` leaves one as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Edit {
    /// The number of trials.
    pub trials: Option<u32>,
    /// Or a change of it.
    pub more_trials: Option<i64>,
    /// The number of trials at once.
    pub parallel: Option<u32>,
    /// The priority.
    pub priority: Option<u32>,
}

/// Changes the limits of a sweep; a sweep that finished goes on when its budget grows.
pub fn edit(state: &State, id: SweepId, edit: Edit) -> Decision<()> {
    let sweep = sweep(state, id)?;
    if edit.parallel == Some(0) {
        return Err(Refusal::Spec("`parallel` must be at least 1".to_owned()));
    }
    if edit.priority.is_some_and(|priority| priority > PRIORITY_MAX) {
        return Err(Refusal::Spec(format!("`priority` goes from 0 to {PRIORITY_MAX}")));
    }
    let base = i64::from(sweep.trials_max.unwrap_or(sweep.proposed));
    let changed = edit.more_trials.map(|more| base.saturating_add(more).clamp(0, i64::from(u32::MAX)) as u32);
    let trials = edit.trials.or(changed);
    if let Some(asked) = trials.filter(|&asked| asked < sweep.proposed) {
        return Err(Refusal::BelowCreated { name: sweep.name.clone(), created: sweep.proposed, asked });
    }
    let mut facts = vec![Fact::SweepEdited(SweepEdited {
        sweep: id,
        trials,
        parallel: edit.parallel,
        why: String::new(),
        priority: edit.priority,
    })];
    match &sweep.status {
        Status::Running | Status::Paused if edit == Edit::default() => facts.clear(),
        Status::Running | Status::Paused => {}
        Status::Ended { ending: Ending::Finished, .. } if trials.is_some_and(|t| t > sweep.proposed) => {
            // Only members that train have any use for more trials.
            if let Some(members) = sweep.members.filter(|&members| sweep.proposed >= members) {
                return Err(Refusal::PopulationFull { name: sweep.name.clone(), members });
            }
            reopens(state, sweep)?;
            facts.push(Fact::SweepReopened(SweepReopened { sweep: id }));
        }
        Status::Draining(..) | Status::Ended { .. } => return Err(Refusal::Ended(sweep.name.clone())),
    }
    Ok((facts, ()))
}

/// Whether a sweep that has ended may go on: its name is still its own.
fn reopens(state: &State, sweep: &Sweep) -> Result<(), Refusal> {
    match state.live_named(&sweep.name) {
        Some(other) => Err(Refusal::NameTaken { name: sweep.name.clone(), sweep: other.id }),
        None => Ok(()),
    }
}

/// Puts a point at the end of the sweep's queue; replies how many wait then.
pub fn enqueue(state: &State, id: SweepId, params: Params) -> Decision<u32> {
    let sweep = live_sweep(state, id)?;
    if let Status::Draining(..) = sweep.status {
        return Err(Refusal::Ended(sweep.name.clone()));
    }
    sweep.space.check_partial(&params)?;
    if sweep.queue.len() >= QUEUE_MAX {
        return Err(Refusal::QueueFull(QUEUE_MAX));
    }
    let after = sweep.proposed as usize + sweep.queue.len() + 1;
    if let Some(members) = sweep.members.filter(|&members| after > members as usize) {
        return Err(Refusal::PopulationFull { name: sweep.name.clone(), members });
    }
    if let Some(max) = sweep.trials_max.filter(|&max| after > max as usize) {
        return Err(Refusal::BudgetUsed { name: sweep.name.clone(), max });
    }
    let waiting = sweep.queue.len() as u32 + 1;
    Ok((vec![Fact::PointEnqueued(PointEnqueued { sweep: id, params })], waiting))
}

/// Has failed trials tried again, all of them or those named; replies which. Those whose configuration failed wherever it was
/// tried have to be named. A sweep that was stopped or cancelled tries these and creates no more.
pub fn retry(state: &State, id: SweepId, numbers: &[u32]) -> Decision<Vec<u32>> {
    let sweep = sweep(state, id)?;
    if let Status::Draining(..) = sweep.status {
        return Err(Refusal::Ended(sweep.name.clone()));
    }
    for &number in numbers {
        if sweep.trial(number).is_none() {
            return Err(Refusal::NoSuchTrial { sweep: sweep.name.clone(), trial: number });
        }
    }
    let failed = |&number: &u32| sweep.trial(number).is_some_and(|t| t.state == TrialState::Failed);
    let may_be = |&number: &u32| sweep.trial(number).is_some_and(Trial::may_be_asked_for_again);
    let chosen: Vec<u32> = if numbers.is_empty() {
        (0..sweep.created()).filter(failed).collect()
    } else {
        let named: BTreeSet<u32> = numbers.iter().copied().collect();
        named.into_iter().filter(may_be).collect()
    };
    if chosen.is_empty() {
        return Err(Refusal::NothingFailed(sweep.name.clone()));
    }
    let mut facts = Vec::new();
    if sweep.is_ended() {
        reopens(state, sweep)?;
        facts.push(Fact::SweepReopened(SweepReopened { sweep: id }));
        if sweep.status.ending() != Some(Ending::Finished) {
            // Who stopped it did not want the rest of its budget; `edit` asks for that.
            let why = "it was ended early, and only its failed trials were tried again".to_owned();
            facts.push(Fact::SweepEdited(SweepEdited {
                sweep: id,
                trials: Some(sweep.proposed),
                parallel: None,
                why,
                priority: None,
            }));
        }
    }
    facts.extend(chosen.iter().map(|&n| settled(sweep, n, TrialState::Waiting, "a user asked for it again")));
    Ok((facts, chosen))
}

#[cfg(test)]
mod tests {
    use heats_domain::{SweepId, TrialState, Value};
    use serde_json::json;

    use super::{Edit, QUEUE_MAX, Verb};
    use crate::dispatch::Offer;
    use crate::ops::attempts::End;
    use crate::testing::{Cluster, SweepBuilder};
    use crate::{Op, Refusal, Reply, Status};

    fn point(x: f64) -> heats_domain::Params {
        [("x", Value::Float(x))].into_iter().collect()
    }

    /// A sweep of `trials` whose every trial failed for good.
    fn failed(cluster: &mut Cluster, trials: u32) -> SweepId {
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(trials).set("run", "retries", 0));
        cluster.attach(1, trials);
        for key in cluster.dispatch() {
            cluster.finish(key, End::Exited(1));
        }
        id
    }

    #[test]
    fn a_paused_sweep_leases_nothing_until_it_is_resumed() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.attach(1, 1);
        let first = cluster.dispatch();
        cluster.control(id, Verb::Pause).expect("lives");
        cluster.complete(first[0], 0.5);
        assert_eq!(cluster.dispatch(), []);
        cluster.control(id, Verb::Resume).expect("lives");
        assert_eq!(cluster.dispatch().len(), 1);
    }

    #[test]
    fn a_paused_sweep_whose_last_trial_ends_has_ended() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.control(id, Verb::Pause).expect("lives");
        cluster.complete(key, 0.5);
        assert_eq!(cluster.ending(id), Some(("finished", "all 1 trials of its budget ended")));
    }

    #[test]
    fn a_stopped_sweep_tries_its_failed_trials_again_and_creates_no_more() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(9).set("run", "retries", 0));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.control(id, Verb::Stop).expect("lives");
        cluster.finish(key, End::Exited(1));
        assert_eq!(cluster.op(Op::Retry(id, vec![])), Ok(Reply::Retried(vec![0])));
        let again = cluster.dispatch();
        assert_eq!(again.iter().map(|key| (key.trial, key.attempt)).collect::<Vec<_>>(), [(0, 2)]);
        cluster.complete(again[0], 0.5);
        assert_eq!((cluster.dispatch().len(), cluster.sweep(id).created(), cluster.sweep(id).is_ended()), (0, 1, true));
    }

    #[test]
    fn a_verb_that_changes_nothing_records_nothing() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.attach(1, 1);
        cluster.dispatch();
        cluster.control(id, Verb::Resume).expect("lives");
        cluster.control(id, Verb::Stop).expect("lives");
        let entries = cluster.entries.len();
        cluster.control(id, Verb::Stop).expect("lives");
        cluster.control(id, Verb::Pause).expect("lives");
        assert_eq!(cluster.entries.len(), entries);
    }

    #[test]
    fn a_stopped_sweep_lets_its_trials_finish_and_creates_no_more() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(5));
        cluster.attach(1, 2);
        let keys = cluster.dispatch();
        cluster.control(id, Verb::Stop).expect("lives");
        cluster.complete(keys[0], 0.5);
        assert_eq!((cluster.dispatch().len(), cluster.ending(id)), (0, None));
        cluster.complete(keys[1], 0.4);
        assert_eq!(cluster.ending(id), Some(("stopped", "a user stopped it")));
        assert_eq!(cluster.sweep(id).best().map(|trial| trial.number), Some(1));
    }

    #[test]
    fn a_failure_that_would_be_retried_is_final_in_a_sweep_that_drains() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(9));
        cluster.attach(1, 3);
        let keys = cluster.dispatch();
        cluster.control(id, Verb::Stop).expect("lives");
        cluster.finish(keys[0], End::Exited(1));
        cluster.finish(keys[1], End::Lost);
        cluster.finish(keys[2], End::Exited(75));
        assert_eq!(
            [0, 1, 2].map(|n| cluster.state(id, n)),
            [TrialState::Failed, TrialState::Cancelled, TrialState::Cancelled]
        );
        assert_eq!(cluster.ending(id), Some(("stopped", "a user stopped it")));
    }

    #[test]
    fn a_cancelled_sweep_ends_once_its_leases_do() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.control(id, Verb::Cancel).expect("lives");
        assert_eq!((cluster.state(id, 0), cluster.ending(id)), (TrialState::Cancelled, None));
        cluster.finish(key, End::Stopped);
        assert_eq!(cluster.state(id, 0), TrialState::Cancelled, "whatever its process made of it");
        assert_eq!(cluster.ending(id), Some(("cancelled", "a user cancelled it")));
        assert_eq!(cluster.control(id, Verb::Pause), Err(Refusal::Ended(cluster.sweep(id).name.clone())));
    }

    #[test]
    fn a_cancelled_trial_keeps_its_place_until_its_process_is_gone() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.op(Op::CancelTrial(id, 0)).expect("is there");
        assert_eq!(cluster.dispatch(), [], "the process still runs");
        cluster.finish(key, End::Exited(0));
        assert_eq!((cluster.state(id, 0), cluster.dispatch().len()), (TrialState::Cancelled, 1));
        let no_trial = Refusal::NoSuchTrial { sweep: cluster.sweep(id).name.clone(), trial: 7 };
        assert_eq!(cluster.op(Op::CancelTrial(id, 7)), Err(no_trial));
    }

    #[test]
    fn a_budget_below_what_exists_is_refused() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.attach(1, 2);
        cluster.dispatch();
        let name = cluster.sweep(id).name.clone();
        assert_eq!(cluster.edit_trials(id, 1), Err(Refusal::BelowCreated { name, created: 2, asked: 1 }));
        assert_eq!(cluster.sweep(id).trials_max, Some(3));
    }

    #[test]
    fn a_budget_cut_to_what_exists_ends_the_sweep_with_its_last_trial() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(9));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.op(Op::Edit(id, Edit { more_trials: Some(-8), ..Edit::default() })).expect("is allowed");
        cluster.complete(key, 0.5);
        assert_eq!(cluster.ending(id), Some(("finished", "all 1 trials of its budget ended")));
    }

    #[test]
    fn a_finished_sweep_goes_on_when_its_budget_grows() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
        cluster.attach(1, 4);
        let key = cluster.dispatch()[0];
        cluster.complete(key, 0.5);
        cluster.op(Op::Edit(id, Edit { more_trials: Some(2), ..Edit::default() })).expect("goes on");
        assert_eq!(cluster.dispatch().len(), 2);
        for n in 1..3 {
            cluster.complete(crate::ops::attempts::Key { sweep: id, trial: n, attempt: 1 }, 0.1);
        }
        assert_eq!(cluster.ending(id), Some(("finished", "all 3 trials of its budget ended")));
    }

    #[test]
    fn a_cancelled_sweep_does_not_go_on_when_its_budget_grows() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
        cluster.control(id, Verb::Cancel).expect("lives");
        assert!(matches!(cluster.edit_trials(id, 5), Err(Refusal::Ended(_))));
    }

    #[test]
    fn a_sweep_does_not_go_on_while_another_has_its_name() {
        let mut cluster = Cluster::default();
        let builder = || SweepBuilder::minimize("loss").trials(1).top("name", "a").set("run", "retries", 0);
        let old = cluster.submit(builder());
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.complete(key, 0.5);
        let new = cluster.submit(builder());
        let taken = Err(Refusal::NameTaken { name: "a".into(), sweep: new });
        assert_eq!(cluster.edit_trials(old, 2), taken);
        let key = cluster.dispatch()[0];
        cluster.finish(key, End::Exited(1));
        cluster.edit_trials(old, 2).expect("the name is free");
        assert!(matches!(cluster.op(Op::Retry(new, vec![])), Err(Refusal::NameTaken { .. })));
        let third = crate::testing::submit(SweepId { bits: 9 }, 9, builder());
        assert!(matches!(cluster.op(Op::Submit(Box::new(third))), Err(Refusal::NameTaken { .. })), "{old} lives");
    }

    #[test]
    fn an_edit_of_nothing_records_nothing_and_no_parallel_trial_is_refused() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.op(Op::Edit(id, Edit::default())).expect("changes nothing");
        assert_eq!(cluster.entries.len(), 1);
        assert!(matches!(
            cluster.op(Op::Edit(id, Edit { parallel: Some(0), ..Edit::default() })),
            Err(Refusal::Spec(_))
        ));
    }

    #[test]
    fn an_edit_of_the_parallel_trials_keeps_why_the_budget_is_what_it_is() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(9));
        cluster.attach(1, 2);
        let key = cluster.dispatch()[0];
        cluster.finish(crate::ops::attempts::Key { sweep: id, trial: 1, attempt: 1 }, End::Infeasible);
        cluster.suggestions.next.push_back(Offer::Exhausted);
        assert_eq!(cluster.dispatch(), []);
        cluster.op(Op::Edit(id, Edit { parallel: Some(5), ..Edit::default() })).expect("is allowed");
        cluster.complete(key, 0.5);
        assert_eq!(cluster.ending(id), Some(("finished", "every configuration of the space was tried, 2 in all")));
    }

    #[test]
    fn an_enqueued_point_is_the_next_trial() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        assert_eq!(cluster.op(Op::Enqueue(id, point(0.25))), Ok(Reply::Enqueued(1)));
        assert_eq!(cluster.op(Op::Enqueue(id, point(0.75))), Ok(Reply::Enqueued(2)));
        cluster.attach(1, 3);
        cluster.dispatch();
        let x = |n| cluster.sweep(id).params(cluster.trial(id, n)).and_then(|params| params.get("x")?.as_f64());
        assert_eq!([x(0), x(1), x(2)], [Some(0.25), Some(0.75), Some(0.002)]);
        assert!(cluster.sweep(id).queue.is_empty());
    }

    #[test]
    fn points_beyond_the_budget_or_outside_of_the_space_are_refused() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
        assert!(matches!(cluster.op(Op::Enqueue(id, point(1.5))), Err(Refusal::Point(_))));
        cluster.op(Op::Enqueue(id, point(0.5))).expect("fits");
        assert!(matches!(cluster.op(Op::Enqueue(id, point(0.5))), Err(Refusal::BudgetUsed { max: 1, .. })));
        cluster.attach(1, 1);
        cluster.dispatch();
        cluster.control(id, Verb::Stop).expect("lives");
        assert!(matches!(cluster.op(Op::Enqueue(id, point(0.5))), Err(Refusal::Ended(_))));
    }

    #[test]
    fn no_more_points_wait_than_may() {
        let mut cluster = Cluster::default();
        let queue: Vec<_> = (0..QUEUE_MAX).map(|_| json!({"x": 0.5})).collect();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(20_000).set("search", "enqueue", queue));
        assert_eq!(cluster.op(Op::Enqueue(id, point(0.5))), Err(Refusal::QueueFull(QUEUE_MAX)));
    }

    #[test]
    fn a_point_that_no_configuration_can_hold_is_an_infeasible_trial_and_the_sweep_goes_on() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(2));
        cluster.op(Op::Enqueue(id, point(0.5))).expect("fits");
        cluster.suggestions.next.push_back(Offer::Infeasible { draws: 10_000 });
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        assert_eq!((cluster.state(id, 0), key.trial), (TrialState::Infeasible, 1));
        cluster.complete(key, 0.5);
        assert_eq!(cluster.ending(id), Some(("finished", "all 2 trials of its budget ended")));
    }

    #[test]
    fn failed_trials_are_tried_again_after_the_end() {
        let mut cluster = Cluster::default();
        let id = failed(&mut cluster, 2);
        assert!(cluster.sweep(id).is_ended());
        assert_eq!(cluster.op(Op::Retry(id, vec![1, 1])), Ok(Reply::Retried(vec![1])));
        assert_eq!((cluster.state(id, 0), cluster.state(id, 1)), (TrialState::Failed, TrialState::Waiting));
        let key = cluster.dispatch()[0];
        assert_eq!((key.trial, key.attempt), (1, 2));
        cluster.complete(key, 0.5);
        assert_eq!(cluster.ending(id), Some(("finished", "all 2 trials of its budget ended")));
        assert_eq!(cluster.op(Op::Retry(id, vec![1])), Err(Refusal::NothingFailed(cluster.sweep(id).name.clone())));
    }

    #[test]
    fn a_retry_of_a_trial_that_is_not_there_is_refused_whole() {
        let mut cluster = Cluster::default();
        let id = failed(&mut cluster, 2);
        let refusal = Refusal::NoSuchTrial { sweep: cluster.sweep(id).name.clone(), trial: 2 };
        assert_eq!(cluster.op(Op::Retry(id, vec![0, 2])), Err(refusal));
        assert!(cluster.sweep(id).is_ended());
    }

    #[test]
    fn failures_from_before_a_retry_do_not_fail_the_sweep_again() {
        let mut cluster = Cluster::default();
        let builder = SweepBuilder::minimize("loss").trials(4).set("run", "retries", 0);
        let id = cluster.submit(builder.set("budget", "max_failures", 2));
        cluster.attach(1, 4);
        let keys = cluster.dispatch();
        cluster.control(id, Verb::Stop).expect("lives");
        for key in keys {
            cluster.finish(key, End::Exited(1));
        }
        cluster.op(Op::Retry(id, vec![0, 3])).expect("both failed");
        assert_eq!((&cluster.sweep(id).status, cluster.state(id, 0)), (&Status::Running, TrialState::Waiting));
        let keys = cluster.dispatch();
        cluster.finish(keys[0], End::Exited(1));
        assert_eq!(cluster.sweep(id).status, Status::Running, "one failed since");
        cluster.finish(keys[1], End::Exited(1));
        assert_eq!(cluster.ending(id), Some(("failed", "2 trials failed; max_failures is 2")));
    }
}
