//! A steady load of small commits, and how long each took.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::FutureExt;
use heats_replica::{BoxFuture, ProposeError, Proposed};
use tokio::sync::mpsc;

use crate::cluster::Cluster;
use crate::entries;

/// One commit each.
const EVERY: Duration = Duration::from_millis(2);
/// How often is looked whether the last commit of a time is done.
const LOOK: Duration = Duration::from_millis(5);

type Commit = BoxFuture<'static, Result<Proposed, ProposeError>>;

/// When a commit was due, and how long after that it was acknowledged; nothing where it was refused.
type Sample = (Instant, Option<Duration>);

/// One entry every two milliseconds, each a report of a running trial, whether or not those before it are acknowledged.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<Sample>>>,
    thread: JoinHandle<()>,
}

impl Load {
    /// Starts it, with reports of `trial`, which has reported nothing yet.
    pub(crate) fn start(cluster: &Cluster, trial: u32) -> Self {
        let (over, samples) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Sample>>>::default());
        let (stop, taken) = (Arc::clone(&over), Arc::clone(&samples));
        let (flight, mut landing) = mpsc::unbounded_channel::<(Instant, Commit)>();
        cluster.leader.runtime.spawn(async move {
            // Entries are acknowledged in their order.
            while let Some((due, proposal)) = landing.recv().await {
                let took = proposal.await.ok().map(|_| due.elapsed());
                locked(&taken).push((due, took));
            }
        });
        let (replica, term) = (cluster.leader.replica.clone(), cluster.term);
        let thread = thread::spawn(move || {
            let mut due = Instant::now();
            for step in 1.. {
                due += EVERY;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let proposal = replica.propose(entries::reports(term, trial, step, 1)).boxed();
                if stop.load(Ordering::Relaxed) || flight.send((due, proposal)).is_err() {
                    return;
                }
            }
        });
        Self { over, samples, thread }
    }

    /// The latencies of what was due while `work` was done, and how long that took.
    ///
    /// # Errors
    /// Of `work`, or where a commit was refused meanwhile.
    pub(crate) fn during(&self, work: impl FnOnce() -> Result<()>) -> Result<Latencies> {
        let begun = Instant::now();
        work()?;
        let ended = Instant::now();
        while locked(&self.samples).last().is_none_or(|(due, _)| *due <= ended) {
            ensure!(!self.thread.is_finished(), "the load has ended");
            thread::sleep(LOOK);
        }
        let mut samples = locked(&self.samples);
        let within = samples.drain(..).filter(|(due, _)| (begun..ended).contains(due));
        let within: Vec<Option<Duration>> = within.map(|(_, took)| took).collect();
        let due = within.len();
        let within: Vec<Duration> = within.into_iter().flatten().collect();
        // Without them the rest would look faster than the cluster was.
        let refused = due - within.len();
        ensure!(
            refused == 0,
            "{refused} of {due} commits were refused: the leader was not heard, this measures nothing"
        );
        ensure!(!within.is_empty(), "nothing was committed within {:?}", ended - begun);
        Ok(Latencies::of(within, ended - begun))
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        // It would only repeat a panic that was printed.
        let _ended = self.thread.join();
    }
}

fn locked(samples: &Mutex<Vec<Sample>>) -> MutexGuard<'_, Vec<Sample>> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long commits took; of at least one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Latencies {
    sorted: Vec<Duration>,
    /// How long was measured.
    pub(crate) wall: Duration,
}

impl Latencies {
    /// Of these, measured within `wall`.
    pub(crate) fn of(mut took: Vec<Duration>, wall: Duration) -> Self {
        took.sort_unstable();
        Self { sorted: took, wall }
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The latency that this share of all commits stayed below, in milliseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let at = (self.sorted.len() as f64 * share) as usize;
        self.sorted.get(at.min(self.sorted.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64) * 1e3
    }

    /// All of these together.
    pub(crate) fn pooled<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut pooled = Self::default();
        for one in all {
            pooled.sorted.extend(&one.sorted);
            pooled.wall += one.wall;
        }
        pooled.sorted.sort_unstable();
        pooled
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.2} p99 {:.2} max {:.1} ms", self.quantile(0.5), self.quantile(0.99), self.quantile(1.0))
    }
}
