//! An attempt that spans machines: its members, one process on each of several agents. They get their places in one fact, and
//! the attempt ends once, when the last of them has ended. What a member's end means is decided in `ops::gangs`.

use heats_domain::{AgentId, FailureKind, Grant};

use crate::fact::{MemberEnded, TrialLeased};
use crate::trial::{Attempt, AttemptEnd};

/// The members of an attempt that spans machines.
#[derive(Clone, PartialEq, Debug)]
pub struct Gang {
    /// The port of the agent of rank 0 at which they meet.
    pub port: u32,
    /// By rank.
    pub members: Vec<Member>,
    /// One of them did not end well: the others are being stopped, and what becomes of them counts for nothing.
    pub breaking_up: bool,
}

/// One process of an attempt that spans machines.
#[derive(Clone, PartialEq, Debug)]
pub struct Member {
    /// On which agent.
    pub agent: AgentId,
    /// What it holds of the agent's inventory until it has ended.
    pub grant: Grant,
    /// When it was started, as far as the leader heard.
    pub started_ms: Option<u64>,
    /// When and how it ended.
    pub end: Option<AttemptEnd>,
}

/// A part of an agent that a live attempt holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Holder<'a> {
    /// Which member of the attempt; 0 where it is the only one.
    pub rank: u32,
    /// On which agent.
    pub agent: AgentId,
    /// What of it.
    pub grant: &'a Grant,
    /// When its process was started, as far as the leader heard.
    pub started_ms: Option<u64>,
}

impl Gang {
    /// The gang that a lease makes, where it makes one.
    pub(crate) fn of(fact: &TrialLeased) -> Option<Box<Self>> {
        if fact.members.is_empty() {
            return None;
        }
        let member = |agent, grant: &Grant| Member { agent, grant: grant.clone(), started_ms: None, end: None };
        let others = fact.members.iter().map(|other| member(other.agent, &other.grant));
        let members = std::iter::once(member(fact.agent, &fact.grant)).chain(others).collect();
        Some(Box::new(Self { port: fact.port, members, breaking_up: false }))
    }

    /// Folds in that a member has ended.
    pub(crate) fn ended(&mut self, fact: &MemberEnded, at_ms: u64) -> Result<(), &'static str> {
        let failure = fact.failure.map(FailureKind::try_from).transpose();
        let failure = failure.map_err(|_| "this version does not know the kind of failure")?;
        let member = self.members.get_mut(fact.rank as usize).ok_or("the attempt has no such member")?;
        if member.end.is_some() {
            return Err("the member has ended");
        }
        let (ran_ms, cpu_ms) = (fact.ran_ms, fact.cpu_ms);
        member.end = Some(AttemptEnd { at_ms, failure, ran_ms, cpu_ms, excused: false, retried: false });
        self.breaking_up |= fact.decides.is_some();
        Ok(())
    }

    /// The GPU time of the members that have ended, in milliseconds of one GPU.
    pub fn gpu_ms(&self) -> u64 {
        self.members.iter().filter_map(|member| Some(member.grant.gpu_ms(member.end?.ran_ms))).sum()
    }
}

impl Attempt {
    /// How many machines it spans.
    pub fn nodes(&self) -> usize {
        self.gang.as_ref().map_or(1, |gang| gang.members.len())
    }

    /// The member of this rank, where it spans machines.
    pub fn member(&self, rank: u32) -> Option<&Member> {
        self.gang.as_ref()?.members.get(rank as usize)
    }

    /// What it holds now, of which agents.
    pub fn holders(&self) -> impl Iterator<Item = Holder<'_>> {
        let members = self.gang.iter().flat_map(|gang| (0..).zip(&gang.members));
        let held = members.filter(|(_, member)| member.end.is_none());
        let of_member = |(rank, member): (u32, _)| {
            let Member { agent, grant, started_ms, end: _ }: &Member = member;
            Holder { rank, agent: *agent, grant, started_ms: *started_ms }
        };
        let only = Holder { rank: 0, agent: self.agent, grant: &self.grant, started_ms: self.started_ms };
        let only = (self.gang.is_none() && self.end.is_none()).then_some(only);
        only.into_iter().chain(held.map(of_member))
    }

    /// Its agent, where that is the only one: what becomes of a gang is put down to none of its machines.
    pub fn only_agent(&self) -> Option<AgentId> {
        self.gang.is_none().then_some(self.agent)
    }

    /// The agent whose end made it fail, where it has failed.
    pub fn failed_on(&self) -> Option<AgentId> {
        let failed = |end: Option<AttemptEnd>| end.is_some_and(|end| end.failure.is_some());
        match &self.gang {
            None => Some(self.agent).filter(|_| failed(self.end)),
            // The ends that follow from the first have no failure of their own.
            Some(gang) => gang.members.iter().find(|member| failed(member.end)).map(|member| member.agent),
        }
    }

    /// Whether it has failed, or a member of it; that it was given back is no failure.
    pub fn has_failed(&self) -> bool {
        let members = self.gang.iter().flat_map(|gang| &gang.members).map(|member| member.end);
        let failures = std::iter::once(self.end).chain(members).filter_map(|end| end?.failure);
        failures.into_iter().any(|failure| failure != FailureKind::Preempted)
    }

    /// The agents of its members, by rank, whether or not they have ended.
    pub fn agents(&self) -> impl Iterator<Item = AgentId> {
        let others = self.gang.iter().flat_map(|gang| &gang.members).skip(1).map(|member| member.agent);
        std::iter::once(self.agent).chain(others)
    }

    /// Which member of it is the agent's, whether or not it has ended.
    pub fn rank_of(&self, agent: AgentId) -> Option<u32> {
        (0..).zip(self.agents()).find(|(_, member)| *member == agent).map(|(rank, _)| rank)
    }

    /// Whether the agent had a part in it, and that is over.
    pub fn has_ended_on(&self, agent: AgentId) -> bool {
        self.rank_of(agent).is_some() && self.holders().all(|holder| holder.agent != agent)
    }

    /// Whether a member did not end well, so that the others are being stopped.
    pub fn is_breaking_up(&self) -> bool {
        self.gang.as_ref().is_some_and(|gang| gang.breaking_up)
    }

    /// The GPU time that it has used until `now_ms`, in milliseconds of one GPU: of members that run, from their start on.
    pub fn gpu_ms(&self, now_ms: u64) -> u64 {
        let running = self.holders().map(|holder| {
            let since = holder.started_ms.unwrap_or(now_ms);
            holder.grant.gpu_ms(now_ms.saturating_sub(since))
        });
        let ended = match &self.gang {
            None => self.end.map_or(0, |end| self.grant.gpu_ms(end.ran_ms)),
            Some(gang) => gang.gpu_ms(),
        };
        running.sum::<u64>() + ended
    }
}
