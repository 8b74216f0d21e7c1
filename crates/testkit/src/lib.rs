//! Drives the real command as a user would, breaks it as the world would, and audits what is left.
//!
//! Sees nothing of Heats but what users see: the command line, its output, its exit codes, its files. It
//! deliberately links none of the other crates, so that no test passes because both sides share a mistake.
//! Everything here panics where a test should fail, with what the processes said until then.

pub mod apart;
mod audit;
mod binary;
mod cluster;
mod heats;
mod history;
mod lab;
mod marked;
mod measured;
mod memory;
mod patience;
mod small_disk;
mod workspace;

pub use apart::Test;
pub use audit::{Audit, Event, Expected, Trial};
pub use binary::{heats_binary, repository};
pub use cluster::Cluster;
pub use heats::{Finished, Heats, Line, Stream};
pub use history::{Attempt, CallId, History, Seen};
pub use lab::Lab;
pub use marked::kill_process;
pub use measured::Measured;
pub use memory::MemoryLimits;
pub use patience::{PATIENCE, eventually};
pub use small_disk::SmallDisk;
pub use workspace::Workspace;
