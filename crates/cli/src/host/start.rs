//! Starts and ends the coordinator and the agents of this process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use heats_agent::inventory::Hardware;
use heats_agent::{Agent, AgentEvent, CheckpointStorage, LOG_LIMIT};
use heats_client::Client;
use heats_coordinator::{Coordinator, CoordinatorConfig, StartError, Webhooks};
use heats_domain::Inventory;
use heats_tls::Security;
use tokio::sync::mpsc;

use super::agent::{self, AgentOptions};
use super::{Offer, coordinator, folder, log};
use crate::exit::Failure;
use crate::hints;
use crate::settings::{ADDRESS, Live};

/// Where the coordinator listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listen {
    /// There and nowhere else.
    At(SocketAddr),
    /// At the usual address, or at any free one where somebody else is there already.
    Anywhere,
}

/// What is started.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where the coordinator listens.
    pub listen: Listen,
    /// Where Optuna's clients are listened to, if anywhere.
    pub optuna: Option<SocketAddr>,
    /// How many agents share the machine.
    pub agents: u32,
    /// What they offer together.
    pub offer: Offer,
    /// Where they keep checkpoints.
    pub checkpoints: CheckpointStorage,
}

/// A coordinator and its agents, running.
pub struct Host {
    coordinator: Coordinator,
    agents: Vec<Agent>,
    data_dir: PathBuf,
    inventory: Inventory,
}

impl Host {
    /// Starts them; what the agents tell goes to `events`.
    ///
    /// # Errors
    /// The data directory is in use or damaged, or the address is taken.
    pub async fn start(options: HostOptions, events: mpsc::UnboundedSender<AgentEvent>) -> Result<Self, Failure> {
        let HostOptions { data_dir, listen, optuna, agents: count, offer, checkpoints } = options;
        let Offer { hardware: Hardware { inventory, source, .. }, busy_gpus, cgroups, containers } = offer;
        let data_dir = folder::make(&data_dir)?;
        log::to_file(&data_dir);
        let coordinator = coordinator(&data_dir, listen, optuna).await?;
        let address = coordinator.address().to_string();
        let live = Live { address: address.clone(), pid: std::process::id(), tls: false };
        live.write(&data_dir)
            .map_err(|error| folder::refused(format!("cannot write to {}", data_dir.display()), &error))?;
        let mut host = Self { coordinator, agents: Vec::new(), data_dir, inventory };
        for (number, share) in shares(&host.inventory, count.max(1)).into_iter().enumerate() {
            let options = AgentOptions {
                data_dir: host.data_dir.clone(),
                number,
                name: None,
                coordinators: vec![address.clone()],
                security: Security::PlainText,
                join: None,
                inventory: share,
                gpus: source.clone(),
                busy_gpus,
                cgroups: cgroups.clone(),
                containers: containers.clone(),
                checkpoints: checkpoints.clone(),
                log_limit: LOG_LIMIT,
            };
            match agent::start(options, events.clone()).await {
                Ok(agent) => host.agents.push(agent),
                Err(failure) => {
                    host.shutdown().await;
                    return Err(failure);
                }
            }
        }
        Ok(host)
    }

    /// Where the coordinator listens.
    pub fn address(&self) -> String {
        self.coordinator.address().to_string()
    }

    /// Where Optuna's clients are listened to, if anywhere.
    pub const fn optuna(&self) -> Option<SocketAddr> {
        self.coordinator.optuna()
    }

    /// Where everything is kept.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What the agents offer together.
    pub const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// A client of the coordinator.
    ///
    /// # Errors
    /// Never, for an address that is listened on.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect(vec![self.address()])?)
    }

    /// Waits until the coordinator cannot go on.
    pub async fn failed(&self) -> Failure {
        let why = self.coordinator.failed().await;
        // Until they have ended nothing else is said.
        hints::note("the coordinator has stopped; ending its trials");
        Failure::failed(format!("the coordinator has stopped: {why}"))
            .hint(format!("{}/heats.log says more", self.data_dir.display()))
    }

    /// How many trials have a process here, or have ended and nobody knows yet.
    pub fn holding(&self) -> usize {
        self.agents.iter().map(Agent::holding).sum()
    }

    /// Ends running trials (they are tried again, and no retry is used up), then the agents, then the coordinator.
    pub async fn shutdown(self) {
        let Self { coordinator, agents, data_dir, inventory: _ } = self;
        futures::future::join_all(agents.into_iter().map(|agent| agent.shutdown(agent::STOP_TRIALS))).await;
        Live::remove(&data_dir);
        coordinator.shutdown().await;
    }
}

async fn coordinator(data_dir: &Path, listen: Listen, optuna: Option<SocketAddr>) -> Result<Coordinator, Failure> {
    let usual: SocketAddr = ADDRESS.parse().map_err(|error| Failure::failed(format!("{ADDRESS}: {error}")))?;
    // Whoever runs this reaches what they reach.
    let webhooks = Webhooks::Any;
    let start = |address| {
        let single = CoordinatorConfig::single(data_dir, address);
        Coordinator::start(CoordinatorConfig { webhooks, optuna, ..single })
    };
    let started = match listen {
        Listen::At(address) => start(address).await,
        Listen::Anywhere => match start(usual).await {
            Err(StartError::Listen { address, .. }) if address == usual => start(SocketAddr::new(usual.ip(), 0)).await,
            other => other,
        },
    };
    started.map_err(coordinator::failure)
}

/// The machine divided among `count` agents: nothing is offered twice, and each has a processor at least.
pub fn shares(whole: &Inventory, count: u32) -> Vec<Inventory> {
    let Inventory { cpus, memory, gpus, disk, labels, facts, rendezvous } = whole;
    (0..count)
        .map(|number| Inventory {
            cpus: (cpus / count + u32::from(number < cpus % count)).max(1),
            memory: memory / u64::from(count),
            gpus: gpus.iter().filter(|gpu| gpu.index % count == number).cloned().collect(),
            disk: disk / u64::from(count),
            labels: labels.clone(),
            facts: facts.clone(),
            // Which of the agents has which port, the leader knows: they say the same address.
            rendezvous: rendezvous.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::resources::Gpu;

    #[test]
    fn agents_share_the_machine_and_offer_nothing_twice() {
        let gpus = (0..5).map(|index| Gpu { index, ..Gpu::default() }).collect();
        let whole = Inventory { cpus: 7, memory: 1 << 30, gpus, ..Inventory::default() };
        let shares = shares(&whole, 3);
        assert_eq!(shares.iter().map(|share| share.cpus).collect::<Vec<_>>(), [3, 2, 2]);
        let mut gpus: Vec<u32> = shares.iter().flat_map(|share| share.gpus.iter().map(|gpu| gpu.index)).collect();
        gpus.sort_unstable();
        assert_eq!(gpus, [0, 1, 2, 3, 4]);
        assert_eq!(super::shares(&Inventory { cpus: 1, ..whole }, 2).iter().map(|share| share.cpus).sum::<u32>(), 2);
    }
}
