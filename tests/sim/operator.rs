//! An operator of the simulation: adds coordinators and takes them out, hands the lead on, takes snapshots, drains agents
//! and takes that back, and releases those that were left alone. Does one thing after the other, asks again where no answer comes, and gives up after a while: what
//! was asked for may have come to be then or not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use heats_domain::AgentId;

use crate::chance::Dice;
use crate::check::Witness;
use crate::net::{Net, Parcel, Place, Reply, Request};

/// How long it waits for an answer before it asks somebody else, in milliseconds: it has its days.
const PATIENCE_MS: [u64; 3] = [300, 1_000, 3_000];
/// How long after a refusal it asks again.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// How long after a machine was mended it is trusted again: by then is known what had failed there before.
const TRUSTED_AFTER: Duration = Duration::from_secs(60);
/// The most coordinators that it lets a cluster have, and that there ever are in one run.
const MEMBERS_MAX: usize = 7;
const EVER_MAX: u64 = 12;

/// What it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Learn(u64),
    Vote(u64),
    Leave(u64),
    Transfer(u64),
    Snapshot,
    Drain { agent: AgentId, now: bool },
    Undrain(AgentId),
    Release(AgentId),
}

/// What it does to machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// A new one is to start after this time.
    Start { node: u64, after: Duration },
    /// It was given a vote.
    Votes(u64),
    /// It is out of the cluster, and is to be taken away after this time.
    Retire { node: u64, after: Duration },
}

/// What a coordinator is to its cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Standing {
    Absent,
    Learner,
    Voter,
}

#[derive(Debug)]
struct Asked {
    call: u64,
    last: Duration,
}

pub struct Operator {
    dice: Dice,
    net: Net,
    /// How many agents there are.
    agents: usize,
    /// The usual time between two undertakings, in milliseconds; in some runs nobody operates.
    pace_ms: Option<u64>,
    leader: Option<u64>,
    /// What is to be done, the first of it now.
    plan: VecDeque<Order>,
    asked: Option<Asked>,
    next_at: Duration,
    gives_up: Duration,
    patience: Duration,
    /// What each coordinator may be to the cluster: one thing, as it was acknowledged last, or several.
    members: BTreeMap<u64, BTreeSet<Standing>>,
    /// Agents that may be drained.
    drained: BTreeSet<AgentId>,
    /// Agents whose machines were mended, and when they are to be trusted again.
    mended: BTreeMap<AgentId, Duration>,
}

impl Operator {
    pub fn new(founders: u64, agents: usize, mut dice: Dice, net: Net) -> Self {
        let pace_ms = dice.pick(&[None, Some(1_000), Some(4_000), Some(12_000)]).flatten();
        Self {
            dice,
            net,
            agents,
            pace_ms,
            leader: None,
            plan: VecDeque::new(),
            asked: None,
            next_at: Duration::from_secs(3),
            gives_up: Duration::ZERO,
            patience: Duration::ZERO,
            members: (1..=founders).map(|node| (node, BTreeSet::from([Standing::Voter]))).collect(),
            drained: BTreeSet::new(),
            mended: BTreeMap::new(),
        }
    }

    /// The machine of an agent works again: where the agent is left alone, it need not be any longer.
    pub fn has_mended(&mut self, agent: AgentId, now: Duration) {
        self.mended.insert(agent, now + TRUSTED_AFTER);
    }

    /// It has nothing left to do that must be done: nobody waits for a machine that is trusted again only for its own sake.
    pub fn is_done(&self) -> bool {
        self.plan.is_empty() && self.drained.is_empty()
    }

    /// What it is at, for people.
    pub fn describe(&self) -> String {
        let Self { plan, members, drained, mended, .. } = self;
        format!("{plan:?}, members {members:?}, drained {drained:?}, mended {mended:?}")
    }

    /// Does what is due; in the end, `settle`, only what has to be done still.
    pub fn step(&mut self, now: Duration, settle: bool, witness: &mut Witness) -> Option<Act> {
        if !self.plan.is_empty() && now >= self.gives_up {
            self.give_up();
        }
        if let Some(Asked { last, .. }) = self.asked {
            if now >= last + self.patience {
                self.leader = None;
                self.ask(now, witness);
            }
            return None;
        }
        if now < self.next_at {
            return None;
        }
        let mut act = None;
        if self.plan.is_empty() {
            self.gives_up = now + Duration::from_secs(self.dice.between(5, 60));
            self.patience = Duration::from_millis(self.dice.pick(&PATIENCE_MS).unwrap_or(1_000));
            if settle {
                self.plan.extend(self.drained.first().map(|agent| Order::Undrain(*agent)));
                let due = self.mended.iter().find(|(_, at)| now >= **at);
                self.plan.extend(due.map(|(agent, _)| Order::Release(*agent)));
            } else {
                act = self.undertake();
                self.next_at = now + Duration::from_millis(self.dice.between(0, self.pace_ms? * 2));
            }
        }
        self.ask(now, witness);
        act
    }

    /// Thinks of something to do.
    fn undertake(&mut self) -> Option<Act> {
        self.pace_ms?;
        let standing = |one: Standing| {
            let is = |(node, may): (&u64, &BTreeSet<Standing>)| (*may == BTreeSet::from([one])).then_some(*node);
            self.members.iter().filter_map(is).collect::<Vec<u64>>()
        };
        let (voters, absent) = (standing(Standing::Voter), standing(Standing::Absent));
        let present: Vec<u64> = self.members.keys().copied().filter(|node| !absent.contains(node)).collect();
        match self.dice.between(0, 10) {
            0 | 1 if present.len() < MEMBERS_MAX && (self.members.len() as u64) < EVER_MAX => {
                let node = self.members.len() as u64 + 1;
                self.members.insert(node, BTreeSet::from([Standing::Absent]));
                self.plan.extend([Order::Learn(node), Order::Vote(node)]);
                // Now and then somebody forgets to turn it on.
                let late = Duration::from_millis(self.dice.between(0, 20_000));
                let after = if self.dice.chance(0.3) { late } else { Duration::ZERO };
                return Some(Act::Start { node, after });
            }
            2 | 3 => {
                let node = self.dice.pick(&present)?;
                let left = voters.iter().filter(|voter| **voter != node).count();
                if left >= 2 || left == 1 && self.dice.chance(0.2) {
                    self.plan.push_back(Order::Leave(node));
                }
            }
            4 | 5 => self.plan.extend(self.dice.pick(&voters).map(Order::Transfer)),
            6 => self.plan.push_back(Order::Snapshot),
            7 | 8 => {
                let (agent, now) = (self.somebody(), self.dice.chance(0.5));
                self.plan.push_back(Order::Drain { agent, now });
            }
            9 => {
                let agent = self.somebody();
                self.plan.push_back(Order::Release(agent));
            }
            _ => {
                let drained: Vec<AgentId> = self.drained.iter().copied().collect();
                self.plan.extend(self.dice.pick(&drained).map(Order::Undrain));
            }
        }
        None
    }

    /// Any of the agents.
    fn somebody(&mut self) -> AgentId {
        AgentId { bits: crate::agent::FIRST + self.dice.between(0, self.agents as u64 - 1) }
    }

    /// Asks for what comes first in the plan.
    fn ask(&mut self, now: Duration, witness: &mut Witness) {
        let Some(&order) = self.plan.front() else { return };
        match order {
            Order::Drain { agent, .. } => {
                self.drained.insert(agent);
                witness.fleet_changes(agent, true);
            }
            Order::Undrain(agent) => witness.fleet_changes(agent, false),
            Order::Release(agent) => witness.releases(agent),
            Order::Learn(_) | Order::Vote(_) | Order::Leave(_) | Order::Transfer(_) | Order::Snapshot => {}
        }
        // Every coordinator takes a snapshot of its own.
        let leader = self.leader.filter(|_| order != Order::Snapshot);
        let target = leader.unwrap_or_else(|| self.net.somebody(&mut self.dice));
        let call = self.net.number();
        self.asked = Some(Asked { call, last: now });
        let parcel = Parcel::Request { call, request: Request::Operate(order) };
        self.net.send(Place::Operator, Place::Node { id: target, life: 0 }, parcel);
    }

    /// Gives up what it is at. Whatever was asked for may still come to be, or have come to be.
    fn give_up(&mut self) {
        self.asked = None;
        for order in self.plan.drain(..) {
            let (node, may) = match order {
                Order::Learn(node) => (node, &[Standing::Learner][..]),
                Order::Vote(node) => (node, &[Standing::Voter][..]),
                // Whoever completes what was begun may leave it its place without the vote.
                Order::Leave(node) => (node, &[Standing::Learner, Standing::Absent][..]),
                Order::Transfer(_) | Order::Snapshot | Order::Drain { .. } | Order::Undrain(_) | Order::Release(_) => {
                    continue;
                }
            };
            self.members.entry(node).or_default().extend(may);
        }
    }

    pub fn receive(&mut self, now: Duration, parcel: &Parcel, witness: &mut Witness) -> Option<Act> {
        let (call, reply) = match parcel {
            Parcel::Reply { call, reply } => (*call, reply),
            Parcel::Refused { call } => (*call, &Reply::No { leader: None, for_good: false }),
            _ => return None,
        };
        self.asked.take_if(|asked| asked.call == call)?;
        let order = *self.plan.front()?;
        match (order, reply) {
            (_, Reply::No { leader, for_good: false }) => {
                self.leader = *leader;
                self.next_at = now + ASK_AGAIN;
                return None;
            }
            (Order::Learn(node), Reply::Members(members)) => self.acknowledged(node, Standing::Learner, members),
            (Order::Vote(node), Reply::Members(members)) => {
                self.acknowledged(node, Standing::Voter, members);
                self.plan.pop_front();
                return Some(Act::Votes(node));
            }
            (Order::Leave(node), Reply::Members(members)) => {
                self.acknowledged(node, Standing::Absent, members);
                self.plan.pop_front();
                return Some(Act::Retire { node, after: Duration::from_millis(self.dice.between(0, 10_000)) });
            }
            (Order::Learn(_) | Order::Vote(_), Reply::No { .. }) => {
                self.next_at = now + ASK_AGAIN;
                return None;
            }
            // It leads, perhaps: another is to.
            (Order::Leave(node), Reply::No { .. }) => {
                let others: Vec<u64> = self.members.keys().copied().filter(|other| *other != node).collect();
                if let Some(other) = self.dice.pick(&others) {
                    self.plan.push_front(Order::Transfer(other));
                }
                self.next_at = now + ASK_AGAIN;
                return None;
            }
            (Order::Drain { agent, .. }, Reply::Done { log_index }) => witness.fleet_changed(agent, true, *log_index),
            (Order::Undrain(agent), Reply::Done { log_index }) => {
                witness.fleet_changed(agent, false, *log_index);
                self.drained.remove(&agent);
            }
            (Order::Release(agent), Reply::Done { .. } | Reply::No { .. }) => {
                self.mended.remove(&agent);
            }
            // It has never been there.
            (Order::Drain { agent, .. } | Order::Undrain(agent), Reply::No { .. }) => {
                self.drained.remove(&agent);
            }
            (Order::Snapshot, Reply::Done { .. }) | (Order::Transfer(_), Reply::Obeyed | Reply::No { .. }) => {}
            (order, reply) => panic!("an operator asked for {order:?} and was told {reply:?}"),
        }
        self.plan.pop_front();
        if !self.plan.is_empty() {
            self.next_at = now + ASK_AGAIN;
        }
        None
    }

    fn acknowledged(&mut self, node: u64, standing: Standing, members: &[(u64, bool)]) {
        self.members.insert(node, BTreeSet::from([standing]));
        self.check(members);
    }

    /// What was acknowledged is so.
    pub fn check(&self, members: &[(u64, bool)]) {
        let found: BTreeMap<u64, Standing> = members
            .iter()
            .map(|&(node, votes)| (node, if votes { Standing::Voter } else { Standing::Learner }))
            .collect();
        for node in self.members.keys().chain(found.keys()) {
            let found = found.get(node).copied().unwrap_or(Standing::Absent);
            let may = self.members.get(node);
            assert!(
                may.is_some_and(|may| may.contains(&found)),
                "coordinator {node} is {found:?}, and what was acknowledged leaves it {may:?}"
            );
        }
    }
}
