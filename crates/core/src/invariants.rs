//! What is always true, each written down once with its id.
//!
//! Checked in debug builds after every fact (for what the fact touched), and as a whole by the model
//! tests, the simulation and the failover tests on the survivors' state.

use std::collections::{BTreeMap, BTreeSet};

use heats_domain::resources::GPU_PARTS;
use heats_domain::{ARTIFACTS_MAX, AgentId, Grant, Inventory, TrialState};

use crate::fact::{Fact, Stage};
use crate::gang::Holder;
use crate::state::{Lease, State};
use crate::study::{Study, StudyTrial, dominates};
use crate::sweep::{Ledger, Sweep};
use crate::trial::Trial;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{id} is broken: {what} ({where_})")]
pub struct Violation {
    /// The invariant's id, as in `docs/ARCHITECTURE.md`.
    pub id: &'static str,
    /// What must be true.
    pub what: &'static str,
    /// Where it is not.
    pub where_: String,
}

/// Every invariant that does not hold in `state`; empty for a sound one.
///
/// T1, T2, T3, S2, A2 and P1 are also enforced by `apply`, which refuses the fact that would break them.
pub fn violations(state: &State) -> Vec<Violation> {
    let mut found = Vec::new();
    for sweep in state.sweeps.values() {
        check_sweep(sweep, &mut found);
        for trial in &sweep.trials {
            check_trial(state, sweep, trial.number, &mut found);
        }
    }
    check_agents(state, &mut found);
    for study in state.studies.iter() {
        check_study(state, study, &mut found);
    }
    found
}

/// Panics when what `fact` touched breaks an invariant; for debug builds.
#[cfg(debug_assertions)]
pub(crate) fn assert_touched(state: &State, sweep: &Sweep, fact: &Fact) {
    let mut found = Vec::new();
    check_totals(sweep, &mut found);
    // An attempt that ended leaves its trial settled already, or the next fact settles it.
    let is_half_told = matches!(fact, Fact::AttemptEnded(_) | Fact::MemberEnded(_));
    if let (Some(trial), false) = (fact.trial(), is_half_told) {
        check_trial(state, sweep, trial, &mut found);
    }
    // While journals are replayed one after the other there is no agent yet, and leases overlap that never did.
    if let Fact::TrialLeased(leased) = fact {
        for agent in leased.agents().filter(|agent| state.agents.contains_key(agent)) {
            check_agent(state, agent, &mut found);
        }
    }
    assert!(found.is_empty(), "after `{}`: {found:?}", fact.name());
}

fn violation(
    found: &mut Vec<Violation>,
    holds: bool,
    id: &'static str,
    what: &'static str,
    place: impl Fn() -> String,
) {
    if !holds {
        found.push(Violation { id, what, where_: place() });
    }
}

fn check_trial(state: &State, sweep: &Sweep, number: u32, found: &mut Vec<Violation>) {
    let place = || format!("{}/{number}", sweep.id);
    let Some(trial) = sweep.trial(number) else { return };
    let live = trial.attempts.iter().filter(|a| a.end.is_none()).count();
    violation(found, live <= 1, "T1", "a trial has at most one live lease", place);
    violation(found, live == 1 || !trial.state.is_live(), "T1", "a leased or running trial has a lease", place);
    violation(
        found,
        (live == 1) == sweep.live.contains(&number),
        "T1",
        "the live set names the trials with a lease",
        place,
    );
    let waits = trial.state == TrialState::Waiting;
    violation(found, waits == sweep.waiting.contains(&number), "T4", "the queue names the waiting trials", place);
    let parent = trial.forked.as_ref().and_then(|forked| sweep.trial(forked.from.trial));
    let is_kept = trial.origin().is_none_or(|from| parent.is_some_and(|parent| parent.checkpoints.contains(from)));
    violation(found, is_kept, "F1", "the checkpoint that a fork has to go on from is kept", place);
    let from = |attempt: &u32| sweep.lease_of(trial, *attempt).is_some_and(|lease| lease.from.is_some());
    let begins = trial.forked.is_none() || trial.live().is_none_or(|(attempt, _)| from(&attempt));
    violation(found, begins, "F2", "a fork goes on from a checkpoint, never from the beginning", place);
    let holds = trial.state == TrialState::Paused;
    let what = "the set of paused trials names those that hold at a rung";
    violation(found, holds == sweep.paused.contains(&number), "T4", what, place);
    let names: BTreeSet<&str> = trial.artifacts.iter().map(|artifact| artifact.name.as_str()).collect();
    let is_bounded = names.len() == trial.artifacts.len() && names.len() <= ARTIFACTS_MAX;
    let others: BTreeSet<&str> = trial.not_kept.iter().map(|other| other.name.as_str()).collect();
    let is_bounded = is_bounded && others.len() == trial.not_kept.len() && others.len() <= ARTIFACTS_MAX;
    violation(found, is_bounded, "K1", "what a trial keeps has names of its own, and is bounded", place);
    check_provenance(state, sweep, trial, found);
    if let Some((attempt, live)) = trial.live() {
        let is_held = |holder: Holder<'_>| {
            let held = state.leases.get(&holder.agent).and_then(|held| held.get(&(sweep.id, number)));
            held.is_some_and(|held| (held.attempt, held.rank) == (attempt, holder.rank))
        };
        violation(found, live.holders().all(is_held), "T1", "a lease is held by its agent", place);
        let agents: BTreeSet<AgentId> = live.agents().collect();
        let what = "the members of an attempt are on different agents";
        violation(found, agents.len() == live.nodes(), "G1", what, place);
        // One that ended leaves the attempt live only until the next fact.
        let what = "an attempt is live for as long as a member of it is";
        violation(found, live.holders().next().is_some(), "G1", what, place);
    }
}

/// What is needed to run a trial again. Entries of earlier versions name no environment and no machine.
fn check_provenance(state: &State, sweep: &Sweep, trial: &Trial, found: &mut Vec<Violation>) {
    let place = || format!("{}/{}", sweep.id, trial.number);
    let has_origin = sweep.submitted().is_some() && sweep.params(trial).is_some();
    violation(found, has_origin, "P1", "a trial has its parameters, and its sweep a seed", place);
    for record in sweep.records(trial) {
        if let Some(Fact::TrialStarted(fact)) = &record.cell.fact {
            let what = "what an attempt ran in is known, and not forgotten while its sweep is there";
            violation(found, state.knows(fact), "P1", what, place);
            let is_counted = fact.environment_name.is_none_or(|name| sweep.named.environments.contains(&name))
                && fact.hardware_name.is_none_or(|name| sweep.named.hardware.contains(&name));
            violation(found, is_counted, "P1", "a sweep names what its attempts ran in", place);
        }
    }
}

/// What can be checked without a walk over the trials.
fn check_totals(sweep: &Sweep, found: &mut Vec<Violation>) {
    let place = || sweep.id.to_string();
    let total: u32 = TrialState::ALL.into_iter().map(|s| sweep.counts.of(s)).sum();
    violation(found, total == sweep.created(), "S1", "every trial is counted once", place);
    if sweep.is_ended() {
        violation(
            found,
            sweep.counts.terminal() == total,
            "T4",
            "every trial of a sweep that ended is terminal",
            place,
        );
        violation(found, sweep.live.is_empty(), "T4", "a sweep that ended holds no lease", place);
    }
    if let Some(max) = sweep.trials_max {
        violation(found, sweep.proposed <= max, "S1", "proposed trials never exceed the budget", place);
    }
    let fresh: usize = sweep.fresh.values().map(imbl::Vector::len).sum();
    violation(found, sweep.proposed as usize + fresh == total as usize, "S1", "a trial is proposed or confirms", place);
    let seeds = sweep.confirm().map_or(0, |confirm| confirm.seeds) as usize;
    let within = sweep.fresh.values().all(|runs| runs.len() <= seeds);
    violation(found, within, "S1", "no leader has more fresh runs than it is confirmed with", place);
}

fn check_sweep(sweep: &Sweep, found: &mut Vec<Violation>) {
    let place = || sweep.id.to_string();
    check_totals(sweep, found);
    for state in TrialState::ALL {
        let count = sweep.trials.iter().filter(|t| t.state == state).count() as u32;
        violation(found, count == sweep.counts.of(state), "S1", "the counts are those of the trials", place);
    }
    let ranked = |t: &Trial| {
        let badly = matches!(t.state, TrialState::Failed | TrialState::Infeasible | TrialState::Cancelled);
        t.confirms.is_none() && !badly
    };
    let best = sweep
        .trials
        .iter()
        .filter(|t| ranked(t))
        .filter_map(|t| t.best)
        .map(|b| sweep.loss(b.value))
        .min_by(f64::total_cmp);
    violation(
        found,
        best == sweep.ranking.get_min().map(|r| r.loss),
        "S2",
        "the first of the ranking has the best recorded value",
        place,
    );
    let ledger = sweep.trials.iter().flat_map(|t| &t.attempts).fold(Ledger::default(), |mut sum, attempt| {
        if let Some(end) = attempt.end {
            sum.attempt_ms += end.ran_ms;
            sum.cpu_ms += end.cpu_ms;
            sum.gpu_ms += attempt.gpu_ms(end.at_ms);
        }
        sum
    });
    violation(found, ledger == sweep.ledger, "S3", "the ledger is the sum of the attempts", place);
}

fn check_study(state: &State, study: &Study, found: &mut Vec<Violation>) {
    let place = || format!("study {}", study.number);
    let numbered = study.trials.iter().enumerate().all(|(number, trial)| trial.number as usize == number);
    violation(found, numbered, "O1", "the trials of a study are numbered without a gap", place);
    let grow = study.trials.iter().zip(study.trials.iter().skip(1)).all(|(before, after)| before.id < after.id);
    violation(found, grow, "O1", "the ids of a study's trials grow", place);
    let found_by_id = |trial: &StudyTrial| {
        state
            .studies
            .trial(trial.id)
            .is_some_and(|(of, found)| of.number == study.number && found.number == trial.number)
    };
    violation(found, study.trials.iter().all(|trial| found_by_id(trial)), "O1", "a trial is found by its id", place);
    for stage in Stage::ALL {
        let count = study.trials.iter().filter(|trial| trial.stage == stage).count() as u32;
        violation(found, count == study.counts.of(stage), "O1", "every trial of a study is counted once", place);
    }
    let open = study.trials.iter().filter(|trial| !trial.stage.is_finished()).map(|trial| trial.number);
    violation(found, open.eq(study.unfinished.iter().copied()), "O1", "the unfinished trials are known", place);
    let complete = study.trials.iter().filter(|trial| trial.stage == Stage::Complete && study.goals.len() == 1);
    let best = complete.filter_map(|trial| Some((study.loss(*trial.values.first()?), trial.number)));
    let best = best.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(_, number)| number);
    violation(found, best == study.best, "O2", "the best trial of a study has the best value", place);
    let points = study.trials.iter().filter(|trial| trial.stage == Stage::Complete && study.goals.len() > 1);
    let points: Vec<(u32, Vec<f64>)> = points.map(|trial| (trial.number, study.losses(trial))).collect();
    let is_first = |losses: &[f64]| !points.iter().any(|(_, others)| dominates(others, losses));
    let front = points.iter().filter(|(_, losses)| is_first(losses)).map(|(number, _)| *number);
    violation(found, front.eq(study.front.iter().copied()), "O2", "the front has what no other trial dominates", place);
}

fn check_agents(state: &State, found: &mut Vec<Violation>) {
    for agent in state.agents.keys() {
        check_agent(state, *agent, found);
    }
    for (agent, held) in &state.leases {
        for (&(sweep, number), lease) in held {
            let trial = state.sweeps.get(&sweep).and_then(|sweep| sweep.trial(number));
            let is_member = |holder: Holder<'_>| (holder.rank, holder.agent) == (lease.rank, *agent);
            let holds = trial
                .and_then(Trial::live)
                .is_some_and(|(number, attempt)| number == lease.attempt && attempt.holders().any(is_member));
            let place = || format!("{sweep}/{number}@{}", lease.attempt);
            violation(found, holds, "T1", "what an agent holds is a live lease", place);
        }
    }
}

fn check_agent(state: &State, agent: AgentId, found: &mut Vec<Violation>) {
    let Some(attached) = state.agent(agent) else { return };
    let held = state.leases.get(&agent);
    let leases = || held.into_iter().flat_map(imbl::OrdMap::values).filter(|lease| !lease.ahead);
    let place = || agent.to_string();
    let mut leased_parts: BTreeMap<u32, u32> = BTreeMap::new();
    for Grant { gpus, gpu_parts, .. } in leases().map(|lease| &lease.grant) {
        for index in gpus {
            *leased_parts.entry(*index).or_default() += if *gpu_parts == 0 { GPU_PARTS } else { *gpu_parts };
        }
    }
    let within = leased_parts.values().all(|parts| *parts <= GPU_PARTS);
    violation(found, within, "A1", "no more of a GPU is leased than the whole of it", place);
    // An agent may come back with less than it has leases for; they run on, and no more of it is given.
    let since = state.agents.get(&agent).map_or(0, |record| record.at_ms);
    let given: Vec<&Lease> = held
        .into_iter()
        .flatten()
        .filter(|((sweep, number), _)| {
            let trial = state.sweeps.get(sweep).and_then(|sweep| sweep.trial(*number));
            trial.and_then(Trial::live).is_some_and(|(_, attempt)| attempt.leased_ms > since)
        })
        .map(|(_, lease)| lease)
        .filter(|lease| !lease.ahead)
        .collect();
    if let Some((_, drained_ms)) = state.drain(agent) {
        let since = held.into_iter().flatten().filter(|((sweep, number), _)| {
            let trial = state.sweeps.get(sweep).and_then(|sweep| sweep.trial(*number));
            trial.and_then(Trial::live).is_some_and(|(_, attempt)| attempt.leased_ms > drained_ms)
        });
        violation(found, since.count() == 0, "A3", "nothing is leased to an agent that is drained", place);
    }
    for (part, quarantine) in state.quarantined(agent) {
        let said_ms = state.quarantine(part).map_or(0, |(_, said_ms)| said_ms);
        let leased = held.into_iter().flatten().filter(|(_, lease)| part.is_in(&lease.grant));
        let leased = leased.filter_map(|((sweep, number), _)| {
            let (_, attempt) = state.sweeps.get(sweep)?.trial(*number)?.live()?;
            Some(attempt.leased_ms)
        });
        let since: Vec<u64> = leased.filter(|leased_ms| *leased_ms > quarantine.since_ms).collect();
        let early = since.iter().any(|leased_ms| *leased_ms > said_ms && *leased_ms < quarantine.until_ms);
        violation(
            found,
            !early && since.len() <= 1,
            "A4",
            "what is quarantined gets one trial at a time, later",
            place,
        );
    }
    let Inventory { cpus, memory, gpus, disk, labels: _, facts: _, rendezvous: _ } = &attached.inventory;
    let cpus_within = leases().map(|l| u64::from(l.grant.cpus)).sum::<u64>() <= u64::from(*cpus);
    let memory_within = leases().map(|l| u128::from(l.grant.memory)).sum::<u128>() <= u128::from(*memory);
    let disk_within = leases().map(|l| u128::from(l.grant.disk)).sum::<u128>() <= u128::from(*disk);
    let within = |lease: &&Lease| {
        (cpus_within || lease.grant.cpus == 0)
            && (memory_within || lease.grant.memory == 0)
            && (disk_within || lease.grant.disk == 0)
            && lease.grant.gpus.iter().all(|index| gpus.iter().any(|gpu| gpu.index == *index))
    };
    let what = "the resources leased on an agent never exceed its inventory";
    violation(found, given.iter().all(within), "A1", what, place);
}
