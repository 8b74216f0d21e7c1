//! What a suggestion costs that learns from so many finished trials of eight parameters, against one of Optuna's default sampler
//! on the same trials: with every trial counted, as there, and with the older ones spoken for by a sample, which is what a sweep
//! gets that says nothing else.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use heats_domain::Params;
use heats_search::{Ask, Event, Outcome, Problem, Searcher, Suggestion, build_searcher};
use serde_json::json;

use super::memory::Optuna;
use super::study::{self, Finished};
use crate::report::{Report, Target};

const PAIRS: usize = 5;
/// Finished trials, and how many of Optuna's suggestions are measured together; none where it takes minutes to be told of them.
const SIZES: [(u32, Option<u32>); 4] = [(100, Some(50)), (1_000, Some(20)), (10_000, Some(5)), (100_000, None)];
/// How many of ours are.
const ASKS: u32 = 100;
/// As many older trials as there are speak for themselves.
const ALL: u32 = u32::MAX;
/// What a sweep gets that says nothing else.
const SAMPLE: u32 = 1_024;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let problem = study::problem();
    let folder = tempfile::tempdir()?;
    let history = folder.path().join("history");
    study::write(&problem, SIZES[SIZES.len() - 1].0, &history)?;
    let mut optuna = Optuna::start(report)?;
    let mut rounds = Vec::new();
    for (trials, theirs) in SIZES {
        if let (Some(optuna), Some(_)) = (&mut optuna, theirs) {
            optuna.learn(&history, trials)?;
        }
        rounds.push(Round {
            trials,
            theirs,
            exact: Side::new(&problem, trials, ALL)?,
            sampled: Side::new(&problem, trials, SAMPLE)?,
            optuna: Vec::new(),
        });
    }
    for _ in 0..PAIRS {
        for round in &mut rounds {
            if let (Some(optuna), Some(asks)) = (&mut optuna, round.theirs) {
                round.optuna.push(optuna.ask(round.trials, asks)? * 1e3);
            }
            round.exact.ask()?;
            round.sampled.ask()?;
        }
    }
    for round in &rounds {
        round.tell(report);
    }
    let [_, small, _, large] = rounds.as_slice() else { bail!("there are four sizes") };
    let grows = ratios(&large.sampled.took, &small.sampled.took);
    report.figure(
        &format!("a suggestion after {} trials, of one after {}", large.trials, small.trials),
        "",
        grows,
        Some(Target::AtMost(2.0)),
    );
    report.figure("taking in a trial anew, of a history of 100000", "µs", vec![large.sampled.learned], None);
    Ok(())
}

/// One size.
struct Round {
    trials: u32,
    /// How many of Optuna's suggestions are measured together, where any are.
    theirs: Option<u32>,
    exact: Side,
    sampled: Side,
    /// Milliseconds for each.
    optuna: Vec<f64>,
}

impl Round {
    fn tell(&self, report: &mut Report) {
        let Self { trials, theirs: _, exact, sampled, optuna } = self;
        let after = |what: &str| format!("{what} after {trials} trials");
        report.figure(&after("a suggestion, every trial counted,"), "ms", exact.took.clone(), None);
        report.figure(&after("a suggestion"), "ms", sampled.took.clone(), None);
        if optuna.is_empty() {
            return;
        }
        let target = |least| (*trials == 10_000).then_some(Target::AtLeast(least));
        report.figure(&after("Optuna's"), "ms", optuna.clone(), None);
        report.figure(
            &after("Optuna's, of one with every trial counted,"),
            "",
            ratios(optuna, &exact.took),
            target(25.0),
        );
        report.figure(&after("Optuna's, of ours"), "", ratios(optuna, &sampled.took), target(100.0));
    }
}

fn ratios(these: &[f64], those: &[f64]) -> Vec<f64> {
    these.iter().zip(those).map(|(this, that)| this / that).collect()
}

/// A searcher that has seen so many trials.
struct Side {
    searcher: Box<dyn Searcher>,
    next: u32,
    /// Microseconds for each trial that it has taken in.
    learned: f64,
    /// Milliseconds for each suggestion.
    took: Vec<f64>,
}

impl Side {
    fn new(problem: &Problem, trials: u32, n_older_max: u32) -> Result<Self> {
        let params = serde_json::from_value(json!({ "n_older_max": n_older_max }))?;
        let mut searcher = build_searcher(problem, "tpe", &params).context("`tpe`")?;
        let mut used = 0.0;
        for trial in 0..trials {
            let Finished { params, loss } = study::finished(problem, trial)?;
            let begun = Instant::now();
            searcher.observe(&Event::Created { trial, params: &params });
            searcher.observe(&Event::Reported { trial, step: 1, loss, rest: Vec::new() });
            searcher.observe(&Event::Ended { trial, outcome: Outcome::Completed(loss) });
            used += begun.elapsed().as_secs_f64();
        }
        Ok(Self { searcher, next: trials, learned: used * 1e6 / f64::from(trials), took: Vec::new() })
    }

    /// Asks, and takes in what comes of it: a trial that fails, so that what is known stays the same.
    fn ask(&mut self) -> Result<()> {
        let begun = Instant::now();
        for trial in self.next..self.next + ASKS {
            let suggestion = self.searcher.suggest(Ask { trial }, &Params::default());
            let Suggestion::Try(params) = suggestion else { bail!("{suggestion:?}") };
            self.searcher.observe(&Event::Created { trial, params: &params });
            self.searcher.observe(&Event::Ended { trial, outcome: Outcome::Failed });
        }
        self.took.push(begun.elapsed().as_secs_f64() * 1e3 / f64::from(ASKS));
        self.next += ASKS;
        Ok(())
    }
}
