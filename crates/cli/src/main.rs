//! The command `heats`: reads the command line, asks a coordinator or is one, prints. Decides nothing about
//! trials: see the crates `core` and `coordinator`.

mod cli;
mod code;
mod commands;
mod context;
mod door;
mod exit;
mod hints;
mod host;
mod import;
mod live;
mod output;
mod provenance;
mod room;
mod select;
mod settings;
mod sweepfile;
mod view;
mod words;

use std::process::ExitCode;

use clap::Parser;

use exit::{Exit, Failure};

/// A quarter of a busy coordinator's time went into glibc's allocator: docs/adr/0016.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == host::SHIM) {
        // What trials are supervised by: before anything starts a thread.
        return heats_agent::forkserver::main(std::env::args_os().skip(2));
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            return match error.print() {
                Ok(()) => exit.into(),
                Err(error) => end(Err(error.into())),
            };
        }
    };
    end(cli.run())
}

fn end(outcome: Result<Exit, Failure>) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            hints::failure(&failure);
            failure.exit.into()
        }
    }
}
