//! `heats agent release`.

use heats_wire::v1;

use super::drain::operator;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::hints;

/// `heats agent release`
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Its name, or its id where several have the name
    #[arg(value_name = "AGENT")]
    agent: String,
}

/// Releases the agent.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { agent } = args;
    let request = v1::ReleaseAgentRequest { agent: agent.clone(), by: operator() };
    let released = context.client()?.release_agent(request).await?.agent.unwrap_or_default();
    let attached = if released.attached { "" } else { " once it is attached" };
    hints::note(&format!(
        "{} is in no quarantine, nor is a GPU of it: trials start on it as on others{attached}",
        released.name
    ));
    hints::next(&[(format!("heats agent show {agent}"), "how it stands")]);
    Ok(Exit::Ok)
}
