//! What an environment turns out to be: its packages, as they are installed. Looked up by its own interpreter, and again only
//! once something was installed or removed. Builds nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use heats_domain::{Environment as Found, Package};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::blocking;
use crate::admission::without_secrets;

/// How long nobody asks the file system whether something was installed.
const TRUSTED: Duration = Duration::from_secs(1);
/// Prints, as JSON, the interpreter's version, what is installed with where it is from, and the folders that were looked into.
const FREEZE: &str = r##"
import json, os, platform, sys
from importlib import metadata
def origin(dist):
    told = json.loads(dist.read_text("direct_url.json") or "{}")
    commit = told.get("vcs_info", {}).get("commit_id")
    hashed = told.get("archive_info", {}).get("hash")
    return told.get("url", "") + ("@" + commit if commit else "") + ("#" + hashed if hashed else "")
packages = set()
for dist in metadata.distributions():
    name = dist.metadata["Name"]
    if name:
        packages.add((name.lower(), dist.version or "", origin(dist), (dist.read_text("INSTALLER") or "").strip()))
print(json.dumps({
    "version": platform.python_implementation().lower() + " " + platform.python_version(),
    "packages": sorted(packages),
    "folders": [path for path in sys.path if path and os.path.isdir(path)],
}))
"##;

/// What [`FREEZE`] prints.
#[derive(Deserialize)]
struct Frozen {
    version: String,
    packages: Vec<(String, String, String, String)>,
    folders: Vec<PathBuf>,
}

/// An environment that was looked at.
#[derive(Debug)]
struct Seen {
    found: Arc<Found>,
    /// When the folders with packages were changed last: something is installed or removed whenever one has another time.
    folders: Vec<(PathBuf, Option<SystemTime>)>,
    looked: Instant,
}

/// Looks environments up, by the interpreter.
#[derive(Debug, Default)]
pub(super) struct Finder {
    seen: Mutex<BTreeMap<PathBuf, Seen>>,
}

impl Finder {
    /// The environment of `python`, which need not be there. `prefix` is the folder that it is the interpreter of; without one
    /// it is the machine's own.
    pub(super) async fn find(&self, python: PathBuf, prefix: Option<PathBuf>) -> Arc<Found> {
        // One after the other: whoever starts a hundred trials at once asks once.
        let mut seen = self.seen.lock().await;
        if let Some(known) = seen.get_mut(&python) {
            if known.looked.elapsed() < TRUSTED {
                return known.found.clone();
            }
            known.looked = Instant::now();
            if known.folders.iter().all(|(folder, then)| *then == changed(folder)) {
                return known.found.clone();
            }
        }
        let asked = python.clone();
        let (found, folders) = blocking(move || look(&asked, prefix.as_deref())).await;
        let found = Arc::new(found);
        seen.insert(python, Seen { found: found.clone(), folders, looked: Instant::now() });
        found
    }
}

fn changed(folder: &Path) -> Option<SystemTime> {
    folder.metadata().and_then(|metadata| metadata.modified()).ok()
}

/// The environment, and the folders that it was found in with when they were changed.
fn look(python: &Path, prefix: Option<&Path>) -> (Found, Vec<(PathBuf, Option<SystemTime>)>) {
    let conda = prefix.map(|prefix| prefix.join("conda-meta")).filter(|folder| folder.is_dir());
    let mut command = Command::new(python);
    if prefix.is_some() {
        // A trial in an environment finds nothing of the user's beside it, nor shall this.
        command.arg("-I");
    }
    // Where nothing lies that could be taken for a module of the library.
    command.args(["-c", FREEZE]).current_dir("/");
    without_secrets(&mut command);
    let printed = command.output().ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let frozen: Option<Frozen> = printed.and_then(|printed| serde_json::from_slice(&printed).ok());
    let Frozen { version, packages, mut folders } =
        frozen.unwrap_or_else(|| Frozen { version: String::new(), packages: Vec::new(), folders: Vec::new() });
    let hash = lock(packages.iter().map(|(name, version, ..)| (name.as_str(), version.as_str())));
    let of_conda: Vec<Package> = conda.iter().flat_map(|folder| conda_packages(folder)).collect();
    // What conda has installed it says itself, and more of.
    let is_conda = !of_conda.is_empty();
    let of_python = packages.into_iter().filter(|(.., installer)| !is_conda || installer != "conda");
    let mut packages: Vec<Package> =
        of_python.map(|(name, version, origin, _)| Package { name, version, origin }).chain(of_conda).collect();
    packages.sort();
    packages.dedup();
    let summary = if version.is_empty() { version } else { format!("{version}, packages {hash}") };
    folders.extend(conda);
    let folders = folders.into_iter().map(|folder| (folder.clone(), changed(&folder))).collect();
    (Found { summary, packages, ..Found::default() }.bounded(), folders)
}

/// The hash of a list of packages: short enough to compare by eye.
fn lock<'a>(packages: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut lines: Vec<String> = packages.map(|(name, version)| format!("{name}=={version}").to_lowercase()).collect();
    lines.dedup();
    blake3::hash((lines.join("\n") + "\n").as_bytes()).to_hex()[..16].to_owned()
}

/// What conda says is installed, by the names of its files: `numpy-1.26.4-py311h64a7726_0.json`.
fn conda_packages(folder: &Path) -> Vec<Package> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let package = |name: &str| {
        let mut parts = name.strip_suffix(".json")?.rsplitn(3, '-');
        let (build, version, name) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Package { name: name.to_lowercase(), version: version.to_owned(), origin: format!("conda build {build}") })
    };
    names.filter_map(|name| package(name.to_str()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand_in(folder: &Path, printed: &str) -> PathBuf {
        let python = folder.join("python");
        std::fs::write(folder.join("printed"), printed).expect("writes");
        let script = format!("#!/bin/sh\necho asked >> {0}/log\ncat {0}/printed\n", folder.display());
        std::fs::write(&python, script).expect("writes");
        std::fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("is ours");
        python
    }

    fn package(name: &str, version: &str, origin: &str) -> Package {
        Package { name: name.into(), version: version.into(), origin: origin.into() }
    }

    #[tokio::test]
    async fn the_machines_own_python_is_found_with_its_packages() {
        let python = PathBuf::from("/usr/bin/env");
        assert_eq!(*Finder::default().find(python, None).await, Found::default(), "it is no Python");
        let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().expect("runs");
        let python = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
        let found = Finder::default().find(python, None).await;
        assert!(found.summary.starts_with("cpython 3."), "{found:?}");
    }

    #[tokio::test]
    async fn an_environment_is_looked_at_again_once_something_was_installed() {
        let folder = tempfile::tempdir().expect("a folder");
        let sites = folder.path().join("sites");
        std::fs::create_dir(&sites).expect("a folder");
        let printed = |version: &str| {
            let packages = format!(r#"[["numpy", "{version}", "", "pip"]]"#);
            format!(r#"{{"version": "cpython 3.12", "packages": {packages}, "folders": ["{}"]}}"#, sites.display())
        };
        let python = stand_in(folder.path(), &printed("1"));
        let finder = Finder::default();
        let (first, second) = tokio::join!(finder.find(python.clone(), None), finder.find(python.clone(), None));
        assert_eq!((&first.packages[..], &first), (&[package("numpy", "1", "")][..], &second));
        stand_in(folder.path(), &printed("2"));
        std::fs::write(sites.join("new"), "").expect("writes");
        let at = SystemTime::now() + Duration::from_secs(9);
        std::fs::File::open(&sites).and_then(|folder| folder.set_modified(at)).expect("is ours");
        finder.seen.lock().await.get_mut(&python).expect("was seen").looked -= TRUSTED;
        assert_eq!(finder.find(python, None).await.packages, [package("numpy", "2", "")]);
        let asked = std::fs::read_to_string(folder.path().join("log")).expect("reads");
        assert_eq!(asked.lines().count(), 2, "twice, of three times that somebody wanted to know");
    }

    #[tokio::test]
    async fn what_conda_has_installed_is_listed_with_its_build_and_once() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("conda-meta")).expect("a folder");
        for name in ["numpy-1.26.4-py311_0.json", "cuda-cudart-12.4.127-0.json", "history"] {
            std::fs::write(folder.path().join("conda-meta").join(name), "").expect("writes");
        }
        let packages = r#"[["numpy", "1.26.4", "", "conda"], ["heats", "0.1", "git+https://x@abc", "pip"]]"#;
        let printed = format!(r#"{{"version": "cpython 3.11", "packages": {packages}, "folders": []}}"#);
        let python = stand_in(folder.path(), &printed);
        let found = Finder::default().find(python, Some(folder.path().to_owned())).await;
        let expected = [
            package("cuda-cudart", "12.4.127", "conda build 0"),
            package("heats", "0.1", "git+https://x@abc"),
            package("numpy", "1.26.4", "conda build py311_0"),
        ];
        assert_eq!(found.packages, expected);
    }
}
