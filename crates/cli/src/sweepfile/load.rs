//! Reads a sweep file with every check there is, so that a user sees all faults at once.

use std::io::Read;
use std::path::{Path, PathBuf};

use heats_domain::SweepSpec;
use heats_domain::document::{self, Draft, Fault, Faults, Format, MAX_BYTES};

use super::{Inline, places, set};
use crate::exit::{Exit, Failure};

/// A sweep file that is fine.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The sweep, with what the command line changed.
    pub spec: SweepSpec,
    /// The absolute path; `None` for standard input and for options.
    pub file: Option<PathBuf>,
    /// The absolute folder that the file's paths are relative to.
    pub base_dir: PathBuf,
}

/// What the command line changes of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args)]
pub struct Overrides {
    /// Change one value of the file, for example `--set budget.trials=50` (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Name the sweep, in place of the file's name for it
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The project that it is part of, in place of the file's
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
}

/// Why there is no sweep.
#[derive(Debug)]
pub enum Invalid {
    /// What is wrong with the file, and its name.
    Faults(String, Faults),
    /// There is no file, or the command line is wrong.
    Failure(Failure),
}

impl From<Failure> for Invalid {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Invalid {
    /// Says what is wrong on standard error; what the command ends with.
    pub fn say(self) -> Failure {
        match self {
            Self::Failure(failure) => failure,
            Self::Faults(name, faults) => {
                let colour =
                    if crate::output::is_coloured() { document::Colour::Ansi } else { document::Colour::Never };
                eprint!("{}", faults.render(&name, colour));
                Failure::silent(Exit::InvalidFile)
            }
        }
    }
}

/// Reads the sweep file at `path`; `-` is standard input.
///
/// # Errors
/// Everything that is wrong with it, or that it is not there.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Loaded, Invalid> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let (bytes, file, base_dir) = read(path)?;
    let draft = document::open(&bytes, Format::of(&name));
    finish(name, draft, overrides, file, base_dir)
}

/// The sweep that options describe.
///
/// # Errors
/// Everything that is wrong with it.
pub fn of_inline(inline: &Inline, overrides: &Overrides) -> Result<Loaded, Invalid> {
    let text = serde_json::to_string_pretty(&inline.document()?).unwrap_or_default();
    let draft = document::open(text.as_bytes(), Format::Json);
    finish("the command line".into(), draft, overrides, None, working_directory()?)
}

fn finish(
    name: String,
    draft: Draft,
    overrides: &Overrides,
    file: Option<PathBuf>,
    base_dir: PathBuf,
) -> Result<Loaded, Invalid> {
    let (name, mut draft) = changed(name, draft, overrides)?;
    if let Some(spec) = &draft.spec {
        let misfits = heats_search::check(spec).into_iter().map(|misfit| {
            let path = misfit.path.iter().fold(document::Path::root(), |path, key| path.key(key.as_str()));
            Fault::new(path, misfit.message).maybe_hint(misfit.hint)
        });
        let faults: Vec<Fault> = misfits.chain(places::check(spec, &base_dir)).collect();
        draft.faults.extend(faults);
    }
    match draft.finish() {
        Ok((spec, _)) => Ok(Loaded { spec, file, base_dir }),
        Err(faults) => Err(Invalid::Faults(name, faults)),
    }
}

/// The draft with what the command line changes. A file that cannot be read as a tree is not changed: its
/// own faults come first.
fn changed(name: String, draft: Draft, overrides: &Overrides) -> Result<(String, Draft), Failure> {
    let Overrides { set, name: new_name, project } = overrides;
    if set.is_empty() && new_name.is_none() && project.is_none() {
        return Ok((name, draft));
    }
    let mut tree = draft.document().root().to_json();
    if !tree.is_object() {
        return Ok((name, draft));
    }
    for change in set {
        set::apply(&mut tree, change)?;
    }
    for (key, given) in [("name", new_name), ("project", project)] {
        if let (Some(given), Some(root)) = (given, tree.as_object_mut()) {
            root.insert(key.into(), given.as_str().into());
        }
    }
    let text = serde_json::to_string_pretty(&tree).unwrap_or_default();
    let new = document::open(text.as_bytes(), Format::Json);
    // Places within the user's own file are worth more than places within a text that nobody wrote: where the
    // file was wrong before it was changed and still is, it is shown as it stands.
    if !draft.faults.is_empty() && !new.faults.is_empty() {
        return Ok((name, draft));
    }
    Ok((format!("{name} (with what the command line changes)"), new))
}

fn read(path: &Path) -> Result<(Vec<u8>, Option<PathBuf>, PathBuf), Failure> {
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that there are more.
    let limit = MAX_BYTES as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::failed(format!("cannot read standard input: {error}")))?;
        return Ok((bytes, None, working_directory()?));
    }
    let fail = |error: std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::InvalidFile };
        let failure = Failure::new(exit, format!("cannot read {}: {error}", path.display()));
        match neighbours(path) {
            Some(hint) => failure.hint(hint),
            None => failure.hint("`heats init` writes an example"),
        }
    };
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(limit).read_to_end(&mut bytes).map_err(fail)?;
    let absolute = std::fs::canonicalize(path).map_err(fail)?;
    let base_dir = absolute.parent().map(Path::to_owned).unwrap_or_default();
    Ok((bytes, Some(absolute), base_dir))
}

fn working_directory() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| Failure::failed(format!("there is no working directory: {error}")))
}

/// What may have been meant by a path that cannot be read.
fn neighbours(path: &Path) -> Option<String> {
    if path.is_dir() {
        let inside = ["sweep.yaml", "sweep.yml", "sweep.toml", "sweep.json"].map(|name| path.join(name));
        let found = inside.iter().find(|path| path.is_file())?;
        return Some(format!("it is a folder; did you mean {}?", found.display()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    places::nearest_file(folder, &path.file_name()?.to_string_lossy())
        .map(|nearest| format!("did you mean {}?", path.with_file_name(nearest).display()))
}
