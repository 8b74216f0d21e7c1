//! Whether a sweep makes sense: what types cannot say. Works on the types alone, so that a sweep that
//! arrives without a file is checked alike. Knows no search algorithm and no stopper: those check
//! their own parameters. Looks at no file system.

mod command;
mod conditions;
mod constraints;
mod context;
mod draws;
mod enqueue;
mod from;
mod later;
mod limits;
mod names;
mod notify;
mod objective;
mod places;
mod resources;
mod sizes;
mod space;
mod types;
mod warm;

use context::Context;
pub use names::is_name;

use crate::SweepSpec;
use crate::document::{Fault, Path};

/// Everything in `spec` that does not make sense, or that this version does not do yet.
pub fn check(spec: &SweepSpec) -> Vec<Fault> {
    check_partial(spec, &[])
}

/// The same for a sweep whose parts `absent` could not be read: nothing is held against their absence.
pub(crate) fn check_partial(spec: &SweepSpec, absent: &[Path]) -> Vec<Fault> {
    let oversized = sizes::check(spec);
    if !oversized.is_empty() {
        // The other rules compare everything with everything.
        return oversized;
    }
    let context = Context::new(spec, absent);
    let rules: [fn(&Context<'_>) -> Vec<Fault>; 15] = [
        later::check,
        names::check,
        command::check,
        places::check,
        space::check,
        conditions::check,
        constraints::check,
        draws::check,
        enqueue::check,
        from::check,
        objective::check,
        limits::check,
        warm::check,
        resources::check,
        notify::check,
    ];
    rules.iter().flat_map(|rule| rule(&context)).collect()
}

/// A number as people write it: 0 and not 0.0, 1e-5 and not 0.00001.
fn number(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 { format!("{x:.0}") } else { format!("{x:?}") }
}
