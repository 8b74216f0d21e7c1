//! Hyperband as it was first described: brackets whose trials wait at each rung for each other, and of which the best `1/eta`
//! go on together.
//!
//! Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 2018, algorithm 1. Of `B`
//! brackets, bracket `i` begins at `min * eta^i` with `ceil(B * eta^s / (s + 1))` trials, `s = B - 1 - i`; of the `n` that
//! came to a rung, `floor(n / eta)` go on, and at least one. The brackets are filled one after the other, the one with the
//! most trials first, and after the last a first again, for as long as the budget lasts. While one waits, the next is filled.
//!
//! On purpose different from there: where the budget of trials ends within a bracket, it goes on with those that it has; a
//! trial that failed counts among the `n`, and nobody takes its place; a report may jump over rungs, and counts at the rung
//! where its trial is awaited.

use std::collections::{BTreeMap, BTreeSet};

use heats_domain::spec::PlugParams;
use heats_domain::{Direction, StopReason};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Entry;
use super::hyperband;
use super::ladder::Plan;
use crate::plug::{self, Built, Complaint};
use crate::ranked::tidy;
use crate::{Event, Judged, Promotion, Setting, Stopper, Verdict};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "hyperband_sync",
    summary: "hyperband whose trials wait at each rung for all others of their bracket",
    needs_objective: true,
    several_objectives: false,
    pauses: true,
    example: r#"{"min": 1, "max": 27, "eta": 3}"#,
    schema: || schemars::schema_for!(SyncParams),
    plan: |params| plan(params).ok(),
    build,
};

/// The parameters of `hyperband_sync`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SyncParams {
    /// The step of the first rung of the first bracket, where its trials hold for the first time.
    pub min: u64,
    /// The last step of a whole trial; rungs lie below it. Must be given.
    pub max: Option<u64>,
    /// The reduction factor: one in `eta` goes on from a rung, and rungs lie `eta` times apart. Above 1.
    pub eta: f64,
    /// How many kinds of brackets there are: bracket `s` has its first rung at `min * eta^s`. Without it, as many as there
    /// are powers of `eta` from `min` to `max`, which is Hyperband's number.
    pub brackets: Option<u32>,
}

impl Default for SyncParams {
    fn default() -> Self {
        Self { min: 1, max: None, eta: 3.0, brackets: None }
    }
}

/// What the parameters come to; the shares are the brackets' numbers of trials.
///
/// # Errors
/// Everything that is wrong with them.
pub fn plan(params: &PlugParams) -> Result<Plan, Vec<Complaint>> {
    let SyncParams { min, max, eta, brackets } = plug::read(params)?;
    hyperband::lay_out(ENTRY.name, min, max, eta, brackets)
}

fn build(setting: &Setting, params: &PlugParams) -> Built<dyn Stopper> {
    Ok(Box::new(Sync::new(plan(params)?, setting.direction)))
}

struct Sync {
    plan: Plan,
    direction: Direction,
    /// In the order in which they were begun.
    brackets: Vec<Bracket>,
    /// Those of which somebody may still go on.
    open: BTreeSet<usize>,
    /// The bracket of each trial.
    places: BTreeMap<u32, usize>,
}

struct Bracket {
    /// How many trials it wants.
    size: usize,
    /// Nobody enters any more: it is full, or some of its trials have gone on.
    is_closed: bool,
    /// The rung, counted from 0, where its trials are awaited.
    rung: usize,
    /// The trials that are to come to that rung.
    climbers: BTreeMap<u32, Climber>,
}

#[derive(Clone, PartialEq, Debug)]
enum Climber {
    /// It is promoted, and still holds at the rung below.
    Due(StopReason),
    /// It is on its way.
    Climbing,
    /// It came with this loss.
    Came(f64),
    /// It ended on the way.
    Gone,
}

impl Bracket {
    /// Everybody is where they are awaited, or will never be.
    fn is_complete(&self, more: bool) -> bool {
        let arrived = |climber: &Climber| matches!(climber, Climber::Came(_) | Climber::Gone);
        (self.is_closed || !more) && self.climbers.values().all(arrived)
    }

    /// Who came, the best first, and of those that are alike the one with the lower number.
    fn standing(&self) -> Vec<(f64, u32)> {
        let came = |(trial, climber): (&u32, &Climber)| match climber {
            Climber::Came(loss) => Some((*loss, *trial)),
            Climber::Due(_) | Climber::Climbing | Climber::Gone => None,
        };
        let mut standing: Vec<(f64, u32)> = self.climbers.iter().filter_map(came).collect();
        standing.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        standing
    }

    /// Whether nobody goes on any more who is not on the way already: there is no rung of `rungs` left, or nobody to come to it.
    fn is_spent(&self, rungs: usize) -> bool {
        let is_through = |climber: &Climber| match climber {
            Climber::Due(_) => false,
            Climber::Climbing | Climber::Came(_) => self.rung >= rungs,
            Climber::Gone => true,
        };
        self.is_closed && self.climbers.values().all(is_through)
    }

    /// How many go on to the next rung.
    fn open(&self, eta: f64) -> usize {
        ((self.climbers.len() as f64 / eta) as usize).max(1)
    }
}

impl Sync {
    const fn new(plan: Plan, direction: Direction) -> Self {
        Self { plan, direction, brackets: Vec::new(), open: BTreeSet::new(), places: BTreeMap::new() }
    }

    /// The bracket that a new trial enters.
    fn enter(&mut self, trial: u32) {
        if self.places.contains_key(&trial) {
            return;
        }
        if self.brackets.last().is_none_or(|last| last.is_closed) {
            let kind = self.brackets.len() % self.plan.shares.len();
            let size = self.plan.shares[kind] as usize;
            self.brackets.push(Bracket { size, is_closed: false, rung: kind, climbers: BTreeMap::new() });
        }
        let place = self.brackets.len() - 1;
        self.open.insert(place);
        let bracket = &mut self.brackets[place];
        bracket.climbers.insert(trial, Climber::Climbing);
        bracket.is_closed = bracket.climbers.len() >= bracket.size;
        self.places.insert(trial, place);
    }

    fn bracket(&self, trial: u32) -> Option<&Bracket> {
        self.brackets.get(*self.places.get(&trial)?)
    }

    /// What becomes of the trial, where its bracket awaits it.
    fn climber(&mut self, trial: u32) -> Option<&mut Climber> {
        self.brackets.get_mut(*self.places.get(&trial)?)?.climbers.get_mut(&trial)
    }

    /// The step of the rung where the trial is awaited, if its report is the first at or beyond it.
    fn comes_to(&self, trial: u32, step: u64) -> Option<u64> {
        let bracket = self.bracket(trial)?;
        let at = *self.plan.steps.get(bracket.rung)?;
        let whole = self.plan.max.is_some_and(|max| step >= max);
        (!whole && step >= at && bracket.climbers.get(&trial) == Some(&Climber::Climbing)).then_some(at)
    }

    /// Those of the trials at a bracket's rung who go on, the best first.
    fn winners(&self, bracket: &Bracket) -> Vec<Promotion> {
        let Some(at) = self.plan.steps.get(bracket.rung).copied() else { return Vec::new() };
        let standing = bracket.standing();
        let open = bracket.open(self.plan.eta).min(standing.len());
        let cutoff = standing[..open].last().map(|(loss, _)| self.direction.value(*loss));
        let winner = |(rank, (loss, trial)): (u64, &(f64, u32))| {
            let (value, peers) = (self.direction.value(*loss), Some(standing.len() as u64));
            let rule = ENTRY.name.to_owned();
            Promotion {
                trial: *trial,
                reason: StopReason {
                    rule,
                    step: at,
                    value,
                    rung: Some(at),
                    rank: Some(rank),
                    peers,
                    cutoff,
                    winner: None,
                },
            }
        };
        (1..).zip(&standing[..open]).map(winner).collect()
    }

    /// The trial's bracket is looked at no more, once it is spent.
    fn close(&mut self, trial: u32) {
        let Some(place) = self.places.get(&trial) else { return };
        if self.brackets.get(*place).is_some_and(|bracket| bracket.is_spent(self.plan.steps.len())) {
            self.open.remove(place);
        }
    }

    /// The first of those who go on takes its bracket to the next rung.
    fn climb(&mut self, trial: u32) {
        let Some(place) = self.places.get(&trial).copied() else { return };
        let winners = self.winners(&self.brackets[place]);
        let bracket = &mut self.brackets[place];
        let due = |Promotion { trial: winner, reason }| {
            (winner, if winner == trial { Climber::Climbing } else { Climber::Due(reason) })
        };
        bracket.climbers = winners.into_iter().map(due).collect();
        bracket.is_closed = true;
        bracket.rung += 1;
    }
}

impl Stopper for Sync {
    fn observe(&mut self, event: &Event<'_>) {
        match *event {
            Event::Created { trial, .. } => {
                self.enter(trial);
                self.close(trial);
            }
            Event::Reported { trial, step, loss, rest: _ } => {
                let comes = self.comes_to(trial, step).is_some();
                if let Some(climber) = self.climber(trial).filter(|_| comes) {
                    *climber = Climber::Came(tidy(loss));
                }
            }
            Event::Forked { .. } | Event::Paused { .. } | Event::Spared { .. } | Event::Limited { .. } => {}
            Event::Resumed { trial } => {
                match self.climber(trial) {
                    Some(Climber::Came(_)) => self.climb(trial),
                    Some(climber @ Climber::Due(_)) => *climber = Climber::Climbing,
                    Some(Climber::Climbing | Climber::Gone) | None => {}
                }
                self.close(trial);
            }
            Event::Ended { trial, .. } => {
                if let Some(climber) = self.climber(trial) {
                    *climber = Climber::Gone;
                }
                self.close(trial);
            }
        }
    }

    fn judge(&self, report: Judged<'_>) -> Verdict {
        let Judged { trial, step, loss, rest: _ } = report;
        let (Some(at), Some(bracket)) = (self.comes_to(trial, step), self.bracket(trial)) else {
            return Verdict::Continue;
        };
        let loss = tidy(loss);
        let standing = bracket.standing();
        Verdict::Pause(StopReason {
            rule: ENTRY.name.to_owned(),
            step,
            value: self.direction.value(loss),
            rung: Some(at),
            rank: Some(standing.iter().filter(|(other, _)| *other <= loss).count() as u64 + 1),
            peers: Some(standing.len() as u64 + 1),
            cutoff: None,
            winner: None,
        })
    }

    fn promotion(&self, more: bool) -> Option<Promotion> {
        let next = |bracket: &Bracket| {
            let due = bracket.climbers.iter().filter_map(|(trial, climber)| match climber {
                Climber::Due(reason) => Some(Promotion { trial: *trial, reason: reason.clone() }),
                Climber::Climbing | Climber::Came(_) | Climber::Gone => None,
            });
            // The most promising one first: there may be places for some of them only.
            let best_due = due.min_by_key(|promotion| promotion.reason.rank);
            best_due.or_else(|| self.winners(bracket).into_iter().next().filter(|_| bracket.is_complete(more)))
        };
        self.open.iter().filter_map(|place| self.brackets.get(*place)).find_map(next)
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::Params;

    use super::*;
    use crate::Outcome;

    fn rule(json: serde_json::Value) -> Box<dyn Stopper> {
        let setting = Setting { direction: Direction::Minimize, trials: None, seed: 5 };
        build(&setting, &serde_json::from_value(json).expect("a map")).expect("builds")
    }

    fn create(rule: &mut dyn Stopper, trials: std::ops::Range<u32>) {
        let params = Params::default();
        trials.for_each(|trial| rule.observe(&Event::Created { trial, params: &params }));
    }

    /// The trial reports its number as its loss; whether it holds.
    fn comes(rule: &mut dyn Stopper, trial: u32, step: u64) -> bool {
        let loss = f64::from(trial);
        let verdict = rule.judge(Judged { trial, step, loss, rest: &[] });
        rule.observe(&Event::Reported { trial, step, loss, rest: Vec::new() });
        let holds = matches!(verdict, Verdict::Pause(_));
        if holds {
            rule.observe(&Event::Paused { trial, loss });
        }
        holds
    }

    /// Everybody who may go on does, one after the other.
    fn promoted(rule: &mut dyn Stopper, more: bool) -> Vec<u32> {
        std::iter::from_fn(|| {
            let Promotion { trial, .. } = rule.promotion(more)?;
            rule.observe(&Event::Resumed { trial });
            Some(trial)
        })
        .collect()
    }

    #[test]
    fn a_bracket_waits_for_all_its_trials_and_then_a_third_goes_on() {
        let mut rule = rule(serde_json::json!({"min": 1, "max": 9, "eta": 3, "brackets": 1}));
        // One bracket of the kind that begins at the first rung has one trial: shares are 3^0.
        create(rule.as_mut(), 0..1);
        assert!(comes(rule.as_mut(), 0, 1));
        assert_eq!(promoted(rule.as_mut(), true), [0]);
    }

    #[test]
    fn brackets_are_filled_one_after_the_other_with_hyperbands_numbers() {
        // 9, 5 and 3 trials, from steps 1, 3 and 9; the last run through.
        let mut rule = rule(serde_json::json!({"min": 1, "max": 9, "eta": 3}));
        create(rule.as_mut(), 0..18);
        let first_holds = |rule: &mut dyn Stopper, trial| (1..10).find(|step| comes(rule, trial, *step));
        let steps: Vec<Option<u64>> = [0, 8, 9, 13, 14, 16, 17].map(|trial| first_holds(rule.as_mut(), trial)).to_vec();
        assert_eq!(steps, [Some(1), Some(1), Some(3), Some(3), None, None, Some(1)]);
        assert_eq!(promoted(rule.as_mut(), true), [0; 0], "seven of the first nine are still on their way");
        (1..7).for_each(|trial| assert!(comes(rule.as_mut(), trial, 1)));
        assert_eq!(promoted(rule.as_mut(), true), [0; 0], "and now one");
        rule.observe(&Event::Ended { trial: 7, outcome: Outcome::Failed });
        let reason = rule.promotion(true).expect("complete").reason.to_string();
        assert_eq!(reason, "hyperband_sync at step 1: 0 ranks 1 of 8 at rung 1; the cutoff is 2");
        assert_eq!(promoted(rule.as_mut(), true), [0, 1, 2], "a third of nine, the failed one counted");
        assert!(!comes(rule.as_mut(), 1, 2));
        assert!(comes(rule.as_mut(), 1, 4), "a jump counts where it is awaited");
        assert!(comes(rule.as_mut(), 0, 3));
        assert_eq!(promoted(rule.as_mut(), true), [0; 0]);
        assert!(comes(rule.as_mut(), 2, 3));
        assert_eq!(promoted(rule.as_mut(), true), [0], "a third of three");
        assert!(!comes(rule.as_mut(), 0, 9), "a whole trial");
    }

    #[test]
    fn the_best_of_those_who_may_go_on_gets_the_first_place() {
        let mut rule = rule(serde_json::json!({"min": 1, "max": 9, "eta": 3}));
        create(rule.as_mut(), 0..9);
        // The numbers are against the values: the last trial is the best.
        (0..9_u32).for_each(|trial| {
            let loss = f64::from(9 - trial);
            rule.observe(&Event::Reported { trial, step: 1, loss, rest: Vec::new() });
            rule.observe(&Event::Paused { trial, loss });
        });
        assert_eq!(promoted(rule.as_mut(), true), [8, 7, 6]);
    }

    #[test]
    fn a_bracket_that_nobody_will_fill_goes_on_with_those_it_has_and_is_not_filled_later() {
        let mut rule = rule(serde_json::json!({"min": 1, "max": 9, "eta": 3}));
        create(rule.as_mut(), 0..6);
        (0..6).for_each(|trial| assert!(comes(rule.as_mut(), trial, 1)));
        assert_eq!(promoted(rule.as_mut(), true), [0; 0], "three more may come");
        assert_eq!(promoted(rule.as_mut(), false), [0, 1]);
        create(rule.as_mut(), 6..7);
        assert!(!comes(rule.as_mut(), 6, 2), "it is of the next bracket");
        assert!(comes(rule.as_mut(), 6, 3));
    }

    #[test]
    fn brackets_of_which_nobody_can_go_on_are_looked_at_no_more() {
        let params = serde_json::from_value(serde_json::json!({"min": 1, "max": 9, "eta": 3})).expect("a map");
        let mut rule = Sync::new(plan(&params).expect("is sound"), Direction::Minimize);
        // 9, 5 and 3 trials make a round of brackets; the last do not hold at all.
        for trial in 0..17 * 20 {
            create(&mut rule, trial..trial + 1);
            for step in 1..=9 {
                if comes(&mut rule, trial, step) {
                    break;
                }
            }
            while let Some(promotion) = rule.promotion(true) {
                rule.observe(&Event::Resumed { trial: promotion.trial });
                for step in promotion.reason.step + 1..=9 {
                    if comes(&mut rule, promotion.trial, step) {
                        break;
                    }
                }
            }
        }
        assert_eq!(rule.brackets.len(), 60);
        assert!(rule.open.len() <= 1, "{:?} of 60", rule.open);
    }
}
