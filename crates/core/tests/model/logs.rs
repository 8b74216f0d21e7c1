//! What the oracle knows of logs: the bundles by their age, which is that of the turn, and within one by sweep and name.

use std::collections::{BTreeMap, BTreeSet};

use crate::oracle::{Answer, Oracle};

/// How much is kept.
pub const LOGS_MAX: u64 = 100;

#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// The turn.
    pub turn: u64,
    /// The sizes of those that are kept, by turn, sweep and bundle.
    kept: BTreeMap<(u64, u64, u8), u64>,
    /// The bundles and attempts that were ever kept, by sweep.
    known: BTreeMap<u64, Known>,
}

/// The bundles of one sweep, and the attempts in them with who ran them.
type Known = (BTreeSet<u8>, BTreeSet<(u32, u32, u64)>);

impl Logs {
    pub fn bundles(&self) -> Vec<(u64, u64)> {
        self.kept.iter().map(|((_, sweep, _), length)| (*sweep, *length)).collect()
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
        known.extend(news.into_iter().map(|(trial, number)| (trial, number, agent)));
        let Logs { turn, kept, .. } = &mut self.logs;
        while kept.values().sum::<u64>() + length > LOGS_MAX {
            kept.pop_first();
        }
        kept.insert((*turn, id, bundle), length);
        Answer::Done
    }
}
