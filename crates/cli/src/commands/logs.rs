//! `heats logs`

use std::io::Write;

use futures::StreamExt;
use heats_wire::v1;

use super::best::sweep_id;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::hints;
use crate::select::Selector;

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A sweep, a trial, or an attempt
    #[arg(value_name = "SWEEP[/TRIAL[@ATTEMPT]]")]
    target: Selector,
    /// Go on with what will be written
    #[arg(short, long)]
    follow: bool,
    /// Only standard output
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Only standard error
    #[arg(long)]
    stderr: bool,
}

/// Prints what trials wrote. Of one trial the very bytes; of several, lines with the trial's number before them.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { target, follow, stdout, stderr } = args;
    let client = context.client()?;
    let sweep = client.get(&target.sweep).await?.sweep.unwrap_or_default();
    let request = |trial| v1::LogsRequest {
        sweep: sweep_id(&sweep),
        trial,
        attempt: target.attempt,
        follow: *follow,
        stdout_only: *stdout,
        stderr_only: *stderr,
    };
    let numbers = super::named::numbers(&client, target).await?;
    if numbers.len() > 1 && *follow {
        return Err(Failure::usage("one trial can be followed, or the whole sweep")
            .hint(format!("heats logs {} -f", target.sweep)));
    }
    let requests: Vec<v1::LogsRequest> = if numbers.is_empty() {
        vec![request(None)]
    } else {
        numbers.iter().map(|number| request(Some(*number))).collect()
    };
    let mut writer = Writer { marked: numbers.len() != 1, begun: true };
    let mut failed = false;
    for request in requests {
        let mut lines = client.logs(request);
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
            };
            let Some(line) = line else { break };
            failed |= !writer.write(&line?)?;
        }
    }
    Ok(if failed { Exit::NotFound } else { Exit::Ok })
}

struct Writer {
    marked: bool,
    /// Whether the next byte begins a line.
    begun: bool,
}

impl Writer {
    /// Whether there was something to write, and no reason why there is not.
    fn write(&mut self, line: &v1::LogLine) -> std::io::Result<bool> {
        let v1::LogLine { trial, attempt, stderr: _, data, error } = line;
        let mut out = std::io::stdout().lock();
        if self.marked {
            for piece in data.split_inclusive(|&byte| byte == b'\n') {
                if self.begun {
                    write!(out, "{trial:>4} | ")?;
                }
                out.write_all(piece)?;
                self.begun = piece.ends_with(b"\n");
            }
        } else {
            out.write_all(data)?;
        }
        out.flush()?;
        if !error.is_empty() {
            hints::warn(&format!("the logs of trial {trial}, attempt {attempt}: {error}"));
        }
        Ok(error.is_empty())
    }
}
