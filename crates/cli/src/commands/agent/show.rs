//! `heats agent show`, and `heats show` of an agent's id.

use std::io::{self, Write};

use heats_client::Client;
use heats_wire::v1;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Outcome};
use crate::output::{Fields, Item, Printer};
use crate::{view, words};

/// `heats agent show`
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Its name, or its id where several have the name
    #[arg(value_name = "AGENT")]
    agent: String,
    #[command(flatten)]
    output: OutputArg,
}

/// Shows what the command line names.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let printer = context.printer(&args.output)?;
    one(&context.client()?, &printer, &args.agent).await
}

/// Shows the agent that `text` names.
pub async fn one(client: &Client, printer: &Printer, text: &str) -> Outcome {
    let v1::AgentResponse { log_index, now_ms, agent, holds } = client.agent(text).await?;
    let agent = agent.unwrap_or_default();
    let mut item = view::agent(&agent);
    item.json.insert("holds".into(), holds.iter().map(view::held).collect());
    let meta = Fields::new().with("log_index", log_index).done();
    printer.one("agent", &meta, &item, |out| write(out, &item, &agent, &holds, now_ms))?;
    Ok(Exit::Ok)
}

fn write(
    out: &mut dyn Write,
    item: &Item,
    agent: &v1::AgentStatus,
    holds: &[v1::HeldTrial],
    now_ms: u64,
) -> io::Result<()> {
    let inventory = agent.inventory.clone().unwrap_or_default();
    let held = agent.held.clone().unwrap_or_default();
    writeln!(out, "\x1b[1m{}\x1b[0m {} ({})", agent.name, item.text("state").unwrap_or_default(), item.name)?;
    if let Some(v1::AgentDrain { reason, by, at_ms, now }) = &agent.drain {
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
        let what = if *now { "what ran there is tried elsewhere" } else { "what runs there goes on" };
        writeln!(out, "  drained   {}{by}{why}; {what}", words::ago(*at_ms, now_ms))?;
    }
    if let Some(quarantine) = &agent.quarantine {
        view::write_quarantine(out, quarantine, now_ms)?;
    }
    for quarantine in &agent.gpu_quarantines {
        writeln!(out, "  gpu       {} is left alone", view::left_alone(quarantine))?;
        view::write_quarantine(out, quarantine, now_ms)?;
    }
    if let Some(condition) = agent.condition.as_ref().filter(|condition| !condition.unable.is_empty()) {
        writeln!(out, "  unable    {}; nothing starts there until that is mended", condition.unable)?;
    }
    writeln!(out, "  cpus      {} of {} held", held.cpus, inventory.cpus)?;
    writeln!(out, "  memory    {} of {} held", words::bytes(held.memory), words::bytes(inventory.memory))?;
    writeln!(out, "  gpus      {} of {} held", held.gpus.len(), inventory.gpus.len())?;
    for gpu in &inventory.gpus {
        let is_held = if held.gpus.contains(&gpu.index) { ", held" } else { "" };
        let unusable =
            view::unusable(agent, gpu.index).map_or_else(String::new, |why| format!("; not leased now: {why}"));
        writeln!(out, "    {}{is_held}{unusable}", view::gpu_line(gpu))?;
    }
    if let Some(condition) = agent.condition.as_ref().filter(|condition| condition.disk_total > 0) {
        let (free, total) = (words::bytes(condition.disk_free), words::bytes(condition.disk_total));
        writeln!(out, "  disk      {free} of {total} free")?;
    }
    view::write_words(out, &inventory)?;
    if let Some(own) = &inventory.rendezvous {
        writeln!(out, "  gangs     meet at {}, ports {}", own.address, view::gang_ports(own))?;
    }
    writeln!(out, "  version   {}", agent.version)?;
    writeln!(out, "  offers    this since {}", words::timestamp(agent.recorded_ms))?;
    if let Some(since) = agent.attached_ms {
        writeln!(out, "  attached  to the present leader {}", words::ago(since, now_ms))?;
    }
    match agent.silent_ms {
        Some(silent) => writeln!(out, "  heard of  {} ago", words::duration(silent))?,
        None => writeln!(out, "  heard of  not since the present leader leads")?,
    }
    writeln!(out, "  holds     {}", words::count(u64::from(agent.leases), "trial"))?;
    for trial in holds {
        let since = trial.started_ms.unwrap_or(trial.leased_ms);
        let how = if trial.ahead { "waits for a place there" } else { "since" };
        let address = view::held_address(trial);
        let rank = if trial.nodes > 1 { format!(" (rank {} of {})", trial.rank, trial.nodes) } else { String::new() };
        writeln!(out, "    {address}{rank}  {}, {how} {}", view::state(trial.state), words::ago(since, now_ms))?;
        if let Some(waits) = &trial.waits_for {
            writeln!(out, "      {}", words::waits_for(waits))?;
        }
    }
    if agent.leases as usize > holds.len() {
        writeln!(out, "    and {} more", agent.leases as usize - holds.len())?;
    }
    Ok(())
}
