//! What an agent tells the program that it is part of, for people to see. Nothing depends on it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Something that a user who waits wants to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgentEvent {
    /// An environment is being built.
    EnvBuilding {
        /// The requirements file.
        requirements: String,
        /// What builds it: `uv` or `pip`.
        tool: &'static str,
    },
    /// A line that the builder printed.
    EnvProgress {
        /// The line.
        line: String,
    },
    /// The environment is ready; told only where it had to be built.
    EnvReady {
        /// How long it took.
        took: Duration,
    },
    /// The environment could not be built.
    EnvFailed {
        /// Why, and what to do.
        why: String,
    },
    /// Trials of a script start cold, although their sweep asks for warm starts; told once.
    RunsCold {
        /// The script.
        script: String,
        /// Why, as a fragment.
        why: String,
    },
    /// The disk is full: nothing begins until there is room.
    DiskFull {
        /// The data directory.
        folder: PathBuf,
        /// How many bytes are free.
        free: u64,
        /// How many must be.
        room: u64,
    },
    /// There is room on the disk again, and what waited for it goes on.
    DiskHasRoom,
    /// The agent is attached to a coordinator.
    Attached {
        /// The coordinator's address.
        address: String,
    },
    /// The cluster does not take the agent.
    Refused {
        /// Why, and what to do.
        why: String,
    },
    /// The cluster was made from a backup of the one that the agent comes from: it has begun anew.
    OtherCluster {
        /// How many attempts it has ended for that.
        ended: usize,
    },
    /// A coordinator does not let the agent in, or is not who it should be; the agent tries again.
    NotLetIn {
        /// Why, and what to do.
        why: String,
    },
    /// The agent has lost its coordinator and looks for the leader; trials run on.
    Detached {
        /// Why.
        why: String,
    },
}

/// Whoever wants to be told. Called from the agent's tasks: it must not block.
#[derive(Clone)]
pub struct OnEvent(Arc<dyn Fn(AgentEvent) + Send + Sync>);

impl OnEvent {
    /// Calls `f` with every event.
    pub fn new(f: impl Fn(AgentEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    /// Tells `event`.
    pub fn tell(&self, event: AgentEvent) {
        (self.0)(event);
    }
}

impl Default for OnEvent {
    /// Tells nobody.
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for OnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnEvent")
    }
}
