//! `heats logs`

mod writer;

use futures::StreamExt;
use heats_wire::v1;

use super::best::sweep_id;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::select::Selector;
use writer::Writer;

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A sweep, a trial, or an attempt
    #[arg(value_name = "SWEEP[/TRIAL[@ATTEMPT]]")]
    target: Selector,
    /// Go on with what will be written; of a sweep, by every trial that runs or will, until it has ended
    #[arg(short, long)]
    follow: bool,
    /// Only lines in which this regular expression is found
    #[arg(short, long, value_name = "REGEX", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    grep: Option<String>,
    /// Only the last so many lines of each log
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<u32>,
    /// Only standard output
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Only standard error
    #[arg(long)]
    stderr: bool,
    /// Only this process of a trial that spans machines
    #[arg(long, value_name = "RANK")]
    rank: Option<u32>,
}

/// Prints what trials wrote. Of one process the very bytes; of several, whole lines with the trial's number before them, and
/// the rank's where a trial spans machines.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { target, follow, grep, tail, stdout, stderr, rank } = args;
    let client = context.client()?;
    let sweep = client.get(&target.sweep).await?.sweep.unwrap_or_default();
    let request = |trial| v1::LogsRequest {
        sweep: sweep_id(&sweep),
        trial,
        attempt: target.attempt,
        follow: *follow,
        stdout_only: *stdout,
        stderr_only: *stderr,
        grep: grep.clone().unwrap_or_default(),
        tail: *tail,
        rank: *rank,
    };
    let numbers = super::named::numbers(&client, target).await?;
    if numbers.len() > 1 && *follow {
        return Err(Failure::usage("one trial can be followed, or the whole sweep")
            .hint(format!("heats logs {} -f", target.sweep)));
    }
    if rank.is_some() && numbers.len() != 1 {
        return Err(
            Failure::usage("a rank is one of a trial's").hint(format!("heats logs {}/0 --rank 1", target.sweep))
        );
    }
    let requests: Vec<v1::LogsRequest> = if numbers.is_empty() {
        vec![request(None)]
    } else {
        numbers.iter().map(|number| request(Some(*number))).collect()
    };
    let mut writer = Writer::new(numbers.len() != 1, rank.is_none());
    let mut failed = false;
    for request in requests {
        let mut lines = client.logs(request);
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
            };
            let Some(line) = line else { break };
            failed |= !writer.write(line?)?;
        }
        writer.finish()?;
    }
    Ok(if failed { Exit::NotFound } else { Exit::Ok })
}
