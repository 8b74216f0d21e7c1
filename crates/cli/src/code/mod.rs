//! The code of a sweep: what is sent of a folder, packed so that the same code has the same name, and what git says of it.
//! Reads; the only thing that it writes is a temporary folder for a revision of git.

mod git;
mod list;
mod pack;
mod remote;

use std::path::{Path, PathBuf};

use heats_domain::SweepSpec;
use heats_domain::spec::{Code, Env};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::words;
pub use list::Entry;
pub use pack::Packed;
use remote::Address;

/// How large an archive may be, unless the sweep file says otherwise: it goes to every coordinator and agent.
const LIMIT: u64 = 256 << 20;
/// How many of the largest files an error names.
const LARGEST: usize = 5;

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The folder cannot be read.
    #[error("cannot read the code: {0}")]
    Walk(#[from] ignore::Error),
    /// A file cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A link would lead nowhere on another machine.
    #[error("`{path}` is a link to `{target}`, which is not in the code: it would lead nowhere on another machine")]
    Link {
        /// The link, in the folder.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// There is more than anybody calls code.
    #[error("the code has more than {0} files")]
    TooMany(usize),
    /// It is too large.
    #[error("the code is larger than {} packed; the largest of {} are {}", words::bytes(*limit), words::count(*files as u64, "file"), words::list(largest))]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
        /// How many files there are.
        files: usize,
        /// The largest, with their sizes.
        largest: Vec<String>,
    },
    /// Git does not give it.
    #[error("git: {0}")]
    Git(String),
    /// What the environment is made from is not sent.
    #[error("`env.python` is `{file}`, which {why}: an agent on another machine would not have it")]
    Requirements {
        /// As the sweep file says.
        file: String,
        /// Why not.
        why: &'static str,
    },
}

impl From<CodeError> for Failure {
    fn from(error: CodeError) -> Self {
        let hint = match &error {
            CodeError::TooLarge { .. } | CodeError::TooMany(_) => {
                "leave out what is no code: `code: { path: ., exclude: [data/, \"*.ckpt\"] }`, or a file `.heatsignore` with such patterns; \
                 `code.limit` allows more"
            }
            CodeError::Link { .. } => "leave it out with `code.exclude`, or put what it leads to into the folder",
            CodeError::Requirements { .. } => "put it into the folder that `code.path` names, and do not leave it out",
            CodeError::Walk(_) | CodeError::Io { .. } | CodeError::Git(_) => return Self::failed(error.to_string()),
        };
        Self::new(Exit::InvalidFile, error.to_string()).hint(hint)
    }
}

/// The archive of the code that `spec` names, in the folder `base_dir` of its file; `None` where it names none.
///
/// # Errors
/// See [`CodeError`].
pub fn pack(spec: &SweepSpec, base_dir: &Path) -> Result<Option<Packed>, CodeError> {
    let Some(code) = &spec.code else { return Ok(None) };
    if let Some(address) = code.git.as_deref().and_then(Address::of) {
        return from_elsewhere(spec, code, base_dir, address).map(Some);
    }
    let folder = folder(code, base_dir);
    let limit = code.limit.map_or(LIMIT, |limit| limit.count);
    let packed = match &code.git {
        None => pack_folder(&folder, code, true, limit)?,
        Some(revision) => {
            let checked_out = git::check_out(&folder, revision)?;
            pack_folder(checked_out.path(), code, false, limit)?
        }
    };
    requirements_are_in(spec, base_dir, &folder, &packed)?;
    Ok(Some(packed))
}

/// Whether the code is in a repository elsewhere: then nothing of it can be looked at here.
pub fn is_elsewhere(code: &Code) -> bool {
    code.git.as_deref().and_then(Address::of).is_some()
}

/// The code of a repository elsewhere: of all of it, or of the folder in it that `code.path` names.
fn from_elsewhere(spec: &SweepSpec, code: &Code, base_dir: &Path, address: Address<'_>) -> Result<Packed, CodeError> {
    let limit = code.limit.map_or(LIMIT, |limit| limit.count);
    let cloned = address.fetch(base_dir)?;
    let git = git::pinned(cloned.path(), address.revision);
    let within = code.path.as_deref().unwrap_or(".");
    let files = git::check_out(cloned.path(), address.revision)?;
    let folder = files.path().join(within);
    let is_inside = folder.canonicalize().is_ok_and(|folder| folder.starts_with(files.path()) && folder.is_dir());
    if !is_inside {
        return Err(CodeError::Git(format!("there is no folder `{within}` in {}", address.repository)));
    }
    let packed = pack_folder(&folder, code, false, limit)?;
    if let Some(Env::Python(file)) = &spec.env {
        let inside = Path::new(file).strip_prefix(within).unwrap_or(Path::new(file));
        let inside = inside.strip_prefix(".").unwrap_or(inside);
        if !packed.entries.iter().any(|entry| entry.path == inside) {
            return Err(CodeError::Requirements { file: file.clone(), why: "is not in the repository's code" });
        }
    }
    let git = git.map(|mut git| {
        git["repository"] = address.repository.into();
        git
    });
    Ok(Packed { git, ..packed })
}

fn pack_folder(folder: &Path, code: &Code, ignores: bool, limit: u64) -> Result<Packed, CodeError> {
    pack::pack(folder, list::list(folder, &code.exclude, ignores)?, limit)
}

/// The folder of the code on this machine.
fn folder(code: &Code, base_dir: &Path) -> PathBuf {
    let folder = base_dir.join(code.path.as_deref().unwrap_or("."));
    folder.canonicalize().unwrap_or(folder)
}

/// An environment is made on the agent, from the file that came with the code.
fn requirements_are_in(spec: &SweepSpec, base_dir: &Path, folder: &Path, packed: &Packed) -> Result<(), CodeError> {
    let Some(Env::Python(file)) = &spec.env else { return Ok(()) };
    let missing = |why| CodeError::Requirements { file: file.clone(), why };
    let path = base_dir.join(file).canonicalize().map_err(|_| missing("is not there"))?;
    let inside = path.strip_prefix(folder).map_err(|_| missing("is not in the folder of the code"))?;
    if packed.entries.iter().any(|entry| entry.path == inside) {
        Ok(())
    } else {
        Err(missing("is left out of the code"))
    }
}

/// What is known of the code, for the provenance: the archive or the folder as it was, and what git says of it.
pub fn provenance(spec: &SweepSpec, base_dir: &Path, packed: Option<&Packed>) -> Value {
    let code = spec.code.as_ref();
    let folder = code.map_or_else(|| base_dir.to_owned(), |code| folder(code, base_dir));
    let git = match code.and_then(|code| code.git.as_ref()) {
        Some(_) if packed.is_some_and(|packed| packed.git.is_some()) => packed.and_then(|packed| packed.git.clone()),
        Some(revision) => git::pinned(&folder, revision),
        None => git::look(&folder),
    };
    match packed {
        Some(packed) => json!({
            "archive": packed.name.as_str(),
            "files": packed.entries.len(),
            "bytes": packed.bytes(),
            "packed_bytes": packed.data.len(),
            "folder": folder.display().to_string(),
            "git": git,
        }),
        None => json!({ "folder": folder.display().to_string(), "as_it_was": list::fingerprint(&folder), "git": git }),
    }
}
