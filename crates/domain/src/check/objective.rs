//! The objectives: one direction each, and a metric's name that a trial can report.

use super::Context;
use super::names::character;
use crate::document::{Fault, Path};
use crate::spec::{Confirm, Objective, Objectives};

/// The longest name of a metric.
const LONGEST: usize = 200;
/// The most fresh runs of leaders: they come to be in one entry of the log.
const FRESH_MAX: u64 = 1_000;

/// The most objectives. Of trials with more, hardly any dominates another, and a front says little.
const OBJECTIVES_MAX: usize = 4;

/// What is wrong with the objective.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    match &context.spec.objective {
        None => {
            let stopper = &context.spec.early_stop;
            // A stopper that is told a metric of its own needs no objective.
            if stopper.algorithm != "none" && !stopper.params.contains_key("metric") && context.lacks("objective") {
                let message = format!("`{}` compares trials by the objective, and there is none", stopper.algorithm);
                faults.push(
                    Fault::new("early_stop.algorithm", message).hint("add for example `objective: { minimize: loss }`"),
                );
            }
        }
        Some(Objectives::One(objective)) => one(context, objective, &Path::from("objective"), &mut faults),
        Some(Objectives::Several(list)) => {
            if list.is_empty() {
                faults.push(
                    Fault::new("objective", "the list of objectives is empty")
                        .hint("write `objective: { minimize: loss }`"),
                );
            }
            for (i, objective) in list.iter().enumerate() {
                one(context, objective, &Path::from("objective").index(i), &mut faults);
            }
            faults.extend(several(list));
        }
    }
    faults
}

/// What is wrong with a list beside its members.
fn several(list: &[Objective]) -> Vec<Fault> {
    let at = |i: usize| Path::from("objective").index(i);
    let mut faults = Vec::new();
    if list.len() > OBJECTIVES_MAX {
        let message = format!("{} objectives are more than {OBJECTIVES_MAX}", list.len());
        faults.push(Fault::new(at(OBJECTIVES_MAX), message).hint("keep those that matter, or report a sum of some"));
    }
    for (i, objective) in list.iter().enumerate() {
        let metric = objective.metric();
        if let Some(first) = list[..i].iter().position(|other| !metric.is_empty() && other.metric() == metric) {
            let message = format!("`{metric}` is an objective twice: it is number {} of the list already", first + 1);
            faults.push(Fault::new(at(i), message).hint("remove one of the two"));
        }
        if list.len() > 1 && objective.confirm.is_some() {
            let message = "`confirm` runs the best trials again, and with several objectives none is the best";
            faults.push(Fault::new(at(i).key("confirm"), message).hint("remove `confirm`, or keep one objective"));
        }
    }
    faults
}

fn one(context: &Context<'_>, objective: &Objective, at: &Path, faults: &mut Vec<Fault>) {
    match (&objective.minimize, &objective.maximize) {
        (Some(_), Some(_)) => {
            let fault = Fault::new(at.key("maximize"), "an objective is minimized or maximized, not both").at_key();
            faults.push(fault.hint("keep one of `minimize` and `maximize`"));
        }
        (None, None) if context.lacks("objective") => {
            let fault = Fault::new(at.clone(), "the objective does not say what to minimize or to maximize").at_key();
            faults.push(fault.hint("add `minimize: METRIC` or `maximize: METRIC`"));
        }
        (None, None) => {}
        (Some(metric), None) => faults.extend(name(metric, &at.key("minimize"))),
        (None, Some(metric)) => faults.extend(name(metric, &at.key("maximize"))),
    }
    if let Some(confirm) = &objective.confirm {
        faults.extend(confirmed(confirm, &at.key("confirm")));
    }
}

fn confirmed(confirm: &Confirm, at: &Path) -> Vec<Fault> {
    let Confirm { top, seeds } = confirm;
    let zeros = [(top, "top"), (seeds, "seeds")].into_iter().filter(|(count, _)| **count == 0);
    let mut faults: Vec<Fault> =
        zeros.map(|(_, key)| Fault::new(at.key(key), format!("`{key}` is 0")).hint("write at least 1")).collect();
    if u64::from(*top) * u64::from(*seeds) > FRESH_MAX {
        let message = format!("{top} leaders with {seeds} fresh runs each are more than {FRESH_MAX} runs");
        faults.push(Fault::new(at.clone(), message).hint("5 leaders with 3 to 10 seeds each are usual"));
    }
    faults
}

/// What can stand before the `=` of `::metric loss=0.1`.
fn name(metric: &str, at: &Path) -> Option<Fault> {
    let fault = |message: String| Fault::new(at.clone(), message);
    if metric.is_empty() {
        return Some(
            fault("the metric's name is empty".into())
                .hint("write the name that the trials report, for example `loss`"),
        );
    }
    let proper = |c: char| c.is_ascii_alphanumeric() || "_-./:@".contains(c);
    if let Some((i, bad)) = metric.char_indices().find(|(_, c)| !proper(*c)) {
        let fault = fault(format!("a metric's name cannot hold {}", character(bad))).within(i..i + bad.len_utf8());
        return Some(fault.hint("letters, digits and `_ - . / : @` are possible"));
    }
    if metric.starts_with(|c: char| !c.is_ascii_alphabetic() && c != '_') {
        return Some(
            fault(format!("the metric `{metric}` does not begin with a letter")).hint("begin it with a letter or `_`"),
        );
    }
    if metric == "step" {
        return Some(
            fault("`step` counts a trial's steps and is no metric".into())
                .hint("name the metric that the trials report"),
        );
    }
    (metric.len() > LONGEST).then(|| fault(format!("a metric's name has at most {LONGEST} characters")))
}
