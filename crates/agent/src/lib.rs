//! An agent runs trials on one machine: starts their processes, reads what they report, tells a coordinator, obeys it.
//!
//! It decides nothing about trials: whether one goes on, is tried again or has failed is the coordinator's word.
//! A trial does not depend on its agent: each runs under a small supervising process (`shim.rs`) that outlives
//! the agent and notes the trial's end, and what it writes goes to files. An agent that starts again takes over
//! what its predecessor left, and tells everything once more that no coordinator has acknowledged.
//!
//! The program that uses this crate must call [`forkserver::main`] for the hidden subcommand that [`AgentConfig::shim`]
//! names, before it starts anything else.

mod admission;
mod agent;
mod artifacts;
mod attach;
mod attempt;
mod cgroup;
mod checkpoints;
mod code;
mod collector;
pub mod containers;
mod context;
mod disk;
mod door;
mod ending;
mod env;
mod eraser;
mod event;
mod executors;
mod folders;
pub mod forkserver;
mod gpus;
mod handover;
mod held;
pub mod inventory;
mod journal;
mod keeper;
mod keeping;
mod key;
mod launch;
mod lineage;
mod lines;
mod logfile;
mod logs;
mod package;
mod paths;
mod proc;
mod process;
mod reach;
mod readable;
pub mod reading;
mod resume;
mod rotation;
mod shim;
mod slots;
pub mod solo;
mod storage;
mod supervisor;
mod warm;
mod watcher;

pub use admission::{AdmitError, JoinToken};
pub use agent::{Agent, AgentConfig, ORPHAN_TTL, Shutdown, StartError};
pub use cgroup::{Cgroups, Isolation};
pub use event::{AgentEvent, OnEvent};
pub use gpus::BusyGpus;
pub use journal::JournalError;
pub use paths::PathsError;
pub use rotation::{LOG_LIMIT, LOG_LIMIT_MIN};
pub use storage::{Kind as CheckpointStorage, StorageError, hash_of_one};
