//! Earlier sweeps to learn from: what can be said without a coordinator. Which of them there are and what they teach, the
//! coordinator says that the sweep is submitted to.

use super::Context;
use crate::document::{Fault, Path};

/// From so many sweeps one may learn.
const MOST: usize = 16;

/// Names that cannot be a sweep's.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let from = &context.spec.search.from;
    let mut faults = Vec::new();
    if from.len() > MOST {
        let message = format!("{} sweeps to learn from are more than {MOST}", from.len());
        faults.push(Fault::new("search.from", message).at_key().hint("keep those that are most like this one"));
    }
    for (place, name) in from.iter().enumerate() {
        let at = Path::from("search.from").index(place);
        let proper = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(proper) {
            let hint = "write a sweep's name, its id, or `last`; `heats ls --all` lists them";
            faults.push(Fault::new(at, format!("{name:?} names no sweep")).hint(hint));
        } else if from[..place].contains(name) {
            faults.push(Fault::new(at, format!("`{name}` is named twice")).hint("remove one"));
        }
    }
    faults
}
