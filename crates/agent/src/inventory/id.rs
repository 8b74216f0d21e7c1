//! The agent's identity on its machine.

use std::path::Path;

use heats_domain::AgentId;

/// The agent's id from the file at `path`, made with `mint` where there is none.
///
/// # Errors
/// Where the file cannot be read or written, or holds something else.
pub fn id(path: &Path, mint: impl FnOnce() -> AgentId) -> std::io::Result<AgentId> {
    match std::fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|error| {
            std::io::Error::new(std::io::ErrorKind::InvalidData, format!("`{}`: {error}", path.display()))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = mint();
            let aside = path.with_extension("new");
            std::fs::write(&aside, format!("{id}\n"))?;
            std::fs::File::open(&aside)?.sync_all()?;
            std::fs::rename(aside, path)?;
            Ok(id)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_the_same_agent_after_a_restart() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("id");
        let first = id(&path, || AgentId::mint(5, 6)).expect("mints");
        assert_eq!(id(&path, || AgentId::mint(7, 8)).expect("reads"), first);
        std::fs::write(&path, "agt_").expect("writes");
        assert!(id(&path, || AgentId::mint(7, 8)).is_err());
    }
}
