//! How near the coordinators come to what their parts can do: reports per second of 1,000 agents' streams through three real
//! coordinators, against the same streams into three replicas that decide nothing and record nothing. Either side has the same
//! consensus, the same log, the same messages and as many reports on their way.

mod server;
mod streams;

use std::time::Duration;

use anyhow::Result;

use self::server::Ceiling;
use self::streams::Streams;
use crate::load::{Load, Manner, Outcome, Plan};
use crate::report::{Report, Target};
use crate::{machine, three};

const PAIRS: usize = 5;
const AGENTS: u32 = 1_000;
/// Of each agent, each with one report on its way.
const PLACES: u32 = 10;
const PLAN: Plan = Plan { agents: AGENTS, places: PLACES, reports: 50, manner: Manner::Ahead(1) };
/// Two generations of all places.
const TRIALS: u64 = 2 * (AGENTS * PLACES) as u64;
const TURN: Duration = Duration::from_secs(8);

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let coordinators = three::start(folder.path())?;
    let mut load = Load::start(PLAN, &three::addresses())?;
    let ceiling = Ceiling::start()?;
    let mut streams = Streams::start(ceiling.address(), AGENTS)?;
    let (mut highest, mut rates, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 1..=PAIRS {
        machine::flush()?;
        let theirs = streams.report(PLACES, TURN)?;
        machine::flush()?;
        let before = three::used(&coordinators)?;
        let Outcome { trials: _, reports, wall, verdicts } =
            load.sweep(folder.path(), &format!("pair-{pair}"), TRIALS)?;
        let cost = (three::used(&coordinators)? - before) * 1e6 / reports as f64;
        let ours = reports as f64 / wall.as_secs_f64();
        report.note(&format!(
            "pair {pair}: {ours:.0} reports a second, {cost:.1} µs of the coordinators for each, {verdicts} to a verdict; \
             the ceiling is {theirs:.0}"
        ));
        highest.push(theirs);
        rates.push(ours);
        shares.push(ours / theirs);
    }
    report.figure("reports a second that nothing is decided on, made durable", "", highest, None);
    report.figure("reports a second, each judged", "", rates, None);
    report.figure("of that ceiling", "", shares, Some(Target::AtLeast(0.5)));
    streams.stop();
    ceiling.stop();
    Ok(())
}
