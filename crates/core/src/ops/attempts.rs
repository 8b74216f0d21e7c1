//! What agents say about the attempts that they hold: started, reported, finished.

use heats_domain::spec::{ExitMeaning, Objective};
use heats_domain::{AgentId, FailureKind, Metrics, SweepId, TrialState};
use heats_search::{Judged, Stopper, Verdict};

use super::drain::{self, verdict};
use super::gangs::{self, MemberEnd};
use super::retries::{self, Meaning};
use super::{Decision, fork, quarantine, sweep};
use crate::fact::{AttemptEnded, Fact, TrialReported, TrialSpared};
use crate::gang::Holder;
use crate::refusal::Refusal;
use crate::state::State;
use crate::sweep::{Status, Sweep, loss};
use crate::trial::Trial;

/// The most metrics in one report.
pub const METRICS_MAX: usize = 64;
/// The longest name of a metric, in bytes.
pub const METRIC_NAME_MAX: usize = 128;
/// The longest detail of an end that is kept, in bytes.
pub const DETAIL_MAX: usize = 4_096;
/// The longest time of a process that is believed: 139 years in milliseconds, so that no sum overflows.
pub const PROCESS_MS_MAX: u64 = 1 << 42;

/// Names an attempt: the fencing token of all that an agent says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// The sweep.
    pub sweep: SweepId,
    /// The trial.
    pub trial: u32,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// How a process ended, as the agent saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It was killed for its memory.
    OutOfMemory,
    /// It ran longer than `run.timeout`.
    TimedOut,
    /// It could not be started.
    StartFailed,
    /// Nothing is known about its end.
    Lost,
    /// It was ended because the coordinator or the agent's operator said so.
    Stopped,
    /// Its agent gave it back: it could not start it, or its place was asked for.
    Preempted,
    /// It said that its configuration cannot be run.
    Infeasible,
}

/// The end of an attempt, or of one member of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Finish {
    /// Whose.
    pub key: Key,
    /// Which member's; 0 where the attempt is on one machine.
    pub rank: u32,
    /// How.
    pub end: End,
    /// Wall time of the process, in milliseconds.
    pub ran_ms: u64,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// The largest resident memory, in bytes.
    pub max_rss: u64,
    /// For people.
    pub detail: String,
}

/// Which member of the attempt was leased to `agent`, 0 where the attempt is on one machine: nobody else may say anything about
/// it. That never changes, so it can be asked of any state that has the lease.
///
/// # Errors
/// [`Refusal::Stale`], which says no more than it would of an attempt that is over.
pub fn owned(state: &State, agent: AgentId, key: Key) -> Result<u32, Refusal> {
    let trial = state.sweeps.get(&key.sweep).and_then(|sweep| sweep.trial(key.trial));
    let place = (key.attempt as usize).checked_sub(1);
    let attempt = trial.zip(place).and_then(|(trial, place)| trial.attempts.get(place));
    let rank = attempt.and_then(|attempt| attempt.rank_of(agent));
    rank.ok_or(Refusal::Stale { sweep: key.sweep, trial: key.trial, attempt: key.attempt })
}

/// The trial whose live attempt is `key`'s.
pub(super) fn fenced(state: &State, key: Key) -> Result<(&Sweep, &Trial), Refusal> {
    let stale = || Refusal::Stale { sweep: key.sweep, trial: key.trial, attempt: key.attempt };
    let sweep = sweep(state, key.sweep).map_err(|_| stale())?;
    let trial = sweep.trial(key.trial).ok_or_else(stale)?;
    match trial.live() {
        Some((attempt, _)) if attempt == key.attempt => Ok((sweep, trial)),
        _ => Err(stale()),
    }
}

/// The same, where its member of rank 0 still runs: nobody else reports, or makes checkpoints.
pub(super) fn reporting(state: &State, key: Key) -> Result<(&Sweep, &Trial), Refusal> {
    let (sweep, trial) = fenced(state, key)?;
    let has_rank_0 = trial.live().is_some_and(|(_, attempt)| attempt.holders().any(|holder| holder.rank == 0));
    if has_rank_0 {
        return Ok((sweep, trial));
    }
    Err(Refusal::Stale { sweep: key.sweep, trial: key.trial, attempt: key.attempt })
}

/// A report: recorded once per step and judged by the sweep's stopper. A step that the trial has reached
/// before, and a report of a trial that is being ended, change nothing and are acknowledged.
pub fn report(state: &State, stopper: Option<&dyn Stopper>, key: Key, step: u64, mut metrics: Metrics) -> Decision<()> {
    let (sweep, trial) = reporting(state, key)?;
    if metrics.list.len() > METRICS_MAX || metrics.list.iter().any(|m| m.name.len() > METRIC_NAME_MAX) {
        return Err(Refusal::ReportTooLarge { limit: METRICS_MAX, name_limit: METRIC_NAME_MAX });
    }
    if trial.state.is_at_rest() || trial.last_step.is_some_and(|last| step <= last) {
        return Ok((Vec::new(), ()));
    }
    // The log's encoding has no negative zero, and what is decided on must be what is recorded.
    metrics.list.iter_mut().for_each(|metric| metric.value += 0.0);
    // A fresh run of a leader runs to its end, whatever it reports.
    let searched = trial.confirms.is_none().then_some(&metrics);
    let losses: Option<(f64, Vec<f64>)> = searched
        .and_then(|metrics| sweep.losses(metrics))
        .and_then(|mut losses| Some((losses.next()?, losses.collect())));
    let reached = searched.and_then(|metrics| reached(sweep, metrics));
    let mut facts = vec![Fact::TrialReported(TrialReported {
        sweep: key.sweep,
        trial: key.trial,
        attempt: key.attempt,
        step,
        metrics,
    })];
    if let Some(Reached { why, value, target }) = reached {
        let why = format!("trial {} reported {why}", key.trial);
        facts.extend(drain::reached(sweep, why));
        // The state does not have this report yet, so its trial's own verdict is completed here.
        let verdicts = facts.iter_mut().filter_map(|fact| match fact {
            Fact::TrialSettled(settled) if settled.trial == key.trial => settled.reason.as_mut(),
            _ => None,
        });
        for reason in verdicts {
            (reason.step, reason.value, reason.cutoff) = (step, value, Some(target));
        }
    } else if let (Some((loss, rest)), Some(stopper)) = (losses, stopper) {
        let verdict = stopper.judge(Judged { trial: trial.ordinal, step, loss, rest: &rest });
        facts.extend(carried_out(sweep, trial, verdict));
    }
    Ok((facts, ()))
}

/// The facts by which a verdict on a trial's report is carried out.
fn carried_out(sweep: &Sweep, trial: &Trial, judged: Verdict) -> Vec<Fact> {
    let settled = |state, reason| vec![verdict(sweep, trial.number, state, reason)];
    match judged {
        Verdict::Continue => Vec::new(),
        Verdict::Stop(reason) => settled(TrialState::Stopped, reason),
        // Nobody would let it go on any more.
        Verdict::Pause(reason) if matches!(sweep.status, Status::Draining(..)) => settled(TrialState::Stopped, reason),
        Verdict::Pause(reason) => settled(TrialState::Paused, reason),
        Verdict::Spare(reason) => {
            vec![Fact::TrialSpared(TrialSpared { sweep: sweep.id, trial: trial.number, reason })]
        }
        Verdict::Fork(fork) => match fork::replaced(sweep, trial, &fork) {
            Some(facts) => facts,
            None => carried_out(sweep, trial, fork.instead),
        },
    }
}

/// A report that reaches what a sweep was to come to.
struct Reached {
    /// In words.
    why: String,
    /// The first objective's value that has a target.
    value: f64,
    /// Its target.
    target: f64,
}

/// Whether a report reaches every `stop_at` of the sweep; one that lacks an objective reaches none. One report, so that one
/// model has all that was asked for.
fn reached(sweep: &Sweep, metrics: &Metrics) -> Option<Reached> {
    let draining = matches!(sweep.status, Status::Draining(..));
    if draining || sweep.objectives().iter().all(|objective| objective.stop_at.is_none()) {
        return None;
    }
    let targets = || sweep.objectives().iter().zip(sweep.measured(metrics).into_iter().flatten());
    let targets = || targets().filter_map(|(objective, value)| Some((objective, value, objective.stop_at?)));
    let (_, value, target) = targets().next()?;
    let falls_short =
        |(objective, value, target): (&Objective, f64, f64)| loss(objective, value) > loss(objective, target);
    if targets().any(falls_short) {
        return None;
    }
    let why: Vec<String> = targets()
        .map(|(objective, value, target)| format!("{} = {value}, which reaches stop_at {target}", objective.metric()))
        .collect();
    Some(Reached { why: why.join(", and "), value, target })
}

/// The attempt is over; what that means for the trial is decided here. A repeated end changes nothing.
pub fn finish(state: &State, finish: Finish) -> Decision<()> {
    let key = finish.key;
    let (sweep, trial) = match fenced(state, key) {
        Ok(found) => found,
        // The end was recorded before its acknowledgement was lost, or the lease went to somebody else.
        Err(Refusal::Stale { .. }) => return Ok((Vec::new(), ())),
        Err(refusal) => return Err(refusal),
    };
    let meaning = meaning(sweep, trial, finish.rank, finish.end);
    if let Some(gang) = trial.live().and_then(|(_, attempt)| attempt.gang.as_ref()) {
        let end = MemberEnd {
            rank: finish.rank,
            meaning,
            ran_ms: finish.ran_ms.min(PROCESS_MS_MAX),
            cpu_ms: finish.cpu_ms.min(PROCESS_MS_MAX),
            max_rss: finish.max_rss,
            detail: clip(finish.detail),
        };
        let is_known = gang.members.get(end.rank as usize).is_none_or(|member| member.end.is_some());
        let facts = if is_known { Vec::new() } else { gangs::ended(state, sweep, trial, key.attempt, gang, [end]) };
        return Ok((facts, ()));
    }
    let failure = meaning.failure().filter(|_| !trial.state.is_at_rest());
    let live = trial.live().map(|(_, attempt)| attempt);
    let excused = failure.zip(live).is_some_and(|(kind, attempt)| quarantine::excuses(state, attempt, kind));
    let ended = Fact::AttemptEnded(AttemptEnded {
        sweep: key.sweep,
        trial: key.trial,
        attempt: key.attempt,
        failure: failure.map(i32::from),
        ran_ms: finish.ran_ms.min(PROCESS_MS_MAX),
        cpu_ms: finish.cpu_ms.min(PROCESS_MS_MAX),
        max_rss: finish.max_rss,
        detail: clip(finish.detail),
        excused,
    });
    let mut facts = vec![ended];
    // A trial that was stopped, paused or cancelled stays so, whatever its process made of it.
    if !trial.state.is_at_rest() {
        let meaning = if excused { meaning.excused() } else { meaning };
        facts.push(retries::settle(state, sweep, trial, meaning));
    }
    Ok((facts, ()))
}

/// The agent was not heard of, or came back without the attempt: what it holds of it is lost.
pub fn lose(state: &State, sweep: &Sweep, trial: &Trial, agent: AgentId, now_ms: u64, detail: &str) -> Vec<Fact> {
    lose_each(state, sweep, trial, |holder| holder.agent == agent, now_ms, detail)
}

/// Everything that the trial's live attempt holds is lost.
pub fn lose_all(state: &State, sweep: &Sweep, trial: &Trial, now_ms: u64, detail: &str) -> Vec<Fact> {
    lose_each(state, sweep, trial, |_| true, now_ms, detail)
}

fn lose_each(
    state: &State,
    sweep: &Sweep,
    trial: &Trial,
    which: impl Fn(&Holder<'_>) -> bool,
    now_ms: u64,
    detail: &str,
) -> Vec<Fact> {
    let Some((attempt, live)) = trial.live() else { return Vec::new() };
    let ran_ms = |holder: &Holder<'_>| holder.started_ms.map_or(0, |since| now_ms.saturating_sub(since));
    let lost: Vec<Holder<'_>> = live.holders().filter(which).collect();
    if let Some(gang) = &live.gang {
        let ends = lost.iter().map(|holder| MemberEnd {
            rank: holder.rank,
            meaning: Meaning::Failed(FailureKind::NodeLost),
            ran_ms: ran_ms(holder),
            cpu_ms: 0,
            max_rss: 0,
            detail: detail.to_owned(),
        });
        return gangs::ended(state, sweep, trial, attempt, gang, ends);
    }
    let Some(ran_ms) = lost.first().map(ran_ms) else { return Vec::new() };
    let failure = (!trial.state.is_at_rest()).then_some(FailureKind::NodeLost.into());
    let mut facts = vec![Fact::AttemptEnded(AttemptEnded {
        sweep: sweep.id,
        trial: trial.number,
        attempt,
        failure,
        ran_ms,
        cpu_ms: 0,
        max_rss: 0,
        detail: detail.to_owned(),
        excused: false,
    })];
    if !trial.state.is_at_rest() {
        facts.push(retries::settle(state, sweep, trial, Meaning::Failed(FailureKind::NodeLost)));
    }
    facts
}

fn meaning(sweep: &Sweep, trial: &Trial, rank: u32, end: End) -> Meaning {
    match end {
        End::Exited(code) => match (sweep.spec.run.exit_codes.get(&code.to_string()), code) {
            (Some(ExitMeaning::Retry), _) | (None, 75) => Meaning::Requeue(FailureKind::Exit),
            (Some(ExitMeaning::Infeasible), _) | (None, 65) => Meaning::Infeasible,
            (Some(ExitMeaning::Fail), _) => Meaning::Final(FailureKind::Exit),
            // The same script would leave its metric out again. Of several objectives, no report had all.
            (None, 0) if rank == 0 && sweep.objective().is_some() && trial.last_value.is_none() => {
                Meaning::Final(FailureKind::NoMetric)
            }
            (None, 0) => Meaning::Completed,
            (None, _) => Meaning::Failed(FailureKind::Exit),
        },
        End::Signaled(_) => Meaning::Failed(FailureKind::Signal),
        End::OutOfMemory => Meaning::Failed(FailureKind::OutOfMemory),
        End::TimedOut => Meaning::Failed(FailureKind::Timeout),
        End::StartFailed => Meaning::Failed(FailureKind::StartFailed),
        End::Lost | End::Stopped => Meaning::Failed(FailureKind::NodeLost),
        End::Preempted => Meaning::Failed(FailureKind::Preempted),
        End::Infeasible => Meaning::Infeasible,
    }
}

/// At most [`DETAIL_MAX`] bytes of `text`, its end kept: the last lines say the most.
pub(super) fn clip(text: String) -> String {
    if text.len() <= DETAIL_MAX {
        return text;
    }
    let mut from = text.len() - DETAIL_MAX;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use heats_domain::{AgentId, FailureKind, Metrics, SweepId, TrialState};
    use serde_json::json;

    use super::{DETAIL_MAX, End, Finish, Key, METRICS_MAX, PROCESS_MS_MAX, owned};
    use crate::ops::retries::REQUEUES_MAX;
    use crate::testing::{Cluster, SweepBuilder, finish, start};
    use crate::{Fact, Op, Record, Refusal, Reply};

    fn one(builder: SweepBuilder) -> (Cluster, SweepId, Key) {
        let mut cluster = Cluster::default();
        let id = cluster.submit(builder.trials(1));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        (cluster, id, key)
    }

    fn failure(cluster: &Cluster, id: SweepId, attempt: usize) -> Option<FailureKind> {
        cluster.trial(id, 0).attempts[attempt - 1].end.expect("has ended").failure
    }

    fn reported(cluster: &Cluster, id: SweepId) -> Vec<(u64, f64)> {
        let report = |record: Arc<Record>| match record.cell.fact.as_ref()? {
            Fact::TrialReported(fact) => Some((fact.step, fact.metrics.get("loss")?)),
            _ => None,
        };
        cluster.sweep(id).journal.iter().filter_map(report).collect()
    }

    #[test]
    fn a_step_is_recorded_once_and_never_goes_back() {
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss"));
        for (step, loss) in [(2, 0.5), (2, 0.1), (1, 0.1), (5, 0.4)] {
            assert_eq!(cluster.report(key, step, loss), Ok(Reply::Done));
        }
        assert_eq!(reported(&cluster, id), [(2, 0.5), (5, 0.4)]);
        let trial = cluster.trial(id, 0);
        assert_eq!((trial.reports(), trial.last_step, trial.best.map(|best| best.step)), (2, Some(5), Some(5)));
    }

    #[test]
    fn a_report_says_that_the_process_runs() {
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss"));
        assert_eq!(cluster.state(id, 0), TrialState::Leased);
        cluster.report(key, 1, 0.5).expect("is live");
        assert_eq!(cluster.state(id, 0), TrialState::Running);
    }

    #[test]
    fn an_attempt_is_its_own_agents_for_ever_and_nobody_elses() {
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss"));
        let (own, other) = (AgentId { bits: 1 }, AgentId { bits: 2 });
        let stale = |attempt| Err(Refusal::Stale { sweep: id, trial: 0, attempt });
        assert_eq!((owned(&cluster.applied, own, key), owned(&cluster.applied, other, key)), (Ok(0), stale(1)));
        for attempt in [0, 2] {
            assert_eq!(owned(&cluster.applied, own, Key { attempt, ..key }), stale(attempt));
        }
        cluster.op(Op::Expire(own, 30_000)).expect("expires");
        cluster.attach(2, 1);
        let again = cluster.dispatch()[0];
        assert_eq!((owned(&cluster.applied, other, again), owned(&cluster.applied, own, again)), (Ok(0), stale(2)));
        assert_eq!((owned(&cluster.applied, own, key), owned(&cluster.applied, other, key)), (Ok(0), stale(1)));
    }

    #[test]
    fn a_report_after_its_lease_expired_is_refused() {
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss"));
        cluster.op(Op::Expire(heats_domain::AgentId { bits: 1 }, 30_000)).expect("expires");
        let stale = Err(Refusal::Stale { sweep: id, trial: 0, attempt: 1 });
        assert_eq!(cluster.report(key, 1, 0.5), stale);
        cluster.attach(1, 1);
        assert_eq!(cluster.dispatch(), [Key { attempt: 2, ..key }]);
        assert_eq!(cluster.report(key, 1, 0.5), stale);
        assert_eq!(cluster.op(Op::Start(start(key))), stale);
        assert!(matches!(cluster.report(Key { attempt: 3, ..key }, 1, 0.5), Err(Refusal::Stale { .. })));
        assert!(matches!(cluster.report(Key { trial: 9, ..key }, 1, 0.5), Err(Refusal::Stale { .. })));
        let nowhere = Key { sweep: SweepId { bits: 99 }, ..key };
        assert!(matches!(cluster.report(nowhere, 1, 0.5), Err(Refusal::Stale { .. })));
        assert_eq!(reported(&cluster, id), []);
    }

    #[test]
    fn a_repeated_end_changes_nothing() {
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss"));
        cluster.complete(key, 0.5);
        let entries = cluster.entries.len();
        cluster.finish(key, End::Exited(1));
        assert_eq!((cluster.entries.len(), cluster.state(id, 0)), (entries, TrialState::Completed));
        assert_eq!(cluster.sweep(id).ledger.attempt_ms, 1_000);
    }

    #[test]
    fn an_exit_with_0_and_no_objective_fails_for_good() {
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss"));
        cluster.op(Op::Report(key, 1, [("other", 1.0)].into_iter().collect())).expect("is live");
        cluster.finish(key, End::Exited(0));
        assert_eq!(cluster.state(id, 0), TrialState::Failed, "the same script would leave it out again");
        assert_eq!(failure(&cluster, id, 1), Some(FailureKind::NoMetric));
    }

    #[test]
    fn an_objective_that_is_nan_or_was_reported_earlier_completes_the_trial() {
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss"));
        cluster.report(key, 1, f64::NAN).expect("is live");
        cluster.op(Op::Report(key, 2, Metrics::default())).expect("is live");
        cluster.finish(key, End::Exited(0));
        assert_eq!((cluster.state(id, 0), cluster.sweep(id).best()), (TrialState::Completed, None));
        assert!(cluster.trial(id, 0).last_value.is_some_and(f64::is_nan));
    }

    #[test]
    fn failures_use_up_retries_and_lost_nodes_do_not() {
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss").set("run", "retries", 2));
        let ends = [
            (End::Exited(1), FailureKind::Exit),
            (End::Lost, FailureKind::NodeLost),
            (End::OutOfMemory, FailureKind::OutOfMemory),
            (End::Exited(75), FailureKind::Exit),
            (End::TimedOut, FailureKind::Timeout),
        ];
        for (attempt, (end, kind)) in (1..).zip(ends) {
            if attempt > 1 {
                assert_eq!(cluster.dispatch(), [Key { attempt, ..key }]);
            }
            cluster.finish(Key { attempt, ..key }, end);
            assert_eq!(failure(&cluster, id, attempt as usize), Some(kind));
        }
        assert_eq!((cluster.state(id, 0), cluster.trial(id, 0).retries_used), (TrialState::Failed, 2));
        assert_eq!(cluster.sweep(id).counts.of(TrialState::Failed), 1);
    }

    #[test]
    fn a_trial_is_not_tried_again_for_ever() {
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss"));
        for attempt in 1..=REQUEUES_MAX {
            cluster.finish(Key { attempt, ..key }, End::Exited(75));
            assert_eq!(cluster.dispatch(), [Key { attempt: attempt + 1, ..key }]);
        }
        cluster.finish(Key { attempt: REQUEUES_MAX + 1, ..key }, End::Lost);
        assert_eq!(cluster.state(id, 0), TrialState::Failed);
    }

    #[test]
    fn exit_codes_mean_what_the_sweep_says() {
        let codes = json!({"3": "infeasible", "4": "retry", "5": "fail", "75": "fail"});
        for (code, state) in [
            (65, TrialState::Infeasible),
            (75, TrialState::Failed),
            (3, TrialState::Infeasible),
            (4, TrialState::Waiting),
            (5, TrialState::Failed),
            (6, TrialState::Waiting),
        ] {
            let (mut cluster, id, key) = one(SweepBuilder::minimize("loss").set("run", "exit_codes", codes.clone()));
            cluster.finish(key, End::Exited(code));
            assert_eq!(cluster.state(id, 0), state, "exit code {code}");
            assert_eq!(cluster.trial(id, 0).retries_used, u32::from(code == 6), "exit code {code}");
        }
    }

    #[test]
    fn an_infeasible_trial_is_not_offered_as_the_best() {
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss"));
        cluster.report(key, 1, 0.5).expect("is live");
        assert_eq!(cluster.sweep(id).best().map(|trial| trial.number), Some(0));
        cluster.finish(key, End::Infeasible);
        assert_eq!((cluster.state(id, 0), cluster.sweep(id).best()), (TrialState::Infeasible, None));
    }

    #[test]
    fn the_earliest_of_equal_trials_is_the_best_and_minus_zero_is_zero() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::maximize("loss"));
        cluster.attach(1, 3);
        for (key, value) in cluster.dispatch().into_iter().zip([-0.0, 0.0, -1.0]) {
            cluster.complete(key, value);
        }
        assert_eq!(cluster.sweep(id).best().map(|trial| trial.number), Some(0));
    }

    #[test]
    fn a_rule_stops_a_trial_in_the_entry_of_its_report() {
        let stopper = json!({"algorithm": "threshold", "upper": 1.0});
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss").top("early_stop", stopper));
        cluster.report(key, 1, 0.5).expect("is live");
        cluster.report(key, 2, 1.5).expect("is live");
        assert_eq!(cluster.state(id, 0), TrialState::Stopped);
        assert_eq!(cluster.entries.last().map(|entry| entry.facts.len()), Some(2));
        cluster.report(key, 3, 0.1).expect("is acknowledged");
        cluster.finish(key, End::Exited(3));
        assert_eq!((reported(&cluster, id).len(), failure(&cluster, id, 1)), (2, None));
        assert_eq!(cluster.state(id, 0), TrialState::Stopped);
        assert_eq!(cluster.sweep(id).stopped_by.get(&("threshold".into(), 0)), Some(&1));
    }

    #[test]
    fn a_late_report_of_a_sweep_that_has_ended_is_refused() {
        let (mut cluster, _, key) = one(SweepBuilder::minimize("loss"));
        cluster.complete(key, 0.5);
        assert!(matches!(cluster.report(key, 2, 0.1), Err(Refusal::Stale { .. })));
    }

    #[test]
    fn a_report_of_too_many_metrics_is_refused() {
        let (mut cluster, _, key) = one(SweepBuilder::minimize("loss"));
        let many: Metrics = (0..=METRICS_MAX).map(|n| (format!("m{n}"), 0.0)).collect();
        assert!(matches!(cluster.op(Op::Report(key, 1, many)), Err(Refusal::ReportTooLarge { .. })));
        let long: Metrics = [("m".repeat(129), 0.0)].into_iter().collect();
        assert!(matches!(cluster.op(Op::Report(key, 1, long)), Err(Refusal::ReportTooLarge { .. })));
    }

    #[test]
    fn absurd_times_and_steps_overflow_no_sum() {
        let stopper = json!({"algorithm": "threshold", "upper": 1.0});
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").top("early_stop", stopper));
        cluster.attach(1, 3);
        let keys = cluster.dispatch();
        cluster.report(keys[2], u64::MAX, 0.5).expect("is live");
        for key in &keys[..2] {
            cluster.report(*key, 1, 1.5).expect("is live");
        }
        for key in keys {
            cluster.op(Op::Finish(finish(key, End::Exited(0), u64::MAX))).expect("ends");
        }
        assert_eq!(cluster.sweep(id).ledger.attempt_ms, 3 * PROCESS_MS_MAX);
        assert_eq!(cluster.sweep(id).savings().steps_saved, u64::MAX);
    }

    #[test]
    fn a_start_is_recorded_once_and_the_end_of_a_long_detail_is_kept() {
        let (mut cluster, id, key) = one(SweepBuilder::minimize("loss"));
        cluster.start(key);
        let entries = cluster.entries.len();
        cluster.start(key);
        assert_eq!(cluster.entries.len(), entries);
        let detail = format!("{}é the last line", "é".repeat(DETAIL_MAX));
        cluster.op(Op::Finish(Finish { detail, ..finish(key, End::Exited(0), 5) })).expect("ends");
        let detail = cluster.sweep(id).detail(cluster.trial(id, 0));
        assert!(detail.len() <= DETAIL_MAX && detail.ends_with("é the last line"), "{}", detail.len());
    }
}
