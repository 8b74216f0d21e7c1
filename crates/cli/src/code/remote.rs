//! Code that lies in a repository elsewhere: `code: { git: "https://host/repo.git#v1.2" }`. Cloned into a temporary folder by
//! the command `git`, with whatever access its user has; nobody is asked for a password.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::CodeError;

/// A repository that is named by its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address<'a> {
    /// Where it is: an address, or a path.
    pub repository: &'a str,
    /// What of it is meant: a branch, a tag or a commit; its default branch unless given.
    pub revision: &'a str,
}

impl<'a> Address<'a> {
    /// What `git` names, where it names a repository and not a revision of the folder's own: no revision begins as a path does,
    /// or has `://` or a colon in it.
    pub fn of(git: &'a str) -> Option<Self> {
        let is_path = ["/", "./", "../"].iter().any(|begin| git.starts_with(begin));
        if !is_path && !git.contains(':') {
            return None;
        }
        let (repository, revision) = git.rsplit_once('#').unwrap_or((git, "HEAD"));
        Some(Self { repository, revision: if revision.is_empty() { "HEAD" } else { revision } })
    }

    /// The repository without its files, in a temporary folder. Paths are relative to `base`.
    ///
    /// # Errors
    /// Git does not give it: what it says.
    pub fn fetch(self, base: &Path) -> Result<TempDir, CodeError> {
        let failed = |why: String| CodeError::Git(format!("`git clone {}` failed: {why}", self.repository));
        let to = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
        let output = Command::new("git")
            .arg("-C")
            .arg(base)
            // A transport that runs a program of the address's choice is none.
            .args(["-c", "protocol.ext.allow=never"])
            // One that stands still is given up.
            .args(["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"])
            .args(["clone", "--quiet", "--no-checkout", "--", self.repository])
            .arg(to.path())
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(to);
        }
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_a_revision_and_may_name_one() {
        let of = |git| Address::of(git).map(|Address { repository, revision }| (repository, revision));
        for revision in ["v1.2", "main", "feature/x", "HEAD~3", "0123abcd", "a#b"] {
            assert_eq!(of(revision), None, "{revision}");
        }
        assert_eq!(of("https://host/repo.git#v1.2"), Some(("https://host/repo.git", "v1.2")));
        assert_eq!(of("git@host:team/repo.git"), Some(("git@host:team/repo.git", "HEAD")));
        assert_eq!(of("../other#"), Some(("../other", "HEAD")));
        assert_eq!(of("/srv/repo#feature/x"), Some(("/srv/repo", "feature/x")));
    }
}
