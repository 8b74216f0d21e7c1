//! How an image comes to the machine, once, and what it is then: trials run in what was found, whatever its name means later.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Kind, Runtime, run};
use crate::event::{AgentEvent, OnEvent};

/// How long an image may be on its way.
const PULL_WAIT: Duration = Duration::from_secs(2 * 3600);
/// Prints what an image is called by its content, and the digests under which registries have it.
const IDENTITY: &str = "{{.Id}}{{range .RepoDigests}} {{.}}{{end}}";
/// How long the runtime may take to look an image up.
const LOOK_WAIT: Duration = Duration::from_secs(60);

/// An image that is on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// What runs it.
    pub runtime: Runtime,
    /// What the runtime calls it: its id or its file, which mean the same for ever.
    pub reference: String,
}

/// Why there is no such image here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The agent runs no containers.
    #[error(
        "this agent runs no containers, and the image is `{image}`: install docker, podman or apptainer, or start the agent \
         with `--container-runtime` and the program's path"
    )]
    NoRuntime {
        /// The image.
        image: String,
    },
    /// It could not be fetched.
    #[error("the image `{image}` could not be had with {runtime}: {why}")]
    Pull {
        /// The image.
        image: String,
        /// The runtime.
        runtime: String,
        /// Its words.
        why: String,
    },
}

/// The image `name`, fetched where it is not there, and what it is in words for the provenance. Files are relative to `base`;
/// those that are made are kept in `folder`. Blocks for as long as that takes.
///
/// # Errors
/// Where it cannot be had.
pub fn prepare(
    runtime: &Runtime,
    name: &str,
    base: &Path,
    folder: &Path,
    on_event: &OnEvent,
) -> Result<(Image, String), ImageError> {
    let tell = || on_event.tell(AgentEvent::EnvBuilding { requirements: name.to_owned(), tool: runtime.kind.name() });
    let made = match runtime.kind {
        Kind::Docker | Kind::Podman => from_service(runtime, name, tell),
        Kind::Apptainer => from_file(runtime, name, base, folder, tell),
    };
    let (reference, digest) = made.map_err(|why| {
        let failed = ImageError::Pull { image: name.to_owned(), runtime: runtime.to_string(), why };
        on_event.tell(AgentEvent::EnvFailed { why: failed.to_string() });
        failed
    })?;
    Ok((Image { runtime: runtime.clone(), reference }, format!("{name}, {digest}")))
}

/// The image's id and its digest.
fn from_service(runtime: &Runtime, name: &str, tell: impl Fn()) -> Result<(String, String), String> {
    // As apptainer calls what docker has: one sweep file is good for all.
    let name = name.strip_prefix("docker://").unwrap_or(name);
    let command = |words: &[&str]| {
        let mut command = Command::new(&runtime.program);
        command.args(words).arg(name);
        command
    };
    let look = || run(command(&["image", "inspect", "--format", IDENTITY]), LOOK_WAIT);
    let found = match look() {
        Ok(found) => found,
        Err(_not_here) => {
            tell();
            run(command(&["pull", "--quiet"]), PULL_WAIT)?;
            look()?
        }
    };
    let mut words = found.split_whitespace();
    let id = words.next().ok_or("it does not say what the image is")?;
    let id = if id.starts_with("sha256:") { id.to_owned() } else { format!("sha256:{id}") };
    let digest = words.next().map_or_else(|| id.clone(), str::to_owned);
    Ok((id, digest))
}

/// The image's file and its hash.
fn from_file(
    runtime: &Runtime,
    name: &str,
    base: &Path,
    folder: &Path,
    tell: impl Fn(),
) -> Result<(String, String), String> {
    let given = base.join(name);
    let file: PathBuf = if given.is_file() {
        given
    } else {
        let address = if name.contains("://") { name.to_owned() } else { format!("docker://{name}") };
        let hash = blake3::hash(address.as_bytes()).to_hex();
        let file = folder.join(format!("{}.sif", &hash[..16]));
        if !file.is_file() {
            tell();
            // It has its name once it is whole.
            let partial = file.with_extension("part");
            let mut command = Command::new(&runtime.program);
            command.args(["pull", "--force"]).arg(&partial).arg(address);
            run(command, PULL_WAIT)?;
            std::fs::rename(&partial, &file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        file
    };
    let mut hasher = blake3::Hasher::new();
    std::fs::File::open(&file)
        .and_then(|opened| hasher.update_reader(opened).map(drop))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    Ok((file.display().to_string(), format!("blake3:{}", hasher.finalize().to_hex())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A runtime that notes what it is told in `log`, and does what `script` says.
    fn stand_in(kind: Kind, folder: &Path, script: &str) -> Runtime {
        let program = folder.join(kind.name());
        let text = format!("#!/bin/sh\ncd {}\necho \"$@\" >> log\n{script}\n", folder.display());
        std::fs::write(&program, text).expect("writes");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("is ours");
        Runtime { kind, program, version: "1".into() }
    }

    fn made(runtime: &Runtime, name: &str, folder: &Path) -> Result<(String, String), ImageError> {
        let made = prepare(runtime, name, folder, folder, &OnEvent::default());
        made.map(|(image, words)| (image.reference, words))
    }

    #[test]
    fn an_image_is_pulled_where_it_is_not_there_and_is_what_was_found_from_then_on() {
        let root = tempfile::tempdir().expect("a folder");
        let script = "case \"$1 $2\" in
            'image inspect') [ -e here ] && echo 'sha256:ab docker.io/library/python@sha256:cd' || exit 1 ;;
            pull*) touch here ;;
        esac";
        let runtime = stand_in(Kind::Docker, root.path(), script);
        let expected = ("sha256:ab".to_owned(), "python:3.12, docker.io/library/python@sha256:cd".to_owned());
        assert_eq!(made(&runtime, "python:3.12", root.path()), Ok(expected.clone()));
        assert_eq!(made(&runtime, "python:3.12", root.path()), Ok(expected));
        let log = std::fs::read_to_string(root.path().join("log")).expect("reads");
        assert_eq!(log.lines().filter(|line| *line == "pull --quiet python:3.12").count(), 1, "{log}");
    }

    #[test]
    fn an_image_that_cannot_be_had_is_refused_in_the_runtimes_own_words() {
        let root = tempfile::tempdir().expect("a folder");
        let runtime = stand_in(Kind::Podman, root.path(), "echo 'manifest unknown' >&2; exit 125");
        let why = made(&runtime, "no/such:1", root.path()).expect_err("is not there").to_string();
        assert_eq!(why, "the image `no/such:1` could not be had with podman 1: manifest unknown");
    }

    #[test]
    fn apptainer_takes_a_file_as_it_is_and_makes_one_of_an_address_once() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("own.sif"), "image").expect("writes");
        let runtime = stand_in(Kind::Apptainer, root.path(), "[ \"$1\" = pull ] && echo made > \"$3\"");
        let (file, words) = made(&runtime, "own.sif", root.path()).expect("is there");
        assert_eq!(file, root.path().join("own.sif").display().to_string());
        assert!(words.starts_with("own.sif, blake3:"), "{words}");
        for _ in 0..2 {
            let (file, _) = made(&runtime, "python:3.12", root.path()).expect("is made");
            assert_eq!(std::fs::read_to_string(file).expect("reads"), "made\n");
        }
        let log = std::fs::read_to_string(root.path().join("log")).expect("reads");
        assert!(log.lines().count() == 1 && log.contains("docker://python:3.12"), "{log}");
    }
}
