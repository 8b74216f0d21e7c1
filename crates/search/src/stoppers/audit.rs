//! A control group for early stopping: of the trials that a rule would end, a random share runs on.
//!
//! What became of them says how many good trials the rule ends, which nothing else can: of the others nobody knows. So that
//! the control group changes no other verdict, the rule inside is told that a spared trial was stopped, and hears no more of
//! it. Who is spared follows from the seed and the trial's number, not from its values.

use std::collections::BTreeSet;

use rand::RngExt;

use crate::rng::{Purpose, stream};
use crate::{Event, Judged, Outcome, Promotion, Stopper, Verdict};

/// A rule of whose verdicts some are not carried out.
pub struct Audited {
    rule: Box<dyn Stopper>,
    share: f64,
    seed: u64,
    spared: BTreeSet<u32>,
}

impl Audited {
    /// `rule`, which spares `share` (above 0, below 1) of those that it would stop in the sweep of `seed`.
    pub const fn new(rule: Box<dyn Stopper>, share: f64, seed: u64) -> Self {
        Self { rule, share, seed, spared: BTreeSet::new() }
    }
}

/// Whether a trial of the sweep of `seed` belongs to the control group, should a rule ever want to stop it.
pub fn is_drawn(seed: u64, trial: u32, share: f64) -> bool {
    stream(seed, trial, Purpose::Audit).random::<f64>() < share
}

impl Stopper for Audited {
    fn observe(&mut self, event: &Event<'_>) {
        match *event {
            Event::Spared { trial, loss } => {
                self.spared.insert(trial);
                self.rule.observe(&Event::Ended { trial, outcome: Outcome::Stopped(loss) });
            }
            Event::Limited { .. } => {}
            Event::Created { trial, .. }
            | Event::Forked { trial, .. }
            | Event::Reported { trial, .. }
            | Event::Paused { trial, .. }
            | Event::Resumed { trial }
            | Event::Ended { trial, .. } => {
                if !self.spared.contains(&trial) {
                    self.rule.observe(event);
                }
            }
        }
    }

    fn judge(&self, report: Judged<'_>) -> Verdict {
        if self.spared.contains(&report.trial) {
            return Verdict::Continue;
        }
        match self.rule.judge(report) {
            Verdict::Stop(reason) if is_drawn(self.seed, report.trial, self.share) => Verdict::Spare(reason),
            verdict => verdict,
        }
    }

    fn promotion(&self, more: bool) -> Option<Promotion> {
        self.rule.promotion(more)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use heats_domain::Direction;

    use super::{Audited, is_drawn};
    use crate::conformance::{Happened, curves, example};
    use crate::stoppers::{ALL, Entry, pauses};
    use crate::{Event, Judged, Outcome, Setting, Stopper, Verdict};

    const SEED: u64 = 9;

    fn rule(entry: &Entry) -> Box<dyn Stopper> {
        let setting = Setting { direction: Direction::Minimize, trials: Some(100), seed: SEED };
        (entry.build)(&setting, &example(entry.example)).expect("builds from its own example")
    }

    /// What `stopper` says about each report of `events`, where its verdicts are carried out: a trial that is stopped says
    /// nothing more.
    fn judged(stopper: &mut dyn Stopper, events: &[Happened]) -> BTreeMap<(u32, u64), Verdict> {
        let mut stopped = BTreeSet::new();
        let mut verdicts = BTreeMap::new();
        for happened in events {
            let (Happened::Created(trial, _)
            | Happened::Reported(trial, ..)
            | Happened::Measured(trial, ..)
            | Happened::Ended(trial, _)) = happened;
            if stopped.contains(trial) {
                continue;
            }
            let Happened::Reported(trial, step, loss) = happened else {
                stopper.observe(&happened.event());
                continue;
            };
            let (trial, step, loss) = (*trial, *step, *loss);
            let verdict = stopper.judge(Judged { trial, step, loss, rest: &[] });
            stopper.observe(&happened.event());
            match verdict {
                Verdict::Continue => {}
                Verdict::Pause(_) | Verdict::Fork(_) => panic!("trial {trial} holds, or is replaced"),
                Verdict::Stop(_) => {
                    stopped.insert(trial);
                    stopper.observe(&Event::Ended { trial, outcome: Outcome::Stopped(loss) });
                }
                Verdict::Spare(_) => stopper.observe(&Event::Spared { trial, loss }),
            }
            verdicts.insert((trial, step), verdict);
        }
        verdicts
    }

    #[test]
    fn a_control_group_changes_no_verdict_on_any_other_trial() {
        for entry in ALL.iter().filter(|entry| !pauses(entry.name)) {
            let (mut stops, mut spares) = (0, 0);
            for seed in 0..6 {
                let events = curves(60, seed);
                let plain = judged(rule(entry).as_mut(), &events);
                let audited = judged(&mut Audited::new(rule(entry), 0.3, SEED), &events);
                let mut spared = BTreeSet::new();
                for (&(trial, step), verdict) in &audited {
                    let without = plain.get(&(trial, step));
                    match verdict {
                        Verdict::Spare(reason) => {
                            assert_eq!(without, Some(&Verdict::Stop(reason.clone())), "{}", entry.name);
                            assert!(spared.insert(trial), "{}: trial {trial} is spared once", entry.name);
                            spares += 1;
                        }
                        Verdict::Continue if spared.contains(&trial) => assert_eq!(without, None, "{}", entry.name),
                        Verdict::Continue | Verdict::Stop(_) | Verdict::Pause(_) | Verdict::Fork(_) => {
                            assert_eq!(without, Some(verdict), "{}, trial {trial} at step {step}", entry.name);
                            stops += i32::from(*verdict != Verdict::Continue);
                        }
                    }
                }
                assert!(plain.keys().all(|report| audited.contains_key(report)), "{}", entry.name);
            }
            assert_eq!(stops > 0 && spares > 0, entry.needs_objective, "{}: {stops}, {spares}", entry.name);
        }
    }

    #[test]
    fn whoever_has_trials_hold_is_known_for_it() {
        for entry in ALL {
            let mut rule = rule(entry);
            let holds = (0..6).flat_map(|seed| crate::conformance::verdicts(rule.as_mut(), &curves(60, seed)));
            let holds = holds.filter(|verdict| matches!(verdict, Verdict::Pause(_))).count() > 0;
            assert_eq!(holds, pauses(entry.name), "{}", entry.name);
        }
    }

    #[test]
    fn the_share_of_those_that_are_spared_is_the_one_that_was_asked_for() {
        let spared = (0..4_000).filter(|trial| is_drawn(SEED, *trial, 0.25)).count();
        assert!((900..1_100).contains(&spared), "{spared}");
    }

    #[test]
    fn a_spared_trial_that_failed_and_is_tried_again_stays_spared() {
        let entry = ALL.iter().find(|entry| entry.name == "threshold").expect("is there");
        let mut audited = Audited::new(rule(entry), 0.999_999, SEED);
        let report = Judged { trial: 3, step: 1, loss: 9.0, rest: &[] };
        assert!(matches!(audited.judge(report), Verdict::Spare(_)));
        audited.observe(&Event::Spared { trial: 3, loss: 9.0 });
        audited.observe(&Event::Ended { trial: 3, outcome: Outcome::Failed });
        assert_eq!(audited.judge(Judged { step: 2, ..report }), Verdict::Continue);
    }
}
