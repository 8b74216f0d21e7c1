//! kill -9 at random moments of a process that proposes and acknowledges: nothing that it acknowledged is
//! lost, and what is left always opens. `HEATS_KILL_ROUNDS=1000` runs longer.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{alone, config, entry, leading};
use heats_core::State;
use heats_domain::AgentId;
use heats_replica::{Replica, ReplicaConfig};

const DIR: &str = "HEATS_KILL_DIR";
/// Proposal `n` is about agent `n % SLOTS`, so that the state stays small however long the test runs.
const SLOTS: u64 = 100;
/// How many proposals are in flight.
const WINDOW: u64 = 64;

fn small(dir: &std::path::Path) -> ReplicaConfig {
    // Small enough that files roll, snapshots are taken and the log is purged under the killer's hands.
    ReplicaConfig { segment_bytes: 16 << 10, snapshot_every: 300, log_keep: 20, ..config(dir) }
}

/// The child's part: run by the parent below, with a directory to work in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the parent test starts it"]
async fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let replica = alone(small(dir.as_ref())).await.unwrap();
    let term = leading(&replica).await;
    let mut next = proposed(&replica.state());
    say(&format!("open {next}"));
    let mut flight = std::collections::VecDeque::new();
    loop {
        while flight.len() < WINDOW as usize {
            let mut entry = entry(term, next % SLOTS);
            entry.at_ms = next;
            flight.push_back((next, propose(&replica, entry)));
            next += 1;
        }
        let (n, proposal) = flight.pop_front().unwrap();
        assert!(proposal.await.unwrap().recorded);
        say(&format!("acknowledged {}", n + 1));
    }
}

fn propose(
    replica: &Replica,
    entry: heats_core::Entry,
) -> std::pin::Pin<Box<dyn Future<Output = Result<heats_replica::Proposed, heats_replica::ProposeError>> + Send>> {
    Box::pin(replica.propose(entry))
}

/// How many proposals the state holds: they are numbered, in order and without gaps, or this panics.
fn proposed(state: &State) -> u64 {
    let slots: Vec<Option<u64>> =
        (0..SLOTS).map(|slot| state.agents.get(&AgentId { bits: slot }).map(|record| record.at_ms)).collect();
    let Some(last) = slots.iter().flatten().max() else { return 0 };
    for (slot, held) in slots.iter().enumerate() {
        let back = (last + SLOTS - slot as u64) % SLOTS;
        assert_eq!(*held, last.checked_sub(back), "slot {slot} of {last}");
    }
    last + 1
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn start(dir: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets the child run for so long, kills it, and reads what it said: what it found, what it acknowledged.
fn kill_after(mut child: Child, time: Duration) -> (Option<u64>, u64, bool) {
    let out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut open, mut acknowledged) = (None, 0);
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            // The last line may have been cut off in its middle by the kill, but not silently: a shorter
            // number only makes the check weaker.
            if let Some(number) = line.strip_prefix("open ") {
                open = number.parse().ok();
            } else if let Some(number) = line.strip_prefix("acknowledged ") {
                acknowledged = number.parse().unwrap_or(0).max(acknowledged);
            }
        }
        (open, acknowledged)
    });
    std::thread::sleep(time);
    let died = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    if died {
        println!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let (open, acknowledged) = reader.join().unwrap();
    (open, acknowledged, died)
}

#[test]
fn no_kill_loses_what_was_acknowledged() {
    let rounds: u64 = std::env::var("HEATS_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut opened) = (0, 0);
    for round in 0..rounds {
        // From the middle of opening to well into work; a number of its own for every round.
        let time = Duration::from_micros(20_000 + (round * 7_919) % 180_000);
        let (found, said, died) = kill_after(start(dir.path()), time);
        assert!(!died, "round {round}: the process ended by itself");
        if let Some(found) = found {
            opened += 1;
            assert!(found >= acknowledged, "round {round}: {found} of {acknowledged} acknowledged entries are left");
        }
        acknowledged = acknowledged.max(said);
    }
    // The last word: whatever the last kill left.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let replica = alone(small(dir.path())).await.unwrap();
        leading(&replica).await;
        assert!(proposed(&replica.state()) >= acknowledged);
        let status = replica.status();
        println!("{rounds} kills, {opened} of them at work; {acknowledged} entries acknowledged; {status:?}");
        replica.shutdown().await;
    });
    assert!(opened * 4 >= rounds && acknowledged > 0, "only {opened} of {rounds} processes got to work");
}
