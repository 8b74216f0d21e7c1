//! What of the machine is offered to trials: what is found there, as far as settings and flags let it be.

use heats_agent::containers::Runtime;
use heats_agent::inventory::{self, Hardware};
use heats_agent::{BusyGpus, Cgroups};
use heats_domain::resources::CONTAINER_FACT;

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
    /// GPUs that processes of others use: offer them, or hide them until they are free [default: offer]
    #[arg(long, value_name = "offer|hide")]
    pub busy_gpus: Option<String>,
    /// A control group for each trial: auto (where one was delegated), off, or the folder to make them in [default: auto]
    #[arg(long, value_name = "WHERE")]
    pub cgroups: Option<String>,
    /// What runs containers: auto (the first of docker, podman and apptainer that is there), none, or a program [default: auto]
    #[arg(long, value_name = "PROGRAM")]
    pub container_runtime: Option<String>,
    /// Where other machines reach this one, for trials that span several [default: its address on the way to the coordinators]
    #[arg(long, value_name = "HOST")]
    pub gang_address: Option<String>,
    /// The ports at which their processes meet here [default: 29500-29563]
    #[arg(long, value_name = "FIRST-LAST")]
    pub gang_ports: Option<String>,
}

/// What is offered, and how.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What was found.
    pub hardware: Hardware,
    /// What becomes of GPUs that others use.
    pub busy_gpus: BusyGpus,
    /// Whether trials get control groups.
    pub cgroups: Cgroups,
    /// What runs containers, where anything does.
    pub containers: Option<Runtime>,
}

/// Looks at the machine.
///
/// # Errors
/// A flag or setting that cannot be read.
pub fn detect(settings: &Settings, args: &HardwareArgs) -> Result<Offer, Failure> {
    let HardwareArgs { cpus, gpus, labels: given, busy_gpus, cgroups, container_runtime, gang_address, gang_ports } =
        args;
    let mut labels = settings.labels()?;
    let given = inventory::labels::read(given.iter().map(String::as_str));
    labels.extend(given.map_err(|error| Failure::usage(error.to_string()))?);
    let mut hardware = inventory::detect(settings.gpus(gpus.as_deref())?.source(), &settings.data_dir());
    let offered = &mut hardware.inventory;
    offered.cpus = cpus.unwrap_or(offered.cpus);
    offered.labels = labels;
    let containers = settings.containers(container_runtime.as_deref())?;
    offered.facts.extend(containers.as_ref().map(|runtime| (CONTAINER_FACT.to_owned(), runtime.to_string())));
    offered.rendezvous = Some(settings.rendezvous(gang_address.as_deref(), gang_ports.as_deref())?);
    Ok(Offer {
        hardware,
        busy_gpus: settings.busy_gpus(busy_gpus.as_deref())?,
        cgroups: settings.cgroups(cgroups.as_deref())?,
        containers,
    })
}
