//! Measures one node alone: durable proposals per second, the restart after many, and what it costs idle.
//!
//! `cargo run --release -p heats-replica --example proposals -- DIR`

use std::collections::VecDeque;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heats_core::fact::AgentAttached;
use heats_core::{Entry, Fact};
use heats_domain::{AgentId, Inventory};
use heats_replica::{Alone, Leadership, ProposeError, Proposed, Replica, ReplicaConfig};

type Flight = Pin<Box<dyn Future<Output = Result<Proposed, ProposeError>> + Send>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("which directory?")?;
    let config = ReplicaConfig::new(dir, 1, "alone:1");

    let (replica, mut term) = start(&config).await?;
    for outstanding in [1, 16, 64, 1_024] {
        measure(&replica, term, outstanding, Duration::from_secs(5)).await?;
    }

    let before = replica.status().applied.unwrap_or(0);
    let mut flight = VecDeque::<Flight>::new();
    for n in 0..200_000 {
        if flight.len() >= 1_024
            && let Some(oldest) = flight.pop_front()
        {
            oldest.await?;
        }
        flight.push_back(Box::pin(replica.propose(entry(term, n))));
    }
    for proposal in flight {
        proposal.await?;
    }
    println!(
        "200000 more entries: {} in the log, {:?}",
        replica.status().applied.unwrap_or(0) - before,
        replica.status()
    );
    replica.shutdown().await;
    let started = Instant::now();
    let (replica, later) = start(&config).await?;
    term = later;
    println!("restart to leadership of term {term}: {:?}", started.elapsed());

    let (cpu, wall) = (cpu_time()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let share = (cpu_time()? - cpu).as_secs_f64() / wall.elapsed().as_secs_f64();
    println!("idle: {:.3} % of a core", share * 100.0);
    replica.shutdown().await;
    Ok(())
}

async fn start(config: &ReplicaConfig) -> Result<(Replica, u64), Box<dyn Error>> {
    let replica = Replica::open(config.clone(), Arc::new(Alone)).await?;
    replica.bootstrap_single().await?;
    let mut leadership = replica.leadership();
    let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. })).await?.clone();
    match leads {
        Leadership::Leader { term } => Ok((replica, term)),
        Leadership::Follower { .. } => Err("it does not lead".into()),
    }
}

async fn measure(replica: &Replica, term: u64, outstanding: usize, time: Duration) -> Result<(), Box<dyn Error>> {
    let (started, flushes) = (Instant::now(), replica.status().log_flushes);
    let mut flight = VecDeque::<(Instant, Flight)>::new();
    let mut times = Vec::new();
    let mut n = 0;
    while started.elapsed() < time {
        while flight.len() < outstanding {
            flight.push_back((Instant::now(), Box::pin(replica.propose(entry(term, n)))));
            n += 1;
        }
        if let Some((since, oldest)) = flight.pop_front() {
            oldest.await?;
            times.push(since.elapsed());
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    let done = times.len();
    times.sort_unstable();
    println!(
        "{outstanding:5} outstanding: {:8.0} durable proposals/s, p50 {:?}, p99 {:?}, {:.1} per sync",
        done as f64 / elapsed,
        times[done / 2],
        times[done * 99 / 100],
        done as f64 / (replica.status().log_flushes - flushes).max(1) as f64,
    );
    for (_, proposal) in flight {
        proposal.await?;
    }
    Ok(())
}

/// About 200 bytes, of a hundred agents in turn, so that the state stays small.
fn entry(term: u64, n: u64) -> Entry {
    let fact = Fact::AgentAttached(AgentAttached {
        agent: AgentId { bits: n % 100 },
        name: format!("{n:0160}"),
        inventory: Inventory { cpus: 8, memory: 32 << 30, gpus: Vec::new(), ..Inventory::default() },
        version: "0.1.0".to_owned(),
        places: Vec::new(),
    });
    Entry { term, number: 0, after: 0, at_ms: n, facts: vec![fact.into()] }
}

/// Processor time of this process so far: fields 14 and 15 of its stat file, in hundredths of a second.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no name in the stat file")?.1;
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
