//! What of the machine is offered to trials: what is found there, as far as settings and flags let it be.

use heats_agent::inventory::{self, Hardware};

use crate::exit::Failure;
use crate::settings::Settings;

/// What a command line says of it; all else is found, or is in the settings.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct HardwareArgs {
    /// How many processors to offer [default: all that this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub cpus: Option<u32>,
    /// GPUs to offer: auto (those that the machine has), none, or pretended ones: fake:4 [default: auto]
    #[arg(long, value_name = "GPUS")]
    pub gpus: Option<String>,
    /// What sweeps may ask for, such as rack=b3; as often as needed
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
}

/// Looks at the machine.
///
/// # Errors
/// A flag or setting that cannot be read.
pub fn detect(settings: &Settings, args: &HardwareArgs) -> Result<Hardware, Failure> {
    let HardwareArgs { cpus, gpus, labels: given } = args;
    let mut labels = settings.labels()?;
    let given = inventory::labels::read(given.iter().map(String::as_str));
    labels.extend(given.map_err(|error| Failure::usage(error.to_string()))?);
    let mut hardware = inventory::detect(settings.gpus(gpus.as_deref())?.source(), &settings.data_dir());
    let offered = &mut hardware.inventory;
    offered.cpus = cpus.unwrap_or(offered.cpus);
    offered.labels = labels;
    Ok(hardware)
}
