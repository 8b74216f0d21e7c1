//! `heats agent drain` and `undrain`.

use std::time::Duration;

use heats_client::Client;
use heats_wire::v1;

use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::{hints, words};

/// How often a drained agent is looked at while it still holds trials.
const LOOK: Duration = Duration::from_millis(200);

/// `heats agent drain`
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Its name, or its id where several have the name
    #[arg(value_name = "AGENT")]
    agent: String,
    /// Why, for those who find it drained
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// End what runs there; it is tried again on another agent, and no retry is used up
    #[arg(long)]
    now: bool,
    /// Wait until it holds no trial any more
    #[arg(long)]
    wait: bool,
}

/// `heats agent undrain`
#[derive(clap::Args, Debug)]
pub struct UndrainArgs {
    /// Its name, or its id where several have the name
    #[arg(value_name = "AGENT")]
    agent: String,
}

/// Drains the agent.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { agent, reason, now, wait } = args;
    let client = context.client()?;
    let (reason, by) = (reason.clone(), operator());
    let request = v1::DrainAgentRequest { agent: agent.clone(), reason, by, now: *now };
    let drained = client.drain_agent(request).await?.agent.unwrap_or_default();
    // The name may be another's by the time that it is asked about again.
    let id = drained.agent.unwrap_or_default().to_string();
    let holds = words::count(u64::from(drained.leases), "trial");
    let rest = match (drained.leases, *now) {
        (0, _) => "it holds nothing".to_owned(),
        (_, true) => format!("it gives {holds} back"),
        (_, false) => format!("of the {holds} there, those that run go on to their end"),
    };
    hints::note(&format!("{} is drained: nothing more starts on it; {rest}", drained.name));
    if *wait {
        empty(&client, &id).await?;
        hints::note(&format!("{} holds nothing any more", drained.name));
    }
    hints::next(&[
        (format!("heats agent show {agent}"), "what it still holds"),
        (format!("heats agent undrain {agent}"), "start trials on it again"),
    ]);
    Ok(Exit::Ok)
}

/// Returns once the agent holds nothing.
async fn empty(client: &Client, id: &str) -> Outcome {
    loop {
        let holds = client.agent(id).await?.agent.unwrap_or_default().leases;
        if holds == 0 {
            return Ok(Exit::Ok);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Takes the drain back.
pub async fn undrain(context: &Context, args: &UndrainArgs) -> Outcome {
    let UndrainArgs { agent } = args;
    let undrained = context.client()?.undrain_agent(agent.as_str()).await?.agent.unwrap_or_default();
    let attached = if undrained.attached { "" } else { " once it is attached" };
    hints::note(&format!("{} is not drained: trials start on it again{attached}", undrained.name));
    Ok(Exit::Ok)
}

/// Who types this, as far as the machine knows: `ann@desk`.
pub(super) fn operator() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "somebody".to_owned());
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}
