//! The environment that a sweep's trials run in: made once per machine, then shared. Starts no trial.

mod found;
mod python;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use heats_domain::Environment as Found;
use heats_domain::spec::Env;
use tokio::sync::OnceCell;

pub use python::PythonError;

use crate::containers::{self, Image, ImageError, Runtime};
use crate::event::OnEvent;
use found::Finder;

/// How long a build that failed is not tried again: trials that wait for it fail at once with its reason,
/// instead of asking the package index once each. A changed requirements file is another environment.
const FAILED_FOR: Duration = Duration::from_secs(60);

/// What an environment gives to a process, and what it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Environment {
    /// Variables to set.
    pub variables: BTreeMap<String, String>,
    /// What it was found to be, for the provenance.
    pub found: Arc<Found>,
    /// The image that it is in, where it is in one.
    pub image: Option<Image>,
}

/// Why an environment cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// It could not be built.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// It could not be built a moment ago.
    #[error("{why}")]
    Recently {
        /// Why not.
        why: String,
    },
    /// The folder is not an environment.
    #[error("`env.prefix` is `{path}`, which has no folder `bin`; name a virtual environment or a conda prefix")]
    Prefix {
        /// The folder.
        path: PathBuf,
    },
    /// There is no such image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// The folder of an environment, once it is made.
type Shared = Arc<OnceCell<PathBuf>>;
/// The file that asks for an environment, and the hash of what it asks for.
type Name = (PathBuf, String);

/// The environments of one machine.
#[derive(Debug)]
pub struct Environments {
    folder: PathBuf,
    on_event: OnEvent,
    ready: Mutex<BTreeMap<Name, Shared>>,
    failed: Mutex<BTreeMap<Name, (Instant, String)>>,
    interpreter: OnceCell<String>,
    finder: Finder,
    runtime: Option<Runtime>,
    images: Mutex<BTreeMap<String, Arc<OnceCell<Environment>>>>,
}

impl Environments {
    /// Environments kept in `folder`, whose building is told to `on_event`; those in images are run by `runtime`.
    pub fn new(folder: PathBuf, runtime: Option<Runtime>, on_event: OnEvent) -> Self {
        Self {
            // Scripts in an environment hold its path: it must be the one that stays when a link on the way goes.
            folder: folder.canonicalize().unwrap_or(folder),
            on_event,
            ready: Mutex::new(BTreeMap::new()),
            failed: Mutex::new(BTreeMap::new()),
            interpreter: OnceCell::const_new(),
            finder: Finder::default(),
            runtime,
            images: Mutex::new(BTreeMap::new()),
        }
    }

    /// The environment that `env` asks for, with paths relative to `base`; built where it is not there. Attempts that
    /// need the same one wait for the one build. Without `env` it is the agent's own, of which only that is found what a
    /// `program` that is a Python sees of it.
    ///
    /// # Errors
    /// Where it cannot be built. Callers within the next minute get the same error; then it is tried again.
    pub async fn prepare(&self, env: Option<&Env>, base: &Path, program: &str) -> Result<Environment, EnvError> {
        match env {
            None => Ok(Environment { found: self.own(program).await, ..Environment::default() }),
            Some(Env::Container(image)) => self.image(image, base).await,
            Some(Env::Prefix(prefix)) => {
                let path = base.join(prefix);
                if !path.join("bin").is_dir() {
                    return Err(EnvError::Prefix { path });
                }
                Ok(self.prefixed(&path).await)
            }
            Some(Env::Python(requirements)) => {
                let file = base.join(requirements);
                let interpreter = self.interpreter.get_or_try_init(python::interpreter).await?;
                let wanted = python::Wanted::read(file.clone(), interpreter).await?;
                let name = (file, wanted.hash().to_owned());
                let cell = self.cell(name.0.clone(), name.1.clone());
                let made = cell.get_or_try_init(|| async {
                    if let Some(why) = self.failed_recently(&name) {
                        return Err(EnvError::Recently { why });
                    }
                    let built = python::build(&wanted, &self.folder, &self.on_event).await;
                    built.map_err(EnvError::from).inspect_err(|error| self.note_failure(&name, error))
                });
                Ok(self.prefixed(made.await?).await)
            }
        }
    }

    /// What [`Environments::prepare`] would find, where it would have to make nothing; `None` where it would, or could not.
    pub async fn known(&self, env: Option<&Env>, base: &Path, program: &str) -> Option<Arc<Found>> {
        match env {
            Some(Env::Python(requirements)) => {
                let interpreter = self.interpreter.get_or_try_init(python::interpreter).await.ok()?;
                let wanted = python::Wanted::read(base.join(requirements), interpreter).await.ok()?;
                let made = wanted.made(&self.folder)?;
                Some(self.prefixed(&made).await.found)
            }
            // Whether it is here only its runtime knows, which would fetch it.
            Some(Env::Container(_)) => None,
            None | Some(Env::Prefix(_)) => Some(self.prepare(env, base, program).await.ok()?.found),
        }
    }

    /// The agent's own environment, as far as `program` is a Python that sees it.
    async fn own(&self, program: &str) -> Arc<Found> {
        match python(program) {
            Some(python) => self.finder.find(python, None).await,
            None => Arc::default(),
        }
    }

    async fn prefixed(&self, prefix: &Path) -> Environment {
        let bin = prefix.join("bin");
        let found = self.finder.find(bin.join("python"), Some(prefix.to_owned())).await;
        let bin = bin.display().to_string();
        let path = match std::env::var("PATH") {
            Ok(path) if !path.is_empty() => format!("{bin}:{path}"),
            Ok(_) | Err(_) => bin,
        };
        let mut variables = BTreeMap::from([("PATH".to_owned(), path)]);
        if prefix.join("pyvenv.cfg").is_file() {
            variables.insert("VIRTUAL_ENV".to_owned(), prefix.display().to_string());
        } else if prefix.join("conda-meta").is_dir() {
            variables.insert("CONDA_PREFIX".to_owned(), prefix.display().to_string());
        }
        Environment { variables, found, image: None }
    }

    /// The environment in an image, which is looked for once, and fetched where it is not there.
    async fn image(&self, image: &str, base: &Path) -> Result<Environment, EnvError> {
        let none = || ImageError::NoRuntime { image: image.to_owned() };
        let runtime = self.runtime.clone().ok_or_else(none)?;
        let cell = {
            let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
            images.entry(image.to_owned()).or_default().clone()
        };
        let name = (PathBuf::from(image), "image".to_owned());
        let made = cell.get_or_try_init(|| async {
            if let Some(why) = self.failed_recently(&name) {
                return Err(EnvError::Recently { why });
            }
            let (image, base, folder) = (image.to_owned(), base.to_owned(), self.folder.clone());
            let (summary, on_event) = (runtime.to_string(), self.on_event.clone());
            let made = blocking(move || containers::prepare(&runtime, &image, &base, &folder, &on_event)).await;
            let (image, words) = made.map_err(EnvError::from).inspect_err(|error| self.note_failure(&name, error))?;
            let found = Found { summary, image: words, ..Found::default() }.bounded();
            Ok::<_, EnvError>(Environment { found: Arc::new(found), image: Some(image), ..Environment::default() })
        });
        made.await.cloned()
    }

    fn failed_recently(&self, name: &Name) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(name).filter(|(at, _)| at.elapsed() < FAILED_FOR).map(|(_, why)| why.clone())
    }

    fn note_failure(&self, name: &Name, error: &EnvError) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.insert(name.clone(), (Instant::now(), error.to_string()));
    }

    fn cell(&self, path: PathBuf, hash: String) -> Shared {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.entry((path, hash)).or_default().clone()
    }
}

/// The program that is meant by the name of a Python, where it is one.
fn python(program: &str) -> Option<PathBuf> {
    let name = Path::new(program).file_name()?.to_str()?;
    let version = name.strip_prefix("python")?;
    if !version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let path = Path::new(program);
    if path.components().count() > 1 {
        return path.is_absolute().then(|| path.to_owned());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down: whoever waits here is dropped.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::AgentEvent;

    #[tokio::test]
    async fn a_build_that_failed_is_not_tried_again_for_every_trial_that_waits_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("requirements.txt"), "./no-such-package\n").expect("writes");
        let builds = Arc::new(Mutex::new(0));
        let count = builds.clone();
        let on_event = OnEvent::new(move |event| {
            if matches!(event, AgentEvent::EnvFailed { .. }) {
                *count.lock().expect("not poisoned") += 1;
            }
        });
        let environments = Environments::new(folder.path().to_owned(), None, on_event);
        let env = Env::Python("requirements.txt".into());
        let prepare = || environments.prepare(Some(&env), folder.path(), "python");
        let first = prepare().await.expect_err("no such package").to_string();
        assert!(first.contains("no-such-package"), "{first}");
        let (second, third) = tokio::join!(prepare(), prepare());
        assert_eq!([second, third].map(|error| error.expect_err("is still so").to_string()), [first.clone(), first]);
        assert_eq!(*builds.lock().expect("not poisoned"), 1);
        // A mended file is another environment: nobody has to wait for it.
        std::fs::write(folder.path().join("requirements.txt"), "").expect("writes");
        let made = prepare().await.expect("an environment without packages");
        assert!(made.found.summary.starts_with("cpython 3."), "{made:?}");
    }
}
