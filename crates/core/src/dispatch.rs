//! Which trial of a sweep is next: a waiting one before a new one. Where it gets its place: see `placement`.
//!
//! Decides; records nothing itself: the leader's turn does, after each lease, so that no place is given twice.

use std::borrow::Cow;

use heats_domain::spec::Resources;
use heats_domain::{Checkpoint, Params, TrialState};

use heats_search::Promotion;

use crate::fact::{Fact, TrialCreated, TrialLeased, TrialResumed};
use crate::ops::drain::settled;
use crate::ops::retries;
use crate::placement::{Found, Wish};
use crate::sweep::Sweep;
use crate::trial::Trial;

/// What a suggester has for the next trial of a sweep.
#[derive(Clone, PartialEq, Debug)]
pub enum Offer {
    /// This configuration.
    Ready {
        /// The configuration.
        params: Params,
        /// The log index up to which the searcher had seen the history.
        saw_index: u64,
    },
    /// It is being thought about; ask again.
    Later,
    /// Every configuration was suggested.
    Exhausted,
    /// Another trial is not worth its cost any more.
    Enough {
        /// Why not.
        why: String,
    },
    /// No configuration satisfies the constraints, as far as this many draws can tell.
    Infeasible {
        /// How many were drawn.
        draws: u32,
    },
}

/// Where suggestions come from.
pub trait Suggestions {
    /// The configuration of the trial that is proposed next, of ordinal `sweep.proposed`, with the `fixed` values kept where
    /// a user enqueued a point. A call that answers [`Offer::Later`] also asks for it to be made.
    fn offer(&mut self, sweep: &Sweep, fixed: Option<&Params>) -> Offer;
}

/// How long a sweep's attempts may take on average, in milliseconds, for its trials to be leased ahead.
pub const AHEAD_MS: u64 = 1_000;
/// How many trials must have ended before that is known.
const AHEAD_AFTER: u32 = 2;

/// What each trial of this sweep needs, where they are so short that the way to the leader and back counts: then one trial per
/// running one waits at the agent already. Longer ones are better proposed late, from all that is known by
/// then, and start where a place is free first. Agents count only processors for those that wait, so that
/// trials which ask for anything else are never leased ahead.
pub fn brisk(sweep: &Sweep) -> Option<&Resources> {
    let ended = sweep.counts.terminal();
    let [need] = sweep.spec.variants() else { return None };
    let only_processors = Resources { cpus: need.cpus, ..Resources::default() } == *need;
    let is_brisk = ended >= AHEAD_AFTER && sweep.ledger.attempt_ms / u64::from(ended) < AHEAD_MS;
    // Members of a population go where the checkpoint is that they go on from.
    (only_processors && is_brisk && sweep.members.is_none()).then_some(need)
}

/// Whether a trial waits for a place that is free, or takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It takes what it is granted.
    Free,
    /// It waits at the agent for the place of an attempt that runs there.
    Ahead,
}

/// How many trials of a sweep whose needs depend on the configuration may wait for a place before no other is proposed: those
/// behind them may fit where they do not.
const LOOK: usize = 16;

/// How long a trial that failed waits for an agent on which it has not failed, in milliseconds.
pub const PATIENCE_MS: u64 = 60_000;

/// A place for a trial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seat {
    /// Where, and what it gets there.
    pub found: Found,
    /// Whether it gets that at once.
    pub place: Place,
}

/// A trial that may get a place next.
#[derive(Clone, PartialEq, Debug)]
pub enum Next {
    /// It waits.
    Waiting(u32),
    /// It holds at a rung, and its rule lets it go on.
    Promoted(Promotion),
    /// It is to be created.
    New {
        /// Its configuration.
        params: Params,
        /// The log index up to which the searcher had seen the history.
        saw_index: u64,
    },
}

impl Next {
    /// The next trial for an agent that reaches these `storages` of checkpoints: a waiting one, else the one that the sweep's
    /// rule promotes, else a new one. Of those that are there the first that loses nothing by going on there; else the first,
    /// for a trial that waits for an agent that reaches its checkpoint may wait for ever.
    ///
    /// # Errors
    /// The offer that is not a configuration.
    pub fn of(
        sweep: &Sweep,
        storages: &[String],
        promotion: Option<Promotion>,
        suggestions: &mut dyn Suggestions,
    ) -> Result<Self, Offer> {
        let there = Self::there(sweep, promotion);
        let loses_nothing =
            |next: &Self| next.trial(sweep).is_none_or(|trial| reached(trial, storages) == trial.resumable(|_| true));
        let first = there.iter().position(loses_nothing).unwrap_or(0);
        match there.into_iter().nth(first) {
            Some(next) => Ok(next),
            None => Self::new(sweep, suggestions),
        }
    }

    /// The trials that are there already and may get a place, in the order in which they should; the first few of them.
    pub fn there(sweep: &Sweep, promotion: Option<Promotion>) -> Vec<Self> {
        // The members of a population may wait for places of different agents each.
        let look = if sweep.members.is_some() { usize::MAX } else { LOOK };
        sweep.waiting.iter().take(look).copied().map(Self::Waiting).chain(promotion.map(Self::Promoted)).collect()
    }

    /// A new trial.
    ///
    /// # Errors
    /// As [`Next::of`].
    pub fn new(sweep: &Sweep, suggestions: &mut dyn Suggestions) -> Result<Self, Offer> {
        match suggestions.offer(sweep, sweep.queue.front()) {
            Offer::Ready { params, saw_index } => Ok(Self::New { params, saw_index }),
            other => Err(other),
        }
    }

    /// The trial, where it is there already.
    fn trial<'a>(&self, sweep: &'a Sweep) -> Option<&'a Trial> {
        match self {
            Self::Waiting(number) => sweep.trial(*number),
            Self::Promoted(promotion) => sweep.trial(promotion.trial),
            Self::New { .. } => None,
        }
    }

    /// The storages that one must reach to run it: there are checkpoints of it, the one that it goes on from best first. `None`
    /// where it may begin from the beginning as well, which a fork never does.
    pub fn bound_to<'a>(&self, sweep: &'a Sweep) -> Option<Vec<&'a str>> {
        let trial = self.trial(sweep).filter(|trial| trial.forked.is_some())?;
        let best = trial.resumable(|_| true);
        let others = trial.checkpoints.iter().rev().chain(trial.origin());
        Some(best.into_iter().chain(others).map(|checkpoint| checkpoint.place.as_str()).collect())
    }

    /// The storage that has the checkpoint which it would go on from best.
    pub fn home<'a>(&self, sweep: &'a Sweep) -> Option<&'a str> {
        self.trial(sweep)?.resumable(|_| true).map(|checkpoint| checkpoint.place.as_str())
    }

    /// Whether it must be looked for a place of its own: it has failed before.
    pub fn is_particular(&self, sweep: &Sweep) -> bool {
        self.trial(sweep).is_some_and(|trial| retries::failed_on(trial).next().is_some())
    }

    /// What it wants of a place.
    pub fn wish<'a>(&'a self, sweep: &'a Sweep, now_ms: u64) -> Wish<'a> {
        let trial = self.trial(sweep);
        let ended_ms = trial.and_then(|trial| trial.attempts.last()?.end).map_or(0, |end| end.at_ms);
        Wish {
            params: self.params(sweep),
            home: self.home(sweep),
            failed_on: trial.into_iter().flat_map(retries::failed_on).collect(),
            is_patient: now_ms < ended_ms.saturating_add(PATIENCE_MS),
            outgrown: trial.and_then(|trial| retries::outgrown(sweep, trial)),
        }
    }

    /// Its configuration.
    pub fn params(&self, sweep: &Sweep) -> Option<Cow<'_, Params>> {
        match self {
            Self::Waiting(number) => sweep.params(sweep.trial(*number)?).map(Cow::Owned),
            Self::Promoted(promotion) => sweep.params(sweep.trial(promotion.trial)?).map(Cow::Owned),
            Self::New { params, saw_index: _ } => Some(Cow::Borrowed(params)),
        }
    }

    /// It gets this seat, on an agent that reaches these `storages`, or waits for one.
    pub fn facts(self, sweep: &Sweep, seat: Option<Seat>, storages: &[String]) -> Vec<Fact> {
        let from = self.trial(sweep).and_then(|trial| reached(trial, storages)).cloned();
        let (number, before) = match self {
            Self::Waiting(number) => (number, None),
            Self::Promoted(Promotion { trial, reason }) => {
                (trial, Some(Fact::TrialResumed(TrialResumed { sweep: sweep.id, trial, reason })))
            }
            Self::New { params, saw_index } => {
                let (trial, enqueued) = (sweep.created(), !sweep.queue.is_empty());
                let created =
                    TrialCreated { sweep: sweep.id, trial, params, saw_index, enqueued, confirms: None, forked: None };
                (trial, Some(Fact::TrialCreated(created)))
            }
        };
        let attempt = sweep.trial(number).map_or(0, Trial::attempt) + 1;
        let leased = seat.map(|Seat { found: Found { agent, grant, variant, members, port }, place }| {
            let (sweep, trial, ahead) = (sweep.id, number, place == Place::Ahead);
            Fact::TrialLeased(TrialLeased { sweep, trial, attempt, agent, grant, ahead, from, variant, members, port })
        });
        before.into_iter().chain(leased).collect()
    }
}

/// Whether a place must be looked for for each trial of the sweep alone: what it needs depends on its configuration, or it has
/// to go on from a certain checkpoint.
pub fn depends_on_trial(sweep: &Sweep) -> bool {
    sweep.members.is_some() || sweep.spec.variants().iter().any(|need| need.when.is_some())
}

/// How many trials of the sweep could use a place now, if there were as many.
pub fn wants(sweep: &Sweep) -> usize {
    let at_once = sweep.parallel.map_or(usize::MAX, |most| (most as usize).saturating_sub(sweep.live.len()));
    let new = sweep.begun_max().map_or(usize::MAX, |max| max.saturating_sub(sweep.proposed) as usize);
    at_once.min(sweep.waiting.len().saturating_add(sweep.paused.len()).saturating_add(new))
}

/// Whether a sweep whose needs depend on the configuration may propose another trial although there are some without a place.
pub fn may_propose(sweep: &Sweep) -> bool {
    sweep.may_create() && sweep.waiting.len() < LOOK
}

/// A trial that no variant of the sweep's `resources` is for cannot be run; the facts, after those that make it wait.
pub fn without_variant(sweep: &Sweep, trial: u32) -> Fact {
    settled(sweep, trial, TrialState::Infeasible, "no variant of `resources` is for its configuration")
}

/// The checkpoint that a trial would go on from where these storages are reached.
fn reached<'a>(trial: &'a Trial, storages: &[String]) -> Option<&'a Checkpoint> {
    trial.resumable(|checkpoint| storages.contains(&checkpoint.place))
}

/// The oldest enqueued point becomes a trial that cannot be run: it counts, and it never gets an agent.
pub fn reject(sweep: &Sweep) -> Vec<Fact> {
    let Some(params) = sweep.queue.front().cloned() else { return Vec::new() };
    let trial = sweep.created();
    let why = "no configuration that satisfies the conditions and constraints has these values";
    let created =
        TrialCreated { sweep: sweep.id, trial, params, saw_index: 0, enqueued: true, confirms: None, forked: None };
    vec![Fact::TrialCreated(created), settled(sweep, trial, TrialState::Infeasible, why)]
}

/// Whether there is a place for the sweep's next trial follows from more than its `resources`: from the trial, or from what is kept
/// free for it.
pub fn stands_apart(sweep: &Sweep, promotion: Option<Promotion>) -> bool {
    depends_on_trial(sweep)
        || sweep.spec.variants().iter().any(Resources::spans_machines)
        || Next::there(sweep, promotion).iter().any(|next| next.is_particular(sweep))
}

/// Whether the sweep could use a place now; `promotes` is whether its rule lets a trial go on that holds at a rung.
pub fn is_hungry(sweep: &Sweep, promotes: bool) -> bool {
    sweep.may_lease() && (!sweep.waiting.is_empty() || sweep.may_create() || promotes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::Op;
    use crate::ops::attempts::End;
    use crate::ops::attempts::Key;
    use crate::testing::{Cluster, SweepBuilder, attach, finish};

    /// The attempt reports and ends after `ran_ms`.
    fn run(cluster: &mut Cluster, key: Key, ran_ms: u64) {
        cluster.start(key);
        cluster.report(key, 1, 0.5).expect("is live");
        cluster.op(Op::Finish(finish(key, End::Exited(0), ran_ms))).expect("ends are never refused");
    }

    /// A sweep of `builder` on an agent with one processor; two trials ended after `ran_ms`, and a third runs.
    fn two_trials_of(cluster: &mut Cluster, builder: SweepBuilder, ran_ms: u64) -> Key {
        cluster.submit(builder);
        cluster.attach(1, 1);
        for _ in 0..2 {
            let key = cluster.dispatch_ahead()[0];
            run(cluster, key, ran_ms);
        }
        cluster.dispatch()[0]
    }

    #[test]
    fn a_short_trial_is_leased_ahead_for_each_that_runs_and_takes_its_place() {
        let mut cluster = Cluster::default();
        let running = two_trials_of(&mut cluster, SweepBuilder::minimize("loss").trials(6), 5);
        let ahead = cluster.dispatch_ahead();
        assert_eq!(ahead, [Key { trial: 3, ..running }]);
        assert_eq!(cluster.dispatch_ahead(), [], "one for each that runs");
        run(&mut cluster, running, 5);
        assert_eq!(cluster.dispatch(), [], "the place is the waiting trial's");
        assert_eq!(cluster.dispatch_ahead(), [Key { trial: 4, ..running }]);
        run(&mut cluster, ahead[0], 5);
        // Nothing of this depends on who leads: the next leader knows who waits for which place.
        cluster.fail_over();
        cluster.attach_holding(1, 1, &[Key { trial: 4, ..running }]);
        assert_eq!(cluster.dispatch_ahead(), [Key { trial: 5, ..running }]);
    }

    #[test]
    fn a_trial_that_was_leased_ahead_may_end_before_it_has_a_place() {
        let mut cluster = Cluster::default();
        let running = two_trials_of(&mut cluster, SweepBuilder::minimize("loss").trials(6), 5);
        let ahead = cluster.dispatch_ahead()[0];
        cluster.op(Op::CancelTrial(ahead.sweep, ahead.trial)).expect("is there");
        cluster.finish(ahead, End::Stopped);
        assert_eq!(cluster.dispatch_ahead(), [Key { trial: 4, ..running }]);
    }

    #[test]
    fn nothing_is_leased_ahead_where_it_would_do_harm() {
        let none = |builder: SweepBuilder, ran_ms, why: &str| {
            let mut cluster = Cluster::default();
            two_trials_of(&mut cluster, builder, ran_ms);
            assert_eq!(cluster.dispatch_ahead(), [], "{why}");
        };
        let sweep = || SweepBuilder::minimize("loss").trials(6);
        none(sweep(), super::AHEAD_MS, "long trials are proposed from all that is known when they start");
        none(sweep().set("budget", "parallel", 1), 5, "the user wants one at a time");
        none(SweepBuilder::minimize("loss").trials(3), 5, "the budget is used");
        none(sweep().set("resources", "memory", "1MiB"), 5, "agents do not count memory for those that wait");
        let mut cluster = Cluster::default();
        two_trials_of(&mut cluster, sweep(), 5);
        cluster.op(Op::Attach(attach(2, 1, 0))).expect("attaches");
        assert_eq!(cluster.dispatch_ahead().len(), 3, "the free place first, then one ahead at each agent");
    }

    #[test]
    fn two_sweeps_share_the_places_evenly() {
        let mut cluster = Cluster::default();
        let old = cluster.submit(SweepBuilder::minimize("loss").trials(20));
        cluster.attach(1, 2);
        assert_eq!(cluster.dispatch().len(), 2);
        let new = cluster.submit(SweepBuilder::minimize("loss").trials(20));
        cluster.attach(2, 4);
        let count = |keys: &[crate::ops::attempts::Key], id| keys.iter().filter(|key| key.sweep == id).count();
        let keys = cluster.dispatch();
        assert_eq!((count(&keys, old), count(&keys, new)), (1, 3), "three each, all in all");
    }

    #[test]
    fn a_sweep_that_fits_nowhere_leaves_the_places_to_the_others() {
        let mut cluster = Cluster::default();
        let large = cluster.submit(SweepBuilder::minimize("loss").set("resources", "cpus", 8));
        let small = cluster.submit(SweepBuilder::minimize("loss").trials(9));
        cluster.attach(1, 4);
        cluster.attach(2, 4);
        let keys = cluster.dispatch();
        assert!(keys.len() == 8 && keys.iter().all(|key| key.sweep == small), "{large} needs 8 processors at once");
    }

    #[test]
    fn no_more_trials_run_at_once_than_may() {
        let mut cluster = Cluster::default();
        cluster.submit(SweepBuilder::minimize("loss").trials(9).set("budget", "parallel", 2));
        cluster.attach(1, 8);
        let keys = cluster.dispatch();
        assert_eq!(keys.len(), 2);
        assert_eq!(cluster.dispatch(), []);
        cluster.complete(keys[0], 0.5);
        assert_eq!(cluster.dispatch().len(), 1);
    }

    #[test]
    fn no_gpu_is_shared_and_those_with_the_lowest_indices_go_first() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(9).set("resources", "gpus", 2));
        cluster.op(Op::Attach(attach(1, 16, 5))).expect("attaches");
        let keys = cluster.dispatch();
        let gpus = |n: u32| cluster.trial(id, n).attempts[0].grant.gpus.clone();
        assert_eq!((keys.len(), gpus(0), gpus(1)), (2, vec![0, 1], vec![2, 3]));
        cluster.complete(keys[0], 0.5);
        cluster.dispatch();
        assert_eq!(cluster.trial(id, 2).attempts[0].grant.gpus, [0, 1]);
    }

    #[test]
    fn memory_is_leased_like_processors() {
        let mut cluster = Cluster::default();
        cluster.submit(SweepBuilder::minimize("loss").trials(9).set("resources", "memory", "400MiB"));
        cluster.attach(1, 8);
        assert_eq!(cluster.dispatch().len(), 2, "1 GiB holds two");
    }

    #[test]
    fn a_trial_that_waits_goes_before_a_new_one() {
        let mut cluster = Cluster::default();
        cluster.submit(SweepBuilder::minimize("loss").trials(9));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.finish(key, End::Lost);
        assert_eq!(cluster.dispatch()[0].trial, 0);
    }

    #[test]
    fn a_suggestion_that_is_not_ready_costs_the_other_sweeps_nothing() {
        let mut cluster = Cluster::default();
        let slow = cluster.submit(SweepBuilder::minimize("loss"));
        let fast = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.attach(1, 2);
        cluster.suggestions.next.push_back(super::Offer::Later);
        let sweeps: BTreeSet<_> = cluster.dispatch().iter().map(|key| key.sweep).collect();
        assert!(sweeps.contains(&fast) && !sweeps.contains(&slow));
    }
}
