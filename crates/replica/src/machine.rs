//! The state machine as openraft wants it: it applies committed entries to `heats_core::State` and
//! publishes the result after every batch; it knows nothing about what the facts mean.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, StreamExt};
use heats_core::{Entry, State};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use prost::Message;
use tokio::sync::watch;

use crate::error::{Failure, OpenError, StorageError};
use crate::ground::Work;
use crate::snapshot::{self, Loaded, SnapshotFile, SnapshotStore};
use crate::types::{LogId, Outcome, Payload, SnapshotMeta, StoredMembership, Types};

/// What readers see.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// The last entry that the state holds.
    pub(crate) last: Option<LogId>,
    pub(crate) state: Arc<State>,
}

/// See the module.
pub(crate) struct Machine {
    state: State,
    last: Option<LogId>,
    membership: StoredMembership,
    store: SnapshotStore,
    applied: watch::Sender<Applied>,
    failure: watch::Sender<Option<Failure>>,
    /// How many bytes of payload were applied since the last snapshot.
    grown: Arc<AtomicU64>,
    work: Work,
}

impl Machine {
    /// The machine as the newest snapshot left it.
    pub(crate) fn new(
        store: SnapshotStore,
        loaded: Option<Loaded>,
        applied: watch::Sender<Applied>,
        failure: watch::Sender<Option<Failure>>,
        grown: Arc<AtomicU64>,
        work: Work,
    ) -> Self {
        let mut machine = Self {
            state: State::default(),
            last: None,
            membership: StoredMembership::default(),
            store,
            applied,
            failure,
            grown,
            work,
        };
        if let Some(loaded) = loaded {
            machine.take_over(&loaded.meta, loaded.state);
        }
        machine
    }

    fn take_over(&mut self, meta: &SnapshotMeta, state: State) {
        self.state = state;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish();
    }

    /// A clone of the state costs the same at any size.
    fn publish(&self) {
        self.applied.send_replace(Applied { last: self.last, state: Arc::new(self.state.clone()) });
    }

    fn apply_one(
        &mut self,
        id: LogId,
        payload: EntryPayload<Payload, u64, openraft::BasicNode>,
    ) -> Result<Outcome, Failure> {
        let mut recorded = true;
        match payload {
            EntryPayload::Blank => self.state.applied = id.index,
            EntryPayload::Membership(membership) => {
                self.state.applied = id.index;
                self.membership = StoredMembership::new(Some(id), membership);
            }
            EntryPayload::Normal(Payload(bytes)) => {
                self.grown.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                let entry = Entry::decode(bytes)
                    .map_err(|error| Failure::Decode { index: id.index, why: error.to_string() })?;
                recorded = self.state.apply(id.index, id.leader_id.term, entry)?;
            }
        }
        self.last = Some(id);
        Ok(Outcome { recorded })
    }

    fn fail(&self, failure: Failure) -> io::Error {
        let told = io::Error::other(failure.to_string());
        fail(&self.failure, failure);
        told
    }
}

/// Says why the node stops; the first reason stays.
pub(crate) fn fail(failed: &watch::Sender<Option<Failure>>, failure: Failure) {
    failed.send_if_modified(|first| {
        let news = first.is_none();
        if news {
            tracing::error!(error = %failure, "the node stops");
            *first = Some(failure);
        }
        news
    });
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Storage(error) => Self::Snapshot(Arc::new(error)),
            OpenError::Apply(error) => Self::Apply(error),
            other @ (OpenError::Locked { .. }
            | OpenError::OtherNode { .. }
            | OpenError::LogMissing { .. }
            | OpenError::SnapshotMissing { .. }
            | OpenError::Config { .. }
            | OpenError::Start { .. }) => Self::Consensus { why: other.to_string() },
        }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        // Answers leave after the state is published: who hears that an entry is applied sees it applied.
        let mut answers = Vec::new();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let id = entry.log_id();
            let outcome = self.apply_one(id, entry.payload).map_err(|failure| self.fail(failure))?;
            answers.extend(responder.map(|responder| (responder, outcome)));
        }
        self.publish();
        for (responder, outcome) in answers {
            responder.send(outcome);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.grown.store(0, Ordering::Relaxed);
        Builder {
            meta: SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() },
            state: self.state.clone(),
            store: self.store.clone(),
            failure: self.failure.clone(),
            work: self.work,
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotFile) -> Result<(), io::Error> {
        let (store, expected) = (self.store.clone(), meta.clone());
        let read = self.work.run_aside(move || -> Result<State, OpenError> {
            let state = match &data.read {
                Some(state) => state.clone(),
                None => snapshot::read(&data.path)?.1,
            };
            store.keep(&expected, &data)?;
            Ok(state)
        });
        let state = read.await?.map_err(|error| self.fail(error.into()))?;
        self.grown.store(0, Ordering::Relaxed);
        self.take_over(meta, state);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>>, io::Error> {
        Ok(self.store.current().map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes a snapshot of the state as it was when it was asked for, off the engine's task: commits go on.
pub(crate) struct Builder {
    meta: SnapshotMeta,
    state: State,
    store: SnapshotStore,
    failure: watch::Sender<Option<Failure>>,
    work: Work,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(
        &mut self,
    ) -> Result<openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>, io::Error> {
        let (store, meta, state) = (self.store.clone(), self.meta.clone(), self.state.clone());
        let built = self.work.run_aside(move || -> Result<SnapshotFile, StorageError> { store.build(&meta, &state) });
        match built.await? {
            Ok(snapshot) => Ok(Snapshot { meta: self.meta.clone(), snapshot }),
            Err(error) => {
                let told = io::Error::other(error.to_string());
                fail(&self.failure, Failure::Snapshot(Arc::new(error)));
                Err(told)
            }
        }
    }
}
