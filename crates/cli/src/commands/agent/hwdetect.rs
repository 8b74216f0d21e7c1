//! `heats agent hwdetect`

use std::io::{self, Write};

use heats_agent::inventory::{Device, Hardware};
use serde_json::Value;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Outcome};
use crate::host::{HardwareArgs, detect};
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
    let hardware = detect(&context.settings, &args.hardware)?;
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let item = item(&machine, &hardware);
    printer.one("hardware", &Fields::new().done(), &item, |out| write(out, &machine, &hardware))?;
    Ok(Exit::Ok)
}

fn item(machine: &str, hardware: &Hardware) -> Item {
    let Hardware { inventory, devices, trouble, source: _ } = hardware;
    let json = Fields::new()
        .with("name", machine)
        .with("cpus", inventory.cpus)
        .with("memory", inventory.memory)
        .with("disk", inventory.disk)
        .with("gpus", devices.iter().map(device).collect::<Vec<_>>())
        .with("gpu_count", inventory.gpus.len())
        .with("labels", view::map(&inventory.labels))
        .with("facts", view::map(&inventory.facts))
        .with("trouble", trouble.as_deref());
    Item { name: machine.to_owned(), json: json.done() }
}

fn device(device: &Device) -> Value {
    let users = device.users.iter().map(|user| Fields::new().with("pid", user.pid).with("memory", user.memory).into());
    view::gpu(&device.gpu)
        .with("offered", device.fault.is_none())
        .with("why", device.fault.as_deref())
        .with("users", users.collect::<Vec<Value>>())
        .into()
}

fn write(out: &mut dyn Write, machine: &str, hardware: &Hardware) -> io::Result<()> {
    let Hardware { inventory, devices, trouble, source: _ } = hardware;
    writeln!(out, "\x1b[1m{machine}\x1b[0m would offer")?;
    writeln!(out, "  cpus      {}", inventory.cpus)?;
    writeln!(out, "  memory    {}", words::bytes(inventory.memory))?;
    writeln!(out, "  disk      {}", words::bytes(inventory.disk))?;
    writeln!(out, "  gpus      {}", inventory.gpus.len())?;
    for device in devices {
        let gpu = view::gpu_line(&device.gpu);
        match (&device.fault, device.use_by(&device.users)) {
            (Some(fault), _) => writeln!(out, "    {gpu}: not offered, {fault}")?,
            (None, Some(used)) => writeln!(out, "    {gpu}: {used}")?,
            (None, None) => writeln!(out, "    {gpu}")?,
        }
    }
    if let Some(trouble) = trouble {
        writeln!(out, "  trouble   {trouble}")?;
    }
    view::write_words(out, inventory)
}
