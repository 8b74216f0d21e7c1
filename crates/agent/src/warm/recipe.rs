//! What a template is made of. Plain data: two trials with the same recipe may be forked from the same template.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use heats_domain::Digest;

/// What a template is made of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Recipe {
    /// The interpreter, as the command names it.
    pub program: String,
    /// The script, as the command names it: from the folder that the trial runs in.
    pub script: String,
    /// Where the code is: an archive's, unpacked, or the folder that the sweep was submitted from.
    pub folder: PathBuf,
    /// The variables that all of its trials have, on top of the agent's own.
    pub env: BTreeMap<String, String>,
    /// The environment as it was found: one in which something else was installed is another.
    pub environment: Digest,
    /// The modules that its sweep lists; empty where the script tells.
    pub imports: Vec<String>,
}

impl Recipe {
    /// The script's name, for people.
    pub fn script(&self) -> &str {
        Path::new(&self.script).file_name().and_then(|name| name.to_str()).unwrap_or(&self.script)
    }
}
