//! What the oracle knows of logs: the bundles by their age, which is that of the turn, and within one by sweep and name.

use std::collections::{BTreeMap, BTreeSet};

use crate::oracle::{Answer, Oracle};

/// How much is kept.
pub const LOGS_MAX: u64 = 100;
/// And of one sweep.
pub const SWEEP_LOGS_MAX: u64 = 70;

#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// The turn.
    pub turn: u64,
    /// Those that are kept, by turn, sweep and bundle.
    kept: BTreeMap<(u64, u64, u8), Bundle>,
    /// The bundles and attempts that were ever kept, by sweep.
    known: BTreeMap<u64, Known>,
}

#[derive(Clone, Debug)]
struct Bundle {
    length: u64,
    attempts: BTreeSet<(u32, u32)>,
    /// Whether one of them had failed.
    failed: bool,
}

/// The bundles of one sweep, and the attempts in them with who ran them.
type Known = (BTreeSet<u8>, BTreeSet<(u32, u32, u64)>);

impl Logs {
    pub fn bundles(&self) -> Vec<(u64, u64)> {
        self.kept.iter().map(|((_, sweep, _), bundle)| (*sweep, bundle.length)).collect()
    }

    pub fn forget(&mut self, sweep: u64) {
        self.kept.retain(|(_, other, _), _| *other != sweep);
        self.known.remove(&sweep);
    }
}

impl Oracle {
    pub fn keep_logs(
        &mut self,
        id: u64,
        agent: u64,
        bundle: u8,
        length: u64,
        attempts: &BTreeSet<(u32, u32)>,
    ) -> Answer {
        let Some(sweep) = self.sweeps.get(&id) else { return Answer::Refused("H0001") };
        let (bundles, known) = self.logs.known.entry(id).or_default();
        let is_news = |(trial, number): &&(u32, u32)| {
            let attempt =
                sweep.trials.get(trial).and_then(|trial| trial.attempts.get((*number as usize).wrapping_sub(1)));
            let mut members = attempt.into_iter().flat_map(|attempt| &attempt.members);
            members.any(|member| member.agent == agent && member.ran.is_some())
                && !known.contains(&(*trial, *number, agent))
        };
        let news: BTreeSet<(u32, u32)> = attempts.iter().filter(is_news).copied().collect();
        if news.is_empty() || !bundles.insert(bundle) {
            return Answer::Done;
        }
        known.extend(news.iter().map(|(trial, number)| (*trial, *number, agent)));
        let attempt = |(trial, number): &(u32, u32)| &sweep.trials[trial].attempts[*number as usize - 1];
        let failed = news.iter().any(|logged| attempt(logged).has_failed());
        let best = sweep.best().map(|(trial, _)| trial);
        let Logs { turn, kept, .. } = &mut self.logs;
        let bytes = |kept: &BTreeMap<(u64, u64, u8), Bundle>| kept.values().map(|bundle| bundle.length).sum::<u64>();
        let own = |kept: &BTreeMap<(u64, u64, u8), Bundle>| {
            let own = kept.iter().filter(|((_, sweep, _), _)| *sweep == id);
            own.map(|(place, bundle)| (*place, bundle.clone())).collect::<BTreeMap<_, _>>()
        };
        while bytes(&own(kept)) + length > SWEEP_LOGS_MAX {
            let is_best = |bundle: &Bundle| bundle.attempts.iter().any(|(trial, _)| Some(*trial) == best);
            let worth = |(place, bundle): &((u64, u64, u8), Bundle)| (is_best(bundle), bundle.failed, *place);
            let (least, _) = own(kept).into_iter().min_by_key(worth).expect("there is something to drop");
            kept.remove(&least);
        }
        while bytes(kept) + length > LOGS_MAX {
            kept.pop_first();
        }
        kept.insert((*turn, id, bundle), Bundle { length, attempts: news, failed });
        Answer::Done
    }
}
