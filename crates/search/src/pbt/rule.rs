//! Who is replaced by a copy of whom, and who waits for the others: a fold over the reports of the population.
//!
//! A member is compared at its first report that is an interval behind its last comparison. Of the `n` members with a score,
//! `ceil(n * quantile)` are the worst and as many the best, at most `floor(n / 2)`; one of the worst is replaced by a copy of
//! one of the best, drawn evenly. What a copy has to say counts from its own first comparison; until then it stands where the
//! one stood that it replaces, as in Ray. On purpose different from Ray:
//! * Nobody is replaced before the whole population is there, nor from `max` on, nor by one that is not better.
//! * A loss that is no number is the worst, and its member the first to be replaced. Ray leaves it out.
//! * Any of the best may be copied that has a checkpoint at all; in Ray, only one that was among the best when it was compared
//!   itself.
//! * A member that is two intervals ahead of another one holds until that one has come closer, so that with fewer places than
//!   members all of them train. Ray has members make way whenever others wait for a place.

use std::collections::BTreeMap;

use heats_domain::{Direction, Params, Space, StopReason};
use rand::RngExt;

use super::explore::explore;
use super::{NAME, Plan};
use crate::ranked::tidy;
use crate::rng::{Purpose, stream};
use crate::stopper::Fork;
use crate::{Event, Judged, Promotion, Setting, Stopper, Verdict};

/// How many intervals a member may be ahead of another one.
const LEAD: u64 = 2;

/// The rule of a sweep that trains a population.
#[derive(Debug)]
pub struct Rule {
    plan: Plan,
    space: Space,
    direction: Direction,
    seed: u64,
    /// How many members were there from the beginning, whatever became of them.
    created: u32,
    /// Those that have not ended.
    members: BTreeMap<u32, Member>,
}

#[derive(Debug)]
struct Member {
    params: Params,
    /// The step of its last comparison; that of the checkpoint which it began with before its first.
    compared: u64,
    /// The loss that it was compared by.
    loss: Option<f64>,
    holds: bool,
}

/// The members with a loss, the best first.
struct Standing(Vec<(f64, u32)>);

impl Standing {
    /// How many are among the best, and how many among the worst.
    fn quantile(&self, share: f64) -> usize {
        let members = self.0.len();
        ((members as f64 * share).ceil() as usize).min(members / 2)
    }

    /// From 0 for the best.
    fn place(&self, trial: u32) -> Option<usize> {
        self.0.iter().position(|(_, other)| *other == trial)
    }
}

impl Rule {
    /// For a population that searches `space` as `plan` says.
    pub const fn new(setting: &Setting, space: Space, plan: Plan) -> Self {
        let Setting { direction, trials: _, seed } = *setting;
        Self { plan, space, direction, seed, created: 0, members: BTreeMap::new() }
    }

    /// Whether a report at `step` is one at which the member is compared.
    fn is_compared(&self, member: &Member, step: u64) -> bool {
        step >= self.plan.burn_in && step.saturating_sub(member.compared) >= self.plan.interval
    }

    /// How the members stand once `trial` has reported `loss`.
    fn standing(&self, trial: u32, loss: f64) -> Standing {
        let of = |(number, member): (&u32, &Member)| {
            let loss = if *number == trial { Some(loss) } else { member.loss };
            Some((loss?, *number))
        };
        let mut standing: Vec<(f64, u32)> = self.members.iter().filter_map(of).collect();
        standing.sort_by(|(a, one), (b, other)| a.total_cmp(b).then(other.cmp(one)));
        Standing(standing)
    }

    /// Whether somebody is so far behind that one who was compared at `step` holds; `more` is whether members are to come.
    fn is_ahead(&self, trial: u32, step: u64, more: bool) -> bool {
        let others = self.members.iter().filter(|(number, _)| **number != trial).map(|(_, other)| other.compared);
        let to_come = (more && self.created < self.plan.population).then_some(0);
        let ahead = self.plan.interval.saturating_mul(LEAD);
        others.chain(to_come).any(|compared| step.saturating_sub(compared) >= ahead)
    }

    fn reason(&self, standing: &Standing, trial: u32, step: u64) -> Option<StopReason> {
        let place = standing.place(trial)?;
        Some(StopReason {
            rule: NAME.to_owned(),
            step,
            value: self.direction.value(standing.0[place].0),
            rung: None,
            rank: Some(place as u64 + 1),
            peers: Some(standing.0.len() as u64),
            cutoff: None,
            winner: None,
        })
    }

    /// Who replaces the trial, where it is among the worst.
    fn fork(&self, standing: &Standing, report: Judged<'_>, reason: &StopReason, instead: Verdict) -> Option<Fork> {
        let some = standing.quantile(self.plan.quantile);
        let (place, members) = (standing.place(report.trial)?, standing.0.len());
        if self.created < self.plan.population || place < members - some {
            return None;
        }
        let mut rng = stream(self.seed, report.trial, Purpose::Exploit);
        rng.set_stream(report.step);
        let (loss, parent) = standing.0[rng.random_range(0..some)];
        let cutoff = standing.0.get(members - some - 1).map(|(loss, _)| self.direction.value(*loss));
        if loss >= standing.0[place].0 {
            return None;
        }
        let params = explore(&self.space, &self.plan, &self.members.get(&parent)?.params, &mut rng);
        let reason = StopReason { cutoff, winner: Some(parent), ..reason.clone() };
        Some(Fork { parent, params, reason, instead })
    }
}

impl Stopper for Rule {
    fn observe(&mut self, event: &Event<'_>) {
        match *event {
            Event::Created { trial, params } => {
                self.created += 1;
                let member = Member { params: params.clone(), compared: 0, loss: None, holds: false };
                self.members.insert(trial, member);
            }
            Event::Forked { trial, step, loss, params, .. } => {
                let member = Member { params: params.clone(), compared: step, loss: Some(tidy(loss)), holds: false };
                self.members.insert(trial, member);
            }
            // It has nothing left to train, and so would have a copy of it.
            Event::Reported { trial, step, .. } if step >= self.plan.max => {
                self.members.remove(&trial);
            }
            Event::Reported { trial, step, loss, rest: _ } => {
                let is_compared = self.members.get(&trial).is_some_and(|member| self.is_compared(member, step));
                if let Some(member) = self.members.get_mut(&trial).filter(|_| is_compared) {
                    (member.compared, member.loss) = (step, Some(tidy(loss)));
                }
            }
            Event::Paused { trial, .. } | Event::Resumed { trial } => {
                if let Some(member) = self.members.get_mut(&trial) {
                    member.holds = matches!(event, Event::Paused { .. });
                }
            }
            Event::Ended { trial, .. } => {
                self.members.remove(&trial);
            }
            Event::Spared { .. } | Event::Limited { .. } => {}
        }
    }

    fn judge(&self, report: Judged<'_>) -> Verdict {
        let Judged { trial, step, loss, rest: _ } = report;
        let compared = self.members.get(&trial).filter(|member| step < self.plan.max && self.is_compared(member, step));
        let Some(_) = compared else { return Verdict::Continue };
        let standing = self.standing(trial, tidy(loss));
        let Some(reason) = self.reason(&standing, trial, step) else { return Verdict::Continue };
        let holds = self.is_ahead(trial, step, true);
        let instead = if holds { Verdict::Pause(reason.clone()) } else { Verdict::Continue };
        match self.fork(&standing, report, &reason, instead.clone()) {
            Some(fork) => Verdict::Fork(Box::new(fork)),
            None => instead,
        }
    }

    fn promotion(&self, more: bool) -> Option<Promotion> {
        let holding = self.members.iter().filter(|(_, member)| member.holds);
        let (trial, member) = holding.min_by_key(|(trial, member)| (member.compared, **trial))?;
        if self.is_ahead(*trial, member.compared, more) {
            return None;
        }
        let loss = member.loss?;
        let reason = self.reason(&self.standing(*trial, loss), *trial, member.compared)?;
        Some(Promotion { trial: *trial, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;
    use crate::conformance::{float, parameter};
    use heats_domain::Value;

    fn rule(population: u32) -> Rule {
        let space = Space { parameters: vec![parameter("x", float(0.0, 1.0))], constraints: Vec::new() };
        let params = serde_json::json!({"population": population, "perturbation_interval": 5, "max": 50});
        let plan = crate::pbt::plan(&space, &serde_json::from_value(params).expect("a map")).expect("is valid");
        let mut rule = Rule::new(&Setting { direction: Direction::Maximize, trials: None, seed: 3 }, space, plan);
        for trial in 0..population {
            let params = [("x", Value::Float(f64::from(trial) / 10.0))].into_iter().collect();
            rule.observe(&Event::Created { trial, params: &params });
        }
        rule
    }

    /// The trial reports a score, and holds or is replaced as the rule says.
    fn report(rule: &mut Rule, trial: u32, step: u64, score: f64) -> Verdict {
        let loss = -score;
        let verdict = rule.judge(Judged { trial, step, loss, rest: &[] });
        rule.observe(&Event::Reported { trial, step, loss, rest: Vec::new() });
        match &verdict {
            Verdict::Pause(_) => rule.observe(&Event::Paused { trial, loss }),
            Verdict::Fork(fork) => {
                rule.observe(&Event::Ended { trial, outcome: Outcome::Stopped(loss) });
                let (trial, parent, params) = (trial + 100, fork.parent, &fork.params);
                rule.observe(&Event::Forked { trial, parent, step, loss, params });
            }
            Verdict::Continue | Verdict::Stop(_) | Verdict::Spare(_) => {}
        }
        verdict
    }

    fn winner(verdict: &Verdict) -> Option<u32> {
        verdict.reason().and_then(|reason| reason.winner)
    }

    #[test]
    fn one_of_the_worst_quarter_is_replaced_by_a_copy_of_one_of_the_best() {
        let mut rule = rule(4);
        for (trial, score) in [(0, 0.4), (1, 0.9), (2, 0.5)] {
            assert_eq!(report(&mut rule, trial, 4, score), Verdict::Continue, "no interval is over");
            assert_eq!(winner(&report(&mut rule, trial, 5, score)), None, "the worst is among four");
        }
        let Verdict::Fork(fork) = report(&mut rule, 3, 5, 0.3) else { panic!("the worst of four") };
        let why = "pbt at step 5: 0.3 ranks 4 of 4; the cutoff is 0.4; a copy of trial 1 takes its place";
        assert_eq!((fork.parent, fork.reason.to_string().as_str()), (1, why));
        assert_eq!(fork.instead, Verdict::Continue);
    }

    #[test]
    fn a_copy_stands_where_the_one_stood_that_it_replaces_until_it_is_compared_itself() {
        let mut rule = rule(4);
        for (trial, score) in [(0, 0.4), (1, 0.9), (2, 0.5), (3, 0.3)] {
            report(&mut rule, trial, 5, score);
        }
        assert_eq!(winner(&report(&mut rule, 0, 10, 0.35)), None, "0.3 is still the worst");
        report(&mut rule, 103, 10, 0.95);
        assert_eq!(winner(&report(&mut rule, 0, 15, 0.36)), Some(103));
    }

    #[test]
    fn a_member_that_has_come_to_its_end_is_copied_by_nobody_although_its_process_is_not_over() {
        let mut rule = rule(4);
        for (trial, score) in [(0, 0.4), (1, 0.9), (2, 0.5), (3, 0.45)] {
            report(&mut rule, trial, 5, score);
        }
        report(&mut rule, 1, 50, 0.95);
        assert_eq!(winner(&report(&mut rule, 0, 10, 0.3)), Some(2), "trial 1 has nothing left to train");
    }

    #[test]
    fn nobody_is_replaced_before_the_population_is_there_or_from_max_on_or_by_an_equal() {
        let mut few = rule(4);
        few.plan.population = 5;
        let mut late = rule(4);
        let mut equal = rule(4);
        for trial in 0..4 {
            assert_eq!(winner(&report(&mut few, trial, 5, 0.9 - f64::from(trial))), None);
            assert_eq!(winner(&report(&mut late, trial, 50, 0.9 - f64::from(trial))), None);
            assert_eq!(winner(&report(&mut equal, trial, 5, 0.5)), None);
        }
    }

    #[test]
    fn what_is_no_number_is_replaced_first() {
        let mut rule = rule(4);
        for (trial, score) in [(0, -1e300), (1, 0.9), (2, 0.5)] {
            report(&mut rule, trial, 5, score);
        }
        assert_eq!(winner(&report(&mut rule, 3, 5, f64::NAN)), Some(1));
        assert_eq!(winner(&report(&mut rule, 0, 10, f64::NEG_INFINITY)), Some(1), "of two, the earlier");
    }

    #[test]
    fn a_member_that_is_two_intervals_ahead_holds_until_the_others_have_come_closer() {
        let mut rule = rule(4);
        for trial in 0..2 {
            assert_eq!(report(&mut rule, trial, 5, 0.5 + f64::from(trial)), Verdict::Continue);
            let Verdict::Pause(reason) = report(&mut rule, trial, 10, 0.5 + f64::from(trial)) else {
                panic!("the others have not begun")
            };
            assert_eq!(reason.rank, Some(1));
        }
        assert_eq!(rule.promotion(true), None);
        report(&mut rule, 2, 5, 0.4);
        assert_eq!(rule.promotion(true), None, "trial 3 has not");
        report(&mut rule, 3, 5, 0.45);
        let promoted = |rule: &Rule, more| rule.promotion(more).map(|promotion| promotion.trial);
        assert_eq!(promoted(&rule, true), Some(0));
        rule.observe(&Event::Resumed { trial: 0 });
        assert_eq!(promoted(&rule, true), Some(1));
        rule.plan.population = 5;
        assert_eq!((promoted(&rule, true), promoted(&rule, false)), (None, Some(1)), "one more is to come, or is not");
    }

    #[test]
    fn the_last_that_holds_always_goes_on_when_nobody_else_is_left() {
        let mut rule = rule(2);
        report(&mut rule, 0, 5, 0.5);
        report(&mut rule, 0, 10, 0.5);
        assert_eq!(rule.promotion(false), None);
        rule.observe(&Event::Ended { trial: 1, outcome: Outcome::Failed });
        assert_eq!(rule.promotion(false).map(|promotion| promotion.trial), Some(0));
    }
}
