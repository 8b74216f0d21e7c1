//! Ladders of rungs, and successive halving on them: what the rules with rungs share.
//!
//! Which steps are rungs, which trial climbs which ladder, and who goes on at a rung. How many ladders there are, and
//! how many trials climb each, is up to the rule: see `asha` and `hyperband`.

use std::collections::BTreeMap;

use heats_domain::{Direction, StopReason};
use rand::RngExt;

use crate::front;
use crate::plug::Complaint;
use crate::ranked::{Ranked, tidy};
use crate::rng::{Purpose, stream};
use crate::{Event, Judged, Setting, Stopper, Verdict};

/// More rungs than this make no sense, and mean that `eta` is a slip.
const RUNGS_MAX: usize = 1000;

/// What the parameters of a rule with rungs come to.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The steps of the first ladder's rungs, ascending. Ladder `s` begins at the `s`-th of them, from 0.
    pub steps: Vec<u64>,
    /// One in `eta` goes on from a rung.
    pub eta: f64,
    /// A trial that reached this step completes by itself.
    pub max: Option<u64>,
    /// For each ladder, how many trials climb it, in proportion. At most one ladder more than there are steps.
    pub shares: Vec<f64>,
}

/// The steps `min`, `min * eta`, `min * eta^2`, ... below `max`, rounded up; without a `max`, all there are.
///
/// # Errors
/// Everything that keeps the parameters of these names from making a ladder.
pub fn steps(min: u64, max: Option<u64>, eta: f64) -> Result<Vec<u64>, Vec<Complaint>> {
    let mut complaints = Vec::new();
    if min == 0 {
        complaints.push(Complaint::about("min", "`min` must be at least 1").hint("steps of 0 times `eta` never grow"));
    }
    if !(eta > 1.0 && eta.is_finite()) {
        let message = format!("`eta` must be above 1, and it is {eta}");
        complaints.push(Complaint::about("eta", message).hint("3 or 4 is usual"));
    }
    if let Some(max) = max.filter(|max| *max <= min) {
        let message = format!("no rung lies below `max`: {max} cannot be reached from `min`, {min}");
        complaints.push(Complaint::about("max", message).hint("`max` is the last step that a whole trial reports"));
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    let end = max.unwrap_or(u64::MAX) as f64;
    let mut steps: Vec<u64> = Vec::new();
    let mut at = min as f64;
    while at < end {
        // A power that rounding lifted above its integer belongs to that integer.
        let step = if (at - at.round()).abs() < 1e-9 * at { at.round() } else { at.ceil() } as u64;
        if step as f64 >= end {
            break;
        }
        if steps.last() != Some(&step) {
            steps.push(step);
        }
        if steps.len() > RUNGS_MAX {
            let message = format!("`eta` of {eta} makes more than {RUNGS_MAX} rungs");
            return Err(vec![Complaint::about("eta", message).hint("3 or 4 is usual")]);
        }
        at = (at * eta).max(at + f64::EPSILON * at);
    }
    Ok(steps)
}

/// Asynchronous successive halving, the stopping form, on one ladder or on several beside each other.
pub struct Halving {
    rule: &'static str,
    plan: Plan,
    ladders: Vec<Vec<Rung>>,
    /// For each trial that is under way, how many rungs of its ladder it has passed or jumped over.
    passed: BTreeMap<u32, usize>,
    direction: Direction,
    seed: u64,
}

struct Rung {
    at: u64,
    losses: Ranked,
    /// In their place, where there are several objectives.
    points: Vec<Vec<f64>>,
}

impl Halving {
    /// As the rule of this name.
    pub fn new(rule: &'static str, plan: Plan, setting: &Setting) -> Self {
        let ladder = |s| {
            plan.steps
                .iter()
                .skip(s)
                .map(|at| Rung { at: *at, losses: Ranked::default(), points: Vec::new() })
                .collect()
        };
        let ladders = (0..plan.shares.len()).map(ladder).collect();
        Self { rule, plan, ladders, passed: BTreeMap::new(), direction: setting.direction, seed: setting.seed }
    }

    /// The ladder of `trial`: drawn by the ladders' shares, once and for all.
    fn ladder(&self, trial: u32) -> usize {
        let shares = &self.plan.shares;
        if shares.len() < 2 {
            return 0;
        }
        let total: f64 = shares.iter().sum();
        let mut left = total * stream(self.seed, trial, Purpose::Bracket).random::<f64>();
        for (place, share) in shares.iter().enumerate() {
            left -= share;
            if left < 0.0 {
                return place;
            }
        }
        shares.len() - 1
    }

    /// The ladder and the rung that a report at `step` reaches for the first time, where it reaches one.
    fn reached(&self, trial: u32, step: u64) -> Option<(usize, usize)> {
        if step >= self.plan.max.unwrap_or(u64::MAX) {
            return None;
        }
        let ladder = self.ladder(trial);
        let highest = self.ladders[ladder].partition_point(|rung| rung.at <= step).checked_sub(1)?;
        let passed = self.passed.get(&trial).copied().unwrap_or(0);
        (highest >= passed).then_some((ladder, highest))
    }
}

impl Halving {
    /// Of several objectives: a trial goes on where it is among the best `1/eta` of its rung, its own place counted, by fronts
    /// and within one by room (see [`front::before`]). Counts what is there already, so that the first to come goes on.
    fn judge_several(&self, report: Judged<'_>, at: u64, points: &[Vec<f64>]) -> Verdict {
        let before = front::before(points, &[&[report.loss], report.rest].concat());
        let peers = points.len() + 1;
        if (before as f64) < (peers as f64 / self.plan.eta).floor().max(1.0) {
            return Verdict::Continue;
        }
        Verdict::Stop(StopReason {
            rule: self.rule.to_owned(),
            step: report.step,
            value: self.direction.value(tidy(report.loss)),
            rung: Some(at),
            rank: Some(before as u64 + 1),
            peers: Some(peers as u64),
            // No single number would have let it go on.
            cutoff: None,
            winner: None,
        })
    }
}

impl Stopper for Halving {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Created { .. }
            | Event::Forked { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Spared { .. }
            | Event::Limited { .. } => {}
            Event::Reported { trial, step, loss, rest } => {
                if let Some((ladder, rung)) = self.reached(*trial, *step) {
                    let Rung { at: _, losses, points } = &mut self.ladders[ladder][rung];
                    match rest.as_slice() {
                        [] => losses.insert(*loss),
                        rest => points.push([&[*loss], rest].concat()),
                    }
                    self.passed.insert(*trial, rung + 1);
                }
            }
            Event::Ended { trial, outcome: _ } => {
                self.passed.remove(trial);
            }
        }
    }

    fn judge(&self, report: Judged<'_>) -> Verdict {
        let loss = tidy(report.loss);
        let Some((ladder, rung)) = self.reached(report.trial, report.step) else {
            return Verdict::Continue;
        };
        let Rung { at, losses, points } = &self.ladders[ladder][rung];
        if !report.rest.is_empty() {
            return self.judge_several(report, *at, points);
        }
        // The quantile 1/eta from the best, written as a division so that whole positions stay whole.
        let Some(cutoff) = losses.len().checked_sub(1).and_then(|last| losses.at(last as f64 / self.plan.eta)) else {
            return Verdict::Continue;
        };
        if loss <= cutoff {
            return Verdict::Continue;
        }
        Verdict::Stop(StopReason {
            rule: self.rule.to_owned(),
            step: report.step,
            value: self.direction.value(loss),
            rung: Some(*at),
            rank: Some(losses.below(loss) as u64 + 1),
            peers: Some(losses.len() as u64 + 1),
            cutoff: Some(self.direction.value(cutoff)),
            winner: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_whole_steps_below_max() {
        let of = |min, max, eta| steps(min, max, eta).expect("has rungs");
        assert_eq!(of(1, Some(27), 3.0), [1, 3, 9]);
        assert_eq!(of(1, Some(28), 3.0), [1, 3, 9, 27]);
        assert_eq!(of(5, Some(100), 4.0), [5, 20, 80]);
        assert_eq!(of(1, Some(10), 1.5), [1, 2, 3, 4, 6, 8]);
        assert_eq!(of(1, Some(2), 4.0), [1]);
        let endless = of(1, None, 10.0);
        assert_eq!((endless.len(), endless[19]), (20, 10_000_000_000_000_000_000));
    }

    #[test]
    fn ladders_begin_at_later_rungs_and_get_trials_by_their_shares() {
        let plan = Plan { steps: vec![1, 3, 9], eta: 3.0, max: Some(27), shares: vec![6.0, 3.0, 1.0, 2.0] };
        let setting = Setting { direction: Direction::Minimize, trials: None, seed: 5 };
        let halving = Halving::new("any", plan, &setting);
        let mut counts = [0; 4];
        (0..12_000).for_each(|trial| counts[halving.ladder(trial)] += 1);
        for (count, expected) in counts.into_iter().zip([6000, 3000, 1000, 2000]) {
            assert!(expected * 9 < count * 10 && count * 10 < expected * 11, "{counts:?}");
        }
        let climber = |ladder| (0..).find(|trial| halving.ladder(*trial) == ladder).expect("some trial");
        assert_eq!((halving.reached(climber(1), 2), halving.reached(climber(1), 3)), (None, Some((1, 0))));
        assert_eq!((halving.reached(climber(2), 8), halving.reached(climber(2), 9)), (None, Some((2, 0))));
        assert_eq!(halving.reached(climber(3), 26), None, "there is no rung on the last");
    }
}
