//! The part of the leader's turn that watches the machines: what is heard of attempts is judged by `ops::quarantine`, and
//! what is quarantined is tried again when its time is over.

use std::collections::BTreeSet;
use std::sync::Arc;

use heats_domain::{AgentId, SweepId};

use super::{Leading, TurnError};
use crate::fact::Fact;
use crate::health::{Part, is_own};
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
        let news = |part| News { part, leased_ms: attempt.leased_ms, worked: !failed };
        attempt.all_parts().filter(|_| is_news).map(news).collect()
    }

    /// Judges the machines by what was heard; the trials that this touched.
    pub(super) fn watch(&mut self) -> Result<BTreeSet<(SweepId, u32)>, TurnError> {
        let mut touched = BTreeSet::new();
        for news in std::mem::take(&mut self.news) {
            if news.worked && self.draft.quarantines.is_empty() {
                continue;
            }
            self.catch_up();
            let quarantined =
                self.draft.quarantines.keys().copied().filter(|part| self.draft.quarantine(*part).is_some());
            let parts = quarantined.chain([news.part]);
            let tried = self.roster.tried_on(parts);
            let sweeps: Vec<Arc<Sweep>> = tried.iter().filter_map(|id| self.draft.sweeps.get(id)).cloned().collect();
            let sweeps: Vec<&Sweep> = sweeps.iter().map(AsRef::as_ref).collect();
            let elsewhere = self.go_elsewhere(&sweeps, news.part);
            let mut facts = quarantine::judge(&self.draft, &sweeps, &elsewhere, news, self.now_ms);
            // What is known of the others, they are compared with.
            let quarantined: Vec<Part> = self.draft.quarantines.keys().copied().collect();
            for part in quarantined.into_iter().filter(|part| *part != news.part) {
                facts.extend(quarantine::reconsider(&self.draft, &sweeps, part, self.now_ms));
            }
            for fact in facts {
                touched.extend(fact.sweep().zip(fact.trial()));
                self.record_one(fact)?;
            }
        }
        Ok(touched)
    }

    /// Those of the sweeps that fail on `part` whose trials could run without it, and without whatever else is quarantined.
    fn go_elsewhere(&mut self, sweeps: &[&Sweep], part: Part) -> BTreeSet<SweepId> {
        let failing = quarantine::failing(&self.draft, sweeps, part);
        let Self { draft, places, .. } = self;
        let is_sound = |other| other != part && draft.quarantine(other).is_none();
        let mut could = |sweep: &&&Sweep| places.could_take(sweep, &Wish::default(), is_sound);
        sweeps.iter().filter(|sweep| failing.contains(&sweep.id)).filter(|s| could(s)).map(|sweep| sweep.id).collect()
    }

    /// Opens the quarantined agents and GPUs whose time is over for one trial.
    pub(super) fn probe(&mut self) {
        let now_ms = self.now_ms;
        let is_closed = |part: &Part| match part.gpu {
            None => !self.places.has(part.agent),
            Some(gpu) => self.places.has(part.agent) && self.is_closed(part.agent, gpu),
        };
        let is_due = |part: &Part| self.draft.quarantine(*part).is_some() && self.draft.lets_through(*part, now_ms);
        let due: Vec<Part> =
            self.draft.quarantines.keys().copied().filter(|part| is_closed(part) && is_due(part)).collect();
        for part in due {
            self.reconsider(part.agent);
        }
    }

    /// Whether the GPU is not leased now because of its quarantine, and not for its agent's word.
    fn is_closed(&self, agent: AgentId, gpu: u32) -> bool {
        let is_broken = self.broken.get(&agent).is_some_and(|broken| broken.contains(&gpu));
        self.places.unusable(agent).contains(&gpu) && !is_broken
    }

    /// Whether a quarantined agent, or a GPU of it, may be given may have changed.
    pub(super) fn reconsider_quarantined(&mut self, agent: AgentId) {
        if self.draft.quarantined(agent).next().is_some() {
            self.reconsider(agent);
        }
    }
}
