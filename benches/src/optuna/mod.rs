//! Optuna's storage protocol. One program (ask, ten reports with a pruning check each, tell) by 1, 8 and 32 processes, turn by
//! turn on Heats, on PostgreSQL, on Optuna's own gRPC proxy over that, and on the proxy over a storage in memory, which is
//! what the Python client can reach where nothing is kept. Then what news cost the server.

mod news;
mod tuner;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::python::{self, Package};
use crate::report::{Report, Target};
use crate::rivals::postgres::Postgres;
use crate::{machine, three};

use self::tuner::{Measured, Order, Server, Tuner};

const PAIRS: usize = 5;
/// Enough for some trials of the slowest side.
const TURN: Duration = Duration::from_secs(6);
const PROCESSES: [u32; 3] = [1, 8, 32];

/// What the programs need.
const OPTUNA: [Package; 3] =
    [("optuna", "optuna==5.0.0"), ("grpc", "grpcio>=1.70"), ("google.protobuf", "protobuf>=5")];
/// What only those on PostgreSQL need.
const PSYCOPG: Package = ("psycopg2", "psycopg2-binary");

const HEATS: &str = "Heats";
const POSTGRES: &str = "PostgreSQL";
const PROXY: &str = "the proxy over PostgreSQL";
const MEMORY: &str = "the proxy in memory";

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let python = match python::with(&OPTUNA) {
        Ok(python) => python,
        Err(error) => {
            report.note(&format!("left out: Optuna cannot be installed here: {error:#}"));
            return Ok(());
        }
    };
    let folder = tempfile::tempdir()?;
    let coordinators = three::start_with(folder.path(), |number| vec!["--optuna".to_owned(), address(number)])?;
    let postgres = postgres(report, &folder.path().join("postgres"))?;
    let sides = Sides::start(&python, postgres.as_ref())?;
    let mut tuner = Tuner::start(&python)?;
    for processes in PROCESSES {
        let (mut own, mut ratios) = (Vec::new(), vec![Vec::new(); sides.rivals.len()]);
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        for turn in 1..=PAIRS {
            let name = format!("{processes}-{turn}");
            let mut theirs = Vec::new();
            for (rival, storage) in &sides.rivals {
                let Measured { rate, .. } = tuner.tune(&Order::new(&[storage.as_str()], &name, processes, TURN))?;
                theirs.push((*rival, rate));
            }
            machine::flush()?;
            let before = three::used(&coordinators)?;
            let storages: Vec<String> = (0..3).map(|number| format!("grpc://{}", address(number))).collect();
            let storages: Vec<&str> = storages.iter().map(String::as_str).collect();
            let ours = tuner.tune(&Order::new(&storages, &name, processes, TURN))?;
            let used = three::used(&coordinators)? - before;
            let Measured { rate, trials, processor } = ours;
            let others: Vec<String> = theirs.iter().map(|(rival, rate)| format!("{rival} {rate:.1}")).collect();
            report.note(&format!(
                "{processes} processes, turn {turn}: {HEATS} {rate:.1} trials/s; {}",
                others.join(", ")
            ));
            own.push(rate);
            clients.push(processor * 1e3 / trials);
            servers.push(used * 1e3 / trials);
            for (ratios, (_, theirs)) in ratios.iter_mut().zip(&theirs) {
                ratios.push(rate / theirs);
            }
        }
        report.figure(&format!("trials a second, {processes} processes"), "", own, None);
        report.figure(&format!("the programs' processor time for each, {processes} processes"), "ms", clients, None);
        report.figure(&format!("the coordinators', {processes} processes"), "ms", servers, None);
        for ((rival, _), ratios) in sides.rivals.iter().zip(ratios) {
            let target = match (*rival, processes) {
                (POSTGRES | PROXY, 8..) => Some(Target::AtLeast(10.0)),
                (MEMORY, 8..) => Some(Target::AtLeast(1.0)),
                (_, _) => None,
            };
            report.figure(&format!("of that of {rival}, {processes} processes"), "", ratios, target);
        }
    }
    news::run(report, &coordinators)
}

/// Where the coordinator of this number, from 0, takes Optuna's clients.
fn address(number: usize) -> String {
    format!("127.0.77.{}:13000", number + 1)
}

/// Programs on a PostgreSQL server that follow their pruner.
pub(crate) struct OnPostgres {
    tuner: Tuner,
    storage: String,
}

impl OnPostgres {
    /// Makes a database for them; `None`, with a sentence, where Optuna cannot be installed.
    ///
    /// # Errors
    /// Where it can be and does not start.
    pub(crate) fn start(report: &Report, postgres: &Postgres) -> Result<Option<Self>> {
        let packages: Vec<Package> = OPTUNA.into_iter().chain([PSYCOPG]).collect();
        match python::with(&packages) {
            Ok(python) => Ok(Some(Self { tuner: Tuner::start(&python)?, storage: postgres.database("optuna")? })),
            Err(error) => {
                report.note(&format!("Optuna is left out, it cannot be installed here: {error:#}"));
                Ok(None)
            }
        }
    }

    /// Lives of trials per second, by so many processes: asked for, up to ten reports that are each judged, told.
    ///
    /// # Errors
    /// Where a program fails.
    pub(crate) fn lives(&mut self, study: &str, processes: u32) -> Result<f64> {
        let order = Order::new(&[self.storage.as_str()], study, processes, TURN).pruned();
        Ok(self.tuner.tune(&order)?.rate)
    }
}

/// A server of PostgreSQL with what the programs need to reach it; `None`, with a sentence, where it cannot be had.
fn postgres(report: &Report, folder: &Path) -> Result<Option<Postgres>> {
    if let Err(error) = python::with(&[PSYCOPG]) {
        report.note(&format!("PostgreSQL is left out: {error:#}"));
        return Ok(None);
    }
    Postgres::start(folder)
}

/// What Heats is measured against: a name, and the storage.
struct Sides {
    rivals: Vec<(&'static str, String)>,
    _servers: Vec<Server>,
}

impl Sides {
    fn start(python: &Path, postgres: Option<&Postgres>) -> Result<Self> {
        let mut servers = vec![Server::start(python, "memory", "127.0.77.9:13000")?];
        let mut rivals = vec![(MEMORY, "grpc://127.0.77.9:13000".to_owned())];
        if let Some(postgres) = postgres {
            // Each has a database of its own, and the other's trials cost it nothing.
            let (direct, behind) = (postgres.database("direct")?, postgres.database("behind")?);
            servers.push(Server::start(python, &behind, "127.0.77.8:13000").context("over PostgreSQL")?);
            rivals.push((POSTGRES, direct));
            rivals.push((PROXY, "grpc://127.0.77.8:13000".to_owned()));
        }
        Ok(Self { rivals, _servers: servers })
    }
}
