//! What a snapshot of 100,000 trials costs those who commit meanwhile: the latency of a steady load of small commits while
//! all three replicas take one and drop what it covers from their logs, and while one is sent to a fresh node and
//! installed there, each against the latency right before.

use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::Cluster;
use crate::entries;
use crate::latency::{Latencies, Load};
use crate::machine;
use crate::node::Node;
use crate::remote::Remote;
use crate::report::{Report, Target};

const TRIALS: u32 = 100_000;
const ROUNDS: u64 = 5;
/// What the log holds when a snapshot is due by the replica's own measure.
const ENTRIES_BETWEEN: usize = 50_000;
const QUIET: Duration = Duration::from_secs(3);
/// For what went before a measurement to be over.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let mut cluster = Cluster::start()?;
    let term = cluster.term;
    cluster.record(std::iter::once(entries::sweep(term)))?;
    cluster.record((0..TRIALS).map(|trial| entries::life(term, trial)))?;
    cluster.record(std::iter::once(entries::begin(term, TRIALS)))?;
    let load = Load::start(&cluster, TRIALS);
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let measured = Round::measure(&mut cluster, &load, 3 + round)?;
        report.note(&format!("round {round}, taken: {}", measured.taking));
        report.note(&format!("round {round}, sent: {}", measured.sending));
        rounds.push(measured);
    }
    load.stop();
    cluster.stop();
    sum_up(report, "taken", rounds.iter().map(|round| &round.taking));
    sum_up(report, "sent", rounds.iter().map(|round| &round.sending));
    Ok(())
}

fn sum_up<'a>(report: &mut Report, what: &str, pairs: impl Iterator<Item = &'a Pair> + Clone) {
    let ratios = pairs.clone().map(Pair::ratio).collect();
    let (before, meanwhile) = (pairs.clone().map(|pair| &pair.before), pairs.map(|pair| &pair.meanwhile));
    let all = Pair { before: Latencies::pooled(before), meanwhile: Latencies::pooled(meanwhile) };
    let what = format!("p99 of a commit while a snapshot is {what}, of that before");
    report.figure(&what, "", ratios, Some(Target::AtMost(2.0)));
    report.note(&format!("all rounds in one: {all}"));
}

/// Latencies right before something, and while it goes on.
struct Pair {
    before: Latencies,
    meanwhile: Latencies,
}

impl Pair {
    fn measure(load: &Load, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        machine::flush()?;
        thread::sleep(SETTLE);
        let before = load.during(|| {
            thread::sleep(QUIET);
            Ok(())
        })?;
        Ok(Self { before, meanwhile: load.during(work)? })
    }

    fn ratio(&self) -> f64 {
        self.meanwhile.quantile(0.99) / self.before.quantile(0.99)
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, meanwhile } = self;
        let wall = meanwhile.wall.as_secs_f64();
        write!(f, "before {before}, meanwhile ({wall:.1} s) {meanwhile}: {:.2}", self.ratio())
    }
}

/// One time each.
struct Round {
    taking: Pair,
    sending: Pair,
}

impl Round {
    /// `id` is the number of a node that there has not been yet.
    fn measure(cluster: &mut Cluster, load: &Load, id: u64) -> Result<Self> {
        let term = cluster.term;
        cluster.record((0..ENTRIES_BETWEEN).map(|_| entries::filler(term)))?;
        let taking = Pair::measure(load, || take(cluster))?;
        let mut fresh = None;
        let sending = Pair::measure(load, || {
            fresh = Some(send(cluster, id)?);
            Ok(())
        })?;
        let Node { replica, runtime, .. } = &cluster.leader;
        runtime.block_on(replica.remove(id))?;
        drop(fresh);
        std::fs::remove_dir_all(cluster.folder.path().join(id.to_string()))?;
        Ok(Self { taking, sending })
    }
}

/// All nodes take a snapshot at once, as they do where the log's growth asks for it, and drop what it covers.
fn take(cluster: &mut Cluster) -> Result<()> {
    cluster.followers.iter_mut().try_for_each(Remote::snapshot)?;
    cluster.leader.snapshot()?;
    cluster.followers.iter_mut().try_for_each(Remote::wait)
}

/// A node joins with nothing, and has everything in the end.
fn send(cluster: &Cluster, id: u64) -> Result<Remote> {
    let mut fresh = Remote::start(cluster.folder.path(), id)?;
    let Node { replica, runtime, .. } = &cluster.leader;
    runtime.block_on(replica.add_learner(id, fresh.address.clone()))?;
    fresh.catch_up(cluster.leader.applied()?)?;
    Ok(fresh)
}
