//! `heats schema`

use std::io::Write;

use crate::exit::{Exit, Outcome};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Prints the JSON schema of the sweep file, for editors.
pub fn run(_: &Args) -> Outcome {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, heats_domain::document::schema()).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(Exit::Ok)
}
