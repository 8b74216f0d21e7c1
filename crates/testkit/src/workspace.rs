//! A folder of its own for one test: the sweep file, the scripts, the data directory, and every process that
//! was started in it. Dropped, it takes all of them along.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::audit::{Audit, Expected};
use crate::binary::{heats_binary, repository};
use crate::heats::{Finished, Heats};
use crate::marked;
use crate::measured::{self, Measured};
use crate::patience::eventually;

/// The variable that every process of a workspace carries.
const MARK: &str = "TESTKIT_WORKSPACE";
/// The variable that names the side file.
const MEASURED: &str = "MEASURED";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// See the module.
#[derive(Debug)]
pub struct Workspace {
    root: TempDir,
    mark: String,
    variables: Vec<(String, String)>,
}

impl Workspace {
    /// An empty folder.
    ///
    /// # Panics
    /// Where it cannot be made.
    #[expect(clippy::new_without_default, reason = "it makes a folder; nobody should get one by accident")]
    pub fn new() -> Self {
        // Short: a unix socket's path must fit into 108 bytes.
        let root = tempfile::Builder::new().prefix("heats-").tempdir().expect("a folder");
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { root, mark, variables: Vec::new() }
    }

    /// A folder with a copy of `examples/NAME`.
    ///
    /// # Panics
    /// Where there is no such example.
    pub fn of_example(name: &str) -> Self {
        let workspace = Self::new();
        let example = repository().join("examples").join(name);
        for entry in fs::read_dir(&example).unwrap_or_else(|error| panic!("{}: {error}", example.display())) {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), workspace.file(&entry.file_name().to_string_lossy())).expect("copies");
        }
        workspace
    }

    /// A folder with `sweep.yaml` and an executable `trial.sh`.
    pub fn with(sweep: &str, script: &str) -> Self {
        let workspace = Self::new();
        workspace.write("sweep.yaml", sweep);
        workspace.script("trial.sh", script);
        workspace
    }

    /// The same, in which every command has this variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file.
    ///
    /// # Panics
    /// Where it cannot.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Writes an executable shell script, first line included.
    ///
    /// # Panics
    /// Where it cannot.
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.write(name, format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("can be made executable");
        path
    }

    /// Makes `name` a link to the folder `target`, which outlives the workspace.
    ///
    /// # Panics
    /// Where it cannot.
    pub fn link(&self, name: &str, target: &Path) {
        let path = self.file(name);
        let parent = path.parent().expect("lies in the workspace");
        fs::create_dir_all(parent).and_then(|()| std::os::unix::fs::symlink(target, &path)).expect("links");
    }

    /// The text of a file; empty where there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// What lies in the folder, by name.
    pub fn listing(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).expect("is there").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The command with `args`, to be run in the folder with none of the caller's settings.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program(&heats_binary().display().to_string(), &[]);
        command.args(args);
        command
    }

    /// The same for another program, which may call `heats` itself.
    pub fn program(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HEATS_") {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .current_dir(self.path())
            .env("NO_COLOR", "1")
            // Tests are the same on a machine that has some.
            .env("HEATS_GPUS", "none")
            // Agents leave a number of threads alone that is set already, and give none by what was granted.
            .env_remove("OMP_NUM_THREADS")
            // The user's own contexts are none of a test's business.
            .env("XDG_CONFIG_HOME", self.file("config"))
            .env(MARK, &self.mark)
            .env(MEASURED, self.file("measured.txt"))
            .envs(self.variables.iter().cloned());
        command
    }

    /// Starts `heats` with `args`.
    pub fn start(&self, args: &[&str]) -> Heats {
        self.start_command(self.command(args))
    }

    /// Starts what [`Self::command`] made, with what the test has changed about it.
    pub fn start_command(&self, command: Command) -> Heats {
        Heats::spawn(command)
    }

    /// Runs `heats` with `args` to its end.
    pub fn run(&self, args: &[&str]) -> Finished {
        self.start(args).finish()
    }

    /// The same, for a command that is to succeed.
    pub fn ok(&self, args: &[&str]) -> Finished {
        self.run(args).expect(0)
    }

    /// Starts `heats dev` with `args` beside, on a free port, and waits until it answers.
    pub fn dev(&self, args: &[&str]) -> Heats {
        let words: Vec<&str> = ["dev", "--listen", "127.0.0.1:0"].into_iter().chain(args.iter().copied()).collect();
        let dev = self.start(&words);
        dev.wait_line("listening on");
        dev
    }

    /// What the scripts wrote to the side file.
    pub fn measured(&self) -> Vec<Measured> {
        measured::read(&self.file("measured.txt"))
    }

    /// How much they wrote to it, in lines: cheaper than to read them, for whoever looks often.
    pub fn count_measured(&self) -> usize {
        fs::read(self.file("measured.txt")).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
    }

    /// The living processes of the workspace, for messages.
    pub fn processes(&self) -> Vec<String> {
        marked::find(&self.mark()).into_iter().map(|marked| format!("{} {}", marked.pid, marked.command)).collect()
    }

    /// Kills every process of the workspace at once, trials and their supervisors too, as a power cut does.
    pub fn power_cut(&self) {
        marked::kill_all(&self.mark());
    }

    /// Waits until no process of the workspace is left.
    ///
    /// # Panics
    /// Where one stays.
    pub fn expect_quiet(&self) {
        eventually("the end of every process of the workspace", || self.processes().is_empty().then_some(()));
    }

    /// What `heats run` left in the data directory, as a later `heats dev` on it tells: audited.
    ///
    /// # Panics
    /// With every fault.
    pub fn audit(&self, expected: &Expected) -> Audit {
        self.expect_quiet();
        let dev = self.dev(&[]);
        let audit = Audit::take(self, "last");
        dev.interrupt();
        let finished = dev.finish();
        assert!(matches!(finished.code, Some(0 | 130)), "a clean stop\n{finished}");
        self.expect_quiet();
        audit.expect(expected);
        audit
    }

    fn mark(&self) -> String {
        format!("{MARK}={}", self.mark)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("TESTKIT_KEEP").is_some() {
            eprintln!("kept: {}", self.root.path().display());
            self.root.disable_cleanup(true);
        }
        // Not `kill_all`: a panic here would hide the one that brought us here.
        for marked in marked::find(&self.mark()) {
            marked::send(marked.pid, rustix::process::Signal::KILL);
        }
    }
}
