//! Whose place is taken away for a sweep that has waited long for one: trials of the lowest priority, and of these the ones
//! that lose the least. They are ended as `preempted`, and wait again.
//!
//! What one place takes is taken on one agent, and nothing of a lower priority is given a place there until all of it is
//! free: so that a place which needs several ends is not eaten up while it is being made.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use heats_domain::spec::Resources;
use heats_domain::{AgentId, SweepId};

use super::fit;
use super::places::{Places, Wish};
use crate::fact::TrialRecalled;
use crate::state::{Lease, State};
use crate::sweep::Sweep;

/// How long a sweep waits for a place before others of a lower priority lose theirs, in milliseconds, unless an operator says
/// otherwise; and how long before it is looked again, where there was nothing to take.
pub const GRACE_MS: u64 = 30_000;
/// How many leases one turn takes away, at most.
pub const RECALLS_MAX: usize = 16;

/// A lease that could be taken away.
struct Victim<'a> {
    trial: (SweepId, u32),
    lease: &'a Lease,
    priority: u32,
    leased_ms: u64,
}

/// The leases on `agent` that a sweep of `priority` may take, those that it should take first in front: of the lowest
/// priority, and of these the latest.
fn victims(state: &State, agent: AgentId, priority: u32) -> Vec<Victim<'_>> {
    let held = state.leases.get(&agent).into_iter().flatten();
    let victim = |(trial, lease): (&(SweepId, u32), _)| {
        let lease: &Lease = lease;
        let sweep = state.sweeps.get(&trial.0)?;
        let standing = sweep.trial(trial.1)?;
        let (_, attempt) = standing.live()?;
        let may_be = sweep.priority < priority && lease.recalled.is_none() && !standing.is_being_ended();
        let leased_ms = attempt.started_ms.unwrap_or(attempt.leased_ms);
        may_be.then_some(Victim { trial: *trial, lease, priority: sweep.priority, leased_ms })
    };
    let mut victims: Vec<Victim<'_>> = held.into_iter().filter_map(|(trial, lease)| victim((trial, lease))).collect();
    victims.sort_by_key(|victim| (victim.priority, Reverse(victim.leased_ms), victim.trial));
    victims
}

/// What it costs to make a place: the highest priority that loses one, how many do, since when the one has run that loses the
/// most, and on which agent.
pub type Cost = (u32, usize, Reverse<u64>, AgentId);

/// What is to be taken away so that there is a place, with what that costs.
pub type Making = (Cost, Vec<TrialRecalled>);

/// What is to be taken away so that a trial of `sweep` gets a place, on the agent where that costs the least; nothing where
/// that is nowhere possible. For a trial that spans machines see [`Places::keep_free`].
pub fn recalls(state: &State, places: &mut Places, sweep: &Sweep, wish: &Wish<'_>, room: u64) -> Vec<TrialRecalled> {
    let variants = sweep.spec.variants().iter().enumerate().filter(|(_, need)| !need.spans_machines());
    let may_have = |place, need: &Resources| need.gpu_parts_in_all() <= room && wish.allows(sweep, place, need);
    let needs: Vec<(usize, &Resources)> = variants.filter(|(place, need)| may_have(*place, need)).collect();
    let agents: Vec<AgentId> =
        places.agents().filter(|agent| places.admits(*agent, sweep.id, sweep.priority)).collect();
    let mut best: Option<Making> = None;
    for agent in agents {
        for need in &needs {
            let most = best.as_ref().map_or(u32::MAX, |((highest, ..), _)| *highest);
            let making = on_agent(state, places, sweep, *need, agent, most);
            best = best.into_iter().chain(making).min_by_key(|(cost, _)| *cost);
        }
    }
    best.map(|(_, recalls)| recalls).unwrap_or_default()
}

/// What is to be taken away on `agent`, of priorities up to `most`, so that it has room for what a variant of the sweep needs;
/// nothing where that is not possible, or a place is being made there already: that is waited for.
pub fn on_agent(
    state: &State,
    places: &mut Places,
    sweep: &Sweep,
    (variant, need): (usize, &Resources),
    agent: AgentId,
    most: u32,
) -> Option<Making> {
    if state.leases.get(&agent).is_some_and(|held| held.values().any(|lease| lease.recalled.is_some())) {
        return None;
    }
    let victims = victims(state, agent, sweep.priority);
    if victims.first().is_none_or(|first| first.priority > most) {
        return None;
    }
    let (unusable, attached) = (places.unusable(agent).clone(), state.agent(agent)?);
    let suited = places.suited(agent, (sweep.id, variant), need);
    let taken = fewest(&victims, |gone| {
        let mut free = state.free_but_for(agent, gone);
        free.leave_out(&attached.inventory, &unusable);
        fit::grant(need, &attached.inventory, &free, suited.as_ref()).is_some()
    })?;
    let highest = taken.iter().map(|victim| victim.priority).max().unwrap_or(0);
    let earliest = taken.iter().map(|victim| victim.leased_ms).min().unwrap_or(0);
    let cost = (highest, taken.len(), Reverse(earliest), agent);
    // What waits for a place of these would get it.
    let ahead = victims.iter().filter(|victim| victim.lease.ahead);
    let recall = |victim: &Victim<'_>| {
        let ((trial_of, trial), attempt) = (victim.trial, victim.lease.attempt);
        TrialRecalled { sweep: trial_of, trial, attempt, by: sweep.id }
    };
    Some((cost, taken.into_iter().chain(ahead).map(recall).collect()))
}

/// As few of the victims as are enough for `fits` to hold once they are gone, the first of them before others; `None` where all of
/// them are not enough, or none is needed.
fn fewest<'a>(
    victims: &'a [Victim<'a>],
    fits: impl Fn(&BTreeSet<(SweepId, u32)>) -> bool,
) -> Option<Vec<&'a Victim<'a>>> {
    let mut gone = BTreeSet::new();
    let mut taken: Vec<&Victim<'_>> = Vec::new();
    for victim in victims.iter().filter(|victim| !victim.lease.ahead) {
        gone.insert(victim.trial);
        taken.push(victim);
        if fits(&gone) {
            break;
        }
    }
    if taken.is_empty() || !fits(&gone) {
        return None;
    }
    // Some were of no use: the one that was taken last is spared first.
    for victim in taken.iter().rev() {
        gone.remove(&victim.trial);
        if !fits(&gone) {
            gone.insert(victim.trial);
        }
    }
    taken.retain(|victim| gone.contains(&victim.trial));
    Some(taken)
}

impl State {
    /// The least priority that a sweep must have to get a place on the agent: that of whoever a place is being made for there.
    pub fn least_priority(&self, agent: AgentId) -> u32 {
        let held = self.leases.get(&agent).into_iter().flat_map(imbl::OrdMap::values);
        let by = held.filter_map(|lease| self.sweeps.get(&lease.recalled?)).filter(|sweep| !sweep.is_ended());
        by.map(|sweep| sweep.priority).max().unwrap_or(0)
    }
}

/// On how many agents places are being made, by the sweep that they are for.
pub fn being_made(state: &State) -> BTreeMap<SweepId, usize> {
    let mut made = BTreeMap::new();
    for held in state.leases.values() {
        let by: BTreeSet<SweepId> = held.values().filter_map(|lease| lease.recalled).collect();
        by.into_iter().for_each(|sweep| *made.entry(sweep).or_default() += 1);
    }
    made
}
