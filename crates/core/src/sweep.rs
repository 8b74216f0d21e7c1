//! One sweep as the state keeps it: its journal, and everything that follows from it.
//!
//! A sweep is a fold over its own journal and nothing else, so that a snapshot is the journals, and any
//! sweep can be replayed or forked alone.

use std::cmp::Ordering;
use std::sync::Arc;

use heats_domain::spec::{Objective, PROJECT};
use heats_domain::{Direction, Metrics, Params, Space, StopReason, SweepId, SweepSpec, TrialState};
use heats_search::searchers;
use imbl::{OrdMap, OrdSet, Vector};

use crate::fact::{Ending, Fact, Record, SweepSubmitted, TrialLeased, TrialReported};
use crate::health::{Part, Tally};
use crate::journal::Journal;
use crate::logs::Logs;
use crate::notices::Notices;
use crate::provenance::Named;
use crate::trial::Trial;

/// A sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Who it is.
    pub id: SweepId,
    /// What it is called; the newest sweep of a name is the one that the name means.
    pub name: String,
    /// What it was submitted as.
    pub spec: Arc<SweepSpec>,
    /// Its search space, ordered for assembly.
    pub space: Arc<Space>,
    /// What every random choice follows from.
    pub seed: u64,
    /// Everything that happened to it, in log order.
    pub journal: Journal,
    /// Its trials, by number.
    pub trials: Vector<Arc<Trial>>,
    /// How many of them were proposed, by the searcher or by a user: all but those that confirm.
    pub proposed: u32,
    /// The fresh runs of each leader that was confirmed, or is being so, by the leader's number.
    pub fresh: OrdMap<u32, Vector<u32>>,
    /// Where it stands.
    pub status: Status,
    /// How many trials it begins with, for one that trains a population; each of them may be replaced by a fork later.
    pub members: Option<u32>,
    /// The forks that may have to go on from another trial's checkpoint, by that trial's number.
    pub heirs: OrdMap<u32, OrdSet<u32>>,
    /// How many trials may be proposed; those that confirm come on top.
    pub trials_max: Option<u32>,
    /// Why that many, for people, where it is not what a user asked for.
    pub limit_why: String,
    /// How many may hold leases at once.
    pub parallel: Option<u32>,
    /// Which sweeps get places first: see `placement`.
    pub priority: u32,
    /// Who submitted it, as shares and quotas count; empty where that is not known.
    pub user: String,
    /// Points that users asked for and that are not trials yet, oldest first.
    pub queue: Vector<Params>,
    /// Trials that wait for an agent.
    pub waiting: OrdSet<u32>,
    /// Trials that hold a lease.
    pub live: OrdSet<u32>,
    /// Trials with checkpoints.
    pub stored: OrdSet<u32>,
    /// Those of them that have ended and have not failed: their checkpoints are kept only while they lead.
    pub finals: OrdSet<u32>,
    /// Trials that hold at a rung. One of them may still hold a lease, until its process has ended.
    pub paused: OrdSet<u32>,
    /// Trials per state.
    pub counts: Counts,
    /// Trials with a value, best first, without those that confirm; with several objectives, by the first. See
    /// [`Sweep::leaderboard`].
    pub ranking: OrdSet<Ranked>,
    /// What is to be told outside of the cluster.
    pub notices: Notices,
    /// What coordinators keep of its attempts' logs.
    pub logs: Logs,
    /// What it has used.
    pub ledger: Ledger,
    /// How far its trials went.
    pub(crate) strides: Strides,
    /// How many trials each rule stopped, by rung (0 for rules without rungs).
    pub stopped_by: OrdMap<(String, u64), u32>,
    /// What its trials ran in.
    pub named: Named,
    /// How its attempts fare on each machine and each of their GPUs, until it ends.
    pub tallies: OrdMap<Part, Tally>,
    /// Failures from before a user had the sweep go on: they do not count towards `budget.max_failures`.
    pub forgiven: u32,
    /// When it was submitted, or reopened since.
    pub opened_ms: u64,
    /// How long it had been open before it was reopened: what is over does not use up `budget.wall`.
    pub open_before_ms: u64,
}

/// Where a sweep stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Status {
    /// It creates and leases trials.
    Running,
    /// It leases nothing until it is resumed; running trials go on.
    Paused,
    /// It creates and leases nothing more; once no trial is live it will have ended so.
    Draining(Ending, String),
    /// It is over.
    Ended {
        /// How.
        ending: Ending,
        /// For people.
        why: String,
        /// When.
        at_ms: u64,
    },
}

impl Status {
    /// How the sweep ended, where it did.
    pub const fn ending(&self) -> Option<Ending> {
        match self {
            Self::Ended { ending, .. } => Some(*ending),
            Self::Running | Self::Paused | Self::Draining(..) => None,
        }
    }
}

/// Trials per state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    by_state: [u32; TrialState::ALL.len()],
}

impl Counts {
    /// How many trials are in `state`.
    pub const fn of(&self, state: TrialState) -> u32 {
        self.by_state[state as usize]
    }

    /// How many trials are terminal.
    pub fn terminal(&self) -> u32 {
        TrialState::ALL.into_iter().filter(|s| s.is_terminal()).map(|s| self.of(s)).sum()
    }

    pub(crate) const fn enter(&mut self, state: TrialState) {
        self.by_state[state as usize] += 1;
    }

    pub(crate) const fn leave(&mut self, state: TrialState) {
        self.by_state[state as usize] -= 1;
    }
}

/// What a sweep has used: the sums over its ended attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    /// Wall time of the processes, in milliseconds.
    pub attempt_ms: u64,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// Wall time times GPUs, in milliseconds.
    pub gpu_ms: u64,
}

/// A place in the ranking: better values first, then earlier trials.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ranked {
    /// The value as a loss; finite, and never a negative zero.
    pub loss: f64,
    /// Whose it is.
    pub trial: u32,
}

impl Eq for Ranked {}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.loss.total_cmp(&other.loss).then(self.trial.cmp(&other.trial))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What early stopping saved, in the units of the reports: an estimate, see [`Sweep::savings`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Savings {
    /// Steps that trials reported.
    pub steps: u64,
    /// Steps that stopped trials did not run.
    pub steps_saved: u64,
    /// The time that these would have taken, in milliseconds.
    pub ms_saved: u64,
}

/// How far the trials of a sweep went, in steps: what [`Savings`] follow from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Strides {
    /// Reports of all trials.
    pub(crate) reports: u64,
    /// The step that the longest trial reached.
    pub(crate) longest: u64,
    /// The trials that were stopped after their first report, and how far they got.
    pub(crate) stopped: Sum,
    /// The trials that ran to their end, and how far they got.
    pub(crate) whole: Sum,
    /// Wall time of the last processes of those, in milliseconds.
    pub(crate) whole_ms: u128,
}

impl Strides {
    /// A trial got to `step`.
    pub(crate) fn reach(&mut self, step: u64) {
        self.longest = self.longest.max(step);
    }

    /// A trial has come to its end in `state`.
    pub(crate) fn end(&mut self, trial: &Trial, state: TrialState) {
        let Some(last) = trial.last_step else { return };
        match state {
            TrialState::Stopped => self.stopped.add(last),
            TrialState::Completed => {
                self.whole.add(last);
                let end = trial.attempts.last().and_then(|attempt| attempt.end);
                self.whole_ms += end.map_or(0, |end| u128::from(end.ran_ms));
            }
            _ => {}
        }
    }
}

/// Trials, and their steps. Steps are whatever scripts say they are: times in nanoseconds must not overflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) trials: u32,
    pub(crate) steps: u128,
}

impl Sum {
    pub(crate) fn add(&mut self, step: u64) {
        self.trials += 1;
        self.steps += u128::from(step);
    }
}

/// A value of an objective as a loss: smaller is better, and what is no finite number is `+inf`, so
/// that it ranks worst. A loss that overflowed to `-inf` is a defect of the script, not a record.
pub fn loss(objective: &Objective, value: f64) -> f64 {
    // Adding zero makes a negative zero positive, so that equal values tie.
    if value.is_finite() { objective.direction().loss(value) + 0.0 } else { f64::INFINITY }
}

impl Sweep {
    pub(crate) fn new(fact: &SweepSubmitted, spec: SweepSpec, record: Arc<Record>) -> Self {
        let space = spec.space();
        let opened_ms = record.at_ms;
        Self {
            id: fact.sweep,
            name: fact.name.clone(),
            space: Arc::new(space),
            seed: fact.seed,
            journal: Journal::new(record),
            trials: Vector::new(),
            proposed: 0,
            fresh: OrdMap::new(),
            status: Status::Running,
            members: searchers::members(&spec),
            heirs: OrdMap::new(),
            trials_max: spec.budget.trials,
            limit_why: String::new(),
            parallel: spec.budget.parallel,
            priority: spec.priority,
            user: fact.user.clone(),
            queue: spec.search.enqueue.iter().cloned().collect(),
            waiting: OrdSet::new(),
            live: OrdSet::new(),
            stored: OrdSet::new(),
            finals: OrdSet::new(),
            paused: OrdSet::new(),
            counts: Counts::default(),
            ranking: OrdSet::new(),
            notices: Notices::new(spec.notify.len()),
            logs: Logs::default(),
            ledger: Ledger::default(),
            strides: Strides::default(),
            stopped_by: OrdMap::new(),
            named: Named::default(),
            tallies: OrdMap::new(),
            forgiven: 0,
            opened_ms,
            open_before_ms: 0,
            spec: Arc::new(spec),
        }
    }

    /// The project that it is part of.
    pub fn project(&self) -> &str {
        self.spec.project.as_deref().unwrap_or(PROJECT)
    }

    /// The fact that made it.
    pub fn submitted(&self) -> Option<(&SweepSubmitted, u64)> {
        let record = self.journal.first();
        match record.cell.fact.as_ref()? {
            Fact::SweepSubmitted(fact) => Some((fact, record.at_ms)),
            _ => None,
        }
    }

    /// The trial with this number.
    pub fn trial(&self, number: u32) -> Option<&Trial> {
        self.trials.get(number as usize).map(Arc::as_ref)
    }

    /// The proposed trial that searchers and stoppers know by this number.
    pub fn of_ordinal(&self, ordinal: u32) -> Option<&Trial> {
        // No trial comes before its ordinal, and few after it.
        let from = (ordinal as usize).min(self.trials.len());
        let mut trials = self.trials.focus().narrow(from..).into_iter().map(Arc::as_ref);
        trials.find(|trial| trial.confirms.is_none() && trial.ordinal == ordinal)
    }

    /// The facts about a trial, in order, but for its reports.
    pub fn records(&self, trial: &Trial) -> impl DoubleEndedIterator<Item = Arc<Record>> {
        trial.records.iter().filter_map(|&place| self.journal.get(place as usize))
    }

    /// The report at `place` of a trial's series, and when it was recorded.
    pub fn report(&self, trial: &Trial, place: usize) -> Option<(TrialReported, u64)> {
        let record = self.journal.get(trial.series.get(place)? as usize)?;
        match record.cell.fact.as_ref()? {
            Fact::TrialReported(fact) => Some((fact.clone(), record.at_ms)),
            _ => None,
        }
    }

    /// The configuration of a trial.
    pub fn params(&self, trial: &Trial) -> Option<Params> {
        self.records(trial).find_map(|record| match record.cell.fact.as_ref()? {
            Fact::TrialCreated(fact) => Some(fact.params.clone()),
            _ => None,
        })
    }

    /// The lease of one of a trial's attempts.
    pub fn lease_of(&self, trial: &Trial, attempt: u32) -> Option<TrialLeased> {
        self.records(trial).rev().find_map(|record| match record.cell.fact.as_ref()? {
            Fact::TrialLeased(fact) if fact.attempt == attempt => Some(fact.clone()),
            _ => None,
        })
    }

    /// The verdict that stopped a trial or has it hold, where a rule's last word was such a one.
    pub fn verdict(&self, trial: &Trial) -> Option<StopReason> {
        let last = self.records(trial).rev().find_map(|record| match record.cell.fact.as_ref()? {
            Fact::TrialSettled(fact) => Some(fact.reason.clone()),
            Fact::TrialResumed(_) => Some(None),
            _ => None,
        });
        last.flatten()
    }

    /// The verdict that was not carried out on a trial of the control group: at which step and rung, and why.
    pub fn spared(&self, trial: &Trial) -> Option<StopReason> {
        let records = trial.spared.then(|| self.records(trial))?;
        records.into_iter().find_map(|record| match record.cell.fact.as_ref()? {
            Fact::TrialSpared(fact) => Some(fact.reason.clone()),
            _ => None,
        })
    }

    /// What people should know about the last end of the trial.
    pub fn detail(&self, trial: &Trial) -> String {
        let last = self.records(trial).rev().find_map(|record| match record.cell.fact.as_ref()? {
            Fact::AttemptEnded(fact) if !fact.detail.is_empty() => Some(fact.detail.clone()),
            Fact::TrialSettled(fact) if !fact.why.is_empty() => Some(fact.why.clone()),
            _ => None,
        });
        last.unwrap_or_default()
    }

    /// What the trials are to make small or large, in the file's order.
    pub fn objectives(&self) -> &[Objective] {
        self.spec.objectives()
    }

    /// Whether there are several objectives, so that no trial need be the best.
    pub fn has_several(&self) -> bool {
        self.objectives().len() > 1
    }

    /// What a report measured: every objective's value, in their order. A report that lacks one of them measured nothing: a
    /// script may measure its validation loss less often than it reports.
    pub fn measured<'a>(&'a self, metrics: &'a Metrics) -> Option<impl Iterator<Item = f64> + 'a> {
        let value = |objective: &Objective| metrics.get(objective.metric());
        let is_whole = !self.objectives().is_empty() && self.objectives().iter().all(|o| value(o).is_some());
        is_whole.then(|| self.objectives().iter().filter_map(value))
    }

    /// The same as losses.
    pub fn losses<'a>(&'a self, metrics: &'a Metrics) -> Option<impl Iterator<Item = f64> + 'a> {
        let losses = |values| self.objectives().iter().zip(values).map(|(objective, value)| loss(objective, value));
        self.measured(metrics).map(losses)
    }

    /// The objective that ranks the trials; of several, the first.
    pub fn objective(&self) -> Option<&Objective> {
        self.spec.objective()
    }

    /// Which way is better; without an objective it does not matter.
    pub fn direction(&self) -> Direction {
        self.objective().map_or(Direction::Minimize, Objective::direction)
    }

    /// A value of the (first) objective as a loss, see [`loss`].
    pub fn loss(&self, value: f64) -> f64 {
        self.objective().map_or(value, |objective| loss(objective, value))
    }

    /// How long it has been open at `now_ms`.
    pub const fn open_ms(&self, now_ms: u64) -> u64 {
        self.open_before_ms + now_ms.saturating_sub(self.opened_ms)
    }

    /// The best trial: the first of the [`Sweep::leaderboard`]. With several objectives, the one on the front that is best in
    /// the first.
    pub fn best(&self) -> Option<&Trial> {
        if self.has_several() {
            return self.front().first().copied();
        }
        self.leaderboard().next()
    }

    /// How many trials exist.
    pub fn created(&self) -> u32 {
        self.trials.len() as u32
    }

    /// How many trials its searcher may propose, as its budget and its population are.
    pub fn begun_max(&self) -> Option<u32> {
        self.trials_max.into_iter().chain(self.members).min()
    }

    /// Whether the searcher may propose another trial.
    pub fn may_create(&self) -> bool {
        self.begun_max().is_none_or(|max| self.proposed < max)
    }

    /// Whether the budget allows another trial that replaces one.
    pub fn may_fork(&self) -> bool {
        !matches!(self.status, Status::Draining(..)) && self.trials_max.is_none_or(|max| self.proposed < max)
    }

    /// Whether another lease would keep within `budget.parallel`.
    pub fn may_lease(&self) -> bool {
        self.status == Status::Running && self.parallel.is_none_or(|max| (self.live.len() as u32) < max)
    }

    /// Whether it is over.
    pub const fn is_ended(&self) -> bool {
        matches!(self.status, Status::Ended { .. })
    }

    /// What early stopping saved so far: an estimate, and said to be one. A stopped trial would have run to
    /// the step that the longest trial reached, at the pace of the trials that ran to their end. Its own pace
    /// would count its start once per step; without a completed trial the time is not estimated.
    pub fn savings(&self) -> Savings {
        let Strides { reports, longest, stopped, whole, whole_ms } = self.strides;
        // What a member of a population does not run, the one runs that replaces it.
        let not_run = match self.members {
            None => (u128::from(longest) * u128::from(stopped.trials)).saturating_sub(stopped.steps),
            Some(_) => 0,
        };
        let steps_saved = u64::try_from(not_run).unwrap_or(u64::MAX);
        let ms_saved = (u128::from(steps_saved) * whole_ms).checked_div(whole.steps).unwrap_or(0);
        Savings { steps: reports, steps_saved, ms_saved: u64::try_from(ms_saved).unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::attempts::End;
    use crate::testing::{Cluster, SweepBuilder};

    #[test]
    fn savings_are_counted_at_the_pace_of_trials_that_ran_to_their_end() {
        let mut cluster = Cluster::default();
        let spec = SweepBuilder::minimize("loss").trials(2);
        let spec = spec.top("early_stop", serde_json::json!({ "algorithm": "threshold", "upper": 1.0 }));
        let id = cluster.submit(spec);
        cluster.attach(1, 2);
        let keys = cluster.dispatch();
        cluster.report(keys[1], 2, 5.0).expect("is live");
        cluster.finish(keys[1], End::Stopped);
        assert_eq!(cluster.sweep(id).savings().ms_saved, 0, "nothing is known about whole trials yet");
        cluster.report(keys[0], 10, 0.5).expect("is live");
        cluster.finish(keys[0], End::Exited(0));
        let savings = cluster.sweep(id).savings();
        assert_eq!((savings.steps_saved, savings.ms_saved), (8, 800), "10 steps took the completed trial a second");
    }
}
