//! kill -9 at random moments of a process that proposes and acknowledges: nothing that it acknowledged is
//! lost, and what is left always opens. `HEATS_KILL_ROUNDS=1000` runs longer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{alone, config, entry, leading};
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
        .args(["--exact", "kill::the_process_that_is_killed", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// When the child is killed.
enum When {
    /// So long after it was started.
    Started(Duration),
    /// So long after it said what it found.
    Open(Duration),
}

/// Kills the child, and reads what it said: what it found, what it acknowledged.
fn kill(mut child: Child, when: When) -> (Option<u64>, u64, bool) {
    let out = child.stdout.take().unwrap();
    let (opened, open) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut acknowledged = 0;
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            // The kill may have cut the last line off: a shorter number only makes the check weaker.
            if let Some(number) = line.strip_prefix("open ") {
                opened.send(number.parse().unwrap()).unwrap();
            } else if let Some(number) = line.strip_prefix("acknowledged ") {
                acknowledged = number.parse().unwrap_or(0).max(acknowledged);
            }
        }
        acknowledged
    });
    let mut found = None;
    match when {
        When::Started(time) => std::thread::sleep(time),
        When::Open(time) => {
            // It ends with an error where the child ends before that.
            found = open.recv().ok();
            std::thread::sleep(time);
        }
    }
    let died = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    if died {
        println!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let acknowledged = reader.join().unwrap();
    (found.or_else(|| open.try_recv().ok()), acknowledged, died)
}

#[test]
fn no_kill_loses_what_was_acknowledged() {
    let rounds: u64 = std::env::var("HEATS_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut opened) = (0, 0);
    for round in 0..rounds {
        // Three of four while it works, the fourth while it opens; a moment of its own for every round.
        let moment = Duration::from_micros((round * 7_919) % 60_000);
        let when = if round % 4 == 3 { When::Started(moment) } else { When::Open(moment) };
        let (found, said, died) = kill(start(dir.path()), when);
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
    assert!(opened * 2 >= rounds && acknowledged > 0, "only {opened} of {rounds} processes got to work");
}
