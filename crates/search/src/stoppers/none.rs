//! Stops nothing.

use heats_domain::spec::PlugParams;

use super::Entry;
use crate::plug::{self, Built, NoParams};
use crate::{Event, Judged, Setting, Stopper, Verdict};

/// How the registry lists it.
pub const ENTRY: Entry = Entry {
    name: "none",
    summary: "every trial runs to its end",
    needs_objective: false,
    several_objectives: true,
    pauses: false,
    example: "{}",
    schema: || schemars::schema_for!(NoParams),
    plan: |_| None,
    build,
};

fn build(_: &Setting, params: &PlugParams) -> Built<dyn Stopper> {
    plug::read::<NoParams>(params)?;
    Ok(Box::new(Never))
}

struct Never;

impl Stopper for Never {
    fn observe(&mut self, _: &Event<'_>) {}

    fn judge(&self, _: Judged) -> Verdict {
        Verdict::Continue
    }
}
