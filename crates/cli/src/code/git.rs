//! What git knows of a folder, by the command `git`: where there is none, nothing is known.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::CodeError;

/// How much of what is not committed is recorded, in bytes: it goes into the log.
const DIFF_MAX: usize = 128 << 10;
/// How many files that git does not know of are named.
const UNTRACKED_MAX: usize = 100;

/// `git` in `folder`. It takes no locks: nothing of the user's is in its way.
fn git(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(["--no-optional-locks", "-C"]).arg(folder).args(args).stdin(Stdio::null());
    command
}

/// What it prints; `None` where it fails, as where there is no repository, or no git.
fn ask(folder: &Path, args: &[&str]) -> Option<String> {
    let output = git(folder, args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The revision that a folder is at, and what in it is not committed: changes, cut where they are long, and the names of files
/// that git does not know.
pub fn look(folder: &Path) -> Option<Value> {
    let commit = ask(folder, &["rev-parse", "--verify", "HEAD"])?;
    let mut diff = ask(folder, &["diff", "--no-color", "--no-ext-diff", "HEAD", "--", "."]).unwrap_or_default();
    let cut = diff.len() > DIFF_MAX;
    if cut {
        diff.truncate((0..=DIFF_MAX).rev().find(|&at| diff.is_char_boundary(at)).unwrap_or(0));
    }
    let untracked = ask(folder, &["ls-files", "--others", "--exclude-standard"]).unwrap_or_default();
    let untracked: Vec<&str> = untracked.lines().take(UNTRACKED_MAX).collect();
    let dirty = !diff.is_empty() || !untracked.is_empty();
    Some(json!({ "commit": commit, "dirty": dirty, "diff": diff, "diff_cut": cut, "untracked": untracked }))
}

/// The commit that `revision` means.
pub fn pinned(folder: &Path, revision: &str) -> Option<Value> {
    let commit = resolve(folder, revision).ok()?;
    Some(json!({ "commit": commit, "revision": revision, "dirty": false }))
}

fn resolve(folder: &Path, revision: &str) -> Result<String, CodeError> {
    let wanted = format!("{revision}^{{commit}}");
    ask(folder, &["rev-parse", "--verify", "--end-of-options", &wanted]).ok_or_else(|| {
        CodeError::Git(format!(
            "`{revision}` is no revision of a repository that {} is in; fetch it first, and see that `git` is installed",
            folder.display()
        ))
    })
}

/// The folder as it was committed in `revision`, in a temporary folder.
pub fn check_out(folder: &Path, revision: &str) -> Result<TempDir, CodeError> {
    let commit = resolve(folder, revision)?;
    let failed = |error: std::io::Error| CodeError::Git(format!("`git archive {commit}`: {error}"));
    let to = tempfile::tempdir().map_err(failed)?;
    let mut archive = git(folder, &["archive", "--format=tar", &commit, "."]);
    let mut child = archive.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let unpacked = child.stdout.take().map_or(Ok(()), |tar| tar::Archive::new(tar).unpack(to.path()));
    let mut said = String::new();
    if let Some(mut errors) = child.stderr.take() {
        errors.read_to_string(&mut said).map_err(failed)?;
    }
    if !child.wait().map_err(failed)?.success() {
        return Err(CodeError::Git(format!("`git archive {commit}` failed: {}", said.trim())));
    }
    unpacked.map_err(failed)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &Path, args: &[&str]) {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
        let output = git(folder, &[&identity, args].concat()).output().expect("git runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn a_revision_is_what_was_committed_and_the_rest_is_told_as_its_difference() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("src");
        std::fs::create_dir(&folder).expect("makes");
        assert_eq!(look(&folder), None, "no repository");
        run(root.path(), &["init", "-q"]);
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("writes");
        write("train.py", "one\n");
        std::fs::write(root.path().join("outside"), "x").expect("writes");
        run(root.path(), &["add", "."]);
        run(root.path(), &["commit", "-qm", "first"]);
        run(root.path(), &["tag", "v1"]);
        let clean = look(&folder).expect("is in a repository");
        assert_eq!((&clean["dirty"], clean["commit"].as_str().map(str::len)), (&json!(false), Some(40)));
        write("train.py", "two\n");
        write("new.py", "x");
        let dirty = look(&folder).expect("is in a repository");
        assert!(dirty["diff"].as_str().is_some_and(|diff| diff.contains("-one\n+two")), "{dirty}");
        assert_eq!(
            (&dirty["dirty"], &dirty["untracked"], &dirty["diff_cut"]),
            (&json!(true), &json!(["new.py"]), &json!(false))
        );
        let to = check_out(&folder, "v1").expect("is a revision");
        assert_eq!(std::fs::read_to_string(to.path().join("train.py")).expect("is there"), "one\n");
        assert!(!to.path().join("outside").exists() && !to.path().join("new.py").exists());
        assert!(matches!(check_out(&folder, "v2"), Err(CodeError::Git(_))));
        write("train.py", &"long\n".repeat(DIFF_MAX));
        assert_eq!(look(&folder).expect("is in a repository")["diff_cut"], json!(true));
    }
}
