//! The fork server as a program of its own, for the tests of this crate. Not installed: `heats` is its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    heats_agent::forkserver::main(std::env::args_os().skip(1))
}
