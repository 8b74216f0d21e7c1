//! Three members of etcd on loopback, each with its data in a folder of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use super::dial;
use crate::three::{Process, until};

mod pb {
    tonic::include_proto!("etcdserverpb");
}

/// Ends with this value.
pub(super) struct Etcd {
    pub(super) members: Vec<Process>,
    /// Where the member that leads takes clients.
    pub(super) leader: String,
}

impl Etcd {
    /// Starts them; `None`, with a sentence, where etcd is not installed.
    ///
    /// # Errors
    /// Where it is and does not come up.
    pub(super) fn start(folder: &Path, runtime: &Runtime) -> Result<Option<Self>> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            println!("  etcd is not installed (Debian: etcd-server): left out");
            return Ok(None);
        }
        let members = (1..=3).map(|number| member(folder, number)).collect::<Result<_>>()?;
        // They refuse connections at first, and then are led by none.
        let leader = until("a leader of etcd", || Ok(runtime.block_on(leader()).ok().flatten()))?;
        Ok(Some(Self { members, leader }))
    }
}

/// Where a member takes clients.
fn address(number: usize) -> String {
    format!("127.0.78.{number}:2379")
}

async fn leader() -> Result<Option<String>> {
    for number in 1..=3 {
        let mut member = pb::maintenance_client::MaintenanceClient::new(dial(&address(number)).await?);
        let pb::StatusResponse { header, leader } = member.status(pb::StatusRequest {}).await?.into_inner();
        if header.is_some_and(|header| header.member_id == leader) {
            return Ok(Some(address(number)));
        }
    }
    Ok(None)
}

fn member(folder: &Path, number: usize) -> Result<Process> {
    let peer = |number: usize| format!("http://127.0.78.{number}:2380");
    let (name, client) = (format!("m{number}"), format!("http://{}", address(number)));
    let cluster: Vec<String> = (1..=3).map(|number| format!("m{number}={}", peer(number))).collect();
    let mut command = Command::new("etcd");
    command.arg("--name").arg(&name).arg("--data-dir").arg(folder.join(&name));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer(number), "--initial-advertise-peer-urls", &peer(number)]);
    command.args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new", "--log-level", "error"]);
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Process(quiet.spawn().context("cannot start etcd")?))
}

/// Puts a value, durably on a majority.
///
/// # Errors
/// Where that is refused.
pub(super) async fn put(channel: Channel, key: &str, value: &[u8]) -> Result<()> {
    let request = pb::PutRequest { key: key.into(), value: value.into() };
    let answer = pb::kv_client::KvClient::new(channel).put(request).await?.into_inner();
    if answer.header.is_none_or(|header| header.revision == 0) {
        bail!("the put of {key} has no revision");
    }
    Ok(())
}
