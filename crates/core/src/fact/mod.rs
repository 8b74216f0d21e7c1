//! What the log records: facts, in the past tense, complete in themselves.
//!
//! A fact says what happened, never what somebody asked for; nothing has to be looked up or computed to
//! apply it. These types are the log's format as well: tags are never used twice, and a new field is
//! optional. A fact that this version does not know decodes to `None` and stops the node (see `state`).

mod checkpoint;
mod fleet;
mod gang;
mod logs;
mod notice;
mod placement;
mod provenance;
mod study;
mod sweep;
mod trial;

use heats_domain::SweepId;

pub use checkpoint::{
    ArtifactDropped, ArtifactKept, ArtifactNotKept, CheckpointDropped, CheckpointErased, CheckpointSaved,
};
pub use fleet::{
    AgentAttached, AgentDrained, AgentJoined, AgentQuarantined, AgentReleased, AgentUndrained, ClusterRestored,
    FailedAttempt, GpuQuarantined, GpuReleased, TokenCreated, TokenRevoked, TokenRole, TokenUsed,
};
pub use gang::{Decides, LeasedMember, MemberEnded};
pub use logs::{Logged, LogsDropped, LogsKept};
pub use notice::{HookGivenUp, NoticeDelivered, NoticeRead};
pub use placement::{QuotaRemoved, QuotaScope, QuotaSet, TrialRecalled};
pub use provenance::{EnvironmentRecorded, HardwareRecorded};
pub use study::{
    Goal, Owner, Stage, StudyAttribute, StudyAttributeSet, StudyCreated, StudyEvent, StudyFact, StudyParam,
    StudyParamSet, StudyRemoved, StudyReported, StudyTrialAttributeSet, StudyTrialBody, StudyTrialCreated,
    StudyTrialMoved,
};
pub use sweep::{
    Ending, PointEnqueued, SweepDrained, SweepEdited, SweepEnded, SweepPaused, SweepRemoved, SweepReopened,
    SweepResumed, SweepSubmitted,
};
pub use trial::{
    AttemptEnded, AttemptExcused, Forked, TrialCreated, TrialLeased, TrialPlaced, TrialReported, TrialResumed,
    TrialSettled, TrialSpared, TrialStarted,
};

/// What one log entry carries: everything that was decided in one turn of the leader.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// The term that the deciding leader led in; an entry of another term records nothing.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// The leader's clock, milliseconds since the Unix epoch; never decreases along the log.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
    /// What happened, in order.
    #[prost(message, repeated, tag = "3")]
    pub facts: Vec<FactCell>,
    /// Which of its term's entries it is: from 1, growing, and never used again. 0 in entries of versions before it was counted.
    #[prost(uint64, tag = "4")]
    pub number: u64,
    /// The number of the entry that it was decided upon; 0 where that is none of its term. Where another is the last that
    /// recorded something, this one records nothing.
    #[prost(uint64, tag = "5")]
    pub after: u64,
}

/// The box that a fact travels in: empty when a newer version wrote a fact that this one does not know.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FactCell {
    /// The fact.
    #[prost(
        oneof = "Fact",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, \
                29, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 49, 50, 51, 52, 53, 54, 55"
    )]
    pub fact: Option<Fact>,
}

/// One thing that happened.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Fact {
    /// A sweep came to be.
    #[prost(message, tag = "1")]
    SweepSubmitted(SweepSubmitted),
    /// A user paused a sweep: nothing more is leased.
    #[prost(message, tag = "2")]
    SweepPaused(SweepPaused),
    /// A user resumed a sweep.
    #[prost(message, tag = "3")]
    SweepResumed(SweepResumed),
    /// A sweep creates nothing more, for this reason.
    #[prost(message, tag = "4")]
    SweepDrained(SweepDrained),
    /// A sweep's limits changed.
    #[prost(message, tag = "5")]
    SweepEdited(SweepEdited),
    /// A sweep is over: all its trials are terminal and none holds a lease.
    #[prost(message, tag = "6")]
    SweepEnded(SweepEnded),
    /// A sweep that was over goes on: a user raised its budget or asked for failed trials again.
    #[prost(message, tag = "7")]
    SweepReopened(SweepReopened),
    /// A sweep and everything that it knew is gone.
    #[prost(message, tag = "8")]
    SweepRemoved(SweepRemoved),
    /// A user asked for a point to be tried next.
    #[prost(message, tag = "9")]
    PointEnqueued(PointEnqueued),
    /// A trial came to be.
    #[prost(message, tag = "10")]
    TrialCreated(TrialCreated),
    /// An agent got a trial.
    #[prost(message, tag = "11")]
    TrialLeased(TrialLeased),
    /// The attempt's process was started.
    #[prost(message, tag = "12")]
    TrialStarted(TrialStarted),
    /// A trial reported at a step that it had not reached before.
    #[prost(message, tag = "13")]
    TrialReported(TrialReported),
    /// A trial reached a state that is not that of a live lease.
    #[prost(message, tag = "14")]
    TrialSettled(TrialSettled),
    /// An attempt is over and its lease with it.
    #[prost(message, tag = "15")]
    AttemptEnded(AttemptEnded),
    /// An agent attached with this inventory, for the first time or with a changed one.
    #[prost(message, tag = "16")]
    AgentAttached(AgentAttached),
    /// A trial that was leased ahead has its place now: another attempt on its agent ended.
    #[prost(message, tag = "17")]
    TrialPlaced(TrialPlaced),
    /// An admin made a token.
    #[prost(message, tag = "18")]
    TokenCreated(TokenCreated),
    /// An agent joined by a token.
    #[prost(message, tag = "19")]
    TokenUsed(TokenUsed),
    /// A token is good for nothing any more.
    #[prost(message, tag = "20")]
    TokenRevoked(TokenRevoked),
    /// An agent is known by this key from now on.
    #[prost(message, tag = "21")]
    AgentJoined(AgentJoined),
    /// An operator drained an agent: nothing more is leased to it.
    #[prost(message, tag = "22")]
    AgentDrained(AgentDrained),
    /// An operator took the drain back.
    #[prost(message, tag = "23")]
    AgentUndrained(AgentUndrained),
    /// The cluster was made anew from a backup.
    #[prost(message, tag = "24")]
    ClusterRestored(ClusterRestored),
    /// A trial that held at a rung goes on: it waits for an agent again.
    #[prost(message, tag = "25")]
    TrialResumed(TrialResumed),
    /// A rule would have stopped a trial, which runs on as one of the control group.
    #[prost(message, tag = "26")]
    TrialSpared(TrialSpared),
    /// An admin said how much a project or a user may have.
    #[prost(message, tag = "27")]
    QuotaSet(QuotaSet),
    /// An admin took that back.
    #[prost(message, tag = "28")]
    QuotaRemoved(QuotaRemoved),
    /// A trial is to give its place to a sweep of higher priority.
    #[prost(message, tag = "29")]
    TrialRecalled(TrialRecalled),
    /// A checkpoint is complete and durable: attempts may go on from it.
    #[prost(message, tag = "33")]
    CheckpointSaved(CheckpointSaved),
    /// A checkpoint is not kept: nothing goes on from it, and who reaches it removes it.
    #[prost(message, tag = "34")]
    CheckpointDropped(CheckpointDropped),
    /// A trial keeps a file under a name, for people.
    #[prost(message, tag = "49")]
    ArtifactKept(ArtifactKept),
    /// It keeps it no longer, and who reaches it removes it.
    #[prost(message, tag = "50")]
    ArtifactDropped(ArtifactDropped),
    /// A file that a trial made for people is not kept, and nothing of it is anywhere.
    #[prost(message, tag = "54")]
    ArtifactNotKept(ArtifactNotKept),
    /// A checkpoint or an artifact that was dropped is gone from where it was.
    #[prost(message, tag = "35")]
    CheckpointErased(CheckpointErased),
    /// One member of an attempt that spans machines is over, and its place is free.
    #[prost(message, tag = "45")]
    MemberEnded(MemberEnded),
    /// An environment was found that no trial had run in before.
    #[prost(message, tag = "52")]
    EnvironmentRecorded(EnvironmentRecorded),
    /// A trial ran on a machine that no trial had run on before.
    #[prost(message, tag = "53")]
    HardwareRecorded(HardwareRecorded),
    /// Coordinators keep the logs of these attempts, whatever becomes of their agent.
    #[prost(message, tag = "40")]
    LogsKept(LogsKept),
    /// They keep them no longer.
    #[prost(message, tag = "41")]
    LogsDropped(LogsDropped),
    /// Attempts failed on an agent that should not have: it is left alone, and tried again later.
    #[prost(message, tag = "36")]
    AgentQuarantined(AgentQuarantined),
    /// An agent is trusted again.
    #[prost(message, tag = "37")]
    AgentReleased(AgentReleased),
    /// Attempts failed on one GPU of an agent, and not on its others: it is not given, and tried again later.
    #[prost(message, tag = "39")]
    GpuQuarantined(GpuQuarantined),
    /// One GPU of an agent is trusted again.
    #[prost(message, tag = "51")]
    GpuReleased(GpuReleased),
    /// A failure is put down to its machine after all: it counts against no retry of the trial.
    #[prost(message, tag = "38")]
    AttemptExcused(AttemptExcused),
    /// A webhook has taken a notice.
    #[prost(message, tag = "42")]
    NoticeDelivered(NoticeDelivered),
    /// Nothing more is sent to a webhook.
    #[prost(message, tag = "43")]
    HookGivenUp(HookGivenUp),
    /// A reader has dealt with a notice.
    #[prost(message, tag = "44")]
    NoticeRead(NoticeRead),
    /// Something happened to a study: a sweep that is driven from outside.
    #[prost(message, tag = "55")]
    Study(StudyFact),
}

impl Fact {
    /// The sweep that the fact is about, where it is about one.
    pub const fn sweep(&self) -> Option<SweepId> {
        Some(match self {
            Self::SweepSubmitted(f) => f.sweep,
            Self::SweepPaused(f) => f.sweep,
            Self::SweepResumed(f) => f.sweep,
            Self::SweepDrained(f) => f.sweep,
            Self::SweepEdited(f) => f.sweep,
            Self::SweepEnded(f) => f.sweep,
            Self::SweepReopened(f) => f.sweep,
            Self::SweepRemoved(f) => f.sweep,
            Self::PointEnqueued(f) => f.sweep,
            Self::TrialCreated(f) => f.sweep,
            Self::TrialLeased(f) => f.sweep,
            Self::TrialStarted(f) => f.sweep,
            Self::TrialReported(f) => f.sweep,
            Self::TrialSettled(f) => f.sweep,
            Self::AttemptEnded(f) => f.sweep,
            Self::TrialPlaced(f) => f.sweep,
            Self::TrialSpared(f) => f.sweep,
            Self::TrialResumed(f) => f.sweep,
            Self::TrialRecalled(f) => f.sweep,
            Self::AttemptExcused(f) => f.sweep,
            Self::MemberEnded(f) => f.sweep,
            Self::CheckpointSaved(f) => f.checkpoint.sweep,
            Self::CheckpointDropped(f) => f.checkpoint.sweep,
            Self::CheckpointErased(f) => f.object.sweep,
            Self::ArtifactKept(f) => f.artifact.sweep,
            Self::ArtifactDropped(f) => f.artifact.sweep,
            Self::ArtifactNotKept(f) => f.not_kept.sweep,
            Self::LogsKept(f) => f.sweep,
            Self::LogsDropped(f) => f.sweep,
            Self::NoticeDelivered(f) => f.sweep,
            Self::HookGivenUp(f) => f.sweep,
            Self::NoticeRead(f) => f.sweep,
            Self::AgentAttached(_)
            | Self::TokenCreated(_)
            | Self::TokenUsed(_)
            | Self::TokenRevoked(_)
            | Self::AgentJoined(_)
            | Self::AgentDrained(_)
            | Self::AgentUndrained(_)
            | Self::AgentQuarantined(_)
            | Self::AgentReleased(_)
            | Self::GpuQuarantined(_)
            | Self::GpuReleased(_)
            | Self::QuotaSet(_)
            | Self::QuotaRemoved(_)
            | Self::EnvironmentRecorded(_)
            | Self::HardwareRecorded(_)
            | Self::ClusterRestored(_)
            | Self::Study(_) => return None,
        })
    }

    /// The trial that the fact is about, where it is about one.
    pub const fn trial(&self) -> Option<u32> {
        match self {
            Self::TrialCreated(f) => Some(f.trial),
            Self::TrialLeased(f) => Some(f.trial),
            Self::TrialStarted(f) => Some(f.trial),
            Self::TrialReported(f) => Some(f.trial),
            Self::TrialSettled(f) => Some(f.trial),
            Self::AttemptEnded(f) => Some(f.trial),
            Self::TrialPlaced(f) => Some(f.trial),
            Self::TrialSpared(f) => Some(f.trial),
            Self::TrialResumed(f) => Some(f.trial),
            Self::TrialRecalled(f) => Some(f.trial),
            Self::AttemptExcused(f) => Some(f.trial),
            Self::MemberEnded(f) => Some(f.trial),
            Self::CheckpointSaved(f) => Some(f.checkpoint.trial),
            Self::CheckpointDropped(f) => Some(f.checkpoint.trial),
            Self::CheckpointErased(f) => Some(f.object.trial),
            Self::ArtifactKept(f) => Some(f.artifact.trial),
            Self::ArtifactDropped(f) => Some(f.artifact.trial),
            Self::ArtifactNotKept(f) => Some(f.not_kept.trial),
            Self::SweepSubmitted(_)
            | Self::SweepPaused(_)
            | Self::SweepResumed(_)
            | Self::SweepDrained(_)
            | Self::SweepEdited(_)
            | Self::SweepEnded(_)
            | Self::SweepReopened(_)
            | Self::SweepRemoved(_)
            | Self::LogsKept(_)
            | Self::LogsDropped(_)
            | Self::NoticeDelivered(_)
            | Self::HookGivenUp(_)
            | Self::NoticeRead(_)
            | Self::PointEnqueued(_)
            | Self::AgentAttached(_)
            | Self::TokenCreated(_)
            | Self::TokenUsed(_)
            | Self::TokenRevoked(_)
            | Self::AgentJoined(_)
            | Self::AgentDrained(_)
            | Self::AgentUndrained(_)
            | Self::AgentQuarantined(_)
            | Self::AgentReleased(_)
            | Self::GpuQuarantined(_)
            | Self::GpuReleased(_)
            | Self::QuotaSet(_)
            | Self::QuotaRemoved(_)
            | Self::EnvironmentRecorded(_)
            | Self::HardwareRecorded(_)
            | Self::ClusterRestored(_)
            | Self::Study(_) => None,
        }
    }

    /// The attempt that the fact is about, where it is about one.
    pub const fn attempt(&self) -> Option<u32> {
        match self {
            Self::TrialLeased(f) => Some(f.attempt),
            Self::TrialStarted(f) => Some(f.attempt),
            Self::TrialReported(f) => Some(f.attempt),
            Self::AttemptEnded(f) => Some(f.attempt),
            Self::TrialPlaced(f) => Some(f.attempt),
            Self::TrialRecalled(f) => Some(f.attempt),
            Self::AttemptExcused(f) => Some(f.attempt),
            Self::MemberEnded(f) => Some(f.attempt),
            Self::CheckpointSaved(f) => Some(f.checkpoint.attempt),
            Self::CheckpointDropped(f) => Some(f.checkpoint.attempt),
            Self::CheckpointErased(f) => Some(f.object.attempt),
            Self::ArtifactKept(f) => Some(f.artifact.attempt),
            Self::ArtifactDropped(f) => Some(f.artifact.attempt),
            Self::ArtifactNotKept(f) => Some(f.not_kept.attempt),
            Self::SweepSubmitted(_)
            | Self::SweepPaused(_)
            | Self::SweepResumed(_)
            | Self::SweepDrained(_)
            | Self::SweepEdited(_)
            | Self::SweepEnded(_)
            | Self::SweepReopened(_)
            | Self::SweepRemoved(_)
            | Self::LogsKept(_)
            | Self::LogsDropped(_)
            | Self::NoticeDelivered(_)
            | Self::HookGivenUp(_)
            | Self::NoticeRead(_)
            | Self::PointEnqueued(_)
            | Self::TrialCreated(_)
            | Self::TrialSettled(_)
            | Self::TrialResumed(_)
            | Self::TrialSpared(_)
            | Self::AgentAttached(_)
            | Self::TokenCreated(_)
            | Self::TokenUsed(_)
            | Self::TokenRevoked(_)
            | Self::AgentJoined(_)
            | Self::AgentDrained(_)
            | Self::AgentUndrained(_)
            | Self::AgentQuarantined(_)
            | Self::AgentReleased(_)
            | Self::GpuQuarantined(_)
            | Self::GpuReleased(_)
            | Self::QuotaSet(_)
            | Self::QuotaRemoved(_)
            | Self::EnvironmentRecorded(_)
            | Self::HardwareRecorded(_)
            | Self::ClusterRestored(_)
            | Self::Study(_) => None,
        }
    }

    /// The fact's name in event lists: `trial_leased`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SweepSubmitted(_) => "sweep_submitted",
            Self::SweepPaused(_) => "sweep_paused",
            Self::SweepResumed(_) => "sweep_resumed",
            Self::SweepDrained(_) => "sweep_drained",
            Self::SweepEdited(_) => "sweep_edited",
            Self::SweepEnded(_) => "sweep_ended",
            Self::SweepReopened(_) => "sweep_reopened",
            Self::SweepRemoved(_) => "sweep_removed",
            Self::PointEnqueued(_) => "point_enqueued",
            Self::TrialCreated(_) => "trial_created",
            Self::TrialLeased(_) => "trial_leased",
            Self::TrialStarted(_) => "trial_started",
            Self::TrialReported(_) => "trial_reported",
            Self::TrialSettled(_) => "trial_settled",
            Self::AttemptEnded(_) => "attempt_ended",
            Self::AgentAttached(_) => "agent_attached",
            Self::TrialPlaced(_) => "trial_placed",
            Self::TrialSpared(_) => "trial_spared",
            Self::TrialResumed(_) => "trial_resumed",
            Self::MemberEnded(_) => "member_ended",
            Self::CheckpointSaved(_) => "checkpoint_saved",
            Self::CheckpointDropped(_) => "checkpoint_dropped",
            Self::CheckpointErased(_) => "checkpoint_erased",
            Self::ArtifactKept(_) => "artifact_kept",
            Self::ArtifactDropped(_) => "artifact_dropped",
            Self::ArtifactNotKept(_) => "artifact_not_kept",
            Self::LogsKept(_) => "logs_kept",
            Self::LogsDropped(_) => "logs_dropped",
            Self::NoticeDelivered(_) => "notice_delivered",
            Self::HookGivenUp(_) => "hook_given_up",
            Self::NoticeRead(_) => "notice_read",
            Self::TokenCreated(_) => "token_created",
            Self::TokenUsed(_) => "token_used",
            Self::TokenRevoked(_) => "token_revoked",
            Self::AgentJoined(_) => "agent_joined",
            Self::AgentDrained(_) => "agent_drained",
            Self::AgentUndrained(_) => "agent_undrained",
            Self::ClusterRestored(_) => "cluster_restored",
            Self::QuotaSet(_) => "quota_set",
            Self::QuotaRemoved(_) => "quota_removed",
            Self::TrialRecalled(_) => "trial_recalled",
            Self::EnvironmentRecorded(_) => "environment_recorded",
            Self::HardwareRecorded(_) => "hardware_recorded",
            Self::AgentQuarantined(_) => "agent_quarantined",
            Self::AgentReleased(_) => "agent_released",
            Self::GpuQuarantined(_) => "gpu_quarantined",
            Self::GpuReleased(_) => "gpu_released",
            Self::AttemptExcused(_) => "attempt_excused",
            Self::Study(fact) => match &fact.event {
                Some(event) => event.name(),
                None => "study",
            },
        }
    }
}

impl From<Fact> for FactCell {
    fn from(fact: Fact) -> Self {
        Self { fact: Some(fact) }
    }
}

/// A fact with its place in the log: what histories and snapshots are made of.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// The index of the log entry that carried it.
    #[prost(uint64, tag = "1")]
    pub log_index: u64,
    /// The leader's clock then, milliseconds since the Unix epoch.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
    /// The fact.
    #[prost(message, required, tag = "3")]
    pub cell: FactCell,
}
