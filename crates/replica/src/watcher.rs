//! The task beside the engine: it turns what the engine and the state machine say into what the rest of the
//! process watches (who leads, why the node stopped), and asks for snapshots by size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant, Raft, RaftMetrics, ServerState};
use tokio::sync::watch;

use crate::error::Failure;
use crate::machine::{Applied, Machine, fail};
use crate::replica::Leadership;
use crate::snapshot::SnapshotStore;
use crate::types::{LogId, Types};

/// When the next snapshot is to be made.
pub(crate) struct Due {
    /// How many bytes of payload were applied since the last one was begun.
    pub(crate) grown: Arc<AtomicU64>,
    /// The last one.
    pub(crate) store: SnapshotStore,
    /// See [`crate::ReplicaConfig`].
    pub(crate) bytes: u64,
    /// Likewise.
    pub(crate) entries: u64,
}

impl Due {
    /// Whether the log has grown by so much since the last snapshot that the next one is worth what it costs.
    fn is_due(&self, now: &RaftMetrics<Types>) -> bool {
        let index = |id: &Option<LogId>| id.as_ref().map_or(0, |id| id.index);
        let entries = index(&now.last_applied).saturating_sub(index(&now.snapshot));
        let length = self.store.length();
        let longer = (length / self.bytes.saturating_mul(2).max(1)).max(1);
        self.grown.load(Ordering::Relaxed) >= self.bytes.max(length / 2)
            || entries >= self.entries.saturating_mul(longer)
    }
}

/// See the module.
pub(crate) struct Watcher {
    pub(crate) node: u64,
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) applied: watch::Receiver<Applied>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) failure: watch::Sender<Option<Failure>>,
    pub(crate) due: Due,
    /// How long a leader may hear nothing from a majority and still be called one.
    pub(crate) patience: Duration,
}

impl Watcher {
    /// Runs until the engine stops.
    pub(crate) async fn run(mut self) {
        let mut metrics = self.raft.metrics();
        // Which snapshot was the last when another was asked for. One that is being made is not begun anew by that: it is asked
        // for again when that is done.
        let mut asked = None;
        loop {
            let now = metrics.borrow_watched().clone();
            if let Err(fatal) = &now.running_state {
                // The end of a node that was shut down is no failure.
                if !matches!(fatal, openraft::error::Fatal::Stopped) {
                    fail(&self.failure, Failure::Consensus { why: fatal.to_string() });
                }
                self.announce(Leadership::Follower { leader: None, term: now.current_term });
                return;
            }
            let news = self.leadership_of(&now);
            self.announce(news);
            self.raft.runtime_config().tick(!leads_alone(&now, self.node));

            if self.due.is_due(&now) && asked.as_ref() != Some(&now.snapshot) {
                if self.raft.trigger().snapshot().await.is_err() {
                    continue;
                }
                asked = Some(now.snapshot);
            }

            let in_doubt = self.in_doubt_after(&now);
            let applied = self.applied.changed();
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                changed = applied => if changed.is_err() { return },
                () = sleep(in_doubt) => {}
            }
        }
    }

    /// How long from now until others may have elected another; `None` where this node does not lead, or is in doubt already.
    fn in_doubt_after(&self, now: &RaftMetrics<Types>) -> Option<Duration> {
        if now.state != ServerState::Leader || leads_alone(now, self.node) {
            return None;
        }
        let silent = now.last_quorum_acked.map_or(Duration::ZERO, |acked| acked.elapsed());
        self.patience.checked_sub(silent).filter(|left| !left.is_zero())
    }

    /// A leader is announced once its term's first entry is applied here: its state is complete then. One that a majority
    /// does not answer is none until it does, or agents would stay with it while others lead.
    fn leadership_of(&mut self, now: &RaftMetrics<Types>) -> Leadership {
        let term = now.current_term;
        let applied_term = self.applied.borrow_and_update().last.map_or(0, |last| last.leader_id.term);
        if now.state == ServerState::Leader && now.vote.is_committed() {
            let is_heard = leads_alone(now, self.node) || self.in_doubt_after(now).is_some();
            if applied_term == term && is_heard {
                return Leadership::Leader { term };
            }
            return Leadership::Follower { leader: None, term };
        }
        let leader = now.current_leader.filter(|leader| *leader != self.node).map(|id| {
            let address = now.membership_config.membership().get_node(&id).map(|node| node.addr.clone());
            (id, address.unwrap_or_default())
        });
        Leadership::Follower { leader, term }
    }

    fn announce(&self, news: Leadership) {
        self.leadership.send_if_modified(|current| {
            let changed = *current != news;
            if changed {
                tracing::info!(node_id = self.node, leadership = ?news, "leadership changed");
                *current = news;
            }
            changed
        });
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// A leader without peers has nobody to send heartbeats to, and nobody who could depose it: its clock can
/// stand still, so that an idle node sleeps.
fn leads_alone(now: &RaftMetrics<Types>, node: u64) -> bool {
    let membership = now.membership_config.membership();
    now.state == ServerState::Leader && membership.nodes().all(|(id, _)| *id == node)
}
