//! Why a trial has its configuration, and why it stands where it stands.

use heats_domain::spec::Run;
use heats_domain::{Direction, FailureKind, Params, StopReason, SweepSpec, TrialState};
use heats_wire::v1;

use crate::{live, room, view, words};

/// The reasons, the configuration's first.
pub(super) fn sentences(
    sweep: &v1::Sweep,
    whole: &v1::TrialResponse,
    agents: &[v1::AgentStatus],
    now_ms: u64,
) -> Vec<String> {
    let trial = whole.trial.clone().unwrap_or_default();
    let mut sentences = vec![configuration(sweep, whole)];
    for attempt in &whole.attempts {
        if let Some(failure) = attempt.failure {
            let detail = if attempt.detail.is_empty() { String::new() } else { format!(": {}", attempt.detail) };
            let fault = if attempt.excused { ", which is put down to its machine" } else { "" };
            sentences.push(format!(
                "attempt {} on {} failed ({}){fault}{detail}",
                attempt.number,
                view::agents_of(attempt),
                view::failure(failure)
            ));
        }
    }
    sentences.extend(standing(sweep, &trial, whole, agents, now_ms));
    sentences
}

fn configuration(sweep: &v1::Sweep, whole: &v1::TrialResponse) -> String {
    if let Some(leader) = whole.trial.as_ref().and_then(|trial| trial.confirms) {
        return format!(
            "it runs the configuration of {}/{leader} again on a seed of its own, to confirm it: no rule judges it, and no searcher learns from it",
            sweep.name
        );
    }
    if let Some(forked) = whole.trial.as_ref().and_then(|trial| trial.forked_from) {
        return format!(
            "it is a fork of {name}/{}: it went on from that one's checkpoint of step {}, with a configuration near that one's, in the place of {name}/{}",
            forked.trial,
            forked.step,
            forked.replaces,
            name = sweep.name,
        );
    }
    if whole.enqueued {
        return "its configuration was asked for by a user; what they left open, the searcher filled in".into();
    }
    let spec = view::spec(sweep);
    if spec.as_ref().is_some_and(|spec| spec.search.algorithm == heats_wire::study::views::ALGORITHM) {
        return "its client proposed its configuration, with a sampler of Optuna's".into();
    }
    let algorithm =
        spec.as_ref().map_or_else(|| "the searcher".to_owned(), |spec| format!("`{}`", spec.search.algorithm));
    if spec.is_some_and(|spec| is_history_free(&spec, sweep.seed)) {
        return format!("{algorithm} proposed its configuration from the sweep's seed and the trial's number alone");
    }
    match whole.saw_index {
        0 => format!("{algorithm} proposed its configuration before anything was measured, from the seed alone"),
        index => format!(
            "{algorithm} proposed its configuration from what had happened up to log index {index}: `heats events {}`",
            sweep.name
        ),
    }
}

/// Whether nothing that other trials measured had a part in it.
fn is_history_free(spec: &SweepSpec, seed: u64) -> bool {
    heats_search::around::searcher(spec, seed, Vec::new()).is_ok_and(|searcher| searcher.is_history_free())
}

fn standing(
    sweep: &v1::Sweep,
    trial: &v1::TrialSummary,
    whole: &v1::TrialResponse,
    agents: &[v1::AgentStatus],
    now_ms: u64,
) -> Vec<String> {
    let state = TrialState::try_from(trial.state);
    let on = whole.attempts.last().map_or_else(String::new, |attempt| format!(" on {}", view::agents_of(attempt)));
    let ending = if trial.ending { vec!["its process is still being ended".to_owned()] } else { Vec::new() };
    let sentence = match state {
        Ok(TrialState::Waiting) => waiting(sweep, trial.params.as_ref(), agents),
        Ok(TrialState::Leased) => format!("it is starting{on}: its environment is made, or its process"),
        Ok(TrialState::Running) => {
            let since = trial.started_ms.map_or_else(String::new, |ms| format!(", started {}", words::ago(ms, now_ms)));
            let step = trial
                .last_step
                .map_or_else(|| "and has reported nothing yet".to_owned(), |step| format!("at step {step}"));
            format!("it is running{on}{since}, {step}")
        }
        Ok(TrialState::Paused) => "it holds, and gives its place to others, until its rule lets it go on".into(),
        Ok(TrialState::Completed) => {
            let value = match (&trial.point, trial.value) {
                (Some(point), _) => format!(" with {}", view::pairs(point)),
                (None, Some(value)) => format!(" with {}", words::short(value)),
                (None, None) => String::new(),
            };
            format!("it ran to its end{value}")
        }
        Ok(TrialState::Stopped) => trial.stopped.as_ref().map_or_else(
            || format!("it was stopped: {}", trial.detail),
            |reason| {
                if has_several(sweep) {
                    return stopped_by_all(reason);
                }
                stopped(reason, view::objective(sweep).map(|objective| objective.direction()))
            },
        ),
        Ok(TrialState::Failed) => {
            let attempts = words::count(u64::from(trial.attempts), "attempt");
            let kind = trial.failure.and_then(|kind| FailureKind::try_from(kind).ok());
            let run = view::spec(sweep).map(|spec| spec.run).unwrap_or_default();
            format!("it has failed after {attempts}; {}", retries(&run, kind))
        }
        Ok(TrialState::Infeasible) => {
            format!("its configuration cannot be run: {}", or(&trial.detail, "the trial said so"))
        }
        Ok(TrialState::Cancelled) => format!("it was cancelled: {}", or(&trial.detail, "by a user")),
        Err(_) => format!("its state {} is not known to this version of heats", trial.state),
    };
    std::iter::once(sentence)
        .chain(never_finite(sweep, trial))
        .chain(spared(sweep, trial))
        .chain(confirmed(trial))
        .chain(ending)
        .collect()
}

/// How often it was to be tried again after its last failure: `` `run.retries` is 2 ``.
fn retries(run: &Run, kind: Option<FailureKind>) -> String {
    match kind.and_then(|kind| Some((kind, run.retry.of(kind)?))) {
        Some((FailureKind::NoMetric, _)) => "the same script would leave its metric out again".to_owned(),
        Some((kind, times)) => format!("`run.retry.{kind}` is {times}"),
        None => format!("`run.retries` is {}", run.retries),
    }
}

/// Why it goes on, or went on, where a rule would have stopped it.
fn spared(sweep: &v1::Sweep, trial: &v1::TrialSummary) -> Option<String> {
    let verdict = stopped(trial.spared.as_ref()?, view::objective(sweep).map(|objective| objective.direction()));
    Some(format!(
        "it is one of the control group (`early_stop.audit`), and was not stopped where the rule said so: {verdict}"
    ))
}

/// What its fresh runs say about its configuration.
fn confirmed(trial: &v1::TrialSummary) -> Option<String> {
    let confirmed = trial.confirmed.as_ref()?;
    let chosen = trial.value.map_or_else(String::new, |value| {
        format!("; the {} that it was chosen for is the best of many, and too good on average", words::short(value))
    });
    Some(match confirmed.mean {
        Some(mean) => {
            format!("the mean of {} is {}{chosen}", live::fresh_runs(confirmed), words::short(mean))
        }
        None => {
            format!("of its {} none has completed with a value", words::count(u64::from(confirmed.of), "fresh run"))
        }
    })
}

/// Why a trial that measured its objective has no value.
fn never_finite(sweep: &v1::Sweep, trial: &v1::TrialSummary) -> Option<String> {
    let last = trial.last_value.filter(|_| trial.value.is_none())?;
    if has_several(sweep) {
        return Some(
            "one of its objectives was no finite number in the last report of all: it has no place on the front".into(),
        );
    }
    let metric = view::objective(sweep).map_or_else(|| "objective".to_owned(), |o| format!("`{}`", o.metric()));
    Some(format!("its {metric} was never a finite number: the last is {}, which ranks worst", words::short(last)))
}

fn waiting(sweep: &v1::Sweep, params: Option<&Params>, agents: &[v1::AgentStatus]) -> String {
    if sweep.status() == v1::SweepStatus::Paused {
        return format!("it waits because the sweep is paused: `heats resume {}`", sweep.name);
    }
    let counts = sweep.counts.unwrap_or_default();
    let held =
        view::spec(sweep).and_then(|spec| room::what_holds(&spec, params, counts.leased + counts.running, agents));
    let held = held.or_else(|| Some(sweep.why.clone()).filter(|why| !why.is_empty()));
    held.map_or_else(|| "it waits for a place, and is next".to_owned(), |why| format!("it waits: {why}"))
}

fn has_several(sweep: &v1::Sweep) -> bool {
    view::spec(sweep).is_some_and(|spec| spec.objectives().len() > 1)
}

/// The verdict on all objectives: no one of its values was the reason.
fn stopped_by_all(reason: &StopReason) -> String {
    let StopReason { rule, step, value: _, rung, rank, peers, cutoff: _, winner: _ } = reason;
    let at = rung.map_or_else(String::new, |rung| format!(" at rung {rung}"));
    match (rank, peers) {
        (Some(rank), Some(peers)) => {
            format!("`{rule}` stopped it at step {step}: by all objectives it ranks {rank} of {peers}{at}")
        }
        (_, _) => format!("`{rule}` stopped it at step {step}{at}"),
    }
}

/// The verdict with the numbers that it was reached with.
fn stopped(reason: &StopReason, direction: Option<Direction>) -> String {
    let StopReason { rule, step, value, rung, rank, peers, cutoff, winner } = reason;
    let mut text = format!("`{rule}` stopped it at step {step}: {}", words::short(*value));
    if let (Some(rank), Some(peers)) = (rank, peers) {
        text.push_str(&format!(" ranks {rank} of {peers}"));
    }
    if let Some(rung) = rung {
        text.push_str(&format!(" at rung {rung}"));
    }
    if let Some(cutoff) = cutoff {
        let bound = match direction {
            Some(Direction::Maximize) => "at least",
            Some(Direction::Minimize) => "at most",
            None => "",
        };
        text.push_str(&format!("; to go on it had to be {bound} {}", words::short(*cutoff)));
    }
    if let Some(winner) = winner {
        text.push_str(&format!("; a copy of trial {winner} took its place"));
    }
    text
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_trial_names_the_numbers_of_its_verdict() {
        let sweep = v1::Sweep {
            name: "s".into(),
            spec: r#"{"command":["a"],"objective":{"maximize":"acc"}}"#.into(),
            ..Default::default()
        };
        let reason = StopReason {
            rule: "asha".into(),
            step: 9,
            value: 0.71,
            rung: Some(9),
            rank: Some(5),
            peers: Some(6),
            cutoff: Some(0.9),
            winner: None,
        };
        let trial = v1::TrialSummary { state: TrialState::Stopped as i32, stopped: Some(reason), ..Default::default() };
        let whole = v1::TrialResponse { trial: Some(trial), saw_index: 40, ..Default::default() };
        assert_eq!(
            sentences(&sweep, &whole, &[], 0),
            [
                "`auto` proposed its configuration from what had happened up to log index 40: `heats events s`",
                "`asha` stopped it at step 9: 0.71 ranks 5 of 6 at rung 9; to go on it had to be at least 0.9"
            ]
        );
    }

    #[test]
    fn a_fresh_run_says_what_it_is_for_and_its_leader_what_came_of_it() {
        let sweep = v1::Sweep { name: "s".into(), spec: r#"{"command":["a"]}"#.into(), ..Default::default() };
        let of = |trial: v1::TrialSummary| {
            let trial = v1::TrialSummary { state: TrialState::Completed as i32, value: Some(0.25), ..trial };
            let whole = v1::TrialResponse { trial: Some(trial), ..Default::default() };
            sentences(&sweep, &whole, &[], 0)
        };
        let fresh = of(v1::TrialSummary { confirms: Some(7), ..Default::default() });
        assert!(fresh[0].contains("the configuration of s/7 again on a seed of its own"), "{fresh:?}");
        let confirmed = v1::Confirmed { mean: Some(0.31), low: None, high: None, runs: 1, of: 1 };
        let leader = of(v1::TrialSummary { confirmed: Some(confirmed), ..Default::default() });
        assert_eq!(
            leader[2],
            "the mean of 1 fresh run is 0.31; the 0.25 that it was chosen for is the best of many, and too good on average"
        );
        let none = v1::Confirmed { of: 2, ..Default::default() };
        let leader = of(v1::TrialSummary { confirmed: Some(none), ..Default::default() });
        assert_eq!(leader[2], "of its 2 fresh runs none has completed with a value");
    }

    #[test]
    fn of_several_objectives_no_single_value_is_the_reason() {
        let spec = r#"{"command":["a"],"objective":[{"minimize":"loss"},{"maximize":"speed"}]}"#;
        let sweep = v1::Sweep { name: "s".into(), spec: spec.into(), ..Default::default() };
        let said = |trial: v1::TrialSummary| {
            sentences(&sweep, &v1::TrialResponse { trial: Some(trial), enqueued: true, ..Default::default() }, &[], 0)
                [1..]
                .to_vec()
        };
        let reason = StopReason {
            rule: "asha".into(),
            step: 1,
            value: 0.3,
            rung: Some(1),
            rank: Some(4),
            peers: Some(4),
            cutoff: None,
            winner: None,
        };
        let stopped = TrialState::Stopped as i32;
        let trial = v1::TrialSummary { state: stopped, stopped: Some(reason), ..Default::default() };
        assert_eq!(said(trial), ["`asha` stopped it at step 1: by all objectives it ranks 4 of 4 at rung 1"]);
        let point = Some([("loss", 0.25), ("speed", 4.0)].into_iter().collect());
        let completed = TrialState::Completed as i32;
        let trial = v1::TrialSummary { state: completed, value: Some(0.25), point, ..Default::default() };
        assert_eq!(said(trial), ["it ran to its end with loss=0.25 speed=4"]);
        let trial = v1::TrialSummary { state: completed, last_value: Some(0.25), ..Default::default() };
        assert!(said(trial)[1].contains("no finite number in the last report of all"));
    }

    #[test]
    fn a_failed_trial_names_each_attempt() {
        let attempt = |number, failure| v1::Attempt {
            number,
            agent_name: "m1".into(),
            failure: Some(failure),
            detail: "exit code 1".into(),
            ..Default::default()
        };
        let trial = v1::TrialSummary { state: TrialState::Failed as i32, attempts: 2, ..Default::default() };
        let whole = v1::TrialResponse {
            trial: Some(trial),
            attempts: vec![
                attempt(1, heats_domain::FailureKind::NodeLost as i32),
                attempt(2, heats_domain::FailureKind::Exit as i32),
            ],
            enqueued: true,
            ..Default::default()
        };
        let of = |spec: &str, whole: &v1::TrialResponse| {
            sentences(&v1::Sweep { spec: spec.into(), ..Default::default() }, whole, &[], 0)
        };
        let mut excused = whole.clone();
        excused.attempts[0].excused = true;
        excused.trial.as_mut().expect("is there").failure = Some(heats_domain::FailureKind::Signal as i32);
        let said = of(r#"{"command":["a"],"run":{"retry":{"signal":1}}}"#, &excused);
        assert_eq!(said[1], "attempt 1 on m1 failed (node_lost), which is put down to its machine: exit code 1");
        assert_eq!(said[3], "it has failed after 2 attempts; `run.retry.signal` is 1");
        let sentences = of(r#"{"command":["a"]}"#, &whole);
        assert!(sentences[0].contains("asked for by a user"));
        assert_eq!(sentences[1], "attempt 1 on m1 failed (node_lost): exit code 1");
        assert_eq!(sentences[3], "it has failed after 2 attempts; `run.retries` is 2");
    }
}
