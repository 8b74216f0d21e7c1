//! `heats agent hwdetect`

use std::io::{self, Write};

use heats_agent::inventory::{Device, Hardware};
use heats_agent::{BusyGpus, Isolation};
use serde_json::Value;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Outcome};
use crate::host::{HardwareArgs, Offer, detect};
use crate::output::{Fields, Item};
use crate::{view, words};

/// `heats agent hwdetect`
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    hardware: HardwareArgs,
    #[command(flatten)]
    output: OutputArg,
}

/// Shows what an agent that is started with the same flags would offer, and what not and why. Talks to nobody.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let printer = context.printer(&args.output)?;
    let Offer { mut hardware, busy_gpus, cgroups, containers: _ } = detect(&context.settings, &args.hardware)?;
    // As an agent says it of itself, once it has taken them over.
    let isolation = Isolation::expected(&cgroups).to_string();
    hardware.inventory.facts.insert("isolation".to_owned(), isolation);
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let item = item(&machine, &hardware, busy_gpus);
    printer.one("hardware", &Fields::new().done(), &item, |out| write(out, &machine, &hardware, busy_gpus))?;
    Ok(Exit::Ok)
}

/// Why a device is not offered now.
fn barred(device: &Device, busy_gpus: BusyGpus) -> Option<String> {
    let in_use = || device.use_by(&device.users).filter(|_| busy_gpus == BusyGpus::Hide);
    device.fault.clone().or_else(in_use)
}

fn item(machine: &str, hardware: &Hardware, busy_gpus: BusyGpus) -> Item {
    let Hardware { inventory, devices, trouble, source: _ } = hardware;
    let json = Fields::new()
        .with("name", machine)
        .with("cpus", inventory.cpus)
        .with("memory", inventory.memory)
        .with("disk", inventory.disk)
        .with("gpus", devices.iter().map(|one| device(one, busy_gpus)).collect::<Vec<_>>())
        .with("gpu_count", inventory.gpus.len())
        .with("labels", view::map(&inventory.labels))
        .with("facts", view::map(&inventory.facts))
        .with("trouble", trouble.as_deref());
    Item { name: machine.to_owned(), json: json.done() }
}

fn device(device: &Device, busy_gpus: BusyGpus) -> Value {
    let why = barred(device, busy_gpus);
    let users = device.users.iter().map(|user| Fields::new().with("pid", user.pid).with("memory", user.memory).into());
    view::gpu(&device.gpu)
        .with("offered", why.is_none())
        .with("why", why)
        .with("users", users.collect::<Vec<Value>>())
        .into()
}

fn write(out: &mut dyn Write, machine: &str, hardware: &Hardware, busy_gpus: BusyGpus) -> io::Result<()> {
    let Hardware { inventory, devices, trouble, source: _ } = hardware;
    writeln!(out, "\x1b[1m{machine}\x1b[0m would offer")?;
    writeln!(out, "  cpus      {}", inventory.cpus)?;
    writeln!(out, "  memory    {}", words::bytes(inventory.memory))?;
    writeln!(out, "  disk      {}", words::bytes(inventory.disk))?;
    writeln!(out, "  gpus      {}", inventory.gpus.len())?;
    for device in devices {
        let gpu = view::gpu_line(&device.gpu);
        match (barred(device, busy_gpus), device.use_by(&device.users)) {
            (Some(why), _) => writeln!(out, "    {gpu}: not offered, {why}")?,
            (None, Some(used)) => writeln!(out, "    {gpu}: {used}")?,
            (None, None) => writeln!(out, "    {gpu}")?,
        }
    }
    if let Some(trouble) = trouble {
        writeln!(out, "  trouble   {trouble}")?;
    }
    view::write_words(out, inventory)
}
