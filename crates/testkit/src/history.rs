//! A history of calls, and whether it is linearizable: whether every answer is what one coordinator, doing one thing after
//! the other, could have given at some moment between the question and the answer.
//!
//! Sweeps and trials are independent objects, and a history is linearizable exactly where that of each of its objects is
//! (Herlihy and Wing, "Linearizability", 1990, theorem 1). The search for an order is stateright's.

use std::collections::BTreeMap;
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
    /// What agents say about an attempt, in order; they do not wait for the answer to one before they say the next.
    Agent {
        attempt: u32,
        place: u64,
    },
    Submitter(usize),
    /// Whoever was never answered. What may not have happened is tried when nothing else helps.
    Unanswered(usize),
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

#[derive(Clone, Debug)]
struct Call {
    object: Object,
    caller: Caller,
    begun: Duration,
    op: Op,
    answered: Option<(Duration, Answer)>,
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
                Object::Trial { .. } => has_an_order(Trial::default(), &calls),
            };
            assert!(is_consistent, "not linearizable: {object:?}\n{}", told(&calls));
        }
    }

    fn about(&mut self, attempt: Attempt, place: u64, begun: Duration, op: Op) -> CallId {
        let object = Object::Trial { sweep: attempt.sweep, trial: attempt.trial };
        self.begin(object, Caller::Agent { attempt: attempt.attempt, place }, begun, op)
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
    type Ret = Answer;

    fn invoke(&mut self, _: &Op) -> Answer {
        // A submit that nobody heard of again: which sweep it became shows by the next one.
        Answer::Done
    }

    fn is_valid_step(&mut self, _: &Op, answer: &Answer) -> bool {
        let Answer::Submitted(sweep) = answer else { return false };
        self.sweep.get_or_insert(*sweep) == sweep
    }
}

/// A trial, as far as the calls tell: attempts may be leased, and lost, without anybody hearing of it.
#[derive(Clone, Debug, Default)]
struct Trial {
    attempts: u32,
    last_step: u64,
    over: bool,
}

impl SequentialSpec for Trial {
    type Op = Op;
    type Ret = Answer;

    /// Where nobody heard of an answer: it happened, or did nothing.
    fn invoke(&mut self, op: &Op) -> Answer {
        let mut after = self.clone();
        if after.is_valid_step(op, &Answer::Done) {
            *self = after;
        }
        Answer::Done
    }

    fn is_valid_step(&mut self, op: &Op, answer: &Answer) -> bool {
        let is_live = |attempt: u32| !self.over && attempt == self.attempts;
        match (op, answer) {
            (Op::Lease { attempt }, Answer::Done) => {
                let is_next = !self.over && *attempt > self.attempts;
                self.attempts = self.attempts.max(*attempt);
                is_next
            }
            (Op::Report { attempt, step }, Answer::Done) => {
                let is_heard = is_live(*attempt);
                self.last_step = self.last_step.max(*step);
                is_heard
            }
            (Op::Finish { attempt, over }, Answer::Done) => {
                let is_heard = is_live(*attempt);
                self.over = *over;
                is_heard
            }
            (Op::Read, Answer::Trial(seen)) => {
                seen.attempts >= self.attempts && seen.last_step == self.last_step && seen.over == self.over
            }
            _ => false,
        }
    }
}

/// Searches for an order of the calls of one object.
fn has_an_order<S>(object: S, calls: &[&Call]) -> bool
where
    S: SequentialSpec<Op = Op, Ret = Answer> + Clone,
{
    // Calls that begin and end in the same moment overlap: beginnings first.
    let begins = calls.iter().enumerate().map(|(place, call)| (call.begun, None, place));
    let ends = calls.iter().enumerate().filter_map(|(place, call)| {
        let (at, answer) = call.answered?;
        Some((at, Some(answer), place))
    });
    let mut moments: Vec<(Duration, Option<Answer>, usize)> = begins.chain(ends).collect();
    moments.sort_by_key(|(at, answer, _)| (*at, answer.is_some()));
    let mut tester = LinearizabilityTester::new(object);
    for (_, answer, place) in moments {
        let Call { caller, op, answered, .. } = calls[place];
        let caller = if answered.is_some() { *caller } else { Caller::Unanswered(place) };
        let known = match answer {
            Some(answer) => tester.on_return(caller, answer),
            None => tester.on_invoke(caller, *op),
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
