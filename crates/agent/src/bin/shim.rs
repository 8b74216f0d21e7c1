//! The shim as a program of its own, for the tests of this crate. Not installed: `heats` is its own shim.

use std::process::ExitCode;

fn main() -> ExitCode {
    heats_agent::shim::main(std::env::args_os().skip(1))
}
