//! The repository's text files in memory, so that a check is a function and its tests make up small trees.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// The kinds of files that some check reads.
const EXTENSIONS: [&str; 3] = ["rs", "toml", "md"];
/// Folders that hold what was built or run, never what was written.
const SKIPPED: [&str; 4] = ["target", "node_modules", "heats-local", "__pycache__"];

/// Paths relative to the root, with `/`, and their texts.
#[derive(Default)]
pub struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the tree below `root`; hidden folders but `.cargo` and `.ci` are left out.
    ///
    /// # Errors
    /// When a file cannot be read, or is not UTF-8.
    pub fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.walk(root, "")?;
        Ok(tree)
    }

    fn walk(&mut self, root: &Path, folder: &str) -> Result<()> {
        let path = root.join(folder);
        let entries = std::fs::read_dir(&path).with_context(|| format!("cannot list `{}`", path.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list `{}`", path.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let at = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let kind = entry.file_type().with_context(|| format!("cannot look at `{at}`"))?;
            if kind.is_dir() {
                let hidden = name.starts_with('.') && name != ".cargo" && name != ".ci";
                if !hidden && !SKIPPED.contains(&name.as_str()) {
                    self.walk(root, &at)?;
                }
            } else if kind.is_file() && EXTENSIONS.iter().any(|wanted| name.ends_with(&format!(".{wanted}"))) {
                let text = std::fs::read_to_string(entry.path()).with_context(|| format!("cannot read `{at}`"))?;
                self.files.insert(at, text);
            }
        }
        Ok(())
    }

    /// The text of one file.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// All files whose path starts with `start` and ends with `end`.
    pub fn files<'a>(&'a self, start: &'a str, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        all.filter(move |(path, _)| path.starts_with(start) && path.ends_with(end))
    }

    /// A made-up tree.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect();
        Self { files }
    }
}
