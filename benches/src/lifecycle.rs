//! The life of trials against a queue in PostgreSQL that does the same: made, leased, ten reports that are each judged by
//! ASHA before the next is made, ended. Three coordinators with every write flushed on a majority, and the streams of 32
//! agents; one server with group commit, and 32 connections. Beside them, what Optuna makes of the same server: 8 and 32
//! processes that ask, report, follow their pruner, and tell.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::load::{Load, Manner, Outcome, Plan};
use crate::optuna::OnPostgres;
use crate::report::{Report, Target};
use crate::rivals::postgres::Postgres;
use crate::{machine, three};

const PAIRS: usize = 5;
/// Enough for some seconds of either side.
const TRIALS: u64 = 20_000;
const QUEUE: Duration = Duration::from_secs(8);
const CLIENTS: u32 = 32;
/// Of Optuna.
const PROCESSES: [u32; 2] = [8, 32];
const REPORTS: u64 = 10;
/// Of each agent, so that its messages travel together.
const PLACES: u32 = 32;

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let postgres = Postgres::start(&folder.path().join("postgres"))?;
    let started = postgres.as_ref().map(|postgres| OnPostgres::start(report, postgres)).transpose()?;
    let mut optuna = started.flatten();
    let coordinators = three::start(folder.path())?;
    let plan = Plan { agents: CLIENTS, places: PLACES, reports: REPORTS, manner: Manner::Ahead(1) };
    let mut load = Load::start(plan, &three::addresses())?;
    load.sweep(folder.path(), "warm-up", TRIALS / 4)?;
    let (mut rates, mut ratios, mut programs) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for pair in 1..=PAIRS {
        let theirs = postgres.as_ref().map(|postgres| postgres.lives(CLIENTS, QUEUE)).transpose()?;
        let mut of_optuna = |processes| {
            optuna.as_mut().map(|optuna| optuna.lives(&format!("{processes}-{pair}"), processes)).transpose()
        };
        let of_optuna = PROCESSES.map(&mut of_optuna);
        machine::flush()?;
        let before = three::used(&coordinators)?;
        let ours = load.sweep(folder.path(), &format!("pair-{pair}"), TRIALS)?;
        let after = three::used(&coordinators)?;
        let Outcome { trials, reports, wall, verdicts } = ours;
        ensure!(reports > trials, "{trials} trials with {reports} reports");
        let rate = trials as f64 / wall.as_secs_f64();
        let cost = (after - before) * 1e6 / (reports + 2 * trials) as f64;
        report.note(&format!(
            "pair {pair}: {rate:.0} lives a second with {:.1} reports each, {verdicts} to a verdict, {cost:.0} µs of the \
             coordinators for each message; PostgreSQL {}",
            reports as f64 / trials as f64,
            theirs.map_or_else(|| "is not there".to_owned(), |theirs| format!("{theirs:.0}")),
        ));
        rates.push(rate);
        ratios.extend(theirs.map(|theirs| rate / theirs));
        for (ratios, theirs) in programs.iter_mut().zip(of_optuna) {
            ratios.extend(theirs?.map(|theirs| rate / theirs));
        }
    }
    report.figure("lives of trials a second, of reports each judged", "", rates, None);
    if !ratios.is_empty() {
        report.figure("of the PostgreSQL queue's", "", ratios, Some(Target::AtLeast(10.0)));
    }
    for (processes, ratios) in PROCESSES.into_iter().zip(programs).filter(|(_, ratios)| !ratios.is_empty()) {
        let what = format!("of those of {processes} processes of Optuna on PostgreSQL");
        report.figure(&what, "", ratios, Some(Target::AtLeast(300.0)));
    }
    Ok(())
}
