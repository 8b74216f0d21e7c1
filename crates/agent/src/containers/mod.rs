//! Containers, by the command of whichever program runs them here. What a trial is given in one is said in `argv`, how its image
//! comes to the machine in `image`.
//!
//! A container is started in the foreground, so that the trial's process is the runtime's: its output, its signals and its exit
//! code are those of the command. It has the machine's network and shared memory, the attempt's folders under the same paths,
//! and the agent's user; it is not kept from anything that a plain trial may do to the machine by the network.

mod argv;
mod image;

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use argv::{Contained, Mount, name};
pub use image::{Image, ImageError, prepare};

use crate::admission::without_secrets;

/// How long a runtime may take to say which version it is.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long it may take to remove a container.
const REMOVE_WAIT: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(5);

/// How a runtime wants to be spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A service that runs containers for its clients.
    Docker,
    /// The same command without a service.
    Podman,
    /// Images that are files, and containers that are the user's own processes.
    Apptainer,
}

impl Kind {
    /// All of them, the preferred first.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Apptainer];

    /// The name of its program.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Apptainer => "apptainer",
        }
    }

    /// What prints its version, where it can run something: docker's client is of no use without its service.
    const fn version(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["version", "--format", "{{.Server.Version}}"],
            Self::Podman => &["version", "--format", "{{.Client.Version}}"],
            Self::Apptainer => &["version"],
        }
    }
}

/// What runs containers on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Runtime {
    /// How it is spoken to.
    pub kind: Kind,
    /// Its program.
    pub program: PathBuf,
    /// Its version.
    pub version: String,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.version)
    }
}

/// Which runtime an agent uses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Choice {
    /// `auto`: the first that is installed and answers.
    #[default]
    Auto,
    /// `none`: this agent runs no containers.
    None,
    /// A program, by its name or its path.
    Program(Kind, PathBuf),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let name = Path::new(text).file_name().and_then(OsStr::to_str).unwrap_or_default();
        let kind = Kind::ALL.into_iter().find(|kind| name.starts_with(kind.name()));
        let kind = kind.ok_or_else(|| {
            format!("`{text}` is not one of auto, none, docker, podman, apptainer, nor a path of one of these programs")
        })?;
        Ok(Self::Program(kind, text.into()))
    }
}

impl Choice {
    /// The runtime; `None` where there is none, or none is to be used. Blocks until it has answered.
    ///
    /// # Errors
    /// Where a program that was named does not answer: what it says.
    pub fn find(&self) -> Result<Option<Runtime>, String> {
        match self {
            Self::None => Ok(None),
            Self::Auto => Ok(Kind::ALL.into_iter().find_map(|kind| {
                let program = on_path(Path::new(kind.name()))?;
                // One that is installed and does not answer is passed over.
                ask(kind, program).ok()
            })),
            Self::Program(kind, program) => {
                let found = if program.components().count() > 1 { Some(program.clone()) } else { on_path(program) };
                let found = found.ok_or_else(|| format!("no `{}` on the PATH", program.display()))?;
                ask(*kind, found).map(Some)
            }
        }
    }
}

fn on_path(program: &Path) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn ask(kind: Kind, program: PathBuf) -> Result<Runtime, String> {
    let mut command = Command::new(&program);
    command.args(kind.version());
    let said = run(command, ANSWER_WAIT).map_err(|why| format!("`{}` runs nothing: {why}", program.display()))?;
    let version = said.lines().next().unwrap_or_default().trim().to_owned();
    Ok(Runtime { kind, program, version })
}

/// What a command prints; or why it failed, in its own words.
fn run(mut command: Command, limit: Duration) -> Result<String, String> {
    without_secrets(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    // Both are read while it runs: it may say more than fits a pipe.
    let (printed, said) = (read(child.stdout.take()), read(child.stderr.take()));
    let status = wait(&mut child, limit)?;
    // Neither panics.
    let (printed, said) = (printed.join().unwrap_or_default(), said.join().unwrap_or_default());
    if status.success() {
        return Ok(printed);
    }
    let said = said.trim();
    Err(if said.is_empty() { status.to_string() } else { said.to_owned() })
}

fn read(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is all that there is.
        let _cut = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus, String> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            // Whatever it waits for: nobody waits for it any longer.
            let _ended = child.kill().and_then(|()| child.wait());
            return Err(format!("it did not answer within {limit:?}"));
        }
        std::thread::sleep(TICK);
    }
}

/// Removes an attempt's container by the command that its launch names for that; nothing of it runs afterwards. Does nothing
/// for attempts without one, and for a container that is gone. Blocks while the runtime works.
pub fn remove(cleanup: &[String]) {
    let Some((program, arguments)) = cleanup.split_first() else { return };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A container that is gone already is what is wanted; docker calls that a failure.
    let removed =
        command.spawn().map_err(|error| error.to_string()).and_then(|mut child| wait(&mut child, REMOVE_WAIT));
    tracing::debug!(?removed, ?cleanup, "a container was to be removed");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_runtime_is_chosen_by_name_by_path_or_not_at_all() {
        assert_eq!("none".parse::<Choice>().expect("reads").find(), Ok(None));
        let path = "/opt/podman-5/bin/podman-remote";
        assert_eq!(path.parse(), Ok(Choice::Program(Kind::Podman, path.into())));
        assert!("lxc".parse::<Choice>().expect_err("is none").contains("docker, podman, apptainer"));
        let missing = "/no/such/docker".parse::<Choice>().expect("reads").find().expect_err("is not there");
        assert!(missing.contains("`/no/such/docker` runs nothing"), "{missing}");
    }

    #[test]
    fn a_runtime_says_its_version_or_why_it_can_run_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        let program = root.path().join("docker");
        let find = |script: &str| {
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("writes");
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("is ours");
            Choice::Program(Kind::Docker, program.clone()).find()
        };
        let found = find("echo 27.1.0").expect("answers").expect("is there");
        assert_eq!(found.to_string(), "docker 27.1.0");
        let why = find("echo 'cannot connect to the service' >&2; exit 1").expect_err("does not");
        assert!(why.contains("cannot connect to the service"), "{why}");
    }
}
