//! How a sweep comes to its end: what makes it drain, and when it has ended.

use heats_domain::{StopReason, TrialState};

use crate::confirm;
use crate::fact::{Ending, Fact, SweepDrained, SweepEdited, SweepEnded, TrialSettled};
use crate::sweep::{Status, Sweep};
use crate::trial::Trial;

/// What becomes of the trials that hold a lease when a sweep drains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Running<'a> {
    /// They run to their end.
    Finish,
    /// They are stopped by this rule: `stop_at`, `wall`, `gpu_hours`.
    Stop(&'a str),
    /// They are cancelled.
    Cancel,
}

/// The facts that make `sweep` create nothing more and end once nothing runs.
pub fn drain(sweep: &Sweep, ending: Ending, why: String, running: Running<'_>) -> Vec<Fact> {
    let drained = Fact::SweepDrained(SweepDrained { sweep: sweep.id, ending: ending.into(), why: why.clone() });
    std::iter::once(drained).chain(clear(sweep, &why, running)).collect()
}

/// The facts of a sweep whose target a trial has reached: it proposes nothing more, and nothing of it runs on.
///
/// A value that was waited for is too good on average as any other best one: leaders are confirmed, which takes places. So
/// such a sweep does not drain; its budget ends where it is.
pub fn reached(sweep: &Sweep, why: String) -> Vec<Fact> {
    let running = Running::Stop("stop_at");
    if sweep.confirm().is_none() {
        return drain(sweep, Ending::Finished, why, running);
    }
    let rest = clear(sweep, &why, running);
    let trials = Some(sweep.proposed);
    let edited = Fact::SweepEdited(SweepEdited { sweep: sweep.id, trials, parallel: None, why, priority: None });
    std::iter::once(edited).chain(rest).collect()
}

/// The facts that leave nothing waiting, and of what runs as much as `running` says.
fn clear(sweep: &Sweep, why: &str, running: Running<'_>) -> Vec<Fact> {
    let mut facts = Vec::new();
    let waiting = sweep.waiting.iter().filter_map(|&n| sweep.trial(n));
    facts.extend(waiting.map(|trial| cancelled(sweep, trial, why)));
    facts.extend(passed_over(sweep));
    let live = sweep.live.iter().filter_map(|&n| sweep.trial(n)).filter(|t| !t.state.is_at_rest());
    match running {
        Running::Finish => {}
        Running::Stop(rule) => facts.extend(live.map(|trial| stopped(sweep, trial, rule))),
        Running::Cancel => facts.extend(live.map(|trial| cancelled(sweep, trial, why))),
    }
    facts
}

/// The fact that cancels a trial.
pub fn cancelled(sweep: &Sweep, trial: &Trial, why: &str) -> Fact {
    settled(sweep, trial.number, TrialState::Cancelled, why)
}

/// A trial settles for a reason that is not a verdict.
pub(crate) fn settled(sweep: &Sweep, trial: u32, state: TrialState, why: &str) -> Fact {
    let (state, why) = (state.into(), why.to_owned());
    Fact::TrialSettled(TrialSettled { sweep: sweep.id, trial, state, reason: None, retry_used: false, why })
}

/// Trials that hold at a rung and will not go on end there: stopped, by the verdict that has them hold. What they
/// reported stands, however the sweep ends.
fn passed_over(sweep: &Sweep) -> Vec<Fact> {
    let holding = sweep.paused.iter().filter_map(|&n| Some((n, sweep.verdict(sweep.trial(n)?)?)));
    holding.map(|(trial, reason)| verdict(sweep, trial, TrialState::Stopped, reason)).collect()
}

fn stopped(sweep: &Sweep, trial: &Trial, rule: &str) -> Fact {
    let reason = StopReason {
        rule: rule.to_owned(),
        step: trial.last_step.unwrap_or(0),
        value: trial.last_value.unwrap_or(f64::NAN),
        rung: None,
        rank: None,
        peers: None,
        cutoff: None,
        winner: None,
    };
    verdict(sweep, trial.number, TrialState::Stopped, reason)
}

/// The fact that a rule stopped a trial, or has it hold.
pub(crate) fn verdict(sweep: &Sweep, trial: u32, state: TrialState, reason: StopReason) -> Fact {
    Fact::TrialSettled(TrialSettled {
        sweep: sweep.id,
        trial,
        state: state.into(),
        reason: Some(reason),
        retry_used: false,
        why: String::new(),
    })
}

/// The next facts that follow from where the sweep stands: that it failed too often, that trials which hold at a rung
/// will not go on, that its leaders are to be confirmed, or that it has ended. `promotes` is whether its rule would let one
/// of those that hold go on.
pub fn settle(sweep: &Sweep, promotes: bool) -> Vec<Fact> {
    let ended = |ending: Ending, why: &str| {
        vec![Fact::SweepEnded(SweepEnded { sweep: sweep.id, ending: ending.into(), why: why.to_owned() })]
    };
    let idle = sweep.live.is_empty() && sweep.waiting.is_empty();
    match &sweep.status {
        Status::Ended { .. } => Vec::new(),
        Status::Draining(ending, why) if idle => ended(*ending, why),
        Status::Draining(..) => Vec::new(),
        Status::Running | Status::Paused => {
            let failed = sweep.counts.of(TrialState::Failed).saturating_sub(sweep.forgiven);
            if let Some(max) = sweep.spec.budget.max_failures.filter(|&max| max > 0 && failed >= max) {
                return drain(
                    sweep,
                    Ending::Failed,
                    format!("{failed} trials failed{}; max_failures is {max}", where_they_did(sweep)),
                    Running::Cancel,
                );
            }
            if !idle || sweep.may_create() || promotes {
                return Vec::new();
            }
            if !sweep.paused.is_empty() {
                return passed_over(sweep);
            }
            let fresh = confirm::missing(sweep);
            if !fresh.is_empty() {
                return fresh;
            }
            if sweep.members.is_some() {
                ended(
                    Ending::Finished,
                    &format!("every member of its population ended, after {} trials", sweep.proposed),
                )
            } else if sweep.limit_why.is_empty() {
                ended(Ending::Finished, &format!("all {} trials of its budget ended", sweep.proposed))
            } else {
                ended(Ending::Finished, &sweep.limit_why)
            }
        }
    }
}

/// On how many machines attempts failed, where that is more than one: so it is no machine's fault.
fn where_they_did(sweep: &Sweep) -> String {
    let machines = sweep.tallies.iter().filter(|(part, _)| part.gpu.is_none()).map(|(_, tally)| tally);
    let failing = machines.filter(|tally| tally.failed + tally.start_failed > 0).count();
    if failing > 1 { format!(", on {failing} machines") } else { String::new() }
}

/// The facts that follow from the time: limits of wall time and GPU-hours. A sweep that drains is on its
/// way to its own ending, but what still runs there uses time like any other.
pub fn limits(sweep: &Sweep, now_ms: u64) -> Vec<Fact> {
    let Some((rule, why)) = overrun(sweep, now_ms) else { return Vec::new() };
    match &sweep.status {
        Status::Running | Status::Paused => drain(sweep, Ending::Stopped, why, Running::Stop(rule)),
        Status::Draining(..) => {
            let live = sweep.live.iter().filter_map(|&n| sweep.trial(n)).filter(|t| !t.state.is_at_rest());
            live.map(|trial| stopped(sweep, trial, rule)).collect()
        }
        Status::Ended { .. } => Vec::new(),
    }
}

/// The limit that the sweep has reached, with a sentence about it.
fn overrun(sweep: &Sweep, now_ms: u64) -> Option<(&'static str, String)> {
    let budget = &sweep.spec.budget;
    if let Some(wall) = budget.wall.filter(|wall| sweep.open_ms(now_ms) >= wall.ms) {
        return Some(("wall", format!("its wall time of {wall} is over")));
    }
    let hours = budget.gpu_hours?;
    let live = sweep.live.iter().filter_map(|&n| sweep.trial(n)?.live()).map(|(_, attempt)| attempt.gpu_ms(now_ms));
    let used_ms = sweep.ledger.gpu_ms + live.sum::<u64>();
    (used_ms as f64 >= hours * 3_600_000.0).then(|| ("gpu_hours", format!("its {hours} GPU-hours are used")))
}

#[cfg(test)]
mod tests {
    use heats_domain::TrialState;

    use crate::Op;
    use crate::ops::attempts::{End, Key};
    use crate::ops::control::{Edit, Verb};
    use crate::testing::{Cluster, SweepBuilder, attach};

    #[test]
    fn a_report_that_reaches_the_target_stops_the_others_and_ends_the_sweep() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::maximize("loss").trials(9).set("objective", "stop_at", 0.9));
        cluster.attach(1, 2);
        let keys = cluster.dispatch();
        cluster.report(keys[1], 1, 0.5).expect("is live");
        cluster.report(keys[0], 1, 0.7).expect("is live");
        cluster.report(keys[0], 2, 0.9).expect("is live");
        assert_eq!([0, 1].map(|n| cluster.state(id, n)), [TrialState::Stopped; 2]);
        assert_eq!(cluster.ending(id), None, "both processes still run");
        let reason = |n| cluster.sweep(id).verdict(cluster.trial(id, n)).expect("a verdict");
        assert_eq!((reason(0).step, reason(0).value, reason(0).cutoff), (2, 0.9, Some(0.9)));
        assert_eq!((reason(1).step, reason(1).value, reason(1).cutoff), (1, 0.5, None));
        for key in keys {
            cluster.finish(key, End::Stopped);
        }
        let why = "trial 0 reported loss = 0.9, which reaches stop_at 0.9";
        assert_eq!(cluster.ending(id), Some(("finished", why)));
    }

    #[test]
    fn a_value_that_is_no_finite_number_never_reaches_a_target() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").set("objective", "stop_at", 0.1));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        for (step, value) in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY].into_iter().enumerate() {
            cluster.report(key, step as u64, value).expect("is live");
        }
        assert_eq!((cluster.state(id, 0), cluster.sweep(id).best()), (TrialState::Running, None));
    }

    #[test]
    fn a_sweep_whose_wall_time_is_over_stops_its_trials() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").set("budget", "wall", "10s"));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.pass(9_999);
        assert_eq!(cluster.state(id, 0), TrialState::Leased);
        cluster.pass(1);
        assert_eq!(cluster.state(id, 0), TrialState::Stopped);
        cluster.finish(key, End::Stopped);
        assert_eq!(cluster.ending(id), Some(("stopped", "its wall time of 10s is over")));
    }

    #[test]
    fn a_sweep_that_drains_keeps_within_its_wall_time() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").set("budget", "wall", "10s"));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.control(id, Verb::Stop).expect("lives");
        cluster.pass(10_000);
        assert_eq!(cluster.state(id, 0), TrialState::Stopped);
        cluster.pass(10_000);
        cluster.finish(key, End::Stopped);
        assert_eq!(cluster.ending(id), Some(("stopped", "a user stopped it")));
    }

    #[test]
    fn the_time_while_a_sweep_was_over_is_not_its_wall_time() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(1).set("budget", "wall", "10s"));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.pass(4_000);
        cluster.complete(key, 0.5);
        cluster.pass(86_400_000);
        cluster.op(Op::Edit(id, Edit { more_trials: Some(1), ..Edit::default() })).expect("goes on");
        cluster.dispatch();
        cluster.pass(5_999);
        assert_eq!(cluster.state(id, 1), TrialState::Leased);
        cluster.pass(1);
        assert_eq!(cluster.state(id, 1), TrialState::Stopped);
    }

    #[test]
    fn a_sweep_that_used_its_gpu_hours_stops_its_trials() {
        let mut cluster = Cluster::default();
        let builder = SweepBuilder::minimize("loss").set("budget", "gpu_hours", 0.01).set("resources", "gpus", 2);
        let id = cluster.submit(builder);
        cluster.op(Op::Attach(attach(1, 9, 4))).expect("attaches");
        let keys = cluster.dispatch();
        assert_eq!(keys.len(), 2);
        cluster.start(keys[0]);
        // 0.01 GPU-hours are 36 s: 16 s of two GPUs that run, and 2 s of two that did.
        cluster.now_ms += 14_000;
        cluster.op(Op::Finish(crate::testing::finish(keys[1], End::Exited(1), 2_000))).expect("ends");
        cluster.pass(1_999);
        assert_eq!(cluster.state(id, 0), TrialState::Running);
        cluster.pass(1);
        assert_eq!(cluster.state(id, 0), TrialState::Stopped);
        cluster.finish(keys[0], End::Stopped);
        assert_eq!(cluster.ending(id), Some(("stopped", "its 0.01 GPU-hours are used")));
    }

    #[test]
    fn too_many_failures_fail_the_sweep_and_cancel_what_runs() {
        let mut cluster = Cluster::default();
        let builder = SweepBuilder::minimize("loss").trials(9).set("run", "retries", 0);
        let id = cluster.submit(builder.set("budget", "max_failures", 2));
        cluster.attach(1, 3);
        let keys = cluster.dispatch();
        cluster.finish(keys[0], End::Exited(1));
        assert_eq!(cluster.state(id, 2), TrialState::Leased);
        cluster.finish(keys[1], End::Signaled(11));
        assert_eq!(cluster.state(id, 2), TrialState::Cancelled);
        cluster.finish(keys[2], End::Stopped);
        assert_eq!(cluster.ending(id), Some(("failed", "2 trials failed; max_failures is 2")));
    }

    #[test]
    fn a_sweep_ends_with_exactly_its_budget() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::unranked().trials(7));
        cluster.attach(1, 2);
        loop {
            let keys = cluster.dispatch();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                cluster.finish(key, End::Exited(0));
            }
        }
        assert_eq!(cluster.sweep(id).counts.of(TrialState::Completed), 7);
        assert_eq!(cluster.ending(id), Some(("finished", "all 7 trials of its budget ended")));
        assert_eq!(cluster.leading.active().count(), 0);
    }

    #[test]
    fn an_exhausted_space_ends_the_sweep_once_its_trials_have() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").top("budget", serde_json::json!({})));
        cluster.attach(1, 2);
        cluster
            .suggestions
            .next
            .push_back(crate::dispatch::Offer::Ready { params: heats_domain::Params::default(), saw_index: 0 });
        cluster.suggestions.next.push_back(crate::dispatch::Offer::Exhausted);
        let keys = cluster.dispatch();
        assert_eq!((keys.len(), cluster.ending(id)), (1, None));
        cluster.finish(keys[0], End::Exited(1));
        let key = cluster.dispatch()[0];
        assert_eq!(key, Key { attempt: 2, ..keys[0] }, "a failed trial is tried again all the same");
        cluster.complete(key, 0.5);
        let why = "every configuration of the space was tried, 1 in all";
        assert_eq!(cluster.ending(id), Some(("finished", why)));
    }

    #[test]
    fn a_sweep_that_has_enough_ends_with_the_reason_and_goes_on_where_a_user_wants_more() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(9));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.complete(key, 0.5);
        let why = "its best trials are alike";
        cluster.suggestions.next.push_back(crate::dispatch::Offer::Enough { why: why.to_owned() });
        assert_eq!((cluster.dispatch(), cluster.ending(id)), (vec![], Some(("finished", why))));
        cluster.edit_trials(id, 2).expect("grows");
        assert_eq!(cluster.dispatch(), [Key { trial: 1, ..key }]);
        let limits = crate::testing::seen(cluster.sweep(id), 0, |event| match event {
            heats_search::Event::Limited { by_user } => Some(*by_user),
            _ => None,
        });
        assert_eq!(limits, [false, true], "so that its searcher knows who wanted what");
    }

    #[test]
    fn a_space_without_a_feasible_configuration_fails_the_sweep() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.attach(1, 1);
        cluster.suggestions.next.push_back(crate::dispatch::Offer::Infeasible { draws: 50 });
        assert_eq!(cluster.dispatch(), []);
        let why = "no configuration that satisfies the constraints was found in 50 draws";
        assert_eq!(cluster.ending(id), Some(("failed", why)));
    }
}
