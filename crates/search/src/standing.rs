//! What a searcher ranks trials by that have ended, whether by one objective or by several.

use crate::Outcome;
use crate::front::is_finite;
use crate::ranked::tidy;

/// The most that can be said of a trial before its losses are looked at: completed ones come first, then stopped ones by how
/// far they came, then those without a number, then infeasible ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Level {
    /// How it ended.
    pub class: Class,
    /// How many steps short of any other it was stopped; 0 where it was not.
    steps_short: u64,
}

/// How a trial ended, as far as it may teach.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// It ran to its end.
    Completed,
    /// A stopper ended it.
    Stopped,
    /// An objective of it is no number.
    NoNumber,
    /// Its configuration cannot be run.
    Infeasible,
}

/// What a trial reported last.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Last {
    /// At which step.
    pub step: Option<u64>,
    /// With several objectives, all of its losses there; empty for one.
    pub losses: Vec<f64>,
}

impl Last {
    /// Takes in a report: of one objective the end of a trial says what it comes to, of several the last report does.
    pub fn report(&mut self, step: u64, loss: f64, rest: &[f64]) {
        self.step = self.step.max(Some(step));
        if !rest.is_empty() {
            self.losses.clear();
            self.losses.push(tidy(loss));
            self.losses.extend(rest.iter().copied().map(tidy));
        }
    }

    /// What the trial came to: its level, and its losses. `None` where nothing is known of its configuration.
    pub fn standing(&self, outcome: Outcome) -> Option<(Level, Vec<f64>)> {
        let (class, loss) = match outcome {
            Outcome::Failed => return None,
            Outcome::Infeasible => (Class::Infeasible, f64::INFINITY),
            Outcome::Completed(loss) => (Class::Completed, loss),
            Outcome::Stopped(loss) => (Class::Stopped, loss),
        };
        let losses = if self.losses.is_empty() { vec![tidy(loss)] } else { self.losses.clone() };
        let has_number = if losses.len() > 1 { is_finite(&losses) } else { losses[0] < f64::INFINITY };
        let class = match class {
            Class::Completed | Class::Stopped if !has_number => Class::NoNumber,
            Class::Completed | Class::Stopped | Class::NoNumber | Class::Infeasible => class,
        };
        let steps_short = match class {
            Class::Stopped => self.step.map_or(u64::MAX, |step| u64::MAX - step),
            Class::Completed | Class::NoNumber | Class::Infeasible => 0,
        };
        Some((Level { class, steps_short }, losses))
    }
}
