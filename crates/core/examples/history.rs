//! Does a turn cost more the longer the history is? Trials with three reports each through the leader and a
//! follower; prints the time per trial for each tenth of the way. Not a test: it prints times.
//!
//! `cargo run --release -p heats-core --features test-util --example history -- 100000`

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an example has arguments, measures time and prints it"
)]

use std::time::Instant;

use heats_core::ops::attempts::End;
use heats_core::testing::{self, Scripted, SweepBuilder};
use heats_core::{Fact, Leading, Op, State};
use heats_domain::SweepId;

const SLOTS: u32 = 64;

fn main() {
    let trials: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let rule = serde_json::json!({"algorithm": "asha", "min": 2, "max": 4, "eta": 2});
    let builder = SweepBuilder::minimize("loss").trials(trials).top("early_stop", rule);
    let mut leading = Leading::new(1, 0, State::default());
    let (mut applied, mut published) = (State::default(), State::default());
    let mut suggestions = Scripted::default();
    let submit = testing::submit(SweepId { bits: 1 }, 1, builder);
    leading.decide(Op::Submit(Box::new(submit))).expect("is decided").expect("is submitted");
    leading.decide(Op::Attach(testing::attach(1, SLOTS, 0))).expect("is decided").expect("attaches");
    let (mut done, mut mark, mut since, mut now_ms) = (0, 0, Instant::now(), 0);
    while done < trials {
        now_ms += 1;
        leading.begin(now_ms);
        leading.dispatch(&mut suggestions).expect("no contradiction");
        let Some(entry) = leading.finish() else { break };
        let keys: Vec<_> = entry.facts.iter().filter_map(|cell| testing::leased(cell.fact.as_ref()?)).collect();
        applied.apply(applied.applied + 1, 1, entry).expect("applies");
        for step in 1..=3 {
            for key in &keys {
                let loss = f64::from((key.trial * 7_919 + step) % 1_009);
                leading
                    .decide(Op::Report(*key, step.into(), testing::metrics(loss)))
                    .expect("is decided")
                    .expect("is live");
            }
            if let Some(entry) = leading.finish() {
                applied.apply(applied.applied + 1, 1, entry).expect("applies");
                // As a coordinator does: readers keep the last state, so every apply copies what it touches.
                published = applied.clone();
            }
        }
        for key in &keys {
            leading
                .decide(Op::Finish(testing::finish(*key, End::Exited(0), 1_000)))
                .expect("is decided")
                .expect("ends");
        }
        if let Some(entry) = leading.finish() {
            applied.apply(applied.applied + 1, 1, entry).expect("applies");
            published = applied.clone();
        }
        done += keys.len() as u32;
        if done - mark >= trials / 10 {
            println!(
                "{done:>8} trials: {:6.1} us per trial",
                since.elapsed().as_secs_f64() * 1e6 / f64::from(done - mark)
            );
            (mark, since) = (done, Instant::now());
        }
    }
    let ended = published.sweeps.values().next().is_some_and(|sweep| sweep.is_ended());
    let settled = published
        .sweeps
        .values()
        .flat_map(|s| s.journal.iter())
        .filter(|r| matches!(r.cell.fact, Some(Fact::TrialSettled(_))));
    println!("ended: {ended}; settled: {}", settled.count());
    let start = Instant::now();
    let records: Vec<_> = published.records().map(|record| record.as_ref().clone()).collect();
    println!("copy of {} records: {:.2} s", records.len(), start.elapsed().as_secs_f64());
    let start = Instant::now();
    let restored = State::from_records(published.applied, published.turn, records).expect("restores");
    println!("restore: {:.2} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    println!("hash: {} in {:.2} s", restored.hash() == applied.hash(), start.elapsed().as_secs_f64());
}
