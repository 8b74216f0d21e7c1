//! One attempt without an agent and without a coordinator: prepared as an agent prepares it, for whoever runs it again to see
//! whether it comes to the same. Starts nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use heats_domain::{Environment as Found, Metrics};
use heats_wire::v1;

use crate::attempt::{AttemptDir, DirError, Record};
use crate::code::{self, CodeError, Tree};
use crate::containers::{self, Runtime};
use crate::env::{EnvError, Environment, Environments};
use crate::event::OnEvent;
use crate::gpus::Gpus;
use crate::key::{Key, KeyError};
use crate::launch::{self, House, LaunchError, Order};
use crate::paths::{Paths, PathsError};
use crate::{package, reading};

/// Why it cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum SoloError {
    /// It has no name.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its folders cannot be made.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// Nor its files.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The order cannot be read.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Its code cannot be unpacked.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// Its environment cannot be made.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The file system refuses.
    #[error("`{path}`: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An attempt that is to be run by hand.
#[derive(Debug)]
pub struct Solo {
    order: Order,
    envs: PathBuf,
    paths: Paths,
    dir: AttemptDir,
    python: PathBuf,
    bin: Option<PathBuf>,
    runtime: Option<Runtime>,
    tree: Option<Tree>,
    environment: Environment,
}

/// What is to be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launched {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where.
    pub cwd: PathBuf,
    /// What is added to the environment.
    pub variables: BTreeMap<String, String>,
}

impl Solo {
    /// The attempt that `run` orders. Everything that it writes is below `reproduce` in `data_dir`; environments are those of
    /// the agents there. `bin` is the program `heats`; `runtime` runs containers.
    ///
    /// # Errors
    /// Where the order cannot be read, or the folders cannot be made.
    pub fn new(
        run: v1::Run,
        data_dir: &Path,
        bin: Option<PathBuf>,
        runtime: Option<Runtime>,
    ) -> Result<Self, SoloError> {
        let key = Key::from_wire(run.key)?;
        let paths = Paths::new(&data_dir.join("reproduce"), "agent")?;
        let io = |path: PathBuf| move |source| SoloError::Io { path, source };
        let python = package::unpack(&paths.python()).map_err(io(paths.python()))?;
        let envs = data_dir.join("envs");
        std::fs::create_dir_all(&envs).map_err(io(envs.clone()))?;
        let dir = AttemptDir::at(paths.attempt(key));
        let environment = Environment::default();
        Ok(Self { order: Order::of(key, run)?, envs, paths, dir, python, bin, runtime, tree: None, environment })
    }

    /// Takes its code from the archive `packed`, or from the folder that the sweep was submitted from where there is none.
    ///
    /// # Errors
    /// Where it cannot be unpacked, or there is neither.
    pub fn bring_code(&mut self, packed: Option<File>) -> Result<(), SoloError> {
        match packed {
            Some(packed) => {
                let path = self.paths.own("code");
                remove(&path)?;
                code::unpack(packed, &path)?;
                self.tree = Some(Tree::at(path));
            }
            None if self.order.code_dir().is_dir() => {}
            None => return Err(LaunchError::NoFolder(self.order.code_dir()).into()),
        }
        Ok(())
    }

    /// Makes its environment, or finds it; what it is.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub async fn make_environment(&mut self, on_event: OnEvent) -> Result<Arc<Found>, SoloError> {
        let env = self.order.env(self.tree.as_ref().map(Tree::path));
        let environments = Environments::new(self.envs.clone(), self.runtime.clone(), on_event);
        self.environment = environments.prepare(env.as_ref(), &self.order.base_dir, self.order.program()).await?;
        Ok(self.environment.found.clone())
    }

    /// What its environment is, where it is here already; `None` where it would have to be made.
    pub async fn environment(&self) -> Option<Arc<Found>> {
        let env = self.order.env(self.tree.as_ref().map(Tree::path));
        let environments = Environments::new(self.envs.clone(), self.runtime.clone(), OnEvent::default());
        environments.known(env.as_ref(), &self.order.base_dir, self.order.program()).await
    }

    /// What an agent here would start; writes nothing.
    ///
    /// # Errors
    /// Where the command cannot be filled in.
    pub fn launched(&self) -> Result<Launched, SoloError> {
        let (record, _) = self.record()?;
        let launch = record.launch;
        let common = launch::common(&self.python, self.bin.as_deref());
        let mut variables: BTreeMap<String, String> =
            common.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        variables.extend(launch.env);
        // Nobody listens: its reports go to its file.
        variables.remove("HEATS_API_SOCK");
        Ok(Launched { argv: launch.argv, cwd: launch.cwd, variables })
    }

    /// Makes its folders and files anew; the command that runs it.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn prepare(&self) -> Result<Command, SoloError> {
        let (record, params) = self.record()?;
        for folder in self.paths.of_trial(self.order.key, 0) {
            remove(&folder)?;
            std::fs::create_dir_all(&folder).map_err(|source| SoloError::Io { path: folder.clone(), source })?;
        }
        self.dir.create(&record, &params)?;
        if let Some(tree) = &self.tree {
            tree.copy_to(&self.dir.work())?;
        }
        let Launched { argv, cwd, variables } = self.launched()?;
        let mut words = argv.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).current_dir(cwd).envs(variables);
        Ok(command)
    }

    /// Removes its container, where it has one: what runs in it ends. Blocks while the runtime works.
    pub fn end(&self) {
        if let Ok((record, _)) = self.record() {
            containers::remove(&record.launch.cleanup);
        }
    }

    /// Where its standard output goes, for [`Solo::reports`] to read.
    pub fn stdout(&self) -> PathBuf {
        self.dir.stdout()
    }

    /// What it leaves to its user.
    pub fn output(&self) -> PathBuf {
        self.paths.output(self.order.key, 0)
    }

    /// What it has reported so far, by lines of its output and by the file that it was given; a report without a step is one
    /// step after the one before it.
    pub fn reports(&self) -> BTreeMap<u64, Metrics> {
        let mut reports: BTreeMap<u64, Metrics> = BTreeMap::new();
        for (path, is_output) in [(self.dir.stdout(), true), (self.dir.metrics(), false)] {
            let text = std::fs::read(path).unwrap_or_default();
            for line in text.split(|&byte| byte == b'\n' || byte == b'\r') {
                let read = if is_output && line.starts_with(reading::MARK) {
                    reading::metric_line(line)
                } else if !is_output {
                    reading::json(line)
                } else {
                    continue;
                };
                if let Ok(report) = read {
                    let next = reports.last_key_value().map_or(1, |(step, _)| step + 1);
                    // A step that was reached before changes nothing, as in a sweep.
                    reports.entry(report.step.unwrap_or(next)).or_insert(report.metrics);
                }
            }
        }
        reports
    }

    fn record(&self) -> Result<(Record, Vec<u8>), LaunchError> {
        let socket = self.paths.socket(self.order.key);
        let (python, bin) = (self.python.as_path(), self.bin.as_deref());
        // Whoever runs it by hand has the machine's GPUs as they are.
        let gpus = Gpus::default();
        let house = House { paths: &self.paths, socket: &socket, python, bin, gpus: &gpus, group: None };
        self.order.record(&house, &self.environment, None)
    }
}

fn remove(folder: &Path) -> Result<(), SoloError> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(SoloError::Io { path: folder.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
