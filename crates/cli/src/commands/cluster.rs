//! `heats cluster`

mod backup;
mod code;
mod restore;

use std::time::Duration;

use futures::future::join_all;
use heats_client::{Client, ClientError, Credentials, Options};
use heats_wire::v1;
use heats_wire::v1::change_request::Step;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Fields, Listing};
use crate::{hints, view, words};

/// How long one coordinator is waited for where others are asked as well.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a newcomer is looked at while it catches up.
const LOOK: Duration = Duration::from_millis(200);

/// The verbs about the coordinators of a cluster.
#[derive(clap::Subcommand, Debug)]
pub enum ClusterCommand {
    /// Make a cluster of coordinators that have none yet
    Init(InitArgs),
    /// Ask every coordinator how it stands
    Status(StatusArgs),
    /// List the coordinators as one of them knows them
    Members(StatusArgs),
    /// Let a coordinator join; it votes once it has caught up
    Add(AddArgs),
    /// Take a coordinator out
    Remove(RemoveArgs),
    /// Hand the lead to another coordinator
    TransferLeader(TransferArgs),
    /// Have a coordinator write a snapshot now
    Snapshot,
    /// Write everything that the cluster knows to a file
    Backup(backup::Args),
    /// Make a new cluster's first coordinator of a backup, in the empty directory --data
    Restore(restore::Args),
}

/// `heats cluster init`
#[derive(clap::Args, Debug)]
pub struct InitArgs {
    /// The coordinators, HOST:PORT: three or five
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<String>,
}

/// `heats cluster status` and `members`
#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    output: OutputArg,
}

/// `heats cluster add`
#[derive(clap::Args, Debug)]
pub struct AddArgs {
    /// Where it listens, HOST:PORT; it runs already, without peers
    #[arg(value_name = "ADDRESS")]
    newcomer: String,
    /// It gets everything and has no vote
    #[arg(long)]
    learner: bool,
}

/// `heats cluster remove`
#[derive(clap::Args, Debug)]
pub struct RemoveArgs {
    /// Its number
    #[arg(value_name = "NODE")]
    node: u64,
}

/// `heats cluster transfer-leader`
#[derive(clap::Args, Debug)]
pub struct TransferArgs {
    /// To whom; to the one that holds most, unless given
    #[arg(value_name = "NODE")]
    node: Option<u64>,
}

/// Does what the verb says.
pub fn run(context: &Context, command: &ClusterCommand) -> Outcome {
    match command {
        ClusterCommand::Restore(args) => restore::run(context, args),
        other => context.block_on(asked(context, other)),
    }
}

async fn asked(context: &Context, command: &ClusterCommand) -> Outcome {
    match command {
        ClusterCommand::Init(args) => init(context, args).await,
        ClusterCommand::Status(args) => status(context, args).await,
        ClusterCommand::Members(args) => members(context, args).await,
        ClusterCommand::Add(args) => add(context, args).await,
        ClusterCommand::Remove(args) => remove(context, args).await,
        ClusterCommand::TransferLeader(args) => transfer(context, args).await,
        ClusterCommand::Snapshot => {
            let v1::SnapshotResponse { index } = context.client()?.snapshot().await?;
            hints::note(&format!("the snapshot covers everything up to entry {index}"));
            Ok(Exit::Ok)
        }
        ClusterCommand::Backup(args) => backup::run(context, args).await,
        ClusterCommand::Restore(args) => restore::run(context, args),
    }
}

/// One coordinator, asked by itself.
async fn ask(credentials: &Credentials, address: &str) -> Result<v1::NodeResponse, ClientError> {
    let options = Options { patience: PATIENCE, deadline: PATIENCE, stale: true };
    Client::connect_as(vec![address.to_owned()], options, credentials.clone())?.coordinator().await
}

async fn init(context: &Context, args: &InitArgs) -> Outcome {
    let credentials = context.settings.credentials()?;
    let nodes = join_all(args.addresses.iter().map(|address| ask(&credentials, address))).await;
    let nodes = nodes.into_iter().collect::<Result<Vec<_>, _>>()?;
    if let Some(node) = nodes.iter().find(|node| !node.members.is_empty()) {
        let why = format!("the coordinator at {} has a cluster already", node.address);
        return Err(Failure::new(Exit::Conflict, why).hint("`heats cluster add` lets another join it"));
    }
    let mut ids: Vec<u64> = nodes.iter().map(|node| node.node).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Failure::usage("two of these coordinators have the same number")
            .hint("each is started with its own: `heats coordinator start --id 2`"));
    }
    let member = |node: &v1::NodeResponse| v1::Member {
        node: node.node,
        address: node.address.clone(),
        voter: true,
        ..Default::default()
    };
    let request = v1::InitRequest { members: nodes.iter().map(member).collect() };
    let first = Client::connect_as(args.addresses.iter().take(1).cloned().collect(), Options::default(), credentials)?;
    first.init(request).await?;
    hints::note(&format!("a cluster of {}", words::count(nodes.len() as u64, "coordinator")));
    if nodes.len() % 2 == 0 {
        hints::warn("an even number survives no more losses than one less: make it three or five");
    }
    let all = args.addresses.join(",");
    hints::next(&[
        (format!("export HEATS_ADDRESS={all}"), "tell later commands where the cluster is"),
        ("heats cluster status".to_owned(), "how each stands"),
        ("heats agent start".to_owned(), "on the machines that are to run trials"),
    ]);
    Ok(Exit::Ok)
}

async fn status(context: &Context, args: &StatusArgs) -> Outcome {
    let printer = context.printer(&args.output)?;
    let seen = known(context).await?;
    let credentials = context.settings.credentials()?;
    let nodes = join_all(seen.members.iter().map(|member| ask(&credentials, &member.address))).await;
    let leader = leader(&nodes);
    let items = seen.members.iter().zip(&nodes).map(|(member, node)| {
        let node = node.as_ref().map_err(ToString::to_string);
        view::member(member, node.as_ref().copied().map_err(String::as_str), leader)
    });
    let up = nodes.iter().filter(|node| node.is_ok()).count();
    let meta = Fields::new().with("leader", leader.map(|(id, _)| id)).with("up", up).done();
    let listing = Listing { of: "members", meta, items: items.collect(), columns: view::member_columns(), now_ms: 0 };
    printer.list(&listing, NO_CLUSTER)?;
    let voters = seen.members.iter().filter(|member| member.voter).count();
    match leader {
        Some(_) => Ok(Exit::Ok),
        None => Err(Failure::new(
            Exit::Unavailable,
            format!("no coordinator leads: {up} of {} answer, and {} must", seen.members.len(), voters / 2 + 1),
        )),
    }
}

const NO_CLUSTER: &str = "this coordinator has no cluster yet: `heats cluster init ADDRESS...`";

async fn members(context: &Context, args: &StatusArgs) -> Outcome {
    let printer = context.printer(&args.output)?;
    let seen = known(context).await?;
    let leader = seen.leader.map(|leader| (leader, seen.log_index));
    let items = seen.members.iter().map(|member| {
        let mut item = view::member(member, Err(""), leader);
        // Nobody was asked.
        item.json.remove("state");
        item.json.remove("error");
        item
    });
    let columns = view::member_columns().into_iter().take(3).collect();
    let meta = Fields::new().with("leader", seen.leader).done();
    let listing = Listing { of: "members", meta, items: items.collect(), columns, now_ms: 0 };
    printer.list(&listing, NO_CLUSTER)?;
    Ok(Exit::Ok)
}

/// Who leads, and what its state has reached.
fn leader(nodes: &[Result<v1::NodeResponse, ClientError>]) -> Option<(u64, u64)> {
    let leads = |node: &&v1::NodeResponse| node.leader == Some(node.node);
    // Of two that say so, the one of the later term is right.
    let leader = nodes.iter().flatten().filter(leads).max_by_key(|node| node.term)?;
    Some((leader.node, leader.applied_index))
}

/// What the first coordinator that answers knows.
async fn known(context: &Context) -> Result<v1::NodeResponse, Failure> {
    Ok(context.client()?.coordinator().await?)
}

async fn add(context: &Context, args: &AddArgs) -> Outcome {
    let AddArgs { newcomer, learner } = args;
    let client = context.client()?;
    let newcomer = ask(&context.settings.credentials()?, newcomer).await?;
    let v1::NodeResponse { node, address, .. } = newcomer.clone();
    let cluster = client.coordinator().await?;
    let is_stranger = |member: &v1::Member| cluster.members.iter().all(|known| known.address != member.address);
    if newcomer.members.iter().any(is_stranger) {
        let why = format!("the coordinator at {address} has a cluster of its own");
        return Err(Failure::new(Exit::Conflict, why).hint("start it with an empty data directory and without peers"));
    }
    let change = |step: Step| v1::ChangeRequest { step: step.into(), node, address: address.clone() };
    client.change_members(change(Step::Learn)).await?;
    if *learner {
        hints::note(&format!("coordinator {node} learns"));
        return Ok(Exit::Ok);
    }
    let mut told = None;
    loop {
        match client.change_members(change(Step::Vote)).await {
            Ok(_) => break,
            // It has not caught up, or another change is on its way.
            Err(ClientError::Conflict(why) | ClientError::Refused(why)) => {
                if told.as_ref() != Some(&why.message) {
                    hints::note(&format!("waiting: {why}"));
                }
                told = Some(why.message);
                tokio::time::sleep(LOOK).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    hints::note(&format!("coordinator {node} votes"));
    hints::next(&[("heats cluster status".to_owned(), "how each stands")]);
    Ok(Exit::Ok)
}

async fn remove(context: &Context, args: &RemoveArgs) -> Outcome {
    let RemoveArgs { node } = args;
    let client = context.client()?;
    let known = client.coordinator().await?;
    if !known.members.iter().any(|member| member.node == *node) {
        return Err(Failure::new(Exit::NotFound, format!("there is no coordinator {node} in the cluster")));
    }
    let request = v1::ChangeRequest { step: Step::Leave.into(), node: *node, address: String::new() };
    let v1::ChangeResponse { members } = client.change_members(request).await?;
    hints::note(&format!("coordinator {node} is out; {} left", words::count(members.len() as u64, "coordinator")));
    hints::next(&[("heats cluster status".to_owned(), "how the others stand")]);
    Ok(Exit::Ok)
}

async fn transfer(context: &Context, args: &TransferArgs) -> Outcome {
    let client = context.client()?;
    let seen = client.coordinator().await?;
    let credentials = context.settings.credentials()?;
    let nodes = join_all(seen.members.iter().map(|member| ask(&credentials, &member.address))).await;
    let Some((old, _)) = leader(&nodes) else {
        return Err(Failure::new(Exit::Unavailable, "no coordinator leads"));
    };
    let votes = |id: u64| seen.members.iter().any(|member| member.node == id && member.voter);
    let others = nodes.iter().flatten().filter(|node| node.node != old && votes(node.node));
    let to = match args.node {
        Some(node) => node,
        None => match others.max_by_key(|node| node.applied_index) {
            Some(node) => node.node,
            None => return Err(Failure::new(Exit::Conflict, "no other coordinator votes and answers")),
        },
    };
    if to == old {
        hints::note(&format!("coordinator {to} leads already"));
        return Ok(Exit::Ok);
    }
    client.transfer_leader(to).await?;
    let patience = tokio::time::Instant::now() + context.settings.patience()?;
    loop {
        let nodes = join_all(seen.members.iter().map(|member| ask(&credentials, &member.address))).await;
        match leader(&nodes) {
            Some((now, _)) if now == to => break,
            Some(_) | None if tokio::time::Instant::now() >= patience => {
                return Err(Failure::new(Exit::Unavailable, format!("coordinator {to} has not taken the lead over")));
            }
            Some(_) | None => tokio::time::sleep(LOOK).await,
        }
    }
    hints::note(&format!("coordinator {to} leads"));
    Ok(Exit::Ok)
}
