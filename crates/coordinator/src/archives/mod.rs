//! The code of sweeps, and the logs of their attempts, beside the log: stored on a majority of coordinators before a fact that names it is acknowledged, as
//! the fact is. What a node lacks and its state names, it fetches from another: after a snapshot, after it joined, after it
//! lost its disk.

mod store;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use heats_core::State;
use heats_domain::ArchiveName;
use heats_replica::{Member, Replica};
use heats_tls::{Dialer, Expect, Security};
use heats_wire::v1;
use heats_wire::v1::archives_client::ArchivesClient;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::{info, warn};

use crate::config::CoordinatorConfig;
use crate::peers;
pub use store::StoreError;
use store::{Limits, Store};

/// Bytes of one piece.
const PIECE: usize = 1 << 20;
/// Pieces that may wait for a slow reader or a slow disk.
const WAITING: usize = 2;
/// How long an archive may be on its way from one coordinator to another.
const TRANSFER: Duration = Duration::from_secs(300);
/// How often what is missing is looked for, and what is named no more.
const TEND: Duration = Duration::from_secs(5);

/// Why an archive is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// This node does not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It broke off on its way.
    #[error("the archive broke off on its way: {0}")]
    Broken(String),
    /// Nobody has it.
    #[error("no coordinator that answers has archive {0}")]
    Missing(ArchiveName),
    /// Too few coordinators have it.
    #[error("only {have} of {voters} coordinators have the archive: {why}")]
    Minority {
        /// How many have it.
        have: usize,
        /// Of how many.
        voters: usize,
        /// What went wrong with another.
        why: String,
    },
}

/// What archives hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shelf {
    /// The code of a sweep.
    Code,
    /// The logs of attempts of a sweep.
    Logs,
}

impl Shelf {
    const fn folder(self) -> &'static str {
        match self {
            Self::Code => "archives",
            Self::Logs => "logs",
        }
    }

    const fn to_wire(self) -> v1::Shelf {
        match self {
            Self::Code => v1::Shelf::Code,
            Self::Logs => v1::Shelf::Logs,
        }
    }

    /// The archives that `state` names.
    fn named(self, state: &State) -> BTreeSet<ArchiveName> {
        match self {
            Self::Code => state.sweeps.values().filter_map(|sweep| sweep.submitted()?.0.code.parse().ok()).collect(),
            Self::Logs => state.shelf.oldest().filter_map(|(_, name, _)| name.parse().ok()).collect(),
        }
    }
}

/// The archives of one kind on one node, and the way to those of the others; a clone is the same.
#[derive(Clone, Debug)]
pub struct Archives {
    shelf: Shelf,
    store: Arc<Store>,
    node: u64,
    security: Security,
    /// Held by whoever fetches one from another node, so that a hundred who want it fetch it once.
    fetching: Arc<Mutex<()>>,
}

impl Archives {
    /// Those of the node with these settings.
    pub fn open(config: &CoordinatorConfig, shelf: Shelf) -> Self {
        let limits = match shelf {
            Shelf::Code => Limits::CODE,
            // Those that are to make room for others stay for a while.
            Shelf::Logs => Limits { one: config.logs_max, all: config.logs_max.saturating_mul(2) },
        };
        Self {
            shelf,
            store: Arc::new(Store::open(config.data_dir.join(shelf.folder()), limits)),
            node: config.node_id,
            security: config.security.clone(),
            fetching: Arc::default(),
        }
    }

    /// The archive and its length, where this node has it.
    pub fn read(&self, name: &ArchiveName) -> Option<(File, u64)> {
        self.store.read(name)
    }

    /// Whether this node has it.
    pub fn has(&self, name: &ArchiveName) -> bool {
        self.store.has(name)
    }

    /// Writes what comes; durable when this returns.
    ///
    /// # Errors
    /// Where it breaks off, is not what its name says, or has no room.
    pub async fn receive(
        &self,
        name: &ArchiveName,
        length: u64,
        mut pieces: impl Stream<Item = Result<v1::ArchivePiece, Status>> + Unpin,
    ) -> Result<(), ArchiveError> {
        let (to_disk, mut queue) = mpsc::channel::<Bytes>(WAITING);
        let (store, name) = (self.store.clone(), name.clone());
        let writing = tokio::task::spawn_blocking(move || {
            let mut incoming = store.begin(&name, length)?;
            while let Some(data) = queue.blocking_recv() {
                incoming.write(&data)?;
            }
            incoming.finish()
        });
        let mut broken = None;
        while let Some(piece) = pieces.next().await {
            match piece {
                // The writer says why, where it has ended.
                Ok(piece) => {
                    if to_disk.send(piece.data).await.is_err() {
                        break;
                    }
                }
                Err(status) => {
                    broken = Some(status.message().to_owned());
                    break;
                }
            }
        }
        drop(to_disk);
        let written = writing.await.map_err(|error| ArchiveError::Broken(error.to_string()))?;
        match broken {
            Some(why) => Err(ArchiveError::Broken(why)),
            None => Ok(written?),
        }
    }

    /// The archive in pieces, where this node has it.
    pub fn send(&self, name: &ArchiveName) -> Option<ReceiverStream<v1::ArchivePiece>> {
        let (file, length) = self.store.read(name)?;
        let (pieces, queue) = mpsc::channel(WAITING);
        let name = name.clone();
        let shelf = self.shelf;
        tokio::task::spawn_blocking(move || read(shelf, &name, file, length, &pieces));
        Some(ReceiverStream::new(queue))
    }

    /// Makes sure that this node has it: from another, where it does not.
    ///
    /// # Errors
    /// Where nobody has it.
    pub async fn fetch(&self, name: &ArchiveName, members: &[Member]) -> Result<(), ArchiveError> {
        let _alone = self.fetching.lock().await;
        if self.has(name) {
            return Ok(());
        }
        // One that cannot be asked may have it: then it is not missing, but out of reach for now.
        let mut unasked = None;
        for member in members.iter().filter(|member| member.node != self.node) {
            let fetched = tokio::time::timeout(TRANSFER, self.fetch_from(name, member)).await;
            match fetched.unwrap_or_else(|_| Err(ArchiveError::Broken("it took too long".to_owned()))) {
                Ok(()) => {
                    info!(archive = name.short(), from = member.node, "fetched an archive");
                    return Ok(());
                }
                Err(error @ ArchiveError::Store(_)) => return Err(error),
                Err(ArchiveError::Missing(_)) => {}
                Err(error @ (ArchiveError::Broken(_) | ArchiveError::Minority { .. })) => unasked = Some(error),
            }
        }
        Err(unasked.unwrap_or_else(|| ArchiveError::Missing(name.clone())))
    }

    async fn fetch_from(&self, name: &ArchiveName, member: &Member) -> Result<(), ArchiveError> {
        let broken = |status: Status| match status.code() {
            Code::NotFound => ArchiveError::Missing(name.clone()),
            _ => ArchiveError::Broken(status.message().to_owned()),
        };
        let request =
            v1::GetArchiveRequest { archive: name.to_string(), here: true, shelf: self.shelf.to_wire().into() };
        let mut pieces = self.peer(member).await?.get(request).await.map_err(broken)?.into_inner();
        let first = pieces.message().await.map_err(broken)?.unwrap_or_default();
        let length = first.length;
        self.receive(name, length, futures::stream::iter([Ok(first)]).chain(pieces)).await
    }

    /// Makes sure that a majority of the voters has it, this node among those that are counted.
    ///
    /// # Errors
    /// Where nobody has it, or too few can have it.
    pub async fn settle(&self, name: &ArchiveName, members: &[Member]) -> Result<(), ArchiveError> {
        if !self.has(name) {
            self.fetch(name, members).await?;
        }
        let voters: Vec<&Member> = members.iter().filter(|member| member.voter).collect();
        let mut have = voters.iter().filter(|member| member.node == self.node).count();
        let (told, mut answers) = mpsc::channel(voters.len().max(1));
        for member in voters.iter().filter(|member| member.node != self.node) {
            let (this, name, member, told) = (self.clone(), name.clone(), (*member).clone(), told.clone());
            // It goes on where this one is not waited for: later the node would have to fetch it.
            tokio::spawn(async move {
                let handed = tokio::time::timeout(TRANSFER, this.hand_over(&name, &member)).await;
                let handed = handed.unwrap_or_else(|_| Err(ArchiveError::Broken("it took too long".to_owned())));
                // Nobody waits for it where others were faster.
                let _late = told.send(handed.map_err(|error| format!("coordinator {}: {error}", member.node))).await;
            });
        }
        drop(told);
        let majority = voters.len() / 2 + 1;
        let mut why = String::new();
        while have < majority {
            match answers.recv().await {
                Some(Ok(())) => have += 1,
                Some(Err(error)) => why = error,
                None => return Err(ArchiveError::Minority { have, voters: voters.len(), why }),
            }
        }
        Ok(())
    }

    async fn hand_over(&self, name: &ArchiveName, member: &Member) -> Result<(), ArchiveError> {
        let missing = || ArchiveError::Missing(name.clone());
        let mut to = self.peer(member).await?;
        let (_, length) = self.store.read(name).ok_or_else(missing)?;
        let shelf = self.shelf.to_wire().into();
        let head = v1::ArchivePiece { archive: name.to_string(), length, shelf, ..Default::default() };
        let body = self.send(name).ok_or_else(missing)?;
        let kept = to.keep(futures::stream::iter([head]).chain(body)).await;
        kept.map(drop).map_err(|status| ArchiveError::Broken(status.message().to_owned()))
    }

    async fn peer(&self, member: &Member) -> Result<ArchivesClient<Channel>, ArchiveError> {
        let dialer = Dialer::new(self.security.clone(), Expect::Coordinator(member.node));
        let channel = peers::channel(&member.address, &dialer).await.map_err(ArchiveError::Broken)?;
        Ok(ArchivesClient::new(channel).max_decoding_message_size(2 * PIECE))
    }

    /// Fetches what the state names and is not here, and removes what no sweep names any more, until `replica` has stopped.
    pub async fn tend(self, replica: Replica) {
        let mut leadership = replica.leadership();
        let mut tick = tokio::time::interval(TEND);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = BTreeSet::new();
        loop {
            tokio::select! {
                changed = leadership.changed() => if changed.is_err() { return },
                _ = tick.tick() => {}
            }
            let named = self.shelf.named(&replica.state());
            for name in named.iter().filter(|name| !self.has(name)) {
                match self.fetch(name, &replica.members()).await {
                    Ok(()) => _ = told.remove(name),
                    Err(error) => {
                        if told.insert(name.clone()) {
                            warn!(archive = name.short(), %error, "an archive that the log names is not here");
                        }
                    }
                }
            }
            let store = self.store.clone();
            // It panics nowhere.
            if let Ok(removed) = tokio::task::spawn_blocking(move || store.remove_unnamed(&named, Instant::now())).await
            {
                removed
                    .iter()
                    .for_each(|name| info!(archive = name.short(), "removed an archive that the log names no more"));
            }
        }
    }
}

/// Reads the file to its end, a piece at a time. A file that cannot be read ends early, which whoever receives it sees.
fn read(shelf: Shelf, name: &ArchiveName, mut file: File, length: u64, pieces: &mpsc::Sender<v1::ArchivePiece>) {
    let shelf = shelf.to_wire().into();
    let mut offset = 0;
    while offset < length {
        let mut data = Vec::with_capacity(PIECE);
        match (&mut file).take(PIECE as u64).read_to_end(&mut data) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let read = data.len() as u64;
        let piece = v1::ArchivePiece { archive: name.to_string(), length, offset, data: data.into(), shelf };
        if pieces.blocking_send(piece).is_err() {
            // Nobody waits for it any more.
            return;
        }
        offset += read;
    }
}
