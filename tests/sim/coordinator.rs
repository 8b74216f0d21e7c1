//! A coordinator of the simulation: the real one (consensus, log, snapshots, decider, leases, services), on a host whose
//! time, disk, clock and network are simulated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use heats_coordinator::{Clock, CoordinatorConfig, Node};
use heats_core::State;
use heats_replica::{BoxFuture, Ground, Member, PowerDisk, Replica, ReplicaConfig, Transport, TransportError, Work};
use heats_wire::v1;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::chance::Dice;
use crate::host::Host;
use crate::net::{Net, Parcel, Place};
use crate::services::{answer, leader_of};

/// The address of a coordinator, and back.
pub fn address(node: u64) -> String {
    format!("node-{node}:1")
}

pub fn node_at(address: &str) -> Option<u64> {
    address.strip_prefix("node-")?.strip_suffix(":1")?.parse().ok()
}

/// A clock that shows what it is told to.
#[derive(Debug, Default)]
pub struct SetClock(AtomicU64);

impl SetClock {
    pub fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One life of a coordinator.
pub struct Coordinator {
    pub place: Place,
    pub host: Host,
    pub disk: Arc<PowerDisk>,
    pub clock: Arc<SetClock>,
    dir: PathBuf,
    inbox: mpsc::UnboundedSender<(Place, Parcel)>,
    replica: Arc<OnceLock<Result<Replica, String>>>,
}

/// How long its log is kept, and the like: what a run's seed decides once.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    pub snapshot_every: u64,
    pub log_keep: u64,
    pub segment_bytes: u64,
    pub lease_ttl: Duration,
}

impl Coordinator {
    /// Starts the coordinator on what `dir` holds. The first `founders` make the cluster; others wait until they are added.
    pub fn start(place: Place, dir: PathBuf, founders: u64, habits: Habits, net: Net, drift_ppm: i64) -> Self {
        let Place::Node { id, .. } = place else { panic!("a coordinator's place is a node") };
        make_folders(&dir);
        let disk = Arc::new(PowerDisk::with_files_of(&dir).expect("reads the folders"));
        let clock = Arc::new(SetClock::default());
        let (inbox, parcels) = mpsc::unbounded_channel();
        let replica = Arc::new(OnceLock::new());
        let host = Host::new(drift_ppm);
        let config = ReplicaConfig {
            snapshot_every: habits.snapshot_every,
            log_keep: habits.log_keep,
            segment_bytes: habits.segment_bytes,
            ..ReplicaConfig::new(&dir, id, address(id))
        };
        let ground = Ground { disk: disk.clone(), work: Work::Inline };
        let founders: BTreeMap<u64, String> = (1..=founders).map(|id| (id, address(id))).collect();
        let settings = CoordinatorConfig {
            node_id: id,
            lease_ttl: habits.lease_ttl,
            ..CoordinatorConfig::single(&dir, ([127, 0, 0, 1], 1).into())
        };
        let process = Process {
            place,
            net: net.clone(),
            link: Arc::new(Link { place, net, open: Mutex::default() }),
            parcels,
            streams: BTreeMap::new(),
            clock: clock.clone(),
        };
        let opened = replica.clone();
        host.spawn(async move {
            match Replica::open_on(config, process.link.clone(), ground).await {
                Ok(replica) => {
                    if founders.contains_key(&id) {
                        // What it says afterwards is heard by the log's failure.
                        let _founded = replica.bootstrap(founders).await;
                    }
                    let _first = opened.set(Ok(replica.clone()));
                    process.run(replica, settings).await;
                }
                Err(error) => {
                    let _first = opened.set(Err(error.to_string()));
                }
            }
        });
        Self { place, host, disk, clock, dir, inbox, replica }
    }

    /// Hands it what has arrived for it.
    pub fn receive(&self, from: Place, parcel: Parcel) {
        // One that has ended receives nothing.
        let _ended = self.inbox.send((from, parcel));
    }

    /// What it has applied, once it is open.
    pub fn state(&self) -> Option<Arc<State>> {
        self.replica.get()?.as_ref().ok().map(Replica::state)
    }

    /// The members of the cluster as it knows them, once it is open.
    pub fn members(&self) -> Vec<Member> {
        match self.replica.get() {
            Some(Ok(replica)) => replica.members(),
            Some(Err(_)) | None => Vec::new(),
        }
    }

    /// Why it stopped itself, if it did; `Err` where it could not even start.
    pub fn failure(&self) -> Result<Option<String>, String> {
        match self.replica.get() {
            None => Ok(None),
            Some(Ok(replica)) => Ok(replica.failed().borrow().as_ref().map(ToString::to_string)),
            Some(Err(why)) => Err(why.clone()),
        }
    }

    /// Whether it believes that it leads.
    pub fn leads(&self) -> bool {
        let leadership =
            |replica: &Replica| matches!(*replica.leadership().borrow(), heats_replica::Leadership::Leader { .. });
        matches!(self.replica.get(), Some(Ok(replica)) if leadership(replica))
    }

    /// Lets its machine's power go in the middle of what it does to its disk: after so many operations in a folder.
    pub fn cut_power_after(&self, folder: &str, operations: u32) {
        self.disk.cut_after(Some((&self.dir.join(folder), operations)));
    }

    /// Ends it in this instant, and makes `dir` what its next life finds: all that it wrote, or, where the power went, all
    /// that was synced and of the rest what `dice` leave.
    pub fn kill(self, dir: &Path, power: Option<&mut Dice>) {
        let Self { host, disk, dir: old, .. } = self;
        drop(host);
        make_folders(dir);
        let image = match power {
            Some(dice) => {
                let odds = dice.pick(&[0.0, 0.1, 0.5, 0.9]).unwrap_or_default();
                disk.cut(&old, dir, || dice.chance(odds))
            }
            None => disk.cut(&old, dir, || true),
        };
        image.expect("writes the image");
        // The identity of the node, and whatever else is beside the log and the snapshots.
        copy_files(&old, dir);
        std::fs::remove_dir_all(&old).expect("removes the old life");
    }
}

/// What is on the simulated disk.
fn make_folders(dir: &Path) {
    for folder in ["log", "snapshots"] {
        std::fs::create_dir_all(dir.join(folder)).expect("makes the folder");
    }
}

fn copy_files(from: &Path, to: &Path) {
    let Ok(items) = std::fs::read_dir(from) else { return };
    for path in items.flatten().map(|item| item.path()).filter(|path| path.is_file()) {
        let name = path.file_name().unwrap_or_default();
        std::fs::copy(&path, to.join(name)).expect("copies a file");
    }
}

/// Questions to peers, and who waits for the answers.
struct Link {
    place: Place,
    net: Net,
    open: Mutex<BTreeMap<u64, oneshot::Sender<Result<Bytes, String>>>>,
}

impl Link {
    fn answered(&self, call: u64, answer: Result<Bytes, String>) {
        if let Some(waiting) = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&call) {
            // Whoever asked may have given up.
            let _late = waiting.send(answer);
        }
    }
}

impl Transport for Link {
    fn call<'a>(
        &'a self,
        target: u64,
        address: &'a str,
        message: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, TransportError>> {
        let (sender, answer) = oneshot::channel();
        let call = self.net.number();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, waiting| !waiting.is_closed());
        open.insert(call, sender);
        drop(open);
        self.net.send(self.place, Place::Node { id: target, life: 0 }, Parcel::Ask { call, data: message });
        let lost = move |why: &str| TransportError { target, address: address.to_owned(), why: why.to_owned() };
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err("gone".to_owned())).map_err(|why| lost(&why)) })
    }
}

/// What runs on the host.
struct Process {
    place: Place,
    net: Net,
    link: Arc<Link>,
    parcels: mpsc::UnboundedReceiver<(Place, Parcel)>,
    streams: BTreeMap<u64, mpsc::UnboundedSender<Result<v1::FromAgent, Status>>>,
    clock: Arc<SetClock>,
}

impl Process {
    async fn run(mut self, replica: Replica, settings: CoordinatorConfig) {
        let Place::Node { id, .. } = self.place else { return };
        let node = Node::start(settings, address(id), replica.clone(), None, self.clock.clone());
        while let Some((from, parcel)) = self.parcels.recv().await {
            let (net, place) = (self.net.clone(), self.place);
            match parcel {
                Parcel::Ask { call, data } => {
                    let replica = replica.clone();
                    tokio::spawn(async move {
                        let data = replica.receive(data).await;
                        net.send(place, from, Parcel::Answer { call, data });
                    });
                }
                Parcel::Answer { call, data } => self.link.answered(call, Ok(data)),
                Parcel::Refused { call } => self.link.answered(call, Err("connection refused".to_owned())),
                Parcel::Open { stream } => {
                    let (said, messages) = mpsc::unbounded_channel();
                    self.streams.insert(stream, said);
                    let messages = tokio_stream::wrappers::UnboundedReceiverStream::new(messages);
                    let node = node.clone();
                    tokio::spawn(async move {
                        let leader = match node.attach(messages).await {
                            Ok(mut answers) => {
                                while let Some(Ok(message)) = answers.next().await {
                                    net.send(place, from, Parcel::Down { stream, message });
                                }
                                None
                            }
                            Err(status) => leader_of(&status),
                        };
                        net.send(place, from, Parcel::Closed { stream, leader });
                    });
                }
                Parcel::Up { stream, message } => {
                    if let Some(said) = self.streams.get(&stream) {
                        // A session that has ended hears nothing.
                        let _ended = said.send(Ok(message));
                    }
                }
                Parcel::Closed { stream, .. } => {
                    self.streams.remove(&stream);
                }
                Parcel::Request { call, request } => {
                    let node = node.clone();
                    tokio::spawn(async move {
                        let reply = answer(&node, request).await;
                        net.send(place, from, Parcel::Reply { call, reply });
                    });
                }
                Parcel::Down { .. } | Parcel::Reply { .. } => {}
            }
        }
    }
}
