//! Searchers at work: each thinks on a blocking thread, off the leader's path, so that a model that takes
//! its time delays no report. Searchers that need no history answer at once, where they are asked.

use std::collections::BTreeMap;

use heats_core::dispatch::{Offer, Suggestions};
use heats_core::{Sweep, history};
use heats_domain::{Params, SweepId};
use heats_search::{Ask, Searcher, Suggestion};
use tokio::sync::mpsc;
use tracing::warn;

/// A searcher with the part of the history that it has seen.
struct Mind {
    searcher: Box<dyn Searcher>,
    /// How many records of the sweep's journal it has observed.
    seen: usize,
}

/// What a thread comes back with.
pub struct Thought {
    sweep: SweepId,
    mind: Mind,
    ready: Ready,
}

/// A suggestion, and what it was made for.
struct Ready {
    trial: u32,
    fixed: Option<Params>,
    offer: Offer,
}

enum Slot {
    Idle(Mind),
    Thinking,
    Ready(Mind, Ready),
    /// The searcher cannot be built: the sweep gets no suggestion, and says so once.
    Broken,
}

/// The searchers of the sweeps that this leader has dispatched.
pub struct Suggesters {
    slots: BTreeMap<SweepId, Slot>,
    done: mpsc::UnboundedSender<Thought>,
}

impl Suggesters {
    /// None yet; thoughts come out of the receiver, at most one per sweep at a time.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Thought>) {
        let (done, thoughts) = mpsc::unbounded_channel();
        (Self { slots: BTreeMap::new(), done }, thoughts)
    }

    /// Keeps what a thread came back with; the next dispatch finds it.
    pub fn keep(&mut self, thought: Thought) {
        self.slots.insert(thought.sweep, Slot::Ready(thought.mind, thought.ready));
    }

    /// Drops the searchers of sweeps that are not in `active`.
    pub fn retain(&mut self, active: impl Fn(SweepId) -> bool) {
        self.slots.retain(|&id, _| active(id));
    }

    fn mind(sweep: &Sweep) -> Option<Mind> {
        match history::searcher(sweep) {
            Ok(searcher) => Some(Mind { searcher, seen: 0 }),
            Err(error) => {
                warn!(sweep_id = %sweep.id, %error, "sweep has no searcher");
                None
            }
        }
    }
}

impl Suggestions for Suggesters {
    fn offer(&mut self, sweep: &Sweep, fixed: Option<&Params>) -> Offer {
        let trial = sweep.proposed;
        let slot = self.slots.remove(&sweep.id);
        let (mind, ready) = match slot {
            Some(Slot::Thinking) => {
                self.slots.insert(sweep.id, Slot::Thinking);
                return Offer::Later;
            }
            Some(Slot::Broken) => (None, None),
            Some(Slot::Idle(mind)) => (Some(mind), None),
            Some(Slot::Ready(mind, ready)) => (Some(mind), Some(ready)),
            None => (Self::mind(sweep), None),
        };
        let Some(mut mind) = mind else {
            self.slots.insert(sweep.id, Slot::Broken);
            return Offer::Later;
        };
        // What was made for another trial, or before a point was enqueued, does not count.
        if let Some(ready) = ready.filter(|ready| ready.trial == trial && ready.fixed.as_ref() == fixed) {
            self.slots.insert(sweep.id, Slot::Idle(mind));
            return ready.offer;
        }
        let fixed = fixed.cloned();
        if mind.searcher.is_history_free() {
            let ready = think(sweep, &mut mind, trial, fixed);
            self.slots.insert(sweep.id, Slot::Idle(mind));
            return ready.offer;
        }
        self.slots.insert(sweep.id, Slot::Thinking);
        let (sweep, done) = (sweep.clone(), self.done.clone());
        tokio::task::spawn_blocking(move || {
            let ready = think(&sweep, &mut mind, trial, fixed);
            // Nobody waits for it when this node does not lead any more.
            let _ = done.send(Thought { sweep: sweep.id, mind, ready });
        });
        Offer::Later
    }
}

/// Observes what is new in the journal, then suggests.
fn think(sweep: &Sweep, mind: &mut Mind, trial: u32, fixed: Option<Params>) -> Ready {
    history::replay_from(sweep, mind.seen, |event| mind.searcher.observe(event));
    mind.seen = sweep.journal.len();
    let saw_index = sweep.journal.last().log_index;
    let none = Params::default();
    let offer = match mind.searcher.suggest(Ask { trial }, fixed.as_ref().unwrap_or(&none)) {
        Suggestion::Try(params) => Offer::Ready { params, saw_index },
        Suggestion::Exhausted => Offer::Exhausted,
        Suggestion::Enough { why } => Offer::Enough { why },
        Suggestion::Infeasible { draws } => Offer::Infeasible { draws },
    };
    Ready { trial, fixed, offer }
}
