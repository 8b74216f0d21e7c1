//! Replies with trials of Optuna's that are encoded already: on the wire they are what `proto/optuna.proto` says.

use bytes::Bytes;

/// `GetTrialReply`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EncodedTrial {
    /// A `Trial`.
    #[prost(bytes = "bytes", tag = "1")]
    pub trial: Bytes,
}

/// `GetTrialsReply`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EncodedTrials {
    /// Each a `Trial`.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub trials: Vec<Bytes>,
}
