//! What a turn of the leader costs while so many sweeps wait for a place: one that takes a submission in, one with a report of a
//! trial that runs, and one in which a trial ends, the next one gets its place, and another sweep is submitted. Decided as the
//! coordinator decides, without its log.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use heats_core::dispatch::{Offer, Suggestions};
use heats_core::ops::agents::Attach;
use heats_core::ops::attempts::{End, Finish, Key};
use heats_core::ops::submit::Submit;
use heats_core::{Leading, Op, State, Sweep};
use heats_domain::{AgentId, Inventory, Metrics, Params, SweepId, SweepSpec, Value};
use serde_json::json;

use crate::report::{Report, Target};

const PAIRS: usize = 5;
const FEW: u64 = 100;
const MANY: u64 = 100_000;
/// Turns that are measured together.
const TURNS: u64 = 500;
/// Sweeps that are submitted in one turn while nothing is measured.
const BATCH: u64 = 1_000;
/// Trials that run meanwhile.
const PLACES: u32 = 16;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    for (what, turn) in [
        ("a submission", submitted as fn(&mut Cluster) -> Result<()>),
        ("a report", reported),
        ("an end, a lease and a submission", ended),
    ] {
        let (mut few, mut many, mut grown) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let (small, large) = (cost(FEW, turn)?, cost(MANY, turn)?);
            few.push(small * 1e6);
            many.push(large * 1e6);
            grown.push(large / small);
        }
        report.figure(&format!("a turn with {what} while {FEW} sweeps wait"), "µs", few, None);
        report.figure(&format!("a turn with {what} while {MANY} sweeps wait"), "µs", many, None);
        report.figure(&format!("of the first, {what}"), "", grown, Some(Target::AtMost(2.0)));
    }
    Ok(())
}

/// Seconds for a turn while so many sweeps wait.
fn cost(waiting: u64, turn: fn(&mut Cluster) -> Result<()>) -> Result<f64> {
    let mut cluster = Cluster::new(waiting)?;
    let begun = Instant::now();
    for _ in 0..TURNS {
        turn(&mut cluster)?;
    }
    Ok(begun.elapsed().as_secs_f64() / TURNS as f64)
}

fn submitted(cluster: &mut Cluster) -> Result<()> {
    cluster.submit()?;
    cluster.end_turn()
}

fn reported(cluster: &mut Cluster) -> Result<()> {
    let key = *cluster.running.last().context("something runs")?;
    cluster.report(key)?;
    cluster.end_turn()
}

fn ended(cluster: &mut Cluster) -> Result<()> {
    let key = cluster.running.pop().context("something runs")?;
    cluster.report(key)?;
    let finish =
        Finish { key, rank: 0, end: End::Exited(0), ran_ms: 5_000, cpu_ms: 0, max_rss: 0, detail: String::new() };
    cluster.decide(Op::Finish(finish))?;
    cluster.submit()?;
    cluster.end_turn()?;
    ensure!(cluster.running.len() == PLACES as usize, "the next one has its place");
    Ok(())
}

/// A leader, one agent whose places are taken, and sweeps of one trial each that wait for one of these.
struct Cluster {
    leading: Leading,
    submitted: u64,
    now_ms: u64,
    step: u64,
    running: Vec<Key>,
}

impl Cluster {
    fn new(waiting: u64) -> Result<Self> {
        let leading = Leading::new(1, 0, State::default());
        let mut cluster = Self { leading, submitted: 0, now_ms: 1_000, step: 0, running: Vec::new() };
        let inventory = Inventory { cpus: PLACES, memory: 1 << 30, ..Inventory::default() };
        cluster.decide(Op::Attach(Attach {
            agent: AgentId { bits: 1 },
            name: "agent".to_owned(),
            inventory,
            version: String::new(),
            holding: Default::default(),
            able: true,
            unusable: Default::default(),
            lineage: 0,
            places: Vec::new(),
        }))?;
        while cluster.submitted < waiting + u64::from(PLACES) {
            cluster.submit()?;
            if cluster.submitted.is_multiple_of(BATCH) {
                cluster.end_turn()?;
            }
        }
        cluster.end_turn()?;
        ensure!(cluster.running.len() == PLACES as usize, "every place is taken");
        Ok(cluster)
    }

    fn submit(&mut self) -> Result<()> {
        self.submitted += 1;
        let spec: SweepSpec = serde_json::from_value(json!({
            "command": ["true"], "objective": {"minimize": "loss"}, "space": {"x": {"float": [0.0, 1.0]}},
            "search": {"algorithm": "random", "seed": 1}, "budget": {"trials": 1}
        }))?;
        self.decide(Op::Submit(Box::new(Submit {
            sweep: SweepId { bits: self.submitted },
            request: self.submitted,
            spec,
            name: Some(format!("sweep-{}", self.submitted)),
            seed: 1,
            base_dir: String::new(),
            provenance: String::new(),
            code: String::new(),
            user: String::new(),
        })))
    }

    fn report(&mut self, key: Key) -> Result<()> {
        self.step += 1;
        let metrics: Metrics = [("loss", 0.5)].into_iter().collect();
        self.decide(Op::Report(key, self.step, metrics))
    }

    fn decide(&mut self, op: Op) -> Result<()> {
        self.leading.begin(self.now_ms);
        self.leading.decide(op)?.context("is not refused").map(drop)
    }

    /// Places are given as at the end of every turn; what was leased runs.
    fn end_turn(&mut self) -> Result<()> {
        self.now_ms += 1;
        self.leading.dispatch(&mut Halves)?;
        self.leading.dispatch_ahead(&mut Halves)?;
        let facts = self.leading.finish().map(|entry| entry.facts).unwrap_or_default();
        let leased = facts.into_iter().filter_map(|cell| match cell.fact? {
            heats_core::Fact::TrialLeased(fact) => {
                Some(Key { sweep: fact.sweep, trial: fact.trial, attempt: fact.attempt })
            }
            _ => None,
        });
        self.running.extend(leased);
        Ok(())
    }
}

/// Suggests the middle.
struct Halves;

impl Suggestions for Halves {
    fn offer(&mut self, _sweep: &Sweep, _fixed: Option<&Params>) -> Offer {
        let params = [("x", Value::Float(0.5))].into_iter().collect();
        Offer::Ready { params, saw_index: 0 }
    }
}
