//! What a leader can be asked for. Decides nothing.

use heats_domain::{AgentId, Artifact, Checkpoint, Metrics, NotKept, Object, Params, SweepId};

use crate::fact::{QuotaScope, QuotaSet};
use crate::ops::agent_drain::Drain;
use crate::ops::agents::Attach;
use crate::ops::attempts::{Finish, Key};
use crate::ops::control::{Edit, Verb};
use crate::ops::logs::KeepLogs;
use crate::ops::start::Start;
use crate::ops::submit::Submit;
use crate::ops::tokens::{Create, Join};
use crate::study::Change;

/// A request to the leader.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// Make a sweep.
    Submit(Box<Submit>),
    /// Forget a sweep that has ended.
    Remove(SweepId),
    /// Pause, resume, stop or cancel a sweep.
    Control(SweepId, Verb),
    /// Cancel one trial.
    CancelTrial(SweepId, u32),
    /// Change a sweep's limits.
    Edit(SweepId, Edit),
    /// Put a point at the end of a sweep's queue.
    Enqueue(SweepId, Params),
    /// Have failed trials tried again; none named means all.
    Retry(SweepId, Vec<u32>),
    /// An agent attaches.
    Attach(Attach),
    /// An attempt's process was started, or that of one member of it.
    Start(Start),
    /// An attempt reports at a step.
    Report(Key, u64, Metrics),
    /// An attempt is over.
    Finish(Finish),
    /// An attempt's checkpoint is complete and durable.
    SaveCheckpoint(Checkpoint),
    /// An attempt's artifact is complete and durable.
    KeepArtifact(Artifact),
    /// A file that an attempt made for people is not kept.
    LeaveOutArtifact(NotKept),
    /// An agent has removed a checkpoint or an artifact from its storage.
    Erase(Object),
    /// Logs of attempts that are over are on a majority of coordinators.
    KeepLogs(KeepLogs),
    /// A webhook of a sweep has taken a notice.
    NoticeDelivered {
        /// The sweep.
        sweep: SweepId,
        /// Which of its webhooks.
        hook: u32,
        /// The notice.
        place: u32,
    },
    /// Send nothing more to a webhook.
    GiveUpHook {
        /// The sweep.
        sweep: SweepId,
        /// Which of its webhooks.
        hook: u32,
        /// Why, for people.
        why: String,
    },
    /// A reader has dealt with a notice.
    ReadNotice {
        /// The sweep.
        sweep: SweepId,
        /// The reader's name.
        reader: String,
        /// The notice.
        place: u32,
    },
    /// Make a token.
    CreateToken(Create),
    /// Revoke the token of this id or name.
    RevokeToken(String),
    /// Let an agent join.
    Join(Join),
    /// Say how much a project or a user may have.
    SetQuota(QuotaSet),
    /// Take that back.
    RemoveQuota(QuotaScope, String),
    /// Lease an agent nothing more.
    Drain(Drain),
    /// Lease to a drained agent again.
    Undrain(AgentId),
    /// Trust a quarantined agent again.
    Release {
        /// Whom.
        agent: AgentId,
        /// Who asks, for people.
        by: String,
    },
    /// The state is from a backup, and begins a new cluster of this lineage.
    Restore(u64),
    /// A client of Optuna changes a study.
    Study(Change),
    /// An agent was silent for this many milliseconds, longer than a lease lasts.
    Expire(AgentId, u64),
}

impl Op {
    /// What an agent said of an attempt, as said by its member of this rank; `None` where that changes nothing, for only rank 0's
    /// word counts.
    pub fn by_rank(self, rank: u32) -> Option<Self> {
        match self {
            said if rank == 0 => Some(said),
            Self::Start(start) => Some(Self::Start(Start { rank, ..start })),
            Self::Finish(finish) => Some(Self::Finish(Finish { rank, ..finish })),
            // What is measured and kept is rank 0's.
            Self::Report(..)
            | Self::SaveCheckpoint(_)
            | Self::KeepArtifact(_)
            | Self::LeaveOutArtifact(_)
            | Self::Erase(_) => None,
            // No attempt says these.
            Self::Submit(_)
            | Self::Remove(_)
            | Self::Control(..)
            | Self::CancelTrial(..)
            | Self::Edit(..)
            | Self::Enqueue(..)
            | Self::Retry(..)
            | Self::Attach(_)
            | Self::KeepLogs(_)
            | Self::NoticeDelivered { .. }
            | Self::GiveUpHook { .. }
            | Self::ReadNotice { .. }
            | Self::CreateToken(_)
            | Self::RevokeToken(_)
            | Self::Join(_)
            | Self::SetQuota(_)
            | Self::RemoveQuota(..)
            | Self::Drain(_)
            | Self::Undrain(_)
            | Self::Release { .. }
            | Self::Restore(_)
            | Self::Study(_)
            | Self::Expire(..) => None,
        }
    }
}
