//! Virtual environments by the hash of their requirements: built once under a lock, marked when complete.
//!
//! Built in place, because scripts in a virtual environment hold its path. One that has no mark was interrupted
//! and is built anew. The lock is held by the building program itself, so that an agent that was killed in the
//! middle of a build does not get in the way of its successor's.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::blocking;
use crate::admission::without_secrets;
use crate::event::{AgentEvent, OnEvent};

/// How many requirements files may include each other.
const FILES_MAX: usize = 32;
/// How much of a requirements file is read.
const FILE_MAX: u64 = 1 << 20;
const LAST_LINES: usize = 12;
const MARK: &str = "heats-complete";
const WITHOUT_VENV: &str = "on Debian and Ubuntu, install the package python3-venv";
const WITHOUT_UV: &str = "mend uv, or take it off the PATH: without it, `python3 -m venv` and pip are used";
/// How a program says that a disk, or somebody's share of it, is full.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
/// Why an environment could not be built.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// A requirements file cannot be read.
    #[error("the requirements file `{path}` cannot be read: {source}")]
    Requirements {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no Python.
    #[error(
        "no `python3` on the PATH ({source}); install Python 3, or name an environment with `env: {{ prefix: DIR }}`"
    )]
    NoPython {
        /// Why it could not be started.
        source: std::io::Error,
    },
    /// A step of the build failed.
    #[error("{step} failed: {hint}\n{lines}")]
    Step {
        /// What was done, with its command.
        step: String,
        /// What to do.
        hint: &'static str,
        /// The last lines that it printed.
        lines: String,
    },
    /// The file system refused.
    #[error("`{path}` cannot be written: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What an environment is to hold.
#[derive(Clone, Debug)]
pub struct Wanted {
    file: PathBuf,
    hash: String,
}

impl Wanted {
    /// Reads the requirements file and what it includes, for an environment of `interpreter`.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub async fn read(file: PathBuf, interpreter: &str) -> Result<Self, PythonError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(interpreter.as_bytes());
        blocking(move || {
            let mut waiting = vec![file.clone()];
            let mut seen = Vec::new();
            while let Some(path) = waiting.pop() {
                if seen.contains(&path) || seen.len() >= FILES_MAX {
                    continue;
                }
                let mut text = String::new();
                File::open(&path)
                    .and_then(|file| file.take(FILE_MAX).read_to_string(&mut text))
                    .map_err(|source| PythonError::Requirements { path: path.clone(), source })?;
                hasher.update(text.as_bytes()).update(&[0]);
                waiting.extend(includes(&text).map(|name| path.with_file_name(name)));
                seen.push(path);
            }
            Ok(Self { file, hash: hasher.finalize().to_hex()[..16].to_owned() })
        })
        .await
    }

    /// Names the environment: the same for the same files and interpreter.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The environment in `folder`, where it is made already.
    pub fn made(&self, folder: &Path) -> Option<PathBuf> {
        let path = folder.join(&self.hash);
        path.join(MARK).is_file().then_some(path)
    }
}

/// Which interpreter environments are made from: its version and where it is.
///
/// # Errors
/// Where there is none.
pub async fn interpreter() -> Result<String, PythonError> {
    let ask = || Command::new("python3").args(["-c", "import sys; print(sys.version, sys.executable)"]).output();
    let printed = blocking(ask).await.map_err(|source| PythonError::NoPython { source })?;
    Ok(String::from_utf8_lossy(&printed.stdout).into_owned())
}

/// The files that a requirements file includes: `-r FILE`, `-c FILE` and their long forms.
fn includes(text: &str) -> impl Iterator<Item = &str> {
    const OPTIONS: [&str; 4] = ["-r", "-c", "--requirement", "--constraint"];
    text.lines().filter_map(|line| {
        let line = line.trim();
        OPTIONS.iter().find_map(|option| {
            let rest = line.strip_prefix(option)?;
            let name = rest.strip_prefix('=').unwrap_or(rest).trim();
            (rest.starts_with([' ', '\t', '=']) && !name.is_empty()).then_some(name)
        })
    })
}

/// The folder of the environment in `folder`, which is built where it is not there.
///
/// # Errors
/// Where a step of the build fails; what it left is built anew next time.
pub async fn build(wanted: &Wanted, folder: &Path, on_event: &OnEvent) -> Result<PathBuf, PythonError> {
    if let Some(path) = wanted.made(folder) {
        return Ok(path);
    }
    let path = folder.join(&wanted.hash);
    let (wanted, on_event) = (wanted.clone(), on_event.clone());
    blocking(move || {
        let built = build_now(&wanted, &path, &on_event);
        if let Err(error) = &built {
            on_event.tell(AgentEvent::EnvFailed { why: error.to_string() });
        }
        built.map(|()| path)
    })
    .await
}

fn build_now(wanted: &Wanted, path: &Path, on_event: &OnEvent) -> Result<(), PythonError> {
    let started = Instant::now();
    let io = |path: &Path, source| PythonError::Io { path: path.to_owned(), source };
    let lock_path = path.with_extension("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
    let lock = lock.map_err(|source| io(&lock_path, source))?;
    lock.lock().map_err(|source| io(&lock_path, source))?;
    if path.join(MARK).is_file() {
        return Ok(());
    }
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(io(path, source)),
        Ok(()) | Err(_) => {}
    }
    let tool =
        if Command::new("uv").arg("--version").output().is_ok_and(|o| o.status.success()) { "uv" } else { "pip" };
    on_event.tell(AgentEvent::EnvBuilding { requirements: wanted.file.display().to_string(), tool });
    let python = path.join("bin/python");
    let (mut make, mut install) = if tool == "uv" {
        let mut make = Command::new("uv");
        make.args(["venv", "--no-project", "--python", "python3"]).arg(path);
        let mut install = Command::new("uv");
        install.args(["pip", "install", "--python"]).arg(&python).arg("-r").arg(&wanted.file);
        (make, install)
    } else {
        // Isolated: a `logging.py` of the user's beside the requirements file is not the library's.
        let mut make = Command::new("python3");
        make.args(["-I", "-m", "venv"]).arg(path);
        let mut install = Command::new(&python);
        install
            .args(["-I", "-u", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-r"])
            .arg(&wanted.file);
        (make, install)
    };
    without_secrets(&mut make);
    without_secrets(&mut install);
    // Both take a path like `./package` to be relative to where they run, which is not where the user is: the same
    // agent builds for whoever submits.
    let base = wanted.file.parent().unwrap_or(Path::new("/"));
    make.current_dir(base);
    install.current_dir(base);
    let log_path = path.with_extension("log");
    let mut log = File::create(&log_path).map_err(|source| io(&log_path, source))?;
    let without = if tool == "uv" { WITHOUT_UV } else { WITHOUT_VENV };
    step(make, &lock, &mut log, on_event, without)?;
    step(install, &lock, &mut log, on_event, "mend the requirements file, or the network, and run it again")?;
    // What pip installs is worth nothing after a power cut unless it is on disk before the mark is.
    let file = File::open(path).map_err(|source| io(path, source))?;
    rustix::fs::syncfs(&file).map_err(|errno| io(path, errno.into()))?;
    let mark = path.join(MARK);
    std::fs::write(&mark, &wanted.hash).map_err(|source| io(&mark, source))?;
    on_event.tell(AgentEvent::EnvReady { took: started.elapsed() });
    Ok(())
}

/// Runs one step, whose standard input is the lock: it is held until the step ends, even if this process does not.
fn step(
    mut command: Command,
    lock: &File,
    log: &mut File,
    on_event: &OnEvent,
    hint: &'static str,
) -> Result<(), PythonError> {
    let name = std::iter::once(command.get_program()).chain(command.get_args());
    let name = format!("`{}`", name.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "));
    let fail = |lines: String| {
        // What the builder cannot know is whose disk it is.
        let is_full = FULL.iter().any(|words| lines.contains(words));
        let hint = if is_full { "the disk is full: free some space, and run it again" } else { hint };
        PythonError::Step { step: name.clone(), hint, lines }
    };
    let (reader, writer) = std::io::pipe().map_err(|error| fail(error.to_string()))?;
    let held = lock.try_clone().map_err(|error| fail(error.to_string()))?;
    let errors = writer.try_clone().map_err(|error| fail(error.to_string()))?;
    command.stdin(Stdio::from(held)).stdout(writer).stderr(errors).env("PYTHONUNBUFFERED", "1").process_group(0);
    let mut child = command.spawn().map_err(|error| fail(error.to_string()))?;
    // The command holds the pipe's other end: with it open, the reader below would never see the end.
    drop(command);
    let mut last = std::collections::VecDeque::new();
    for line in BufReader::new(reader).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        // The log is for people who look later; the build does not depend on it.
        let _unlogged = writeln!(log, "{line}");
        if line.is_empty() {
            continue;
        }
        on_event.tell(AgentEvent::EnvProgress { line: line.clone() });
        last.push_back(line);
        if last.len() > LAST_LINES {
            last.pop_front();
        }
    }
    let lines = || last.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(fail(format!("{}\n({status})", lines()))),
        Err(error) => Err(fail(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn events() -> (OnEvent, Arc<Mutex<Vec<AgentEvent>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = told.clone();
        (OnEvent::new(move |event| into.lock().expect("not poisoned").push(event)), told)
    }

    fn builds(told: &Mutex<Vec<AgentEvent>>) -> usize {
        let told = told.lock().expect("not poisoned");
        told.iter().filter(|event| matches!(event, AgentEvent::EnvBuilding { .. })).count()
    }

    #[test]
    fn a_requirements_file_includes_others() {
        let text = "numpy\n-r base.txt\n--constraint=c.txt\n  -c d.txt\n-rx\n# -r no\n--requirement e.txt";
        assert_eq!(includes(text).collect::<Vec<_>>(), ["base.txt", "c.txt", "d.txt", "e.txt"]);
    }

    #[tokio::test]
    async fn the_hash_follows_every_file_that_is_included() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("r.txt");
        std::fs::write(&file, "-r more.txt\n").expect("writes");
        assert!(matches!(Wanted::read(file.clone(), "p").await, Err(PythonError::Requirements { .. })));
        std::fs::write(root.path().join("more.txt"), "").expect("writes");
        let first = Wanted::read(file.clone(), "p").await.expect("reads");
        std::fs::write(root.path().join("more.txt"), "# changed").expect("writes");
        assert_ne!(Wanted::read(file, "p").await.expect("reads").hash(), first.hash());
    }

    #[tokio::test]
    async fn an_environment_is_built_once_and_one_that_was_interrupted_is_built_anew() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("r.txt");
        std::fs::write(&file, "# nothing\n").expect("writes");
        let wanted = Wanted::read(file, "p").await.expect("reads");
        let (on_event, told) = events();
        let path = root.path().join(wanted.hash());
        std::fs::create_dir(&path).and_then(|()| std::fs::write(path.join("half"), "")).expect("writes");
        let (one, two) = tokio::join!(build(&wanted, root.path(), &on_event), build(&wanted, root.path(), &on_event));
        assert_eq!((one.expect("builds"), two.expect("waits")), (path.clone(), path.clone()));
        assert_eq!((builds(&told), path.join("half").exists()), (1, false));
    }

    #[test]
    fn a_step_that_finds_the_disk_full_says_so_and_what_to_do() {
        let root = tempfile::tempdir().expect("a folder");
        let lock = File::create(root.path().join("lock")).expect("creates");
        let mut log = File::create(root.path().join("log")).expect("creates");
        let run = |script: &str, log: &mut File| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            step(command, &lock, log, &OnEvent::default(), "mend it").expect_err("fails").to_string()
        };
        let full = run("cat /etc/passwd > /dev/full", &mut log);
        assert!(full.contains("free some space") && !full.contains("mend it"), "{full}");
        assert!(run("exit 3", &mut log).contains("mend it"));
    }

    #[tokio::test]
    async fn a_requirement_that_is_a_path_is_looked_for_beside_the_requirements_file() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("r.txt");
        std::fs::create_dir(root.path().join("envs")).expect("a folder");
        std::fs::write(root.path().join("logging.py"), "raise SystemExit('not this one')").expect("writes");
        std::fs::write(&file, "--no-index\n./probe-1.0-py3-none-any.whl\n").expect("writes");
        let wheel = "
import zipfile
info, files = 'probe-1.0.dist-info/', {'probe.py': 'WORD = \"found\"', 'METADATA': 'Metadata-Version: 2.1\\nName: probe\\nVersion: 1.0\\n'}
files['WHEEL'] = 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'
with zipfile.ZipFile('probe-1.0-py3-none-any.whl', 'w') as wheel:
    for name, text in files.items():
        wheel.writestr(name if name.endswith('.py') else info + name, text)
    wheel.writestr(info + 'RECORD', ''.join(f'{f.filename},,\\n' for f in wheel.filelist) + info + 'RECORD,,\\n')
";
        let made = Command::new("python3").args(["-c", wheel]).current_dir(root.path()).status().expect("runs");
        assert!(made.success());
        let wanted = Wanted::read(file, "p").await.expect("reads");
        let path = build(&wanted, &root.path().join("envs"), &OnEvent::default()).await.expect("builds");
        let import = ["-I", "-c", "import probe; print(probe.WORD)"];
        let printed = Command::new(path.join("bin/python")).args(import).output().expect("runs");
        assert_eq!(String::from_utf8_lossy(&printed.stdout), "found\n", "{printed:?}");
    }

    #[tokio::test]
    async fn a_build_that_fails_says_what_pip_said() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("r.txt");
        std::fs::write(&file, "--no-index\nno-such-package-of-heats\n").expect("writes");
        let wanted = Wanted::read(file, "p").await.expect("reads");
        let (on_event, told) = events();
        let error = build(&wanted, root.path(), &on_event).await.expect_err("fails").to_string();
        assert!(error.contains("no-such-package-of-heats") && error.contains("mend the requirements"), "{error}");
        assert!(matches!(told.lock().expect("not poisoned").last(), Some(AgentEvent::EnvFailed { .. })));
    }
}
