//! Where things are: the root, the target folder, the tree.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run::cargo;
use crate::tree::Tree;

/// The repository as the steps see it.
pub struct Repo {
    /// Its root folder.
    pub root: PathBuf,
    /// Cargo's target folder, the only place that `verify` writes to.
    pub target: PathBuf,
    /// Its text files as they were when the run began.
    pub tree: Tree,
}

impl Repo {
    /// Opens the repository that this program was built in.
    ///
    /// # Errors
    /// When cargo does not answer or a file cannot be read.
    pub fn open() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().with_context(|| format!("cannot find the root at `{}`", root.display()))?;
        let metadata =
            cargo().args(["metadata", "--locked", "--no-deps", "--format-version", "1"]).dir(&root).text()?;
        let metadata: serde_json::Value =
            serde_json::from_str(&metadata).context("cannot read what `cargo metadata` printed")?;
        let target = metadata["target_directory"].as_str().context("`cargo metadata` names no target folder")?;
        let tree = Tree::read(&root)?;
        Ok(Self { root, target: PathBuf::from(target), tree })
    }

    /// Builds everything that the tests need, with the features that they need, and returns the command `heats`.
    /// Every step that runs something uses this one build.
    ///
    /// # Errors
    /// When it does not build.
    pub fn build(&self) -> Result<PathBuf> {
        let args = ["build", "--locked", "--quiet", "--keep-going", "--workspace", "--bins", "--tests"];
        if !cargo().args(args).dir(&self.root).succeeds()? {
            bail!("the workspace does not build");
        }
        Ok(self.target.join("debug").join(format!("heats{}", std::env::consts::EXE_SUFFIX)))
    }
}
