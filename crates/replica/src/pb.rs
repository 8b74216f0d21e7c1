//! What is on disk and on the wire, as protobuf: the log's records, the snapshot's header, the messages
//! between nodes. Tags are never used twice. The entries' payload is `heats_core::Entry`, opaque here.

use bytes::Bytes;

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct LogId {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) index: u64,
}

/// A vote.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Vote {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) node: u64,
    #[prost(bool, tag = "3")]
    pub(crate) committed: bool,
}

/// One member.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Node {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) address: String,
}

/// A set of voters.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Voters {
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) ids: Vec<u64>,
}

/// Who belongs to the cluster; two sets of voters while it changes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Membership {
    #[prost(message, repeated, tag = "1")]
    pub(crate) voters: Vec<Voters>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) nodes: Vec<Node>,
}

/// A log entry.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct LogEntry {
    #[prost(message, required, tag = "1")]
    pub(crate) id: LogId,
    #[prost(oneof = "Body", tags = "2, 3, 4")]
    pub(crate) body: Option<Body>,
}

/// What a log entry is.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Body {
    /// Nothing: a new leader's first.
    #[prost(message, tag = "2")]
    Blank(()),
    /// An encoded `heats_core::Entry`.
    #[prost(bytes = "bytes", tag = "3")]
    Normal(Bytes),
    /// A change of the membership.
    #[prost(message, tag = "4")]
    Membership(Membership),
}

/// What one frame of the log's files holds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Frame {
    #[prost(message, repeated, tag = "1")]
    pub(crate) records: Vec<LogRecord>,
}

/// The box that a log record travels in.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct LogRecord {
    #[prost(oneof = "Record", tags = "1, 2, 3, 4, 5, 6")]
    pub(crate) record: Option<Record>,
}

/// One thing that happened to the log.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Record {
    /// An entry was appended.
    #[prost(message, tag = "1")]
    Append(LogEntry),
    /// The node voted.
    #[prost(message, tag = "2")]
    Vote(Vote),
    /// Entries up to here were known to be committed.
    #[prost(message, tag = "3")]
    Committed(LogId),
    /// Entries after this one were taken back.
    #[prost(message, tag = "4")]
    Truncate(Cut),
    /// Entries up to here were dropped: a snapshot covers them.
    #[prost(message, tag = "5")]
    Purge(LogId),
    /// A file begins.
    #[prost(message, tag = "6")]
    Begin(Begin),
}

/// Where a log was cut; all of it where there is no place.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Cut {
    #[prost(message, optional, tag = "1")]
    pub(crate) after: Option<LogId>,
}

/// The first record of every file: what the files before it amount to, so that they can be dropped.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Begin {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) node: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) segment: u64,
    #[prost(message, optional, tag = "4")]
    pub(crate) vote: Option<Vote>,
    #[prost(message, optional, tag = "5")]
    pub(crate) committed: Option<LogId>,
    #[prost(message, optional, tag = "6")]
    pub(crate) purged: Option<LogId>,
    #[prost(message, optional, tag = "7")]
    pub(crate) last: Option<LogId>,
}

/// The first frame of a snapshot.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SnapshotHeader {
    #[prost(message, optional, tag = "1")]
    pub(crate) last: Option<LogId>,
    #[prost(message, optional, tag = "2")]
    pub(crate) membership_at: Option<LogId>,
    #[prost(message, required, tag = "3")]
    pub(crate) membership: Membership,
    /// The leader's clock in the last entry that recorded something: records alone do not keep it, because
    /// those of a removed sweep are gone.
    #[prost(uint64, tag = "4")]
    pub(crate) at_ms: u64,
    /// The last entry that recorded something: its term, and its number among the entries of that term.
    #[prost(uint64, tag = "5")]
    pub(crate) turn_term: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) turn_number: u64,
}

/// What one node asks another.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Request {
    /// Who asks.
    #[prost(uint64, tag = "1")]
    pub(crate) from: u64,
    /// Who is meant: a node that is not refuses.
    #[prost(uint64, tag = "2")]
    pub(crate) to: u64,
    #[prost(oneof = "Ask", tags = "3, 4, 5, 6, 7")]
    pub(crate) ask: Option<Ask>,
}

/// See [`Request`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Ask {
    #[prost(message, tag = "3")]
    Vote(VoteRequest),
    #[prost(message, tag = "4")]
    PreVote(VoteRequest),
    #[prost(message, tag = "5")]
    Append(AppendRequest),
    #[prost(message, tag = "6")]
    Snapshot(SnapshotChunk),
    #[prost(message, tag = "7")]
    Transfer(TransferRequest),
}

/// Votes for the asker, please.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct VoteRequest {
    #[prost(message, required, tag = "1")]
    pub(crate) vote: Vote,
    #[prost(message, optional, tag = "2")]
    pub(crate) last: Option<LogId>,
    #[prost(bool, tag = "3")]
    pub(crate) transfer: bool,
}

/// Append these, or just hear that the leader lives.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct AppendRequest {
    #[prost(message, required, tag = "1")]
    pub(crate) vote: Vote,
    #[prost(message, optional, tag = "2")]
    pub(crate) previous: Option<LogId>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) entries: Vec<LogEntry>,
    #[prost(message, optional, tag = "4")]
    pub(crate) committed: Option<LogId>,
}

/// A piece of a snapshot; an empty one only asks how far the receiver is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SnapshotChunk {
    #[prost(message, required, tag = "1")]
    pub(crate) vote: Vote,
    /// The snapshot's own header: what it covers.
    #[prost(message, required, tag = "2")]
    pub(crate) header: SnapshotHeader,
    /// The digest at the end of its file: which snapshot this is a piece of.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) digest: Bytes,
    #[prost(uint64, tag = "4")]
    pub(crate) length: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) offset: u64,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) data: Bytes,
}

/// Lead in my place.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct TransferRequest {
    #[prost(message, required, tag = "1")]
    pub(crate) vote: Vote,
    #[prost(uint64, tag = "2")]
    pub(crate) to: u64,
    #[prost(message, optional, tag = "3")]
    pub(crate) last: Option<LogId>,
}

/// What the other node answers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Response {
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 5")]
    pub(crate) answer: Option<Answer>,
}

/// See [`Response`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Answer {
    #[prost(message, tag = "1")]
    Vote(VoteResponse),
    #[prost(message, tag = "2")]
    Append(AppendResponse),
    #[prost(message, tag = "3")]
    Snapshot(SnapshotResponse),
    #[prost(message, tag = "4")]
    Transfer(TransferResponse),
    /// The request was not carried out.
    #[prost(string, tag = "5")]
    Refused(String),
}

/// See [`VoteRequest`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct VoteResponse {
    #[prost(message, required, tag = "1")]
    pub(crate) vote: Vote,
    #[prost(bool, tag = "2")]
    pub(crate) granted: bool,
    #[prost(message, optional, tag = "3")]
    pub(crate) last: Option<LogId>,
}

/// See [`AppendRequest`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct AppendResponse {
    #[prost(oneof = "Appended", tags = "1, 2, 3, 4")]
    pub(crate) appended: Option<Appended>,
}

/// How far the entries were taken over.
#[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Appended {
    /// All of them.
    #[prost(message, tag = "1")]
    All(()),
    /// Those up to here.
    #[prost(message, tag = "2")]
    UpTo(Cut),
    /// None: the entry before them is not in this log.
    #[prost(message, tag = "3")]
    Conflict(()),
    /// None: this node has seen a higher vote.
    #[prost(message, tag = "4")]
    HigherVote(Vote),
}

/// See [`SnapshotChunk`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct SnapshotResponse {
    /// How many bytes the receiver has.
    #[prost(uint64, tag = "1")]
    pub(crate) have: u64,
    /// The snapshot is in place, or was refused: this is the receiver's vote.
    #[prost(message, optional, tag = "2")]
    pub(crate) done: Option<Vote>,
}

/// See [`TransferRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct TransferResponse {
    #[prost(oneof = "Transferred", tags = "1, 2, 3")]
    pub(crate) transferred: Option<Transferred>,
}

/// Whether the node will stand for election.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Transferred {
    /// It will.
    #[prost(message, tag = "1")]
    Accepted(()),
    /// It has voted otherwise since.
    #[prost(message, tag = "2")]
    VoteChanged(Vote),
    /// It lacks entries.
    #[prost(message, tag = "3")]
    Behind(Cut),
}
