//! The programs in Python, and Optuna's own servers.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::answers::{self, Answers};
use crate::machine;
use crate::three::{Process, until};

const PROGRAM: &str = "benches/src/optuna/tuner.py";

/// What programs are to do.
pub(super) struct Order(Value);

impl Order {
    /// So many of them, each for so long, on one study that is made first. Each takes the next of the storages, and asks for
    /// verdicts that it does not follow.
    pub(super) fn new(storages: &[&str], study: &str, processes: u32, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        Self(json!({
            "storages": storages, "study": study, "processes": processes, "seconds": seconds, "prunes": false
        }))
    }

    /// The same, by successive halving, and each trial ends where that says so.
    pub(super) fn pruned(self) -> Self {
        let Self(mut order) = self;
        order["prunes"] = true.into();
        Self(order)
    }
}

/// What came of it.
pub(super) struct Measured {
    /// Trials per second.
    pub(super) rate: f64,
    /// Trials.
    pub(super) trials: f64,
    /// Seconds of processor time of the programs.
    pub(super) processor: f64,
}

/// A process that starts programs as it is told.
pub(super) struct Tuner(Answers);

impl Tuner {
    /// Starts it.
    ///
    /// # Errors
    /// Where it cannot be.
    pub(super) fn start(python: &Path) -> Result<Self> {
        Answers::start(program(python, &[])).map(Self)
    }

    /// Has an order carried out.
    ///
    /// # Errors
    /// Where a program fails, or a study has other trials than its programs were told of.
    pub(super) fn tune(&mut self, Order(order): &Order) -> Result<Measured> {
        let answer = self.0.to(order)?;
        let of = |key: &str| answers::number(&answer, key);
        Ok(Measured { rate: of("rate")?, trials: of("trials")?, processor: of("processor")? })
    }
}

/// A server of Optuna's own protocol by Optuna itself.
pub(super) struct Server {
    _process: Process,
}

impl Server {
    /// Starts one over `storage`, and waits until it listens.
    ///
    /// # Errors
    /// Where it does not.
    pub(super) fn start(python: &Path, storage: &str, address: &str) -> Result<Self> {
        let (host, port) = address.rsplit_once(':').context("an address")?;
        let process = Process(program(python, &["serve", storage, host, port]).stdin(Stdio::null()).spawn()?);
        until("Optuna's server", || Ok(TcpStream::connect(address).ok()))?;
        Ok(Self { _process: process })
    }
}

fn program(python: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(python);
    command.arg(machine::repository().join(PROGRAM)).args(args);
    command
}
