//! Suggestions on the spot: the searcher thinks where it is asked. A coordinator thinks on other threads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use heats_core::dispatch::{Offer, Suggestions};
use heats_core::{Refusal, Sweep, history};
use heats_domain::{Params, SweepId};
use heats_search::{Ask, Searcher, Suggestion};

/// The searchers of one leader; a new leader starts with none, and they fold the history again.
#[derive(Default)]
pub struct Suggester {
    minds: BTreeMap<SweepId, Mind>,
    /// Why a sweep gets no suggestion.
    broken: Option<Refusal>,
}

struct Mind {
    searcher: Box<dyn Searcher>,
    /// How many records of the journal it has observed.
    seen: usize,
}

impl Suggester {
    /// Why a sweep gets no suggestions, where its searcher cannot be built.
    pub const fn broken(&self) -> Option<&Refusal> {
        self.broken.as_ref()
    }

    fn mind(&mut self, sweep: &Sweep) -> Result<&mut Mind, Refusal> {
        Ok(match self.minds.entry(sweep.id) {
            Entry::Occupied(mind) => mind.into_mut(),
            Entry::Vacant(place) => place.insert(Mind { searcher: history::searcher(sweep)?, seen: 0 }),
        })
    }
}

impl Suggestions for Suggester {
    fn offer(&mut self, sweep: &Sweep, fixed: Option<&Params>) -> Offer {
        let mind = match self.mind(sweep) {
            Ok(mind) => mind,
            Err(refusal) => {
                self.broken = Some(refusal);
                return Offer::Later;
            }
        };
        history::replay_from(sweep, mind.seen, |event| mind.searcher.observe(event));
        mind.seen = sweep.journal.len();
        let saw_index = sweep.journal.last().log_index;
        let none = Params::default();
        match mind.searcher.suggest(Ask { trial: sweep.proposed }, fixed.unwrap_or(&none)) {
            Suggestion::Try(params) => Offer::Ready { params, saw_index },
            Suggestion::Exhausted => Offer::Exhausted,
            Suggestion::Enough { why } => Offer::Enough { why },
            Suggestion::Infeasible { draws } => Offer::Infeasible { draws },
        }
    }
}
