//! A history of calls, and whether it is linearizable: whether every answer is what one coordinator, doing one thing after
//! the other, could have given at some moment between the question and the answer.
//!
//! Sweeps and trials are independent objects, and a history is linearizable exactly where that of each of its objects is
//! (Herlihy and Wing, "Linearizability", 1990, theorem 1). The search for an order is stateright's.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

/// A request that a sweep was submitted by.
pub type Request = u64;
/// A sweep's id.
pub type Sweep = u64;

/// One attempt of a trial.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Attempt {
    /// The sweep.
    pub sweep: Sweep,
    /// The trial's number in it.
    pub trial: u32,
    /// Counted from 1.
    pub attempt: u32,
}

/// What somebody was shown of a trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its number in the sweep.
    pub trial: u32,
    /// How many attempts it has had.
    pub attempts: u32,
    /// The last step that it reported; 0 where there is none.
    pub last_step: u64,
    /// Whether it has come to its end.
    pub over: bool,
}

/// A call that was begun, to say later that it was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallId(usize);

/// What was called upon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Object {
    Request(Request),
    Trial { sweep: Sweep, trial: u32 },
}

/// Who calls: one thing at a time each. The search tries them in this order, readers first, so that it finds its way
/// without turning back where all is well.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Caller {
    Reader(usize),
    /// What agents say about an attempt, in order; they do not wait for the answer to one before they say the next, and say
    /// one again where they heard nothing.
    Agent {
        attempt: u32,
        place: u64,
        call: usize,
    },
    Submitter(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Submit,
    Lease { attempt: u32 },
    Report { attempt: u32, step: u64 },
    Finish { attempt: u32, over: bool },
    Read,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Done,
    Submitted(Sweep),
    Trial(Seen),
}

/// When a call was answered, and how.
type Answered = (Duration, Answer);

#[derive(Clone, Debug)]
struct Call {
    object: Object,
    caller: Caller,
    begun: Duration,
    op: Op,
    answered: Option<Answered>,
}

/// The calls of one run, by times of one clock. Calls that overlap may be added in any order.
#[derive(Clone, Debug, Default)]
pub struct History {
    calls: Vec<Call>,
    submits: usize,
}

impl History {
    /// Somebody submits a sweep, for the first time or again.
    pub fn submit(&mut self, begun: Duration, request: Request) -> CallId {
        self.submits += 1;
        self.begin(Object::Request(request), Caller::Submitter(self.submits), begun, Op::Submit)
    }

    /// The submit was answered by this sweep.
    pub fn submitted(&mut self, call: CallId, answered: Duration, sweep: Sweep) {
        self.calls[call.0].answered.get_or_insert((answered, Answer::Submitted(sweep)));
    }

    /// An agent that had offered itself by `begun` was told to run this attempt.
    pub fn leased(&mut self, begun: Duration, told: Duration, attempt: Attempt) {
        let call = self.about(attempt, 0, begun, Op::Lease { attempt: attempt.attempt });
        self.acknowledged(call, told);
    }

    /// An agent says that an attempt has come to this step.
    pub fn report(&mut self, begun: Duration, attempt: Attempt, step: u64) -> CallId {
        self.about(attempt, step, begun, Op::Report { attempt: attempt.attempt, step })
    }

    /// An agent says that an attempt has ended; `over` where that ends its trial.
    pub fn finish(&mut self, begun: Duration, attempt: Attempt, over: bool) -> CallId {
        self.about(attempt, u64::MAX, begun, Op::Finish { attempt: attempt.attempt, over })
    }

    /// What was said is kept. The first acknowledgement counts.
    pub fn acknowledged(&mut self, call: CallId, answered: Duration) {
        self.calls[call.0].answered.get_or_insert((answered, Answer::Done));
    }

    /// A reader, who does one thing at a time, asked about a sweep and was shown these trials.
    pub fn read(
        &mut self,
        reader: usize,
        begun: Duration,
        answered: Duration,
        sweep: Sweep,
        shown: impl IntoIterator<Item = Seen>,
    ) {
        // Who is answered and asks again in one moment asks after the answer.
        let begun = begun + Duration::from_nanos(1);
        for seen in shown {
            let object = Object::Trial { sweep, trial: seen.trial };
            let call = self.begin(object, Caller::Reader(reader), begun, Op::Read);
            self.calls[call.0].answered = Some((answered, Answer::Trial(seen)));
        }
    }

    /// Trials of this sweep hold at rungs: one that has run to its end, as far as its agent knows, was paused before that
    /// where its coordinator has said so, and may be leased again. Of such a sweep nobody is shown what is over.
    pub fn pauses(&mut self, sweep: Sweep) {
        let of_sweep = |call: &&mut Call| matches!(call.object, Object::Trial { sweep: other, .. } if other == sweep);
        for call in self.calls.iter_mut().filter(of_sweep) {
            if let Op::Finish { over, .. } = &mut call.op {
                *over = false;
            }
        }
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether nobody called.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Nothing, where the history is linearizable.
    ///
    /// # Panics
    /// With the calls of an object that have no order.
    pub fn expect_linearizable(&self) {
        let mut objects: BTreeMap<Object, Vec<&Call>> = BTreeMap::new();
        for call in &self.calls {
            objects.entry(call.object).or_default().push(call);
        }
        for (object, calls) in objects {
            let is_consistent = match object {
                Object::Request(_) => has_an_order(Submitted::default(), &calls),
                Object::Trial { .. } => has_an_order(Trial::of(&calls), &calls),
            };
            assert!(is_consistent, "not linearizable: {object:?}\n{}", told(&calls));
        }
    }

    fn about(&mut self, attempt: Attempt, place: u64, begun: Duration, op: Op) -> CallId {
        let object = Object::Trial { sweep: attempt.sweep, trial: attempt.trial };
        let caller = Caller::Agent { attempt: attempt.attempt, place, call: self.calls.len() };
        self.begin(object, caller, begun, op)
    }

    fn begin(&mut self, object: Object, caller: Caller, begun: Duration, op: Op) -> CallId {
        self.calls.push(Call { object, caller, begun, op, answered: None });
        CallId(self.calls.len() - 1)
    }
}

/// A request, carried out once.
#[derive(Clone, Debug, Default)]
struct Submitted {
    sweep: Option<Sweep>,
}

impl SequentialSpec for Submitted {
    type Op = Op;
    type Ret = Answered;

    fn invoke(&mut self, op: &Op) -> Answered {
        unanswered(op)
    }

    fn is_valid_step(&mut self, _: &Op, (_, answer): &Answered) -> bool {
        let Answer::Submitted(sweep) = answer else { return false };
        self.sweep.get_or_insert(*sweep) == sweep
    }
}

/// A trial, as far as the calls tell: attempts may be leased, and lost, without anybody hearing of it.
///
/// A call that was never answered may have happened at any moment after it was begun, or not at all. To let the search try
/// each would double its work with every one of them, so the trial keeps what may have happened by now, and decides when a
/// reader is shown it.
#[derive(Clone, Debug, Default)]
struct Trial {
    attempts: u32,
    last_step: u64,
    over: bool,
    /// The last step that its last attempt was heard to say.
    said: u64,
    /// What was never answered: when it was begun, and what it was.
    unanswered: Rc<[(Duration, Op)]>,
    /// Steps above the last that may have been reported by now, and when those reports were begun.
    unheard: BTreeSet<(u64, Duration)>,
    /// When the latest of the unanswered calls was begun that are known to have happened: whatever follows them in the order
    /// was answered later than that.
    since: Duration,
}

impl Trial {
    fn of(calls: &[&Call]) -> Self {
        let unanswered = calls.iter().filter(|call| call.answered.is_none());
        Self { unanswered: unanswered.map(|call| (call.begun, call.op)).collect(), ..Self::default() }
    }

    fn is_live(&self, attempt: u32) -> bool {
        !self.over && attempt == self.attempts
    }

    /// What was never answered, was begun by then, and is about the attempt that is live.
    fn may_happen(&self, until: Duration) -> impl Iterator<Item = (Duration, Op)> {
        let about_the_live = |op: &Op| match op {
            Op::Report { attempt, .. } | Op::Finish { attempt, .. } => self.is_live(*attempt),
            Op::Submit | Op::Lease { .. } | Op::Read => false,
        };
        self.unanswered.iter().copied().filter(move |(begun, op)| *begun <= until && about_the_live(op))
    }

    /// The next call in the order is answered at this moment, so what it follows was begun by then.
    fn move_on(&mut self, until: Duration) {
        self.unheard.retain(|(_, begun)| *begun <= until);
        let reports = self.may_happen(until).filter_map(|(begun, op)| match op {
            Op::Report { step, .. } if step > self.last_step => Some((step, begun)),
            _ => None,
        });
        let reports: Vec<_> = reports.collect();
        self.unheard.extend(reports);
    }

    /// Whether a reader can have been shown this, at the latest by `until`.
    fn can_show(&mut self, seen: &Seen, until: Duration) -> bool {
        if seen.last_step != self.last_step {
            let reports = self.unheard.range((seen.last_step, Duration::ZERO)..);
            let Some((_, begun)) = reports.copied().next().filter(|(step, _)| *step == seen.last_step) else {
                return false;
            };
            self.since = self.since.max(begun);
            self.last_step = seen.last_step;
        }
        if seen.over && !self.over {
            let ends = self.may_happen(until).filter(|(_, op)| matches!(op, Op::Finish { over: true, .. }));
            let Some(begun) = ends.map(|(begun, _)| begun).min() else { return false };
            self.since = self.since.max(begun);
            self.over = true;
        }
        // A later step has not been reported, or it would have been shown.
        self.unheard.clear();
        seen.attempts >= self.attempts && seen.over == self.over
    }
}

impl SequentialSpec for Trial {
    type Op = Op;
    type Ret = Answered;

    fn invoke(&mut self, op: &Op) -> Answered {
        unanswered(op)
    }

    fn is_valid_step(&mut self, op: &Op, (at, answer): &Answered) -> bool {
        self.move_on(*at);
        let is_right = match (op, answer) {
            (Op::Lease { attempt }, Answer::Done) => {
                let is_next = !self.over && *attempt > self.attempts;
                self.attempts = self.attempts.max(*attempt);
                self.said = 0;
                is_next
            }
            (Op::Report { attempt, step }, Answer::Done) => {
                // An agent says its steps in order. Without that, the search would try every order of those that it says
                // all at once after it was cut off.
                let is_heard = self.is_live(*attempt) && *step >= self.said;
                self.said = *step;
                self.last_step = self.last_step.max(*step);
                is_heard
            }
            (Op::Finish { attempt, over }, Answer::Done) => {
                let is_heard = self.is_live(*attempt);
                self.over = *over;
                is_heard
            }
            (Op::Read, Answer::Trial(seen)) => self.can_show(seen, *at),
            _ => false,
        };
        is_right && *at >= self.since
    }
}

/// Only what was answered is searched.
fn unanswered(op: &Op) -> Answered {
    unreachable!("{op:?} was never answered")
}

/// Searches for an order of the calls of one object.
fn has_an_order<S>(object: S, calls: &[&Call]) -> bool
where
    S: SequentialSpec<Op = Op, Ret = Answered> + Clone,
{
    // Calls that begin and end in the same moment overlap: beginnings first.
    let answered = || calls.iter().filter_map(|call| Some((call, call.answered?)));
    let begins = answered().map(|(call, _)| (call.begun, None, call));
    let ends = answered().map(|(call, answer)| (answer.0, Some(answer), call));
    let mut moments: Vec<_> = begins.chain(ends).collect();
    moments.sort_by_key(|(at, answer, _)| (*at, answer.is_some()));
    let mut tester = LinearizabilityTester::new(object);
    for (_, answer, call) in moments {
        let known = match answer {
            Some(answer) => tester.on_return(call.caller, answer),
            None => tester.on_invoke(call.caller, call.op),
        };
        known.unwrap_or_else(|why| panic!("a history that nobody can have made: {why}\n{}", told(calls)));
    }
    tester.is_consistent()
}

fn told(calls: &[&Call]) -> String {
    let mut calls = calls.to_vec();
    calls.sort_by_key(|call| call.begun);
    let line = |call: &&Call| {
        let Call { caller, begun, op, answered, .. } = call;
        let answer = answered.map_or_else(|| "no answer".to_owned(), |(at, answer)| format!("{at:?} {answer:?}"));
        format!("  {begun:?} {caller:?} {op:?} -> {answer}\n")
    };
    calls.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: Attempt = Attempt { sweep: 1, trial: 0, attempt: 1 };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn seen(last_step: u64, over: bool) -> Seen {
        Seen { trial: 0, attempts: 1, last_step, over }
    }

    fn is_linearizable(history: &History) -> bool {
        std::panic::catch_unwind(|| history.expect_linearizable()).is_ok()
    }

    /// A trial that is leased, reports twice and ends; the second report's acknowledgement takes long.
    fn usual() -> History {
        let mut history = History::default();
        history.leased(at(0), at(10), ATTEMPT);
        for (step, begun, answered) in [(1, 20, 30), (2, 40, 90)] {
            let call = history.report(at(begun), ATTEMPT, step);
            history.acknowledged(call, at(answered));
        }
        let call = history.finish(at(100), ATTEMPT, true);
        history.acknowledged(call, at(110));
        history
    }

    #[test]
    fn while_a_report_is_on_its_way_it_may_be_seen_or_not_and_once_seen_it_stays() {
        for (shown, fine) in [([1, 1], true), ([1, 2], true), ([2, 2], true), ([2, 1], false), ([0, 1], false)] {
            let mut history = usual();
            history.read(0, at(50), at(60), 1, [seen(shown[0], false)]);
            history.read(1, at(70), at(80), 1, [seen(shown[1], false)]);
            assert_eq!(is_linearizable(&history), fine, "{shown:?}");
        }
    }

    #[test]
    fn what_was_acknowledged_is_seen_by_whoever_asks_later() {
        for (shown, fine) in [(seen(2, true), true), (seen(2, false), false), (seen(1, true), false)] {
            let mut history = usual();
            history.read(0, at(120), at(130), 1, [shown]);
            assert_eq!(is_linearizable(&history), fine, "{shown:?}");
        }
    }

    #[test]
    fn a_report_that_nobody_acknowledged_may_have_happened_or_not() {
        for (shown, fine) in [(1, true), (2, true), (3, false)] {
            let mut history = History::default();
            history.leased(at(0), at(10), ATTEMPT);
            let call = history.report(at(20), ATTEMPT, 1);
            history.acknowledged(call, at(30));
            history.report(at(40), ATTEMPT, 2);
            history.read(0, at(50), at(60), 1, [seen(shown, false)]);
            assert_eq!(is_linearizable(&history), fine, "{shown}");
        }
    }

    #[test]
    fn nothing_is_acknowledged_to_an_attempt_that_another_has_followed() {
        let mut history = usual();
        let next = Attempt { trial: 1, attempt: 2, ..ATTEMPT };
        let first = Attempt { attempt: 1, ..next };
        history.leased(at(0), at(10), first);
        history.leased(at(20), at(30), next);
        let call = history.report(at(40), first, 1);
        assert!(is_linearizable(&history));
        history.acknowledged(call, at(50));
        assert!(!is_linearizable(&history));
    }

    #[test]
    fn what_nobody_acknowledged_happened_once_it_was_shown_and_only_while_its_attempt_was_live() {
        let first = Attempt { trial: 0, ..ATTEMPT };
        let second = Attempt { attempt: 2, ..first };
        let shown = |attempts, last_step, over| Seen { trial: 0, attempts, last_step, over };
        for (before, between, after, fine) in [
            (shown(1, 7, false), None, shown(1, 7, true), true),
            (shown(1, 0, false), None, shown(1, 7, false), true),
            (shown(1, 7, false), None, shown(1, 0, false), false),
            (shown(1, 0, true), None, shown(1, 7, true), false),
            (shown(1, 0, true), None, shown(1, 0, false), false),
            (shown(1, 0, false), Some(second), shown(2, 7, false), true),
            (shown(1, 0, false), Some(second), shown(2, 7, true), false),
            (shown(1, 0, true), Some(second), shown(2, 0, true), false),
        ] {
            let mut history = History::default();
            history.leased(at(0), at(10), first);
            history.report(at(20), first, 7);
            history.finish(at(20), first, true);
            history.read(0, at(30), at(40), 1, [before]);
            if let Some(next) = between {
                history.leased(at(50), at(60), next);
            }
            history.read(0, at(70), at(80), 1, [after]);
            assert_eq!(is_linearizable(&history), fine, "{before:?} {between:?} {after:?}");
        }
    }

    #[test]
    fn nothing_is_shown_before_it_was_begun() {
        for (begun, fine) in [(35, true), (45, false)] {
            let mut history = History::default();
            history.leased(at(0), at(10), ATTEMPT);
            history.report(at(begun), ATTEMPT, 1);
            // Who asked later was answered first.
            history.read(0, at(20), at(60), 1, [seen(1, false)]);
            history.read(1, at(30), at(40), 1, [seen(1, false)]);
            assert_eq!(is_linearizable(&history), fine, "{begun}");
        }
    }

    #[test]
    fn the_search_ends_soon_where_hardly_anything_was_answered() {
        let mut history = History::default();
        history.leased(at(0), at(10), ATTEMPT);
        for step in 1..=40 {
            history.report(at(20 + step), ATTEMPT, step);
            history.finish(at(20 + step), ATTEMPT, true);
        }
        // Leased anew, for all that anybody knows, as soon as it was leased for the first time.
        history.leased(at(11), at(200), Attempt { attempt: 2, ..ATTEMPT });
        for reader in 0..20 {
            let begun = at(100 + reader as u64);
            history.read(reader, begun, begun + at(1), 1, [Seen { attempts: 2, ..seen(17, false) }]);
        }
        assert!(is_linearizable(&history));
    }

    #[test]
    fn one_request_is_one_sweep() {
        for (second, fine) in [(7, true), (8, false)] {
            let mut history = History::default();
            history.submit(at(0), 1);
            for (begun, sweep) in [(10, 7), (20, second)] {
                let call = history.submit(at(begun), 1);
                history.submitted(call, at(begun + 5), sweep);
            }
            assert_eq!(is_linearizable(&history), fine);
        }
    }
}
