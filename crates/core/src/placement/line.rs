//! The sweeps that could use a place, in line: kept as facts change them, so that a turn costs what has changed and not what
//! waits. Decides nothing: `leading::giving` asks who is first, and says what came of it.
//!
//! Sweeps stand in queues. Those of one user in one project, of one priority, whose trials all ask for the same, stand in one
//! queue: where one of them finds no place, none of them does, until somewhere there is more room. So such a queue is closed
//! until then, and nobody in it is asked.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heats_domain::SweepId;

use crate::sweep::Sweep;

/// Which queue: by priority, the highest first, then project, user, and what is asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct QueueKey {
    /// The priority of its sweeps.
    pub priority: Reverse<u32>,
    /// Their project.
    pub project: Arc<str>,
    /// Their user.
    pub user: Arc<str>,
    /// What their trials ask for.
    pub asks: Asks,
}

/// What the trials of a sweep ask for, as far as it decides whether there is a place for them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Asks {
    /// The same as those of all sweeps whose `resources` are these, as JSON.
    Alike(Arc<str>),
    /// What nobody else asks for: it stands alone.
    Apart(SweepId),
}

/// A sweep's place in its queue: the fewest leases first, then the oldest.
pub type Rank = (usize, SweepId);

#[derive(Debug, Default)]
struct Queue {
    line: BTreeSet<Rank>,
    /// Those of it whose trials may be leased ahead.
    brisk: BTreeSet<Rank>,
    /// There is no place for any of them before the places have grown more often than this.
    closed_at: Option<u64>,
    /// Whoever is in it waits for a place.
    waits: bool,
}

#[derive(Debug)]
struct Standing {
    queue: QueueKey,
    rank: Rank,
    is_brisk: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Line {
    queues: BTreeMap<QueueKey, Queue>,
    standings: BTreeMap<SweepId, Standing>,
    /// The queues with sweeps whose trials may be leased ahead.
    brisk: BTreeSet<QueueKey>,
    /// The sweeps that stand alone.
    apart: BTreeSet<SweepId>,
    /// The sweeps that have come, gone or moved, or whose queue has, since the waits were noted.
    moved: BTreeSet<SweepId>,
    /// The sweeps that could use a place and found none, with their priority and since when.
    since: BTreeMap<SweepId, (Reverse<u32>, u64)>,
    /// The same by priority, the highest first, then the longest wait.
    longest: BTreeSet<(Reverse<u32>, u64, SweepId)>,
}

impl Line {
    /// The sweep could use a place, or still could and something about it has changed. Where `is_apart`, whether there is a place
    /// for it follows from more than its `resources`; where `is_brisk`, its trials may be leased ahead.
    pub fn put(&mut self, sweep: &Sweep, is_apart: bool, is_brisk: bool) {
        let rank = (sweep.live.len(), sweep.id);
        self.moved.insert(sweep.id);
        if let Some(standing) = self.standings.get_mut(&sweep.id)
            && standing.queue.priority.0 == sweep.priority
            && matches!(standing.queue.asks, Asks::Apart(_)) == is_apart
            && let Some(queue) = self.queues.get_mut(&standing.queue)
        {
            if standing.rank != rank {
                queue.line.remove(&standing.rank);
                queue.line.insert(rank);
            }
            queue.brisk.remove(&standing.rank);
            if is_brisk {
                queue.brisk.insert(rank);
                self.brisk.insert(standing.queue.clone());
            } else if queue.brisk.is_empty() {
                self.brisk.remove(&standing.queue);
            }
            // What it asks for may be something else now.
            if is_apart {
                queue.closed_at = None;
            }
            (standing.rank, standing.is_brisk) = (rank, is_brisk);
            return;
        }
        self.leave(sweep.id);
        let key = key(sweep, is_apart);
        let queue = self.queues.entry(key.clone()).or_default();
        queue.line.insert(rank);
        if is_brisk {
            queue.brisk.insert(rank);
            self.brisk.insert(key.clone());
        }
        if matches!(key.asks, Asks::Apart(_)) {
            self.apart.insert(sweep.id);
        }
        self.standings.insert(sweep.id, Standing { queue: key, rank, is_brisk });
    }

    /// The sweep asks for nothing now.
    pub fn leave(&mut self, id: SweepId) {
        let Some(Standing { queue: key, rank, is_brisk }) = self.standings.remove(&id) else { return };
        self.moved.insert(id);
        self.apart.remove(&id);
        let Some(queue) = self.queues.get_mut(&key) else { return };
        queue.line.remove(&rank);
        if is_brisk && queue.brisk.remove(&rank) && queue.brisk.is_empty() {
            self.brisk.remove(&key);
        }
        if queue.line.is_empty() {
            self.queues.remove(&key);
        }
    }

    /// Whether the sweep could use a place.
    pub fn has(&self, id: SweepId) -> bool {
        self.standings.contains_key(&id)
    }

    /// In which queue the sweep stands.
    pub fn queue_of(&self, id: SweepId) -> Option<&QueueKey> {
        self.standings.get(&id).map(|standing| &standing.queue)
    }

    /// The queues.
    pub fn queues(&self) -> impl Iterator<Item = &QueueKey> {
        self.queues.keys()
    }

    /// The first of a queue.
    pub fn front(&self, queue: &QueueKey) -> Option<Rank> {
        self.queues.get(queue)?.line.first().copied()
    }

    /// Whether there may be a place for those in the queue, once the places have grown so often.
    pub fn is_open(&self, queue: &QueueKey, growths: u64) -> bool {
        self.queues.get(queue).is_some_and(|queue| queue.closed_at.is_none_or(|at| growths > at))
    }

    /// There is no place for anybody in the queue: all of them wait for one, until the places have grown more often than
    /// `closed_at`, where it is only that which could help.
    pub fn close(&mut self, queue: &QueueKey, closed_at: Option<u64>) {
        self.set_waits(queue, true);
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.closed_at = closed_at;
        }
    }

    /// Nobody in the queue may have a place: they wait for none.
    pub fn refuse(&mut self, queue: &QueueKey) {
        self.set_waits(queue, false);
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.closed_at = None;
        }
    }

    fn set_waits(&mut self, queue: &QueueKey, waits: bool) {
        let Some(queue) = self.queues.get_mut(queue).filter(|queue| queue.waits != waits) else { return };
        queue.waits = waits;
        self.moved.extend(queue.line.iter().map(|(_, id)| *id));
    }

    /// Notes since when those wait that have begun to, and forgets those that do so no more.
    pub fn note_waits(&mut self, now_ms: u64) {
        for id in std::mem::take(&mut self.moved) {
            let standing = self.standings.get(&id);
            let waits = standing.filter(|standing| self.queues.get(&standing.queue).is_some_and(|queue| queue.waits));
            let (priority, before) = (waits.map(|standing| standing.queue.priority), self.since.get(&id).copied());
            match (priority, before) {
                (Some(priority), Some((old, since_ms))) if priority != old => self.note(id, priority, since_ms),
                (Some(_), Some(_)) => {}
                (Some(priority), None) => self.note(id, priority, now_ms),
                (None, _) => self.forget_wait(id),
            }
        }
    }

    /// The sweep's wait begins anew at `now_ms`.
    pub fn wait_anew(&mut self, id: SweepId, now_ms: u64) {
        if let Some((priority, _)) = self.since.get(&id).copied() {
            self.note(id, priority, now_ms);
        }
    }

    /// The sweep has waited, and does no more.
    pub fn end_wait(&mut self, id: SweepId) {
        self.forget_wait(id);
        self.moved.insert(id);
    }

    fn note(&mut self, id: SweepId, priority: Reverse<u32>, since_ms: u64) {
        self.forget_wait(id);
        self.since.insert(id, (priority, since_ms));
        self.longest.insert((priority, since_ms, id));
    }

    fn forget_wait(&mut self, id: SweepId) {
        if let Some((priority, since_ms)) = self.since.remove(&id) {
            self.longest.remove(&(priority, since_ms, id));
        }
    }

    /// The sweeps above a priority that have waited since `since_ms` or longer, the highest priority and the longest wait first.
    pub fn have_waited(&self, above: u32, since_ms: u64) -> Vec<SweepId> {
        const LAST: SweepId = SweepId { bits: u64::MAX };
        let mut waited = Vec::new();
        let mut next = self.longest.first();
        while let Some((priority, ..)) = next.filter(|(priority, ..)| priority.0 > above) {
            let long = self.longest.range((*priority, 0, SweepId { bits: 0 })..=(*priority, since_ms, LAST));
            waited.extend(long.map(|(.., id)| *id));
            next = self.longest.range((*priority, u64::MAX, LAST)..).next();
        }
        waited
    }

    /// Those of the sweeps that stand alone that have waited since `since_ms` or longer, in the same order.
    pub fn have_waited_apart(&self, since_ms: u64) -> BTreeSet<(Reverse<u32>, u64, SweepId)> {
        let waiting =
            self.apart.iter().filter_map(|id| self.since.get(id).map(|(priority, since)| (*priority, *since, *id)));
        waiting.filter(|(_, since, _)| *since <= since_ms).collect()
    }

    /// Since when the sweep has waited for a place; `None` where it does not.
    pub fn waits_since(&self, id: SweepId) -> Option<u64> {
        self.since.get(&id).map(|(_, since_ms)| *since_ms)
    }

    /// The queues with sweeps whose trials may be leased ahead.
    pub fn brisk_queues(&self) -> impl Iterator<Item = &QueueKey> {
        self.brisk.iter()
    }

    /// The first of a queue whose trials may be leased ahead.
    pub fn brisk_front(&self, queue: &QueueKey) -> Option<Rank> {
        self.queues.get(queue)?.brisk.first().copied()
    }

    /// There may be a place for anybody: what projects and users may have has changed.
    pub fn reopen(&mut self) {
        self.queues.values_mut().for_each(|queue| queue.closed_at = None);
    }

    /// The sweeps of a queue, the first in front; whether they wait for a place.
    #[cfg(any(test, feature = "test-util"))]
    pub fn members(&self, queue: &QueueKey) -> (Vec<SweepId>, bool) {
        let queue = self.queues.get(queue);
        let members = queue.into_iter().flat_map(|queue| &queue.line).map(|(_, id)| *id).collect();
        (members, queue.is_some_and(|queue| queue.waits))
    }

    /// Which sweeps stand where, and whether their trials may be leased ahead.
    #[cfg(any(test, feature = "test-util"))]
    pub fn standings(&self) -> impl Iterator<Item = (&QueueKey, Rank, bool)> {
        self.standings.values().map(|standing| (&standing.queue, standing.rank, standing.is_brisk))
    }
}

/// The queue that the sweep stands in.
fn key(sweep: &Sweep, is_apart: bool) -> QueueKey {
    let asks = || serde_json::to_string(sweep.spec.variants()).ok().map(|json| Asks::Alike(json.into()));
    // What cannot be written as JSON is compared with nothing.
    let asks = Some(is_apart).filter(|is_apart| !is_apart).and_then(|_| asks()).unwrap_or(Asks::Apart(sweep.id));
    QueueKey {
        priority: Reverse(sweep.priority),
        project: sweep.project().into(),
        user: sweep.user.as_str().into(),
        asks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, SweepBuilder};

    /// A line of sweeps with these priorities, in one queue for each.
    fn line(priorities: &[u32]) -> (Line, Cluster, Vec<QueueKey>) {
        let (mut line, mut cluster) = (Line::default(), Cluster::default());
        let mut queues = Vec::new();
        for priority in priorities {
            let id = cluster.submit(SweepBuilder::minimize("loss").top("priority", *priority));
            line.put(cluster.sweep(id), false, false);
            queues.extend(line.queue_of(id).cloned());
        }
        (line, cluster, queues)
    }

    fn ids(bits: &[u64]) -> Vec<SweepId> {
        bits.iter().map(|bits| SweepId { bits: *bits }).collect()
    }

    #[test]
    fn sweeps_that_ask_for_the_same_stand_in_one_queue_and_others_in_their_own() {
        let (mut line, mut cluster, queues) = line(&[50, 50]);
        assert_eq!(queues[0], queues[1]);
        for builder in [
            SweepBuilder::minimize("loss").set("resources", "gpus", 1),
            SweepBuilder::minimize("loss").top("project", "vision"),
            SweepBuilder::minimize("loss").top("priority", 51),
        ] {
            let id = cluster.submit(builder);
            line.put(cluster.sweep(id), false, false);
            assert_ne!(line.queue_of(id), Some(&queues[0]));
        }
        line.put(cluster.sweep(SweepId { bits: 2 }), true, false);
        assert_ne!(line.queue_of(SweepId { bits: 2 }), Some(&queues[0]), "it stands apart now");
        assert_eq!(line.members(&queues[0]).0, ids(&[1]));
    }

    #[test]
    fn a_queue_that_is_closed_stays_so_until_there_is_more_room_whoever_joins_it() {
        let (mut line, mut cluster, queues) = line(&[50]);
        assert!(line.is_open(&queues[0], 0));
        line.close(&queues[0], Some(7));
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        line.put(cluster.sweep(id), false, false);
        assert!(!line.is_open(&queues[0], 7) && line.is_open(&queues[0], 8));
        line.reopen();
        assert!(line.is_open(&queues[0], 7), "other quotas");
        line.close(&queues[0], None);
        assert!(line.is_open(&queues[0], 7), "more than room could help");
    }

    #[test]
    fn whoever_waits_longest_comes_first_within_its_priority() {
        let (mut line, mut cluster, queues) = line(&[1, 9, 9, 5]);
        queues.iter().for_each(|queue| line.close(queue, Some(0)));
        line.note_waits(1_000);
        let late = cluster.submit(SweepBuilder::minimize("loss").top("priority", 9));
        line.put(cluster.sweep(late), false, false);
        line.note_waits(2_000);
        line.note_waits(3_000);
        line.wait_anew(SweepId { bits: 2 }, 2_500);
        assert_eq!(line.have_waited(1, 3_000), ids(&[3, 5, 2, 4]));
        assert_eq!(line.have_waited(0, 1_000), ids(&[3, 4, 1]), "the others have not waited that long");
        // Who may have nothing waits for nothing, and whoever asks for nothing.
        line.refuse(&queues[1]);
        line.leave(SweepId { bits: 4 });
        line.note_waits(4_000);
        assert_eq!(line.have_waited(0, 4_000), ids(&[1]));
    }
}
