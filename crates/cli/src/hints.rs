//! What is said beside the output, on standard error: notes, warnings, and what to type next.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Failure;

static QUIET: AtomicBool = AtomicBool::new(false);

/// From here on, says nothing but warnings and errors.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether notes are wanted.
pub fn are_wanted() -> bool {
    !QUIET.load(Ordering::Relaxed)
}

/// A line for people.
pub fn note(text: &str) {
    if are_wanted() && !text.is_empty() {
        say(text);
    }
}

/// Something that deserves a look.
pub fn warn(text: &str) {
    say(&format!("\x1b[33mwarning:\x1b[0m {text}"));
}

/// Two to four commands that make sense now, each with what it does.
pub fn next(commands: &[(String, &str)]) {
    if !are_wanted() {
        return;
    }
    let width = commands.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    say("\x1b[2mnext:\x1b[0m");
    for (command, what) in commands {
        say(&format!("  {command:width$}  \x1b[2m# {what}\x1b[0m"));
    }
}

/// A failure: what, and what to do about it.
pub fn failure(failure: &Failure) {
    if failure.message.is_empty() {
        return;
    }
    let code = failure.code.as_ref().map_or_else(String::new, |code| format!(" [{code}]"));
    say(&format!("\x1b[1;31merror{code}:\x1b[0m {}", failure.message));
    if let Some(hint) = &failure.hint {
        say(&format!("  \x1b[36mhint:\x1b[0m {hint}"));
    }
}

fn say(text: &str) {
    // Where nobody can be told, there is nobody to tell that.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Where Optuna's clients are served, as their programs say it.
pub fn optuna(address: std::net::SocketAddr) -> String {
    format!("for Optuna: GrpcStorageProxy(host=\"{}\", port={})", address.ip(), address.port())
}
