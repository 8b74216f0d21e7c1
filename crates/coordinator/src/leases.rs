//! The lease clock: when each agent was last heard of, by this process's monotonic clock.
//!
//! Renewals live here and never in the log. A new leader knows nothing about the past, so it grants every
//! agent that holds leases one full time-to-live and the failover grace from the moment it leads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heats_domain::AgentId;
use tokio::time::Instant;

/// A tick that comes this much later than it should means that this process was stopped, or its machine
/// was: nobody could be heard meanwhile, so the gap counts against no agent.
const PAUSE: Duration = Duration::from_secs(1);

/// Shared between the streams, which renew, and the leader, which expires.
#[derive(Clone, Debug)]
pub struct Leases {
    inner: Arc<Mutex<Inner>>,
    ttl: Duration,
}

#[derive(Debug)]
struct Inner {
    deadlines: BTreeMap<AgentId, Instant>,
    /// When each was last heard of, for people: those that are gone as well.
    heard: BTreeMap<AgentId, Instant>,
    last_tick: Instant,
}

impl Leases {
    /// No agent is known yet.
    pub fn new(ttl: Duration, now: Instant) -> Self {
        let inner = Inner { deadlines: BTreeMap::new(), heard: BTreeMap::new(), last_tick: now };
        Self { inner: Arc::new(Mutex::new(inner)), ttl }
    }

    /// A new leader's start: these agents hold leases, and each has until `ttl + grace` from now.
    pub fn begin(&self, holders: impl Iterator<Item = AgentId>, grace: Duration, now: Instant) {
        let mut inner = self.lock();
        inner.deadlines = holders.map(|agent| (agent, now + self.ttl + grace)).collect();
        inner.last_tick = now;
    }

    /// The agent was heard.
    pub fn renew(&self, agent: AgentId, now: Instant) {
        let deadline = now + self.ttl;
        let mut inner = self.lock();
        inner.heard.insert(agent, now);
        // A deadline never comes closer: a grace that was granted stays.
        let entry = inner.deadlines.entry(agent).or_insert(deadline);
        *entry = (*entry).max(deadline);
    }

    /// How long the agent has been silent; `None` where this process never heard of it.
    pub fn silent(&self, agent: AgentId, now: Instant) -> Option<Duration> {
        self.lock().heard.get(&agent).map(|heard| now.saturating_duration_since(*heard))
    }

    /// The agents whose deadline is over, with how long each was silent. Called regularly, every
    /// `interval`; each agent is named once.
    pub fn expired(&self, interval: Duration, now: Instant) -> Vec<(AgentId, Duration)> {
        let mut inner = self.lock();
        let gap = now.saturating_duration_since(inner.last_tick).saturating_sub(interval);
        inner.last_tick = now;
        if gap > PAUSE {
            for deadline in inner.deadlines.values_mut() {
                *deadline += gap;
            }
        }
        let over: Vec<_> =
            inner.deadlines.iter().filter(|(_, deadline)| **deadline <= now).map(|(a, d)| (*a, *d)).collect();
        over.into_iter()
            .map(|(agent, deadline)| {
                inner.deadlines.remove(&agent);
                (agent, self.ttl + now.saturating_duration_since(deadline))
            })
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // The map is consistent after every statement, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(15);
    const TICK: Duration = Duration::from_millis(500);
    const A: AgentId = AgentId { bits: 1 };

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// Ticks every half second from `from` to `to` seconds after `start`; who expired, and when.
    fn tick(leases: &Leases, start: Instant, from: u64, to: u64) -> Vec<(AgentId, f64)> {
        let mut over = Vec::new();
        let mut at = secs(from);
        while at <= secs(to) {
            over.extend(leases.expired(TICK, start + at).into_iter().map(|(agent, _)| (agent, at.as_secs_f64())));
            at += TICK;
        }
        over
    }

    #[test]
    fn a_silent_agent_expires_after_its_time_to_live_and_only_once() {
        let start = Instant::now();
        let leases = Leases::new(TTL, start);
        leases.renew(A, start);
        leases.renew(A, start + secs(4));
        tick(&leases, start, 0, 4);
        assert_eq!(tick(&leases, start, 5, 60), [(A, 19.0)]);
    }

    #[test]
    fn a_new_leader_grants_every_holder_a_full_time_to_live_and_grace() {
        let start = Instant::now();
        let leases = Leases::new(TTL, start);
        leases.begin([A].into_iter(), secs(10), start);
        leases.renew(A, start);
        assert_eq!(tick(&leases, start, 0, 40), [(A, 25.0)], "a renewal does not take the grace away");
    }

    #[test]
    fn a_pause_of_the_leader_counts_against_no_agent() {
        let start = Instant::now();
        let leases = Leases::new(TTL, start);
        leases.renew(A, start);
        assert_eq!(tick(&leases, start, 0, 5), []);
        // Stopped from 5 s to 65 s.
        assert_eq!(tick(&leases, start, 65, 74), []);
        assert_eq!(tick(&leases, start, 75, 80).len(), 1);
    }
}
