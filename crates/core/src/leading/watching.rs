//! The part of the leader's turn that watches the machines: what is heard of attempts is judged by `ops::quarantine`, and
//! quarantined agents are tried again when their time is over.

use std::collections::BTreeSet;
use std::sync::Arc;

use heats_domain::{AgentId, SweepId};

use super::{Leading, TurnError};
use crate::fact::Fact;
use crate::health::is_own;
use crate::ops::quarantine::{self, News};
use crate::placement::Wish;
use crate::sweep::Sweep;
use crate::trial::Attempt;

impl Leading {
    /// What `fact`, which is recorded, says about the machines of an attempt, as it was `before`.
    pub(super) fn heard(&self, fact: &Fact, before: &Attempt) -> Vec<News> {
        let (Fact::TrialReported(_) | Fact::AttemptEnded(_)) = fact else { return Vec::new() };
        let trial = fact.sweep().and_then(|sweep| self.sweep(sweep)).zip(fact.trial());
        let attempt = trial.and_then(|(sweep, trial)| sweep.trial(trial)?.attempts.last());
        let Some(attempt) = attempt else { return Vec::new() };
        let failed = attempt.end.and_then(|end| end.failure).is_some_and(is_own);
        let is_news = match attempt.only_agent() {
            Some(_) => failed || attempt.worked && !before.worked,
            // All of its machines work where it has ended well; where it has failed, that says nothing of any of them.
            None => attempt.worked && attempt.end.is_some_and(|end| end.failure.is_none()),
        };
        let news = |agent| News { agent, leased_ms: attempt.leased_ms, worked: !failed };
        attempt.agents().filter(|_| is_news).map(news).collect()
    }

    /// Judges the machines by what was heard; the trials that this touched.
    pub(super) fn watch(&mut self) -> Result<BTreeSet<(SweepId, u32)>, TurnError> {
        let mut touched = BTreeSet::new();
        for news in std::mem::take(&mut self.news) {
            if news.worked && self.draft.quarantines.is_empty() {
                continue;
            }
            let sweeps: Vec<Arc<Sweep>> = self.active().cloned().collect();
            let sweeps: Vec<&Sweep> = sweeps.iter().map(AsRef::as_ref).collect();
            let elsewhere = self.go_elsewhere(&sweeps, news.agent);
            let mut facts = quarantine::judge(&self.draft, &sweeps, &elsewhere, news, self.now_ms);
            // What is known of the others, they are compared with.
            let quarantined: Vec<AgentId> = self.draft.quarantines.keys().copied().collect();
            for agent in quarantined.into_iter().filter(|agent| *agent != news.agent) {
                facts.extend(quarantine::reconsider(&self.draft, &sweeps, agent, self.now_ms));
            }
            for fact in facts {
                touched.extend(fact.sweep().zip(fact.trial()));
                self.record_one(fact)?;
            }
        }
        Ok(touched)
    }

    /// Those of the sweeps that fail on `agent` whose trials another one could run that is in no quarantine.
    fn go_elsewhere(&mut self, sweeps: &[&Sweep], agent: AgentId) -> BTreeSet<SweepId> {
        let failing = quarantine::failing(&self.draft, sweeps, agent);
        let Self { draft, places, .. } = self;
        let is_sound = |other| other != agent && draft.quarantine(other).is_none();
        let mut could = |sweep: &&&Sweep| places.could_take(sweep, &Wish::default(), is_sound);
        sweeps.iter().filter(|sweep| failing.contains(&sweep.id)).filter(|s| could(s)).map(|sweep| sweep.id).collect()
    }

    /// Opens the quarantined agents whose time is over for one trial.
    pub(super) fn probe(&mut self) {
        let now_ms = self.now_ms;
        let is_closed = |agent: &AgentId| self.draft.quarantine(*agent).is_some() && !self.places.has(*agent);
        let is_due = |agent: &AgentId| is_closed(agent) && self.draft.lets_through(*agent, now_ms);
        let due: Vec<AgentId> = self.draft.quarantines.keys().copied().filter(is_due).collect();
        for agent in due {
            self.reconsider(agent);
        }
    }

    /// Whether a quarantined agent may be given something may have changed.
    pub(super) fn reconsider_quarantined(&mut self, agent: AgentId) {
        if self.draft.quarantine(agent).is_some() {
            self.reconsider(agent);
        }
    }
}
