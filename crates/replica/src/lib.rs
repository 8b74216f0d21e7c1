//! The replicated log: consensus, its durable log, snapshots, and the catalogue.
//!
//! The only crate that names openraft and sled; everything that others see is of this crate or of
//! `heats-core`. What is on disk and on the wire is encoded by types of this crate, never by a library's own.
//! It decides nothing about sweeps, and it opens no port: peers are reached through a [`Transport`].

mod backup;
mod catalogue;
mod codec;
mod config;
#[cfg(test)]
mod conformance;
mod disk;
mod error;
mod frame;
mod ground;
mod lock;
mod log;
mod machine;
mod members;
mod network;
mod pb;
mod receiver;
mod replica;
mod rounds;
mod snapshot;
mod types;
mod watcher;

pub use backup::{Backup, BackupError, FirstNode, Summary, examine, restore};
pub use catalogue::{Catalogue, CatalogueError};
pub use config::ReplicaConfig;
#[cfg(any(test, feature = "testing"))]
pub use disk::PowerDisk;
pub use disk::{Disk, RealDisk};
pub use error::{
    BootstrapError, Failure, MembersError, OpenError, ProposeError, SnapshotError, StorageError, TransportError,
};
pub use ground::{Ground, Work};
pub use members::Member;
pub use network::{Alone, BoxFuture, Transport};
pub use replica::{Leadership, Proposed, Replica, Status};
