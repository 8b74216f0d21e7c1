//! Progressive asynchronous successive halving: `asha_promotion` that trains nobody longer than it takes for the ranking to
//! settle.
//!
//! Bohdal et al., "PASHA: Efficient HPO and NAS with Progressive Resource Allocation", ICLR 2023. Trials are promoted to the
//! second rung at first. Whenever a trial comes to the highest rung that is open, those that are there are ranked by
//! their losses on it and on the rung below; where the two rankings differ by more than noise, the next rung opens.
//!
//! A place in the ranking may be taken by any trial whose loss, on the rung below, is within epsilon of its holder's.
//! Epsilon is the 90th percentile of the distances between trials whose curves cross and cross back, which no real
//! difference does; 0 while there are none. On purpose different from the paper: the distances are those at the highest
//! open rung when the later of the two comes there, so that they are not all measured again with every report; and where more than
//! 33 are there, it is compared with 33 of them, from the best to the worst at even distances.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use heats_domain::spec::PlugParams;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use super::climb::{Climb, Stand};
use super::ladder::{self, Plan};
use super::shuffle::Shuffle;
use crate::plug::{self, Built, Complaint};
use crate::ranked::{Ranked, tidy};
use crate::{Event, Judged, Promotion, Setting, Stopper, Verdict};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "pasha",
    summary: "asha_promotion that opens the next rung only while the ranking of the best still changes",
    needs_objective: true,
    several_objectives: false,
    pauses: true,
    example: r#"{"min": 1, "max": 27, "eta": 3}"#,
    schema: || schemars::schema_for!(PashaParams),
    plan: |params| plan(params).ok(),
    build,
};

/// Which of the distances between curves that cross and cross back counts as noise.
const NOISE_PERCENTILE: f64 = 0.9;
/// How many reports of a trial are looked at for its noise.
const CURVE_MAX: usize = 128;
/// With how many a trial is compared for its noise.
const LOOK: usize = 33;

/// The parameters of `pasha`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PashaParams {
    /// The step of the first rung, where every trial holds for the first time.
    pub min: u64,
    /// The last step of a whole trial; rungs lie below it. Must be given.
    pub max: Option<u64>,
    /// The reduction factor: one in `eta` goes on from a rung, and rungs lie `eta` times apart. Above 1.
    pub eta: f64,
}

impl Default for PashaParams {
    fn default() -> Self {
        Self { min: 1, max: None, eta: 3.0 }
    }
}

/// What the parameters come to.
///
/// # Errors
/// Everything that is wrong with them.
pub fn plan(params: &PlugParams) -> Result<Plan, Vec<Complaint>> {
    let PashaParams { min, max, eta } = plug::read(params)?;
    if max.is_none() {
        let complaint = Complaint::about("max", "`pasha` needs a `max`, above which no rung opens");
        return Err(vec![complaint.hint("add `max`, the last step that a whole trial reports")]);
    }
    Ok(Plan { steps: ladder::steps(min, max, eta)?, eta, max, shares: vec![1.0] })
}

fn build(setting: &Setting, params: &PlugParams) -> Built<dyn Stopper> {
    let Plan { steps, eta, max, .. } = plan(params)?;
    let mut climb = Climb::new(ENTRY.name, setting.direction, eta, &steps, max);
    climb.set_ceiling(1);
    Ok(Box::new(Pasha { climb, curves: Vec::new(), noise: Ranked::default(), shuffle: Shuffle::default() }))
}

struct Pasha {
    climb: Climb,
    /// What each trial reported first, by step: of each trial, by its number.
    curves: Vec<Vec<(u64, f64)>>,
    /// At the highest open rung, the distances between trials whose curves cross and cross back.
    noise: Ranked,
    /// How the ranking at the highest open rung differs from that of the rung below.
    shuffle: Shuffle,
}

impl Stopper for Pasha {
    fn observe(&mut self, event: &Event<'_>) {
        let Event::Reported { trial, step, loss, rest: _ } = *event else {
            self.climb.observe(event);
            return;
        };
        self.draw(trial, step, tidy(loss));
        let (from, came_to) = (self.climb.seat(trial), self.climb.reached(trial, step));
        self.climb.observe(event);
        let highest = self.climb.ceiling();
        if came_to != Some(highest) {
            return;
        }
        let Some((_, stand)) = self.climb.seat(trial) else { return };
        self.measure(stand);
        // Who has jumped over the rung below has no place there, and who has ended since it came there is taken for new.
        if let Some((_, below)) = from.filter(|(rung, _)| rung + 1 == highest) {
            self.shuffle.add(stand, below.loss);
        }
        let last = self.noise.len().saturating_sub(1) as f64;
        if self.shuffle.widest() > self.noise.at(NOISE_PERCENTILE * last).unwrap_or(0.0) {
            self.open_next();
        }
    }

    fn judge(&self, report: Judged<'_>) -> Verdict {
        self.climb.judge(report)
    }

    fn promotion(&self, _more: bool) -> Option<Promotion> {
        self.climb.promotion()
    }
}

impl Pasha {
    /// Adds a report to the trial's curve, as long as that is short.
    fn draw(&mut self, trial: u32, step: u64, loss: f64) {
        let number = trial as usize;
        self.curves.resize(self.curves.len().max(number + 1), Vec::new());
        let curve = &mut self.curves[number];
        if curve.len() == CURVE_MAX {
            return;
        }
        match curve.binary_search_by_key(&step, |(step, _)| *step) {
            Ok(place) => curve[place].1 = loss,
            Err(place) => curve.insert(place, (step, loss)),
        }
    }

    /// Takes in how far a trial that has come to the highest open rung is from those there that it differs from by noise.
    fn measure(&mut self, own: Stand) {
        let Some(rung) = self.climb.rungs().get(self.climb.ceiling()) else { return };
        let (count, look) = (rung.standing.len(), rung.standing.len().min(LOOK));
        let others = (0..look).filter_map(|nth| rung.standing.get(nth * count / look));
        let crossing = others.filter(|other| other.trial != own.trial && self.cross_and_back(own.trial, other.trial));
        let distances: Vec<f64> = crossing.map(|other| (other.loss - own.loss).abs()).collect();
        distances.into_iter().filter(|distance| distance.is_finite()).for_each(|distance| self.noise.insert(distance));
    }

    /// Whether one is better, then the other, then the one again.
    fn cross_and_back(&self, one: u32, other: u32) -> bool {
        let curve = |trial: u32| self.curves.get(trial as usize);
        let Some((one, other)) = curve(one).zip(curve(other)) else { return false };
        let (mut others, mut last, mut turns) = (other.iter().peekable(), Ordering::Equal, 0);
        for (step, loss) in one {
            while others.next_if(|(other, _)| other < step).is_some() {}
            let Some((_, other)) = others.next_if(|(other, _)| other == step) else { continue };
            let order = loss.total_cmp(other);
            if order.is_ne() && order != last {
                (last, turns) = (order, turns + 1);
            }
        }
        turns > 2
    }

    fn open_next(&mut self) {
        self.climb.set_ceiling(self.climb.ceiling() + 1);
        self.noise = Ranked::default();
        self.shuffle = Shuffle::default();
        let (highest, rungs) = (self.climb.ceiling(), self.climb.rungs());
        if let (Some(below), Some(rung)) = (rungs.get(highest - 1), rungs.get(highest)) {
            let before: BTreeMap<u32, f64> = below.standing.iter().map(|stand| (stand.trial, stand.loss)).collect();
            for stand in rung.standing.iter() {
                if let Some(loss) = before.get(&stand.trial) {
                    self.shuffle.add(*stand, *loss);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::Direction;

    use super::*;

    fn pasha() -> Box<dyn Stopper> {
        let setting = Setting { direction: Direction::Minimize, trials: None, seed: 5 };
        let params = serde_json::from_value(serde_json::json!({"min": 1, "max": 81, "eta": 3})).expect("a map");
        build(&setting, &params).expect("builds")
    }

    /// Each trial reports its losses at steps 1, 2 and 3 and is let go on, whatever the verdict.
    fn run(rule: &mut dyn Stopper, trial: u32, losses: [f64; 3]) {
        for (step, loss) in (1..).zip(losses) {
            rule.observe(&Event::Reported { trial, step, loss, rest: Vec::new() });
        }
    }

    /// Whether anybody would be promoted from the second rung, where `trials` hold.
    fn goes_beyond_the_second(rule: &mut dyn Stopper, trials: u32) -> bool {
        (0..trials).for_each(|trial| rule.observe(&Event::Paused { trial, loss: 0.0 }));
        rule.promotion(true).is_some_and(|promotion| promotion.reason.rung == Some(3))
    }

    #[test]
    fn the_next_rung_opens_when_the_ranking_changes_and_not_before() {
        let mut rule = pasha();
        (0..6).for_each(|trial| run(rule.as_mut(), trial, [0.1, 0.1, 0.1].map(|loss| loss * f64::from(trial))));
        assert!(!goes_beyond_the_second(rule.as_mut(), 6), "the same ranking");
        run(rule.as_mut(), 6, [0.25, 0.2, 0.05]);
        assert!(goes_beyond_the_second(rule.as_mut(), 7), "third at the first rung, second at the next");
    }

    #[test]
    fn a_change_within_the_noise_of_curves_that_cross_and_cross_back_opens_nothing() {
        let mut rule = pasha();
        // They cross and cross back, and end 0.05 apart.
        run(rule.as_mut(), 0, [0.50, 0.56, 0.50]);
        run(rule.as_mut(), 1, [0.55, 0.50, 0.55]);
        run(rule.as_mut(), 2, [0.90, 0.90, 0.90]);
        // It changes places with the first, from 0.04 behind it.
        run(rule.as_mut(), 3, [0.54, 0.53, 0.49]);
        assert!(!goes_beyond_the_second(rule.as_mut(), 4));
        run(rule.as_mut(), 4, [0.60, 0.55, 0.48]);
        assert!(goes_beyond_the_second(rule.as_mut(), 5), "from 0.1 behind it");
    }
}
