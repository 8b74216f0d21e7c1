//! Whose place is taken away for a sweep that has waited long for one: trials of the lowest priority, and of these the ones
//! that lose the least. They are ended as `preempted`, and wait again.
//!
//! What one place takes is taken on one agent, and nothing of a lower priority is given a place there until all of it is
//! free: so that a place which needs several ends is not eaten up while it is being made.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use heats_domain::{AgentId, SweepId};

use super::fit;
use super::places::{Places, Wish};
use crate::fact::TrialRecalled;
use crate::state::{Lease, State};
use crate::sweep::Sweep;

/// How long a sweep waits for a place before others of a lower priority lose theirs, in milliseconds; and how long before it is
/// looked again, where there was nothing to take.
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
        let may_be = sweep.priority < priority && lease.recalled.is_none() && !standing.state.is_at_rest();
        let leased_ms = attempt.started_ms.unwrap_or(attempt.leased_ms);
        may_be.then_some(Victim { trial: *trial, lease, priority: sweep.priority, leased_ms })
    };
    let mut victims: Vec<Victim<'_>> = held.into_iter().filter_map(|(trial, lease)| victim((trial, lease))).collect();
    victims.sort_by_key(|victim| (victim.priority, Reverse(victim.leased_ms), victim.trial));
    victims
}

/// What it costs to make a place: the highest priority that loses one, how many do, since when the one has run that loses the
/// most, and on which agent.
type Cost = (u32, usize, Reverse<u64>, AgentId);

/// What is to be taken away so that a trial of `sweep` gets a place, on the agent where that costs the least; nothing where
/// that is nowhere possible.
pub fn recalls(state: &State, places: &mut Places, sweep: &Sweep, wish: &Wish<'_>, room: u64) -> Vec<TrialRecalled> {
    let mut best: Option<(Cost, Vec<TrialRecalled>)> = None;
    let agents: Vec<AgentId> = places.agents().collect();
    for agent in agents {
        // Where a place is being made already, it is waited for.
        let is_reserved =
            state.leases.get(&agent).is_some_and(|held| held.values().any(|lease| lease.recalled.is_some()));
        if is_reserved {
            continue;
        }
        let victims = victims(state, agent, sweep.priority);
        let unusable = places.unusable(agent).clone();
        let (Some(first), Some(attached)) = (victims.first(), state.agent(agent)) else { continue };
        if best.as_ref().is_some_and(|((priority, ..), _)| first.priority > *priority) {
            continue;
        }
        let variants = sweep.spec.variants().iter().enumerate();
        let needs = variants.filter(|(place, need)| wish.allows(sweep, *place, need));
        let needs = needs.filter(|(_, need)| u64::from(need.gpu_parts()) <= room);
        for (variant, need) in needs {
            let suited = places.suited(agent, (sweep.id, variant), need);
            let fits = |gone: &BTreeSet<(SweepId, u32)>| {
                let mut free = state.free_but_for(agent, gone);
                free.leave_out(&attached.inventory, &unusable);
                fit::grant(need, &attached.inventory, &free, suited.as_ref()).is_some()
            };
            let mut gone = BTreeSet::new();
            let mut taken: Vec<&Victim<'_>> = Vec::new();
            for victim in victims.iter().filter(|victim| !victim.lease.ahead) {
                gone.insert(victim.trial);
                taken.push(victim);
                if fits(&gone) {
                    break;
                }
            }
            if !fits(&gone) {
                continue;
            }
            // Some were of no use: the one that was taken last is spared first.
            for victim in taken.iter().rev() {
                gone.remove(&victim.trial);
                if !fits(&gone) {
                    gone.insert(victim.trial);
                }
            }
            taken.retain(|victim| gone.contains(&victim.trial));
            let highest = taken.iter().map(|victim| victim.priority).max().unwrap_or(0);
            let earliest = taken.iter().map(|victim| victim.leased_ms).min().unwrap_or(0);
            let cost = (highest, taken.len(), Reverse(earliest), agent);
            if best.as_ref().is_some_and(|(least, _)| *least <= cost) {
                continue;
            }
            // What waits for a place of these would get it.
            let ahead = victims.iter().filter(|victim| victim.lease.ahead);
            let all = taken.iter().copied().chain(ahead).map(|victim| TrialRecalled {
                sweep: victim.trial.0,
                trial: victim.trial.1,
                attempt: victim.lease.attempt,
                by: sweep.id,
            });
            best = Some((cost, all.collect()));
        }
    }
    best.map(|(_, recalls)| recalls).unwrap_or_default()
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
