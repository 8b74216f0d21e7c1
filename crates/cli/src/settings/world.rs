//! What the settings are read from: the environment and the places of files, gathered once, so that tests can
//! give their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where settings are looked for.
#[derive(Clone, Debug)]
pub struct World {
    /// The environment.
    pub variables: BTreeMap<String, String>,
    /// The working directory.
    pub directory: PathBuf,
    /// The user's own file.
    pub home_config: PathBuf,
    /// The machine's folder.
    pub system: PathBuf,
}

impl World {
    /// The process's own.
    pub fn of_process() -> Self {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let config = variables
            .get("XDG_CONFIG_HOME")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .or_else(|| variables.get("HOME").map(|home| PathBuf::from(home).join(".config")))
            .unwrap_or_default();
        Self {
            directory: std::env::current_dir().unwrap_or_default(),
            home_config: config.join("heats/config.toml"),
            system: PathBuf::from("/etc/heats"),
            variables,
        }
    }

    /// A variable; one that is set to nothing is not set.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }
}
