//! Virtual agents: what each holds, whether it is heard, and what it still has to say. Decides nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use heats_core::Op;
use heats_core::ops::agents::Attach;
use heats_core::ops::attempts::Key;
use heats_core::ops::start::Start;
use heats_core::ops::{artifacts, checkpoints};
use heats_domain::{AgentId, Inventory, Params};

/// How an agent is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// Its messages arrive.
    Attached,
    /// Its messages wait until it attaches again.
    Cut,
    /// It does not exist until it comes back, with nothing.
    Dead,
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) link: Link,
    /// Changes with every change of the link: a timer of an earlier one does not count.
    pub(crate) epoch: u64,
    pub(crate) processes: BTreeMap<Key, Process>,
    /// What it has to say once it is attached.
    pub(crate) outbox: VecDeque<Op>,
}

/// One attempt's process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) params: Params,
    pub(crate) seed: u64,
    /// Steps done.
    pub(crate) step: u64,
    pub(crate) started_ms: u64,
    /// It was told to stop.
    pub(crate) stopping: bool,
}

impl Agent {
    pub(crate) const fn new() -> Self {
        Self { link: Link::Dead, epoch: 0, processes: BTreeMap::new(), outbox: VecDeque::new() }
    }

    pub(crate) fn relink(&mut self, link: Link) {
        self.link = link;
        self.epoch += 1;
        if link == Link::Dead {
            self.processes.clear();
            self.outbox.clear();
        }
    }

    /// The attempt is not this agent's any more: it ends without a word.
    pub(crate) fn kill(&mut self, key: Key) {
        self.processes.remove(&key);
        self.outbox.retain(|op| about(op) != Some(key));
    }

    /// Attaches with every attempt that runs, or whose end it has not told yet.
    pub(crate) fn attach(&self, agent: AgentId, inventory: Inventory) -> Attach {
        let ended = self.outbox.iter().filter(|op| matches!(op, Op::Finish(_))).filter_map(about);
        let holding: BTreeSet<Key> = self.processes.keys().copied().chain(ended).collect();
        Attach {
            agent,
            name: agent.to_string(),
            inventory,
            version: String::new(),
            holding,
            able: true,
            unusable: BTreeSet::new(),
            lineage: 0,
            places: Vec::new(),
        }
    }
}

/// The attempt that an agent's message is about.
pub(crate) fn about(op: &Op) -> Option<Key> {
    match op {
        Op::Start(Start { key, .. }) | Op::Report(key, _, _) => Some(*key),
        Op::Finish(finish) => Some(finish.key),
        Op::SaveCheckpoint(kept) => Some(checkpoints::key(kept)),
        Op::KeepArtifact(kept) => Some(artifacts::key(kept)),
        Op::LeaveOutArtifact(file) => Some(artifacts::key_of(file)),
        Op::Erase(_)
        | Op::KeepLogs(_)
        | Op::NoticeDelivered { .. }
        | Op::GiveUpHook { .. }
        | Op::ReadNotice { .. }
        | Op::Study(_)
        | Op::Submit(_)
        | Op::Remove(_)
        | Op::Control(..)
        | Op::CancelTrial(..)
        | Op::Edit(..)
        | Op::Enqueue(..)
        | Op::Retry(..)
        | Op::Attach(_)
        | Op::Drain(_)
        | Op::Undrain(_)
        | Op::Release { .. }
        | Op::SetQuota(_)
        | Op::RemoveQuota(..)
        | Op::Restore(_)
        | Op::CreateToken(_)
        | Op::RevokeToken(_)
        | Op::Join(_)
        | Op::Expire(..) => None,
    }
}
