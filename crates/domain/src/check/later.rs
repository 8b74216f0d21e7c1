//! What the sweep file can say and this version does not do: each refused with a sentence, never ignored.
//! What becomes possible loses its line here.

use super::Context;
use crate::document::{Fault, Path};

/// The only version of the sweep file so far.
const VERSION: u32 = 1;

/// What this version does not do.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let spec = context.spec;
    let later =
        [(spec.version != VERSION, "version", "only version 1 of the sweep file is known", "write `version: 1`")];
    later
        .into_iter()
        .filter(|(asked_for, ..)| *asked_for)
        .map(|(_, path, message, hint)| Fault::new(Path::from(path), message).hint(hint))
        .collect()
}
