//! An agent hands over the logs of attempts that are over.

use std::collections::BTreeSet;
use std::sync::Arc;

use heats_domain::units::Bytes;
use heats_domain::{AgentId, ArchiveName, SweepId};

use super::{Decision, sweep};
use crate::fact::{Fact, Logged, LogsDropped, LogsKept};
use crate::refusal::Refusal;
use crate::state::State;
use crate::sweep::Sweep;

/// Attempts that one bundle may name.
pub const ATTEMPTS_MAX: usize = 2_048;

/// A bundle that is on a majority of coordinators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeepLogs {
    /// Who has made it.
    pub agent: AgentId,
    /// Whose trials it is about.
    pub sweep: SweepId,
    /// Its name.
    pub bundle: ArchiveName,
    /// Its size, in bytes.
    pub length: u64,
    /// Whose logs are in it.
    pub attempts: BTreeSet<Logged>,
    /// How much may be kept of all sweeps together, in bytes: the oldest goes first.
    pub limit: u64,
    /// How much may be kept of one sweep, in bytes: see [`make_room`] for what goes first.
    pub sweep_limit: u64,
}

impl KeepLogs {
    /// Decides the request. What is named that is known already, still runs, or is another agent's, is left out; where nothing is
    /// left, nothing is recorded.
    ///
    /// # Errors
    /// There is no such sweep, or the bundle is larger than all logs of it may be.
    pub fn decide(self, state: &State) -> Decision<()> {
        let Self { agent, sweep: id, bundle, length, attempts, limit, sweep_limit } = self;
        let sweep = sweep(state, id)?;
        if length > limit.min(sweep_limit) {
            let bytes = usize::try_from(length).unwrap_or(usize::MAX);
            let limit = usize::try_from(limit.min(sweep_limit)).unwrap_or(usize::MAX);
            return Err(Refusal::TooLarge { what: "the bundle of logs", bytes, limit });
        }
        let is_news = |logged: &Logged| {
            let trial = sweep.trial(logged.trial);
            let attempt = trial.and_then(|trial| trial.attempts.get((logged.attempt as usize).wrapping_sub(1)));
            attempt.is_some_and(|attempt| attempt.has_ended_on(agent))
                && !sweep.logs.attempts.contains_key(&(logged.trial, logged.attempt, agent))
        };
        let attempts: Vec<Logged> = attempts.into_iter().filter(is_news).take(ATTEMPTS_MAX).collect();
        if attempts.is_empty() || sweep.logs.bundles.contains_key(bundle.as_str()) {
            return Ok((Vec::new(), ()));
        }
        let own = make_room(sweep, length, sweep_limit);
        let freed: u64 = own.iter().map(|(_, bytes)| bytes).sum();
        let mut excess = (state.shelf.bytes() + length).saturating_sub(limit + freed);
        let is_gone = |of: SweepId, name: &Arc<str>| of == id && own.iter().any(|(own, _)| own == name);
        let others = state.shelf.oldest().filter(|(of, name, _)| !is_gone(*of, name)).take_while(|(_, _, bytes)| {
            let goes = excess > 0;
            excess = excess.saturating_sub(*bytes);
            goes
        });
        let dropped = |sweep, bundle: &Arc<str>, why: &str| {
            Fact::LogsDropped(LogsDropped { sweep, bundle: bundle.to_string(), why: why.to_owned() })
        };
        let each = Bytes { count: sweep_limit }.rounded();
        let why = format!("newer logs of its sweep took its room; {each} of each are kept");
        let mut facts: Vec<Fact> = own.iter().map(|(bundle, _)| dropped(id, bundle, &why)).collect();
        facts.extend(others.map(|(sweep, bundle, _)| dropped(sweep, bundle, "newer logs took its room")));
        facts.push(Fact::LogsKept(LogsKept { sweep: id, bundle: bundle.to_string(), length, agent, attempts }));
        Ok((facts, ()))
    }
}

/// The bundles of a sweep, with their sizes, that go where one more of `length` bytes is to fit into `limit`: the oldest first. Those
/// with an attempt that failed only where no other is left, and at the very last that of the sweep's best trial.
fn make_room(sweep: &Sweep, length: u64, limit: u64) -> Vec<(Arc<str>, u64)> {
    let mut excess = (sweep.logs.bytes() + length).saturating_sub(limit);
    if excess == 0 {
        return Vec::new();
    }
    let attempts =
        sweep.best().into_iter().flat_map(|trial| (1..).zip(&trial.attempts).map(move |one| (trial.number, one)));
    let best: BTreeSet<&str> = attempts
        .flat_map(|(trial, (number, attempt))| attempt.agents().map(move |agent| (trial, number, agent)))
        .filter_map(|(trial, number, agent)| Some(sweep.logs.of(trial, number, agent)?.0))
        .collect();
    let is_best = |name: &Arc<str>| best.contains(name.as_ref());
    let first = sweep.logs.first_to_go().filter(|(name, _)| !is_best(name));
    let last = sweep.logs.first_to_go().filter(|(name, _)| is_best(name));
    let goes = first.chain(last).take_while(|(_, bytes)| {
        let goes = excess > 0;
        excess = excess.saturating_sub(*bytes);
        goes
    });
    goes.map(|(name, bytes)| (Arc::clone(name), bytes)).collect()
}

#[cfg(test)]
mod tests {
    use heats_domain::{AgentId, SweepId};

    use super::*;
    use crate::Op;
    use crate::ops::attempts::{End, Key};
    use crate::testing::{Cluster, SweepBuilder};

    fn bundle(sweep: SweepId, number: u8, length: u64, trials: &[u32]) -> KeepLogs {
        KeepLogs {
            agent: AgentId { bits: 1 },
            sweep,
            bundle: format!("{number:02x}").repeat(32).parse().expect("a name"),
            length,
            attempts: trials.iter().map(|&trial| Logged { trial, attempt: 1 }).collect(),
            limit: 100,
            sweep_limit: 100,
        }
    }

    fn keep(cluster: &mut Cluster, keep: KeepLogs) -> Result<crate::Reply, Refusal> {
        cluster.op(Op::KeepLogs(keep))
    }

    /// A sweep of four trials, of which the first three are over.
    fn sweep(cluster: &mut Cluster) -> (SweepId, Vec<Key>) {
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(4));
        cluster.attach(1, 8);
        let keys = cluster.dispatch();
        for key in &keys[..3] {
            cluster.complete(*key, 0.5);
        }
        (id, keys)
    }

    fn kept(cluster: &Cluster, id: SweepId) -> Vec<u32> {
        let logs = &cluster.sweep(id).logs;
        let here = logs.attempts.keys().filter(|(trial, attempt, agent)| {
            logs.of(*trial, *attempt, *agent).is_some_and(|(_, bundle)| bundle.dropped.is_none())
        });
        here.map(|(trial, ..)| *trial).collect()
    }

    #[test]
    fn what_runs_is_known_or_is_another_agents_is_left_out() {
        let mut cluster = Cluster::default();
        let (id, keys) = sweep(&mut cluster);
        keep(&mut cluster, bundle(id, 1, 10, &[0, 3, 9])).expect("is kept");
        assert_eq!(kept(&cluster, id), [0], "trial 3 runs, and there is no 9");
        let entries = cluster.entries.len();
        keep(&mut cluster, bundle(id, 1, 10, &[0, 1])).expect("is known");
        keep(&mut cluster, bundle(id, 2, 10, &[0])).expect("is known");
        let stranger = KeepLogs { agent: AgentId { bits: 2 }, ..bundle(id, 3, 10, &[1]) };
        keep(&mut cluster, stranger).expect("is nobody's");
        assert_eq!(cluster.entries.len(), entries, "none of them is news");
        cluster.finish(keys[3], End::Lost);
        keep(&mut cluster, bundle(id, 4, 10, &[0, 3])).expect("is kept");
        assert_eq!(kept(&cluster, id), [0, 3]);
    }

    #[test]
    fn the_oldest_bundles_of_all_sweeps_make_room_for_a_new_one() {
        let mut cluster = Cluster::default();
        let (first, _) = sweep(&mut cluster);
        let (second, _) = sweep(&mut cluster);
        keep(&mut cluster, bundle(first, 1, 40, &[0])).expect("is kept");
        keep(&mut cluster, bundle(second, 2, 30, &[0])).expect("is kept");
        keep(&mut cluster, bundle(first, 3, 30, &[1])).expect("is kept");
        assert_eq!((kept(&cluster, first), cluster.applied.shelf.bytes()), (vec![0, 1], 100));
        keep(&mut cluster, bundle(second, 4, 50, &[1])).expect("is kept");
        assert_eq!((kept(&cluster, first), kept(&cluster, second)), (vec![1], vec![1]));
        assert_eq!(cluster.applied.shelf.bytes(), 80);
        let (_, dropped) = cluster.sweep(first).logs.of(0, 1, AgentId { bits: 1 }).expect("is remembered");
        assert_eq!(dropped.dropped.as_deref(), Some("newer logs took its room"));
        keep(&mut cluster, bundle(first, 5, 1, &[0])).expect("does not come back");
        assert_eq!(kept(&cluster, first), [1]);
        assert!(matches!(keep(&mut cluster, bundle(first, 6, 101, &[2])), Err(Refusal::TooLarge { .. })));
    }

    #[test]
    fn a_sweep_that_is_removed_takes_its_logs_with_it_and_a_snapshot_knows_what_is_left() {
        let mut cluster = Cluster::default();
        let (first, keys) = sweep(&mut cluster);
        let (second, _) = sweep(&mut cluster);
        keep(&mut cluster, bundle(first, 1, 40, &[0])).expect("is kept");
        keep(&mut cluster, bundle(second, 2, 30, &[0])).expect("is kept");
        let records: Vec<_> = cluster.applied.records().map(|record| record.as_ref().clone()).collect();
        let again = State::from_records(cluster.applied.applied, cluster.applied.turn, records).expect("reads");
        assert_eq!(again.shelf.oldest().collect::<Vec<_>>(), cluster.applied.shelf.oldest().collect::<Vec<_>>());
        cluster.finish(keys[3], End::Exited(0));
        cluster.op(Op::Remove(first)).expect("has ended");
        assert_eq!(cluster.applied.shelf.bytes(), 30);
        assert!(matches!(keep(&mut cluster, bundle(first, 3, 1, &[1])), Err(Refusal::NoSuchSweep(_))));
    }

    #[test]
    fn a_sweep_at_its_limit_loses_its_oldest_logs_but_those_of_failures_and_of_its_best_last() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(8).top("run", serde_json::json!({"retries": 0})));
        cluster.attach(1, 8);
        let keys = cluster.dispatch();
        // Each ends and hands its logs over; the first fails.
        let mut keep = |trial: u8, loss: Option<f64>, bytes| {
            let key = keys[usize::from(trial)];
            match loss {
                Some(loss) => cluster.complete(key, loss),
                None => cluster.finish(key, End::Exited(1)),
            }
            let one = KeepLogs { sweep_limit: 40, ..bundle(id, trial, bytes, &[u32::from(trial)]) };
            keep(&mut cluster, one).expect("is kept");
            kept(&cluster, id)
        };
        assert_eq!(keep(0, None, 10), [0]);
        assert_eq!(keep(1, Some(0.1), 10), [0, 1]);
        assert_eq!(keep(2, Some(0.5), 10), [0, 1, 2]);
        assert_eq!(keep(3, Some(0.6), 20), [0, 1, 3], "the oldest, but for the failure and the best");
        assert_eq!(keep(4, Some(0.7), 20), [0, 1, 4]);
        assert_eq!(keep(5, Some(0.0), 25), [0, 5], "trial 1 is not the best any more");
        assert_eq!(keep(6, Some(0.9), 10), [5, 6], "failures go before the best");
        assert_eq!(keep(7, Some(0.9), 35), [7], "there is no room for what is kept longest");
        let why = cluster.sweep(id).logs.of(4, 1, AgentId { bits: 1 }).and_then(|(_, bundle)| bundle.dropped.clone());
        assert_eq!(why.as_deref(), Some("newer logs of its sweep took its room; 40 B of each are kept"));
        assert_eq!((cluster.sweep(id).logs.bytes(), cluster.applied.shelf.bytes()), (35, 35));
    }

    #[test]
    fn one_sweep_does_not_take_the_room_of_others() {
        let mut cluster = Cluster::default();
        let (first, _) = sweep(&mut cluster);
        let (second, _) = sweep(&mut cluster);
        let limited = |keep: KeepLogs| KeepLogs { sweep_limit: 60, ..keep };
        keep(&mut cluster, limited(bundle(first, 1, 40, &[0]))).expect("is kept");
        keep(&mut cluster, limited(bundle(second, 2, 60, &[0]))).expect("is kept");
        keep(&mut cluster, limited(bundle(second, 3, 50, &[1]))).expect("is kept");
        assert_eq!((kept(&cluster, first), kept(&cluster, second)), (vec![0], vec![1]));
        let large = keep(&mut cluster, limited(bundle(second, 4, 61, &[2])));
        assert!(matches!(large, Err(Refusal::TooLarge { limit: 60, .. })));
    }
}
