//! Asynchronous successive halving, the stopping form: at each rung, a trial that is not among the best
//! `1/eta` of those that came there before it ends.
//!
//! The rule is that of Ray Tune's `ASHAScheduler` (Li et al., "A System for Massively Parallel
//! Hyperparameter Tuning", MLSys 2020): the cutoff is the `1/eta` quantile of the losses that are at the
//! rung **already**, interpolated linearly; a loss strictly worse ends the trial; the first to come goes on.
//! On purpose different from Ray: a rung that a report jumped over stays empty for that trial, where Ray
//! fills it with a later report's value; the bracket follows from the seed; and a loss that is not a number
//! counts as the worst of its rung instead of being left out. Never pauses a trial, and never ends one that
//! reached `max`: that one completes by itself.

use std::collections::BTreeMap;

use heats_domain::spec::PlugParams;
use heats_domain::{Direction, StopReason};
use rand::RngExt;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use crate::plug::{self, Built, Complaint};
use crate::ranked::{Ranked, tidy};
use crate::rng::{Purpose, stream};
use crate::{Event, Judged, Setting, Stopper, Verdict};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "asha",
    summary: "asynchronous successive halving: at rungs min, min*eta, min*eta^2, ... only the best 1/eta go on",
    needs_objective: true,
    schema: || schemars::schema_for!(AshaParams),
    build,
};

/// More rungs than this make no sense, and mean that `eta` is a slip.
const RUNGS_MAX: usize = 1000;

/// The parameters of `asha`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AshaParams {
    /// The step of the first rung: no trial is stopped before it.
    pub min: u64,
    /// The last step of a whole trial; rungs lie below it. Without it they have no end.
    pub max: Option<u64>,
    /// The reduction factor: one in `eta` goes on from a rung, and rungs lie `eta` times apart. Above 1.
    pub eta: f64,
    /// How many ladders trials are divided over: ladder `s` has its first rung at `min * eta^s`.
    /// Longer ladders get more trials (as in Ray, by the softmax of their lengths).
    pub brackets: u32,
}

impl Default for AshaParams {
    fn default() -> Self {
        Self { min: 1, max: None, eta: 3.0, brackets: 1 }
    }
}

fn build(setting: &Setting, params: &PlugParams) -> Built<dyn Stopper> {
    let params: AshaParams = plug::read(params)?;
    let ladder = ladder(&params)?;
    let brackets = params.brackets as usize;
    if brackets > 1 && params.max.is_none() {
        return Err(vec![Complaint::about("brackets", "several brackets need a `max`").hint("add `max`")]);
    }
    if brackets > ladder.len() {
        let message = format!("{brackets} brackets need as many rungs, and there are {}", ladder.len());
        return Err(vec![Complaint::about("brackets", message).hint("at most as many brackets as rungs below `max`")]);
    }
    let brackets: Vec<Bracket> = (0..brackets)
        .map(|s| Bracket { rungs: ladder[s..].iter().map(|at| Rung { at: *at, losses: Ranked::default() }).collect() })
        .collect();
    Ok(Box::new(Asha {
        eta: params.eta,
        max: params.max.unwrap_or(u64::MAX),
        brackets,
        passed: BTreeMap::new(),
        direction: setting.direction,
        seed: setting.seed,
    }))
}

/// The steps of the longest ladder's rungs, ascending.
fn ladder(params: &AshaParams) -> Result<Vec<u64>, Vec<Complaint>> {
    let AshaParams { min, max, eta, brackets } = *params;
    let mut complaints = Vec::new();
    if min == 0 {
        complaints.push(Complaint::about("min", "`min` must be at least 1").hint("steps of 0 times `eta` never grow"));
    }
    if !(eta > 1.0 && eta.is_finite()) {
        let message = format!("`eta` must be above 1, and it is {eta}");
        complaints.push(Complaint::about("eta", message).hint("3 or 4 is usual"));
    }
    if brackets == 0 {
        complaints.push(Complaint::about("brackets", "`brackets` must be at least 1"));
    }
    if let Some(max) = max.filter(|max| *max <= min) {
        let message = format!("no rung lies below `max`: {max} cannot be reached from `min`, {min}");
        complaints.push(Complaint::about("max", message).hint("`max` is the last step that a whole trial reports"));
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    let end = max.unwrap_or(u64::MAX) as f64;
    let mut rungs: Vec<u64> = Vec::new();
    let mut at = min as f64;
    while at < end {
        // A little under, so that a power that rounding lifted above its integer stays there.
        let step = (at * (1.0 - 1e-12)).ceil() as u64;
        if step as f64 >= end {
            break;
        }
        if rungs.last() != Some(&step) {
            rungs.push(step);
        }
        if rungs.len() > RUNGS_MAX {
            let message = format!("`eta` of {eta} makes more than {RUNGS_MAX} rungs");
            return Err(vec![Complaint::about("eta", message).hint("3 or 4 is usual")]);
        }
        at = (at * eta).max(at + f64::EPSILON * at);
    }
    Ok(rungs)
}

struct Asha {
    eta: f64,
    max: u64,
    brackets: Vec<Bracket>,
    /// For each trial that is under way, how many rungs of its ladder it has passed or jumped over.
    passed: BTreeMap<u32, usize>,
    direction: Direction,
    seed: u64,
}

struct Bracket {
    rungs: Vec<Rung>,
}

struct Rung {
    at: u64,
    losses: Ranked,
}

impl Asha {
    /// The ladder of `trial`: drawn by the softmax of the ladders' lengths, once and for all.
    fn bracket(&self, trial: u32) -> usize {
        let longest = self.brackets.iter().map(|b| b.rungs.len()).max().unwrap_or(0);
        let weight = |b: &Bracket| (b.rungs.len() as f64 - longest as f64).exp();
        if self.brackets.len() < 2 {
            return 0;
        }
        let total: f64 = self.brackets.iter().map(weight).sum();
        let mut left = total * stream(self.seed, trial, Purpose::Bracket).random::<f64>();
        for (place, bracket) in self.brackets.iter().enumerate() {
            left -= weight(bracket);
            if left < 0.0 {
                return place;
            }
        }
        self.brackets.len() - 1
    }

    /// The ladder and the rung that a report at `step` reaches for the first time, where it reaches one.
    fn reached(&self, trial: u32, step: u64) -> Option<(usize, usize)> {
        if step >= self.max {
            return None;
        }
        let bracket = self.bracket(trial);
        let rungs = &self.brackets[bracket].rungs;
        let highest = rungs.partition_point(|rung| rung.at <= step).checked_sub(1)?;
        let passed = self.passed.get(&trial).copied().unwrap_or(0);
        (highest >= passed).then_some((bracket, highest))
    }
}

impl Stopper for Asha {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Created { .. } => {}
            Event::Reported { trial, step, loss } => {
                if let Some((bracket, rung)) = self.reached(*trial, *step) {
                    self.brackets[bracket].rungs[rung].losses.insert(*loss);
                    self.passed.insert(*trial, rung + 1);
                }
            }
            Event::Ended { trial, outcome: _ } => {
                self.passed.remove(trial);
            }
        }
    }

    fn judge(&self, report: Judged) -> Verdict {
        let loss = tidy(report.loss);
        let Some((bracket, rung)) = self.reached(report.trial, report.step) else {
            return Verdict::Continue;
        };
        let Rung { at, losses } = &self.brackets[bracket].rungs[rung];
        // The quantile 1/eta from the best, written as a division so that whole positions stay whole.
        let Some(cutoff) = losses.len().checked_sub(1).and_then(|last| losses.at(last as f64 / self.eta)) else {
            return Verdict::Continue;
        };
        if loss <= cutoff {
            return Verdict::Continue;
        }
        Verdict::Stop(StopReason {
            rule: ENTRY.name.to_owned(),
            step: report.step,
            value: self.direction.value(loss),
            rung: Some(*at),
            rank: Some(losses.below(loss) as u64 + 1),
            peers: Some(losses.len() as u64 + 1),
            cutoff: Some(self.direction.value(cutoff)),
        })
    }
}
