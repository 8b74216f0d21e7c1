//! What users see of the state, as messages.

use std::collections::BTreeSet;

use heats_core::assessment::{Assessment, Control, Rung, Share};
use heats_core::fact::{AgentQuarantined, FailedAttempt, Forked};
use heats_core::front::Extent;
use heats_core::gang::Member;
use heats_core::health::Part;
use heats_core::trial::{Attempt, Trial};
use heats_core::{Confirmation, Ending, Fact, Prior, Record, State, Status, Sweep};
use heats_domain::{AgentId, Digest, Grant, TrialState};

use crate::{notice, v1};

/// How many trials of a front a sweep's summary has.
const BEST_MAX: usize = 10;

/// A sweep's summary.
pub fn sweep(sweep: &Sweep) -> v1::Sweep {
    let (submitted, submitted_ms) = sweep.submitted().map_or((None, 0), |(fact, at_ms)| (Some(fact), at_ms));
    let (status, why, ended_ms) = match &sweep.status {
        Status::Running => (v1::SweepStatus::Running, String::new(), None),
        Status::Paused => (v1::SweepStatus::Paused, String::new(), None),
        Status::Draining(_, why) => (v1::SweepStatus::Draining, why.clone(), None),
        Status::Ended { ending, why, at_ms } => (ended(*ending), why.clone(), Some(*at_ms)),
    };
    let savings = sweep.savings();
    let front = sweep.front();
    v1::Sweep {
        id: Some(sweep.id),
        name: sweep.name.clone(),
        status: status.into(),
        why,
        submitted_ms,
        ended_ms,
        seed: sweep.seed,
        spec: submitted.map(|s| s.spec.clone()).unwrap_or_default(),
        provenance: submitted.map(|s| s.provenance.clone()).unwrap_or_default(),
        trials_max: sweep.trials_max,
        counts: Some(counts(sweep)),
        best: front.iter().take(BEST_MAX).map(|trial| summary(sweep, trial)).collect(),
        ledger: Some(v1::Ledger {
            attempt_ms: sweep.ledger.attempt_ms,
            cpu_ms: sweep.ledger.cpu_ms,
            gpu_ms: sweep.ledger.gpu_ms,
            steps: savings.steps,
            steps_saved: savings.steps_saved,
            ms_saved: savings.ms_saved,
        }),
        live_leases: sweep.live.len() as u32,
        base_dir: submitted.map(|s| s.base_dir.clone()).unwrap_or_default(),
        code: submitted.map(|s| s.code.clone()).unwrap_or_default(),
        stopped_by: sweep
            .stopped_by
            .iter()
            .map(|((rule, rung), trials)| v1::RuleCount { rule: rule.clone(), rung: *rung, trials: *trials })
            .collect(),
        learned: submitted.map(|fact| fact.priors.iter().map(learned).collect()).unwrap_or_default(),
        notify: notice::hooks(sweep),
        front: sweep.extent(&front).map(|Extent { worst, hypervolume }| v1::Front {
            size: front.len() as u32,
            worst,
            hypervolume,
        }),
    }
}

fn learned(prior: &Prior) -> v1::Learned {
    v1::Learned {
        sweep: Some(prior.sweep),
        name: prior.name.clone(),
        trials: prior.trials.len() as u32,
        unfit: prior.unfit,
        left_out: prior.left_out,
    }
}

const fn ended(ending: Ending) -> v1::SweepStatus {
    match ending {
        Ending::Finished => v1::SweepStatus::Finished,
        Ending::Stopped => v1::SweepStatus::Stopped,
        Ending::Failed => v1::SweepStatus::Failed,
        Ending::Cancelled => v1::SweepStatus::Cancelled,
    }
}

fn counts(sweep: &Sweep) -> v1::Counts {
    let of = |state| sweep.counts.of(state);
    v1::Counts {
        created: sweep.created(),
        waiting: of(TrialState::Waiting),
        leased: of(TrialState::Leased),
        running: of(TrialState::Running),
        paused: of(TrialState::Paused),
        completed: of(TrialState::Completed),
        stopped: of(TrialState::Stopped),
        failed: of(TrialState::Failed),
        infeasible: of(TrialState::Infeasible),
        cancelled: of(TrialState::Cancelled),
        enqueued: sweep.queue.len() as u32,
        confirming: sweep.created() - sweep.proposed,
    }
}

/// A trial's summary.
pub fn summary(sweep: &Sweep, trial: &Trial) -> v1::TrialSummary {
    let ends = || trial.attempts.iter().filter_map(|attempt| attempt.end);
    v1::TrialSummary {
        number: trial.number,
        state: trial.state.into(),
        params: sweep.params(trial),
        value: trial.best.map(|best| best.value),
        value_step: trial.best.map(|best| best.step),
        last_step: trial.last_step,
        last_value: trial.last_value,
        reports: trial.reports(),
        attempts: trial.attempt(),
        created_ms: sweep.records(trial).next().map_or(0, |record| record.at_ms),
        started_ms: trial.attempts.iter().find_map(|attempt| attempt.started_ms),
        ended_ms: trial.state.is_terminal().then(|| ends().next_back().map(|end| end.at_ms)).flatten(),
        ran_ms: ends().map(|end| end.ran_ms).sum(),
        stopped: sweep.verdict(trial),
        failure: ends().next_back().and_then(|end| end.failure).map(i32::from),
        detail: sweep.detail(trial),
        agent: trial.attempts.last().map(|attempt| attempt.agent),
        ending: trial.state.is_at_rest() && trial.live().is_some(),
        spared: sweep.spared(trial),
        confirms: trial.confirms,
        confirmed: sweep.confirmation(trial).map(|Confirmation { runs, of, mean, interval }| {
            let (low, high) = interval.unzip();
            v1::Confirmed { mean, low, high, runs, of }
        }),
        point: (!trial.point.is_empty()).then(|| {
            let names = sweep.objectives().iter().map(|objective| objective.metric());
            names.zip(trial.point.iter().copied()).collect()
        }),
        checkpoints: trial.checkpoints.clone(),
        artifacts: trial.artifacts.clone(),
        not_kept: trial.not_kept.clone(),
        forked_from: trial.forked.as_deref().map(|Forked { from, replaces }| v1::ForkedFrom {
            trial: from.trial,
            step: from.step,
            replaces: *replaces,
        }),
    }
}

/// What made a fork what it is, the first stretch first; empty for a trial that began at the beginning.
fn lineage(sweep: &Sweep, trial: &Trial) -> Vec<v1::Stretch> {
    let mut stretches = Vec::new();
    let (mut at, mut to_step) = (Some(trial).filter(|trial| trial.forked.is_some()), None);
    while let Some(trial) = at {
        let from = trial.forked.as_ref().map(|forked| &forked.from);
        let from_step = from.map_or(0, |from| from.step);
        let params = sweep.params(trial);
        stretches.push(v1::Stretch { trial: trial.number, from_step, to_step, params });
        // A trial is forked from an earlier one, so this ends.
        (at, to_step) = (from.and_then(|from| sweep.trial(from.trial)), Some(from_step));
    }
    stretches.reverse();
    stretches
}

/// Whether the early stopping of a sweep is right; `None` for a sweep without any.
pub fn early_stopping(sweep: &Sweep) -> Option<v1::EarlyStopping> {
    if sweep.spec.early_stop.algorithm == "none" {
        return None;
    }
    let Assessment { control, rungs, hasty, patient } = Assessment::of(sweep);
    let share = |Share { count, low, high }| v1::Share { count, low, high };
    let control = control.map(|Control { spared, ended, peers, above_median, best }| {
        let (above_median, best) = (above_median.map(share), best.map(share));
        v1::ControlGroup { spared, ended, peers, above_median, best }
    });
    let rung = |Rung { at, trials, correlation }| v1::Rung { at, trials, correlation };
    Some(v1::EarlyStopping { control, rungs: rungs.into_iter().map(rung).collect(), hasty, patient })
}

fn forks(sweep: &Sweep, trial: &Trial) -> Vec<u32> {
    // No fork comes before what it is forked from.
    let later = sweep.trials.iter().skip(trial.number as usize);
    let is_fork =
        |other: &&std::sync::Arc<Trial>| other.forked.as_ref().is_some_and(|forked| forked.from.trial == trial.number);
    later.filter(is_fork).map(|fork| fork.number).collect()
}

/// A trial with its attempts; its series is apart.
pub fn trial(state: &State, sweep: &Sweep, trial: &Trial) -> v1::TrialResponse {
    let attempts: Vec<v1::Attempt> =
        (1..).zip(&trial.attempts).map(|(number, a)| attempt(state, sweep, trial, number, a)).collect();
    let members = || attempts.iter().flat_map(|attempt| &attempt.members);
    let environments: BTreeSet<Digest> = (attempts.iter().filter_map(|attempt| attempt.environment_name))
        .chain(members().filter_map(|member| member.environment_name))
        .collect();
    let hardware: BTreeSet<Digest> = (attempts.iter().filter_map(|attempt| attempt.hardware_name))
        .chain(members().filter_map(|member| member.hardware_name))
        .collect();
    let environment =
        |name: Digest| v1::RecordedEnvironment { name: Some(name), environment: state.environment(name).cloned() };
    let machine = |name: Digest| v1::RecordedHardware { name: Some(name), hardware: state.hardware(name).cloned() };
    let mut response = v1::TrialResponse {
        log_index: state.applied,
        trial: Some(summary(sweep, trial)),
        attempts,
        environments: environments.into_iter().map(environment).collect(),
        hardware: hardware.into_iter().map(machine).collect(),
        seed: heats_core::history::trial_seed(sweep.seed, trial.number),
        saw_index: 0,
        enqueued: false,
        sample: Vec::new(),
        lineage: lineage(sweep, trial),
        forks: forks(sweep, trial),
    };
    for record in sweep.records(trial) {
        if let Some(Fact::TrialCreated(fact)) = record.cell.fact.as_ref() {
            response.saw_index = fact.saw_index;
            response.enqueued = fact.enqueued;
        }
    }
    response
}

fn attempt(state: &State, sweep: &Sweep, trial: &Trial, number: u32, attempt: &Attempt) -> v1::Attempt {
    let mut message = v1::Attempt {
        number,
        agent: Some(attempt.agent),
        agent_name: state.agent(attempt.agent).map(|a| a.name.clone()).unwrap_or_default(),
        grant: Some(attempt.grant.clone()),
        leased_ms: attempt.leased_ms,
        started_ms: attempt.started_ms,
        ended_ms: attempt.end.map(|end| end.at_ms),
        failure: attempt.end.and_then(|end| end.failure).map(i32::from),
        ran_ms: attempt.end.map_or(0, |end| end.ran_ms),
        cpu_ms: attempt.end.map_or(0, |end| end.cpu_ms),
        max_rss: 0,
        detail: String::new(),
        environment: String::new(),
        environment_name: None,
        hardware_name: None,
        warm: false,
        cold: String::new(),
        excused: attempt.end.is_some_and(|end| end.excused),
        variant: attempt.variant,
        members: members(state, attempt),
        address: meeting(state, attempt),
        waits_for: None,
    };
    for record in sweep.records(trial) {
        match record.cell.fact.as_ref() {
            Some(Fact::TrialStarted(fact)) if fact.attempt == number => {
                if let Some(member) = message.members.get_mut(fact.rank as usize) {
                    member.environment_name = fact.environment_name;
                    member.hardware_name = fact.hardware_name;
                }
                if fact.rank == 0 {
                    message.environment.clone_from(&fact.environment);
                    message.environment_name = fact.environment_name;
                    message.hardware_name = fact.hardware_name;
                    message.warm = fact.warm;
                    message.cold.clone_from(&fact.cold);
                }
            }
            Some(Fact::AttemptEnded(fact)) if fact.attempt == number => {
                message.detail.clone_from(&fact.detail);
                message.max_rss = fact.max_rss;
            }
            _ => {}
        }
    }
    message
}

/// Its members; what each ran in is in the records of its trial.
fn members(state: &State, attempt: &Attempt) -> Vec<v1::AttemptMember> {
    let members = attempt.gang.iter().flat_map(|gang| &gang.members);
    let message = |member: &Member| v1::AttemptMember {
        agent: Some(member.agent),
        agent_name: state.agent(member.agent).map(|agent| agent.name.clone()).unwrap_or_default(),
        grant: Some(member.grant.clone()),
        started_ms: member.started_ms,
        ended_ms: member.end.map(|end| end.at_ms),
        failure: member.end.and_then(|end| end.failure).map(i32::from),
        ran_ms: member.end.map_or(0, |end| end.ran_ms),
        cpu_ms: member.end.map_or(0, |end| end.cpu_ms),
        environment_name: None,
        hardware_name: None,
    };
    members.map(message).collect()
}

/// Where the members of an attempt that spans machines meet; empty for others.
fn meeting(state: &State, attempt: &Attempt) -> String {
    let Some(gang) = &attempt.gang else { return String::new() };
    let rendezvous = state.agent(attempt.agent).and_then(|agent| agent.inventory.rendezvous.as_ref());
    format!("{}:{}", rendezvous.map_or("", |own| &own.address), gang.port)
}

/// An agent that ever attached, as far as the state knows it: not whether it is attached now.
pub fn agent(state: &State, agent: AgentId) -> Option<v1::AgentStatus> {
    let attached = state.agent(agent)?;
    let held = state.leases.get(&agent);
    let mut sum = Grant::default();
    // A device that several have shares of is held once.
    let mut shared: BTreeSet<u32> = BTreeSet::new();
    // What was leased ahead takes nothing yet.
    for lease in held.into_iter().flat_map(|held| held.values()).filter(|lease| !lease.ahead) {
        sum.cpus += lease.grant.cpus;
        sum.memory += lease.grant.memory;
        sum.gpus.extend(lease.grant.gpus.iter().filter(|index| !shared.contains(index)));
        if lease.grant.gpu_parts > 0 {
            shared.extend(&lease.grant.gpus);
        }
        sum.disk += lease.grant.disk;
    }
    let drain = state.drain(agent).map(|(drain, at_ms)| {
        let (reason, by) = (drain.reason.clone(), drain.by.clone());
        v1::AgentDrain { reason, by, at_ms, now: drain.now }
    });
    Some(v1::AgentStatus {
        agent: Some(agent),
        name: attached.name.clone(),
        inventory: Some(attached.inventory.clone()),
        leases: held.map_or(0, |held| held.len() as u32),
        held: Some(sum),
        gpu_parts_free: state.free(agent).parts,
        version: attached.version.clone(),
        recorded_ms: state.agents.get(&agent).map_or(0, |record| record.at_ms),
        drain,
        quarantine: quarantine(state, Part::machine(agent)),
        gpu_quarantines: gpu_quarantines(state, agent),
        ..Default::default()
    })
}

fn gpu_quarantines(state: &State, agent: AgentId) -> Vec<v1::AgentQuarantine> {
    let gpus = state.quarantined(agent).filter(|(part, _)| part.gpu.is_some());
    gpus.filter_map(|(part, _)| quarantine(state, part)).collect()
}

/// Why a machine or a GPU is left alone, where it is quarantined.
pub fn quarantine(state: &State, part: Part) -> Option<v1::AgentQuarantine> {
    let (AgentQuarantined { agent, since_ms, until_ms, delay_ms: _, proven, why, failures }, _) =
        state.quarantine(part)?;
    let failure = |FailedAttempt { sweep, trial, attempt, failure, ran_ms: _ }: &FailedAttempt| v1::FailedAttempt {
        key: Some(v1::AttemptKey { sweep: Some(*sweep), trial: *trial, attempt: *attempt }),
        sweep_name: state.sweeps.get(sweep).map(|sweep| sweep.name.clone()).unwrap_or_default(),
        failure: *failure,
    };
    Some(v1::AgentQuarantine {
        agent: Some(*agent),
        agent_name: state.agent(*agent).map(|attached| attached.name.clone()).unwrap_or_default(),
        gpu: part.gpu,
        why: why.clone(),
        since_ms: *since_ms,
        until_ms: *until_ms,
        proven: *proven,
        failures: failures.iter().map(failure).collect(),
    })
}

/// The quarantines of machines and GPUs on which trials of the sweep failed.
pub fn quarantines(state: &State, sweep: &Sweep) -> Vec<v1::AgentQuarantine> {
    let concerns = |part: &Part| {
        state.quarantine(*part).is_some_and(|(quarantine, _)| quarantine.failures.iter().any(|f| f.sweep == sweep.id))
    };
    let parts = state.quarantines.keys().copied().filter(concerns);
    parts.filter_map(|part| quarantine(state, part)).collect()
}

/// What an agent has leases of, at most `limit`.
pub fn held(state: &State, agent: AgentId, limit: usize) -> Vec<v1::HeldTrial> {
    let leases = state.leases.get(&agent).into_iter().flatten();
    let held = leases.filter_map(|(&(sweep, number), lease)| {
        let whole = state.sweeps.get(&sweep)?;
        let trial = whole.trial(number)?;
        let (_, attempt) = trial.live()?;
        let started_ms = attempt.holders().find(|holder| holder.rank == lease.rank)?.started_ms;
        Some(v1::HeldTrial {
            key: Some(v1::AttemptKey { sweep: Some(sweep), trial: number, attempt: lease.attempt }),
            sweep_name: whole.name.clone(),
            state: trial.state.into(),
            leased_ms: attempt.leased_ms,
            started_ms,
            ahead: lease.ahead,
            rank: lease.rank,
            nodes: attempt.nodes() as u32,
            waits_for: None,
        })
    });
    held.take(limit).collect()
}

/// A fact as an event: a sentence for people, the fields for programs.
pub fn event(record: &Record) -> Option<v1::Event> {
    let fact = record.cell.fact.as_ref()?;
    Some(v1::Event {
        log_index: record.log_index,
        at_ms: record.at_ms,
        kind: fact.name().to_owned(),
        trial: fact.trial(),
        attempt: fact.attempt(),
        text: crate::sentence::sentence(fact),
        json: crate::sentence::fields(fact).to_string(),
    })
}
