//! What the leader keeps of the sweeps that have not ended, so that no turn looks at all of them: which run something, which
//! have to be looked at as time passes, and which were tried where. Follows from the state; decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use heats_domain::SweepId;

use crate::health::Part;
use crate::sweep::Sweep;

/// See the module.
#[derive(PartialEq, Debug, Default)]
pub(super) struct Roster {
    rows: BTreeMap<SweepId, Row>,
    /// The sweeps with live leases, the lowest priority first.
    running: BTreeSet<(u32, SweepId)>,
    /// When whose wall time is over.
    due: BTreeSet<(u64, SweepId)>,
    /// The sweeps that have to be looked at however much time has passed.
    watched: BTreeSet<SweepId>,
    /// The sweeps of which attempts have come so far on a machine or a GPU that something is known.
    tried: BTreeMap<Part, BTreeSet<SweepId>>,
}

/// Where a sweep is in the others.
#[derive(PartialEq, Debug, Default)]
struct Row {
    running: Option<u32>,
    due_ms: Option<u64>,
    tried: BTreeSet<Part>,
}

impl Roster {
    /// Takes in how a sweep stands that has not ended.
    pub(super) fn put(&mut self, sweep: &Sweep) {
        let budget = &sweep.spec.budget;
        let row = self.rows.entry(sweep.id).or_default();
        let running = (!sweep.live.is_empty()).then_some(sweep.priority);
        replace(&mut self.running, sweep.id, &mut row.running, running);
        // When `Sweep::open_ms` comes to the limit.
        let due_ms =
            budget.wall.map(|wall| sweep.opened_ms.saturating_add(wall.ms.saturating_sub(sweep.open_before_ms)));
        replace(&mut self.due, sweep.id, &mut row.due_ms, due_ms);
        let has_used = |hours: f64| !sweep.live.is_empty() || sweep.ledger.gpu_ms as f64 >= hours * 3_600_000.0;
        // Members of a population may wait too long for a checkpoint.
        if sweep.members.is_some() || budget.gpu_hours.is_some_and(has_used) {
            self.watched.insert(sweep.id);
        } else {
            self.watched.remove(&sweep.id);
        }
        // There are only ever more until it ends.
        if row.tried.len() != sweep.tallies.len() {
            for part in sweep.tallies.keys().filter(|part| row.tried.insert(**part)) {
                self.tried.entry(*part).or_default().insert(sweep.id);
            }
        }
    }

    /// The sweep has ended, or is gone.
    pub(super) fn remove(&mut self, id: SweepId) {
        let Some(Row { running, due_ms, tried }) = self.rows.remove(&id) else { return };
        running.map(|priority| self.running.remove(&(priority, id)));
        due_ms.map(|due_ms| self.due.remove(&(due_ms, id)));
        self.watched.remove(&id);
        for part in tried {
            if let Some(sweeps) = self.tried.get_mut(&part) {
                sweeps.remove(&id);
                if sweeps.is_empty() {
                    self.tried.remove(&part);
                }
            }
        }
    }

    /// The lowest priority of which something runs.
    pub(super) fn lowest_running(&self) -> Option<u32> {
        self.running.first().map(|(priority, _)| *priority)
    }

    /// The sweeps that time may bear on at `now_ms`.
    pub(super) fn to_look_at(&self, now_ms: u64) -> BTreeSet<SweepId> {
        let due = self.due.range(..=(now_ms, SweepId { bits: u64::MAX })).map(|(_, id)| *id);
        due.chain(self.watched.iter().copied()).collect()
    }

    /// The sweeps of which attempts were made on one of these.
    pub(super) fn tried_on(&self, parts: impl Iterator<Item = Part>) -> BTreeSet<SweepId> {
        parts.filter_map(|part| self.tried.get(&part)).flatten().copied().collect()
    }
}

/// A sweep's place in one of the sets is another one now, or none.
fn replace<T: Ord + Copy>(set: &mut BTreeSet<(T, SweepId)>, id: SweepId, place: &mut Option<T>, now: Option<T>) {
    if *place == now {
        return;
    }
    if let Some(before) = place.take() {
        set.remove(&(before, id));
    }
    set.extend(now.map(|now| (now, id)));
    *place = now;
}
