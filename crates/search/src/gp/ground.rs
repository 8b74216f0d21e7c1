//! What earlier sweeps lead to expect of every configuration: the ground that a ladder of this sweep's rungs stands on.
//!
//! A model of its own over all trials of the earlier sweeps, each sweep's losses brought to one scale: 0 is its best and 1 its
//! median. What this sweep's trials report is then a multiple of what the ground expects and a difference, as one rung is of
//! the rung below. So values that are all higher, or twice as large, mislead nobody, and where the ground turns out to say
//! nothing, it soon counts for nothing.

use super::acquire::Expects;
use super::ladder::{Ladder, Model, Warp};
use super::plane::Plane;
use super::process::{Guess, Hyper, Slope};
use crate::{Event, Outcome, Prior};

/// As much as so large a sum of squares of this sweep's own shares, the earlier sweeps' unit says what this one's is.
const PRIOR_SHARES: f64 = 1.0;
/// What this sweep's own losses say of their unit counts at least so much: their scale may be another one.
const OWN_UNIT: f64 = 0.3;
/// Losses further from the best than so many times the median is do not decide on the scale.
const FAR: f64 = 5.0;

/// See the module.
#[derive(Debug)]
pub struct Ground {
    model: Model,
    /// How much a loss differs where the expected share differs by 1, as far as the earlier sweeps tell.
    unit: f64,
    /// How many trials it knows.
    known: usize,
    /// The best points that were tried.
    good: Vec<Vec<f64>>,
}

impl Ground {
    /// What `priors` say, told apart at `rungs`; `None` where that is too little for a model. `count` good points are kept.
    pub fn new(priors: &[Prior], rungs: &[u64], plane: &Plane, count: usize) -> Option<Self> {
        let mut ladder = Ladder::new(rungs, None);
        let (mut trial, mut ln_units) = (0, Vec::new());
        for prior in priors {
            let scale = Scale::of(prior);
            ln_units.push(scale.unit.ln());
            for past in &prior.trials {
                past.events(trial).for_each(|event| ladder.observe(&scale.event(event), plane));
                trial += 1;
            }
        }
        let model = Model::new(&ladder, plane, None)?;
        let unit = (ln_units.iter().sum::<f64>() / ln_units.len() as f64).exp() * model.warp().unit;
        let good = model.good(&ladder, count);
        Some(Self { unit, known: ladder.known(), good, model })
    }

    /// How many trials it knows.
    pub const fn known(&self) -> usize {
        self.known
    }

    /// The best points that were tried, the best first.
    pub fn good(&self) -> &[Vec<f64>] {
        &self.good
    }

    /// The lowest that it expects of a point that was tried.
    pub fn lowest(&self) -> f64 {
        self.good.iter().map(|point| self.model.mean(point)).fold(f64::INFINITY, f64::min)
    }

    /// How far losses are from what nothing is known of, on its scale.
    pub fn spread(&self) -> f64 {
        self.model.variance_max().sqrt()
    }

    /// How a difference from it depends on the configuration, before any is known: as the ground itself does.
    pub fn hyper(&self) -> Hyper {
        let mut hyper = self.model.hyper();
        (hyper.kernel.scale, hyper.noise) = (1.0, 0.05);
        hyper
    }

    /// The scale on which a sweep's losses are what the ground expects, as nearly as these pairs of an expectation and a loss say;
    /// `own` is the scale by its losses alone.
    pub fn align(&self, pairs: &[(f64, f64)], own: Warp) -> Warp {
        let pairs: Vec<(f64, f64)> = pairs
            .iter()
            .filter(|(_, loss)| loss.is_finite())
            .map(|(expected, loss)| (Warp::share(*expected), loss.min(own.best + FAR * own.unit)))
            .collect();
        if pairs.is_empty() {
            return Warp { best: 0.0, unit: self.unit };
        }
        let n = pairs.len() as f64;
        let share = pairs.iter().map(|(share, _)| share).sum::<f64>() / n;
        let loss = pairs.iter().map(|(_, loss)| loss).sum::<f64>() / n;
        let squares: f64 = pairs.iter().map(|(s, _)| (s - share).powi(2)).sum();
        let products: f64 = pairs.iter().map(|(s, l)| (s - share) * (l - loss)).sum();
        let unit = (products + PRIOR_SHARES * self.unit) / (squares + PRIOR_SHARES);
        let least = if pairs.len() > 2 { OWN_UNIT * own.unit } else { 0.0 };
        let unit = unit.max(least);
        let unit = if unit > 0.0 && unit.is_finite() { unit } else { own.unit };
        Warp { best: loss - unit * share, unit }
    }
}

impl Expects for Ground {
    fn mean(&self, at: &[f64]) -> f64 {
        self.model.mean(at)
    }

    fn variance_max(&self) -> f64 {
        self.model.variance_max()
    }

    fn guess(&self, at: &[f64]) -> Guess {
        self.model.guess(at)
    }

    fn guess_and_slope(&self, at: &[f64]) -> (Guess, Slope) {
        self.model.guess_and_slope(at)
    }
}

/// A sweep's losses as shares: 0 is the best and 1 the median of what trials came to.
#[derive(Clone, Copy, Debug)]
struct Scale {
    best: f64,
    unit: f64,
}

impl Scale {
    fn of(prior: &Prior) -> Self {
        let mut losses: Vec<f64> = prior.trials.iter().map(crate::Past::loss).filter(|loss| loss.is_finite()).collect();
        losses.sort_by(f64::total_cmp);
        let best = losses.first().copied().unwrap_or(0.0);
        let unit = losses.get(losses.len() / 2).map_or(0.0, |median| median - best);
        Self { best, unit: if unit > 0.0 && unit.is_finite() { unit } else { 1.0 } }
    }

    fn loss(self, loss: f64) -> f64 {
        (loss - self.best) / self.unit
    }

    fn event(self, event: Event<'_>) -> Event<'_> {
        match event {
            Event::Created { .. }
            | Event::Forked { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Spared { .. }
            | Event::Limited { .. } => event,
            Event::Reported { trial, step, loss, rest } => Event::Reported { trial, step, loss: self.loss(loss), rest },
            Event::Ended { trial, outcome } => {
                let outcome = match outcome {
                    Outcome::Completed(loss) => Outcome::Completed(self.loss(loss)),
                    Outcome::Stopped(loss) => Outcome::Stopped(self.loss(loss)),
                    Outcome::Failed | Outcome::Infeasible => outcome,
                };
                Event::Ended { trial, outcome }
            }
        }
    }
}
