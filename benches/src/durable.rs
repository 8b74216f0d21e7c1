//! How many entries per second three replicas make durable: each is on the disks of a majority before it is acknowledged.
//! The disk's own flush is measured beside it, because nothing else moves these numbers as much.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::Cluster;
use crate::entries;
use crate::latency::Latencies;
use crate::node::Node;
use crate::report::Report;

/// How many entries are on their way at once.
const IN_FLIGHT: [usize; 4] = [1, 8, 32, 512];
const MEASURED: Duration = Duration::from_secs(5);
/// Reports of one entry where a leader decides many at once.
const TOGETHER: u64 = 64;
const FLUSHES: u64 = 1_000;
const RUNNING: u32 = 0;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let mut cluster = Cluster::start()?;
    report.note(&format!("a flush of 128 bytes: {}", flushes(cluster.folder.path())?));
    cluster.record([entries::sweep(cluster.term), entries::begin(cluster.term, RUNNING)].into_iter())?;
    let mut step = 1;
    for reports in [1, TOGETHER] {
        for in_flight in IN_FLIGHT {
            let flushes = cluster.leader.replica.status().log_flushes;
            let done = measure(&cluster, in_flight, reports, &mut step)?;
            let flushes = cluster.leader.replica.status().log_flushes - flushes;
            let entries = done.count() as f64;
            let what = format!("entries with {reports} reports each, {in_flight} on their way");
            report.figure(&what, "per second", vec![entries / done.wall.as_secs_f64()], None);
            report.note(&format!("{done}, {:.1} per flush", entries / flushes.max(1) as f64));
        }
    }
    cluster.stop();
    Ok(())
}

fn measure(cluster: &Cluster, in_flight: usize, reports: u64, step: &mut u64) -> Result<Latencies> {
    let Node { replica, runtime, .. } = &cluster.leader;
    let begun = Instant::now();
    let took = runtime.block_on(async {
        let (mut flight, mut took) = (VecDeque::new(), Vec::new());
        while begun.elapsed() < MEASURED {
            while flight.len() < in_flight {
                let proposal = replica.propose(entries::reports(cluster.term, RUNNING, *step, reports));
                flight.push_back((Instant::now(), Box::pin(proposal)));
                *step += reports;
            }
            // Entries are acknowledged in their order.
            if let Some((since, oldest)) = flight.pop_front() {
                oldest.await?;
                took.push(since.elapsed());
            }
        }
        for (_, rest) in flight {
            rest.await?;
        }
        anyhow::Ok(took)
    })?;
    Ok(Latencies::of(took, MEASURED))
}

/// What it takes to make a write into a file durable that has its length already.
fn flushes(folder: &Path) -> Result<Latencies> {
    let file = OpenOptions::new().write(true).create_new(true).open(folder.join("flushes"))?;
    file.write_all_at(&vec![0; 1 << 20], 0)?;
    file.sync_all()?;
    let begun = Instant::now();
    let mut took = Vec::new();
    for at in 0..FLUSHES {
        let since = Instant::now();
        file.write_all_at(&[1; 128], at * 128)?;
        file.sync_data()?;
        took.push(since.elapsed());
    }
    Ok(Latencies::of(took, begun.elapsed()))
}
