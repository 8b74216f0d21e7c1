//! Machines, and single GPUs of machines, on which trials fail that would not fail elsewhere: which are suspected, for how long, and
//! what that makes of the failures there. Users read about it in `docs/failures.md`.
//!
//! The question is how unlikely it is that so many different trials in a row failed on one of them, given how often attempts of
//! the same sweeps fail on the others. So a script that fails everywhere makes nobody a suspect, a space of which half the
//! configurations crash needs a longer row than one of which few do, and with one agent alone there is nothing to compare. Where all
//! that fails on a machine held the same GPU, and the machine has others, it is that GPU which is judged.

use std::collections::{BTreeMap, BTreeSet};

use heats_domain::{AgentId, FailureKind, SweepId, TrialState};

use super::agent_drain::REASON_MAX;
use super::retries::{self, Meaning};
use super::{Decision, agent};
use crate::fact::{AgentQuarantined, AgentReleased, AttemptExcused, Fact, FailedAttempt, GpuQuarantined, GpuReleased};
use crate::health::{Failed, Part, Tally, is_own};
use crate::refusal::Refusal;
use crate::state::State;
use crate::sweep::{Status, Sweep};
use crate::trial::{Attempt, Trial};

/// So many different trials in a row must have failed before a machine is suspected.
pub const FAILURES_MIN: usize = 3;
/// So many, where they could not even be started.
pub const START_FAILURES_MIN: usize = 2;
/// A machine is suspected where its failures are less likely than this.
const SUSPICIOUS: f64 = 0.02;
/// And taken to be at fault where they are less likely than this. Ten thousand rows of failures are more than a cluster sees.
const PROOF: f64 = 1e-4;
/// A quarantined machine is released where its failures turn out to be likelier than this.
const PARDON: f64 = 0.1;
/// Before anything is known elsewhere, one attempt in so many is taken to fail.
const PRIOR: f64 = 4.0;
/// An attempt elsewhere counts as one that works once it has run twice as long as those did that failed, and so much longer, in
/// milliseconds: a cold machine may be slower to fail.
const OUTLIVING_MS: u64 = 10_000;
/// How many failures of a row are looked at: more make no difference.
const LOOK: usize = 32;
/// How many failures a fact lists.
const LISTED: usize = 16;

/// How long a suspected machine is left alone at first, in milliseconds; each trial that fails there then doubles it.
pub const SUSPECT_MS: u64 = 30_000;
/// The longest that it is.
pub const SUSPECT_MS_MAX: u64 = 600_000;
/// The same for one that is at fault.
pub const FAULTY_MS: u64 = 600_000;
/// And its longest.
pub const FAULTY_MS_MAX: u64 = 3_600_000;

/// Whether a failure of this kind of an attempt is put down to its machine, or a GPU that it held.
pub fn excuses(state: &State, attempt: &Attempt, kind: FailureKind) -> bool {
    let mut quarantines = attempt.parts().filter_map(|part| state.quarantine(part));
    is_own(kind) && quarantines.any(|(fact, _)| fact.proven || kind == FailureKind::StartFailed)
}

/// Whether a lease that began at `leased_ms` was given to see whether what is quarantined works again.
pub(crate) const fn is_probe(quarantine: &AgentQuarantined, leased_ms: u64) -> bool {
    leased_ms > quarantine.since_ms
}

impl State {
    /// Whether a quarantine lets the part be given now: not until its time is over, then to one trial at a time.
    pub fn lets_through(&self, part: Part, now_ms: u64) -> bool {
        let Some((quarantine, _)) = self.quarantine(part) else { return true };
        let held = self.leases.get(&part.agent).into_iter().flatten().filter(|(_, lease)| part.is_in(&lease.grant));
        let mut leases = held.filter_map(|((sweep, trial), _)| self.sweeps.get(sweep)?.trial(*trial)?.live());
        now_ms >= quarantine.until_ms && !leases.any(|(_, attempt)| is_probe(quarantine, attempt.leased_ms))
    }

    /// The GPUs of the agent, by index, that a quarantine keeps from being given now.
    pub fn closed_gpus(&self, agent: AgentId, now_ms: u64) -> impl Iterator<Item = u32> {
        let closed = self.quarantined(agent).filter(move |(part, _)| !self.lets_through(*part, now_ms));
        closed.filter_map(|(part, _)| part.gpu)
    }
}

/// A failure, with whose sweep it was.
type Failure<'a> = (&'a Sweep, Failed);

/// The failures on a part since an attempt there worked, or somebody released it, in order.
fn streak<'a>(state: &State, sweeps: &[&'a Sweep], part: Part) -> Vec<Failure<'a>> {
    let tallies: Vec<(&Sweep, &Tally)> =
        sweeps.iter().filter_map(|sweep| Some((*sweep, sweep.tallies.get(&part)?))).collect();
    let since = tallies.iter().map(|(_, tally)| tally.worked_at).max().unwrap_or(0).max(state.released_at(part));
    let failures = tallies.iter().flat_map(|(sweep, tally)| tally.streak.iter().map(|failed| (*sweep, *failed)));
    let mut failures: Vec<Failure<'a>> = failures.filter(|(_, failed)| failed.index > since).collect();
    failures.sort_by_key(|(sweep, failed)| (failed.index, sweep.id, failed.trial, failed.attempt));
    failures
}

/// The GPUs that a failed attempt held, by index.
fn gpus<'a>((sweep, failed): &Failure<'a>) -> &'a [u32] {
    let attempts = sweep.trial(failed.trial).map(|trial| &trial.attempts);
    let attempt = (failed.attempt as usize).checked_sub(1).and_then(|place| attempts?.get(place));
    attempt.map_or(&[], |attempt| &attempt.grant.gpus)
}

/// What of these is judged as the part's own. Failures on a machine that all held the same GPU are that GPU's, unless it has no
/// other one; and those on a GPU that is quarantined say nothing more of its machine.
fn own<'a>(state: &State, part: Part, mut failures: Vec<Failure<'a>>) -> Vec<Failure<'a>> {
    if part.gpu.is_none() {
        let is_distrusted = |gpu: &u32| state.quarantine(Part::gpu(part.agent, *gpu)).is_some();
        failures.retain(|failure| !gpus(failure).iter().any(is_distrusted));
    }
    let mut held = failures.iter().map(|failure| gpus(failure).iter().copied().collect::<BTreeSet<u32>>());
    let in_common = held.next().map(|first| held.fold(first, |common, next| &common & &next)).unwrap_or_default();
    let has = state.agent(part.agent).map_or(0, |attached| attached.inventory.gpus.len());
    let is_a_gpus = !in_common.is_empty() && in_common.len() < has;
    if is_a_gpus == part.gpu.is_some() { failures } else { Vec::new() }
}

/// The first of these of each trial: that a trial fails again says little.
fn of_different_trials<'a>(failures: &[Failure<'a>]) -> Vec<Failure<'a>> {
    let mut seen = BTreeSet::new();
    failures.iter().copied().filter(|(sweep, failed)| seen.insert((sweep.id, failed.trial))).collect()
}

/// The sweeps of which attempts have failed on the part since one worked there.
pub(crate) fn failing(state: &State, sweeps: &[&Sweep], part: Part) -> BTreeSet<SweepId> {
    streak(state, sweeps, part).iter().map(|(sweep, _)| sweep.id).collect()
}

/// How attempts fare on machines other than one; of a GPU, on the others of its own machine as well.
#[derive(Clone, Copy, Default)]
struct Elsewhere {
    failed: u32,
    worked: u32,
}

impl Elsewhere {
    /// Of a sweep's attempts, as far as they compare with a failure of this kind. What was put down to other machines and GPUs is
    /// left out. An attempt that has run far longer than those did that failed counts as one that works.
    fn of(state: &State, sweep: &Sweep, part: Part, kind: FailureKind, ran_ms: u64, now_ms: u64) -> Self {
        let is_other = |other: Part| other != part && state.quarantine(other).is_none();
        let sum = |which: &dyn Fn(Part) -> bool| {
            let tallies = sweep.tallies.iter().filter(|(other, _)| which(**other)).map(|(_, tally)| tally);
            tallies.fold(Self::default(), |sum, tally| match kind {
                FailureKind::StartFailed => {
                    Self { failed: sum.failed + tally.start_failed, worked: sum.worked + tally.started }
                }
                _ => Self { failed: sum.failed + tally.failed, worked: sum.worked + tally.worked },
            })
        };
        let is_machine = |other: Part| other.gpu.is_none() && is_other(other);
        let (all, left_out) = (
            sum(&is_machine),
            sum(&|other| other.gpu.is_some() && !is_other(other) && is_machine(Part::machine(other.agent))),
        );
        // An attempt may have held several that are left out, and was counted for each.
        let ended = Self {
            failed: all.failed.saturating_sub(left_out.failed),
            worked: all.worked.saturating_sub(left_out.worked),
        };
        if kind == FailureKind::StartFailed {
            return ended;
        }
        let live = sweep.live.iter().filter_map(|number| sweep.trial(*number)?.live());
        let long_ms = ran_ms.saturating_mul(2).saturating_add(OUTLIVING_MS);
        let outlives =
            |attempt: &Attempt| attempt.started_ms.is_some_and(|since| now_ms.saturating_sub(since) > long_ms);
        let is_elsewhere = |attempt: &Attempt| attempt.only_agent().is_some() && attempt.parts().all(is_other);
        let outliving = live.filter(|(_, attempt)| is_elsewhere(attempt) && !attempt.worked && outlives(attempt));
        Self { worked: ended.worked + outliving.count() as u32, ..ended }
    }

    /// How likely one more attempt is to fail.
    fn chance(self) -> f64 {
        (f64::from(self.failed) + 1.0) / (f64::from(self.failed) + f64::from(self.worked) + PRIOR)
    }
}

/// How a row of failures on one machine or GPU compares with what happens on the others.
struct Comparison {
    /// How likely all of them are, if it is as good as the others.
    chance: f64,
    /// What is known of these.
    elsewhere: Elsewhere,
    /// It is a GPU.
    is_gpu: bool,
}

impl Comparison {
    fn of(state: &State, part: Part, failures: &[Failure<'_>], now_ms: u64) -> Self {
        let mut longest: BTreeMap<SweepId, u64> = BTreeMap::new();
        for (sweep, failed) in failures {
            let ran_ms = longest.entry(sweep.id).or_default();
            *ran_ms = failed.ran_ms.max(*ran_ms);
        }
        let mut known: BTreeMap<(SweepId, bool), Elsewhere> = BTreeMap::new();
        let mut chance = 1.0;
        for (sweep, Failed { trial: _, attempt: _, kind, ran_ms: _, index: _ }) in failures.iter().rev().take(LOOK) {
            let key = (sweep.id, *kind == FailureKind::StartFailed);
            let of = || Elsewhere::of(state, sweep, part, *kind, longest[&sweep.id], now_ms);
            chance *= known.entry(key).or_insert_with(of).chance();
        }
        let sum = |sum: Elsewhere, one: &Elsewhere| Elsewhere {
            failed: sum.failed + one.failed,
            worked: sum.worked + one.worked,
        };
        let elsewhere = known.values().fold(Elsewhere::default(), sum);
        Self { chance, elsewhere, is_gpu: part.gpu.is_some() }
    }

    fn is_suspicious(&self) -> bool {
        self.chance < SUSPICIOUS
    }

    fn is_proof(&self) -> bool {
        self.chance < PROOF && self.elsewhere.worked > 0
    }

    /// For people: `3 different trials in a row failed there (exit); on other machines 1 of 13 attempts did`.
    fn sentence(&self, failures: &[Failure<'_>]) -> String {
        let kinds: BTreeSet<FailureKind> = failures.iter().map(|(_, failed)| failed.kind).collect();
        let kinds: Vec<&str> = kinds.into_iter().map(FailureKind::name).collect();
        let trials = if failures.len() == 1 { "trial" } else { "different trials in a row" };
        let Elsewhere { failed, worked } = self.elsewhere;
        let others = match (failed + worked, self.is_gpu) {
            (0, false) => "none on another machine has come as far yet".to_owned(),
            (0, true) => "none on another GPU has come as far yet".to_owned(),
            (all, false) => format!("on other machines {failed} of {all} attempts did"),
            (all, true) => format!("on other GPUs {failed} of {all} attempts did"),
        };
        format!("{} {trials} failed there ({}); {others}", failures.len(), kinds.join(", "))
    }
}

/// What was heard of an attempt that bears on its machine, or a GPU that it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct News {
    /// Where it was made.
    pub part: Part,
    /// When it was leased, milliseconds since the Unix epoch.
    pub leased_ms: u64,
    /// It has reported something new or ended well; otherwise it has failed.
    pub worked: bool,
}

/// What follows from the news for the part that they are of. `sweeps` are those that have not ended; a failure is compared
/// only where its sweep is one of `elsewhere`, those whose trials could run where nothing is quarantined, and not on the part.
pub(crate) fn judge(
    state: &State,
    sweeps: &[&Sweep],
    elsewhere: &BTreeSet<SweepId>,
    news: News,
    now_ms: u64,
) -> Vec<Fact> {
    let News { part, leased_ms, worked } = news;
    let failures = streak(state, sweeps, part);
    match state.quarantine(part) {
        None if worked => Vec::new(),
        None => {
            let failures = own(state, part, failures);
            let compared: Vec<Failure<'_>> =
                failures.iter().copied().filter(|(sweep, _)| elsewhere.contains(&sweep.id)).collect();
            let trials = of_different_trials(&compared);
            let unstarted = trials.iter().filter(|(_, failed)| failed.kind == FailureKind::StartFailed).count();
            let comparison = Comparison::of(state, part, &trials, now_ms);
            let are_enough = trials.len() >= FAILURES_MIN || unstarted >= START_FAILURES_MIN;
            if !are_enough || !comparison.is_suspicious() {
                return Vec::new();
            }
            let proven = comparison.is_proof();
            let delay_ms = if proven { FAULTY_MS } else { SUSPECT_MS };
            let why = comparison.sentence(&trials);
            let fact = quarantined(part, &trials, why, proven, (now_ms, now_ms, delay_ms));
            std::iter::once(fact).chain(excused(state, &failures, proven)).collect()
        }
        Some((old, _)) if is_probe(old, leased_ms) && worked => {
            vec![released(part, "a trial that was tried there worked".into(), String::new())]
        }
        Some((old, _)) if is_probe(old, leased_ms) => {
            let trials = of_different_trials(&failures);
            let comparison = Comparison::of(state, part, &trials, now_ms);
            let proven = old.proven || comparison.is_proof();
            let (least, most) = if proven { (FAULTY_MS, FAULTY_MS_MAX) } else { (SUSPECT_MS, SUSPECT_MS_MAX) };
            let delay_ms = old.delay_ms.saturating_mul(2).clamp(least, most);
            let why = comparison.sentence(&trials);
            let fact = quarantined(part, &trials, why, proven, (old.since_ms, now_ms, delay_ms));
            std::iter::once(fact).chain(excused(state, &failures, proven)).collect()
        }
        Some(_) => reconsider(state, sweeps, part, now_ms),
    }
}

/// What follows for a quarantined part once more is known of the others: it is as bad as was thought, or no worse than they.
pub(crate) fn reconsider(state: &State, sweeps: &[&Sweep], part: Part, now_ms: u64) -> Vec<Fact> {
    let Some((old, _)) = state.quarantine(part) else { return Vec::new() };
    let failures = streak(state, sweeps, part);
    let trials = of_different_trials(&failures);
    if trials.is_empty() {
        return Vec::new();
    }
    let comparison = Comparison::of(state, part, &trials, now_ms);
    if comparison.chance >= PARDON {
        let Elsewhere { failed, worked } = comparison.elsewhere;
        let why = format!("its trials fail elsewhere as well: {failed} of {} attempts", failed + worked);
        return vec![released(part, why, String::new())];
    }
    if old.proven || !comparison.is_proof() {
        return Vec::new();
    }
    let fact = quarantined(part, &trials, comparison.sentence(&trials), true, (old.since_ms, now_ms, FAULTY_MS));
    std::iter::once(fact).chain(excused(state, &failures, true)).collect()
}

/// Trusts an agent and its GPUs again because somebody says so; what failed there before is not held against it any more.
pub fn release(state: &State, id: AgentId, by: String) -> Decision<()> {
    agent(state, id)?;
    if by.len() > REASON_MAX {
        return Err(Refusal::TooLarge { what: "the operator's name", bytes: by.len(), limit: REASON_MAX });
    }
    let facts = state.quarantined(id).map(|(part, _)| released(part, String::new(), by.clone()));
    Ok((facts.collect(), ()))
}

fn quarantined(
    part: Part,
    trials: &[Failure<'_>],
    why: String,
    proven: bool,
    (since_ms, now_ms, delay_ms): (u64, u64, u64),
) -> Fact {
    let failure = |(sweep, failed): &Failure<'_>| FailedAttempt {
        sweep: sweep.id,
        trial: failed.trial,
        attempt: failed.attempt,
        failure: failed.kind.into(),
        ran_ms: failed.ran_ms,
    };
    let failures = trials.iter().take(LISTED).map(failure).collect();
    let until_ms = now_ms.saturating_add(delay_ms);
    let quarantine = AgentQuarantined { agent: part.agent, since_ms, until_ms, delay_ms, proven, why, failures };
    match part.gpu {
        None => Fact::AgentQuarantined(quarantine),
        Some(gpu) => Fact::GpuQuarantined(GpuQuarantined { gpu, quarantine }),
    }
}

fn released(part: Part, why: String, by: String) -> Fact {
    let release = AgentReleased { agent: part.agent, why, by };
    match part.gpu {
        None => Fact::AgentReleased(release),
        Some(gpu) => Fact::GpuReleased(GpuReleased { gpu, release }),
    }
}

/// The failures that are put down to the machine after all, and the trials that are tried again for it: all of them where it is
/// at fault, and else those that could not be started.
fn excused(state: &State, failures: &[Failure<'_>], proven: bool) -> Vec<Fact> {
    let excusable = failures.iter().filter(|(sweep, failed)| {
        // What a sweep that ends makes of its trials stands.
        let goes_on = matches!(sweep.status, Status::Running | Status::Paused);
        goes_on && (proven || failed.kind == FailureKind::StartFailed)
    });
    let mut trials: BTreeMap<(SweepId, u32), Trial> = BTreeMap::new();
    let mut facts = Vec::new();
    for (sweep, failed) in excusable {
        let Some(whole) = sweep.trial(failed.trial) else { continue };
        let trial = trials.entry((sweep.id, failed.trial)).or_insert_with(|| whole.clone());
        if trial.excuse(failed.attempt).is_ok() {
            let (sweep, trial, attempt) = (sweep.id, failed.trial, failed.attempt);
            facts.push(Fact::AttemptExcused(AttemptExcused { sweep, trial, attempt }));
        }
    }
    for ((sweep, number), trial) in &trials {
        let last = trial.attempts.last().and_then(|attempt| attempt.end).filter(|_| trial.state == TrialState::Failed);
        let Some((sweep, last)) = state.sweeps.get(sweep).zip(last) else { continue };
        let (Some(before), Some(kind)) = (sweep.trial(*number), last.failure) else { continue };
        if last.excused {
            facts.push(retries::settle(state, sweep, trial, Meaning::Requeue(kind)));
        } else if is_own(kind) && !retries::has_retry(sweep, before, kind) {
            // It ran out of retries, of which it gets back what it lost here.
            facts.push(retries::settle(state, sweep, trial, Meaning::Failed(kind)));
        }
    }
    facts.retain(|fact| !matches!(fact, Fact::TrialSettled(settled) if settled.state() == TrialState::Failed));
    facts
}
