//! What a verdict costs after so many trials, by each rule: it judges a report and takes it in. Once the rule by itself, and once
//! as the leader decides on a report and records what it decided; against Optuna's pruners on a study in memory.

use std::time::Instant;

use anyhow::{Context, Result};
use heats_domain::{Direction, Params};
use heats_search::{Event, Judged, Outcome, Setting, Stopper, Verdict, build_stopper};
use serde_json::{Value, json};

use super::memory::Optuna;
use crate::report::{Report, Target};

const PAIRS: usize = 5;
const FEW: u32 = 100;
const MANY: u32 = 30_000;
/// The last step of a whole trial.
const STEPS: u64 = 27;
/// How many trials are judged at once, and how often: few, so that a hundred stay about a hundred.
const NEW: u32 = 10;
const ROUNDS: u32 = 100;
/// Optuna's verdicts that are measured together.
const THEIRS: u32 = 20;

/// The rules, each with its parameters and how Optuna calls its like, where it has one.
fn rules() -> [(&'static str, Value, Option<&'static str>); 9] {
    let ladder = || json!({"min": 1, "max": STEPS, "eta": 3});
    [
        ("median", json!({}), Some("median")),
        ("asha", ladder(), Some("halving")),
        ("hyperband", ladder(), None),
        ("asha_promotion", ladder(), None),
        ("hyperband_sync", ladder(), None),
        ("pasha", ladder(), None),
        ("patience", json!({"patience": 3}), None),
        ("threshold", json!({"upper": 2.0}), None),
        ("wilcoxon", json!({}), None),
    ]
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let mut optuna = Optuna::start(report)?;
    for (name, params, theirs) in rules() {
        let (mut few, mut many, mut grown, mut others) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let (small, large) = (judged(name, &params, FEW)?, judged(name, &params, MANY)?);
            few.push(small * 1e6);
            many.push(large * 1e6);
            grown.push(large / small);
            if let Some((optuna, theirs)) = optuna.as_mut().zip(theirs) {
                others.push(optuna.judge(theirs, MANY, THEIRS)? / optuna.judge(theirs, FEW, THEIRS)?);
            }
        }
        report.figure(&format!("a verdict of `{name}` after {FEW} trials"), "µs", few, None);
        report.figure(&format!("a verdict of `{name}` after {MANY} trials"), "µs", many, None);
        report.figure(&format!("of the first, `{name}`"), "", grown, Some(Target::AtMost(1.2)));
        if !others.is_empty() {
            report.figure(&format!("the same of Optuna's like of `{name}`"), "", others, None);
        }
    }
    Ok(())
}

/// Seconds for a report that is judged and taken in, after so many trials.
fn judged(name: &str, params: &Value, trials: u32) -> Result<f64> {
    let mut used = 0.0;
    let mut count = 0;
    let rounds = if trials < 1_000 { ROUNDS } else { 1 };
    for _ in 0..rounds {
        let mut rule = rule(name, params)?;
        (0..trials).for_each(|trial| {
            live(rule.as_mut(), trial);
        });
        let begun = Instant::now();
        let new = if rounds == 1 { NEW * ROUNDS } else { NEW };
        count += (trials..trials + new).map(|trial| live(rule.as_mut(), trial)).sum::<u32>();
        used += begun.elapsed().as_secs_f64();
    }
    Ok(used / f64::from(count))
}

fn rule(name: &str, params: &Value) -> Result<Box<dyn Stopper>> {
    let setting = Setting { direction: Direction::Minimize, trials: None, seed: 1 };
    build_stopper(&setting, name, &serde_json::from_value(params.clone())?).context("a rule of the registry")
}

/// The life of a trial, as far as the rule lets it live, and what it promotes meanwhile; how many reports were judged.
fn live(rule: &mut dyn Stopper, trial: u32) -> u32 {
    rule.observe(&Event::Created { trial, params: &Params::default() });
    let mut next = Some((trial, 1));
    let mut judged = 0;
    while let Some((trial, from)) = next.take() {
        judged += run_on(rule, trial, from);
        if let Some(promotion) = rule.promotion(true) {
            rule.observe(&Event::Resumed { trial: promotion.trial });
            next = Some((promotion.trial, promotion.reason.step + 1));
        }
    }
    judged
}

/// Reports from a step on until the rule ends the trial or has it hold, or it is through.
fn run_on(rule: &mut dyn Stopper, trial: u32, from: u64) -> u32 {
    // As good as drawn, and the same for everybody.
    let quality = f64::from(trial.wrapping_mul(0x9e37_79b9)) / f64::from(u32::MAX);
    let mut judged = 0;
    for step in from..=STEPS {
        let loss = quality + 1.0 / step as f64;
        let verdict = rule.judge(Judged { trial, step, loss, rest: &[] });
        rule.observe(&Event::Reported { trial, step, loss, rest: Vec::new() });
        judged += 1;
        match verdict {
            Verdict::Continue | Verdict::Spare(_) | Verdict::Fork(_) => {}
            Verdict::Stop(_) => {
                rule.observe(&Event::Ended { trial, outcome: Outcome::Stopped(loss) });
                return judged;
            }
            Verdict::Pause(_) => {
                rule.observe(&Event::Paused { trial, loss });
                return judged;
            }
        }
    }
    rule.observe(&Event::Ended { trial, outcome: Outcome::Completed(quality) });
    judged
}
