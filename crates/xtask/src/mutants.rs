//! Breaks the product on purpose, one way after the other, and has the simulation find each: the proof that it would
//! find the like. Works in a copy of the last commit below the target folder; the working tree is not touched.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::repo::Repo;
use crate::run::{Run, cargo, program};

/// Where the list is.
const LIST: &str = "tests/sim/mutations.toml";
/// Seeds that a mutation may survive before it counts as not found; they are run in ever larger lots, up to these.
const LOTS: [u64; 4] = [4, 20, 60, 200];

struct Mutation {
    name: String,
    file: String,
    find: String,
    replace: String,
    /// The package whose own tests find it, where the simulation does not get there.
    unit: Option<String>,
}

/// Runs the mutations of these names, or all; whether every one was found.
pub fn run(repo: &Repo, names: &[&str]) -> Result<bool> {
    let all = read(&repo.root.join(LIST))?;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|mutation| mutation.name != **name)) {
        bail!("there is no mutation `{unknown}` in {LIST}");
    }
    let tree = repo.target.join("mutants/tree");
    checkout(repo, &tree)?;
    let mut lines = Vec::new();
    let mut survived = 0;
    for mutation in all.iter().filter(|mutation| names.is_empty() || names.contains(&mutation.name.as_str())) {
        println!("\n== {}", mutation.name);
        let begun = Instant::now();
        let path = tree.join(&mutation.file);
        let whole = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", mutation.file))?;
        ensure!(
            whole.matches(&mutation.find).count() == 1,
            "`{}`: what is to be replaced must be in `{}` once; mend {LIST}",
            mutation.name,
            mutation.file
        );
        std::fs::write(&path, whole.replacen(&mutation.find, &mutation.replace, 1))?;
        let found = match &mutation.unit {
            Some(package) => examine(repo, &tree, package),
            None => hunt(repo, &tree),
        };
        std::fs::write(&path, whole)?;
        let found = found?;
        survived += usize::from(found.is_none());
        let word = found.unwrap_or_else(|| "NOT FOUND".to_owned());
        lines.push(format!("{:<36} {word}, {:.0} s", mutation.name, begun.elapsed().as_secs_f64()));
    }
    println!("\n{}\n{} mutations, {survived} not found", lines.join("\n"), lines.len());
    Ok(survived == 0)
}

fn read(path: &Path) -> Result<Vec<Mutation>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let document: toml::Table = text.parse().with_context(|| format!("`{}` is no TOML", path.display()))?;
    let list = document.get("mutation").and_then(toml::Value::as_array).context("there is no [[mutation]]")?;
    let mutation = |table: &toml::Value| {
        let text = |key: &str| {
            let value = table.get(key).and_then(toml::Value::as_str);
            value.map(str::to_owned).with_context(|| format!("a mutation has no `{key}`"))
        };
        let unit = table.get("unit").and_then(toml::Value::as_str).map(str::to_owned);
        let (name, file) = (text("name")?, text("file")?);
        Ok(Mutation { name, file, find: text("find")?, replace: text("replace")?, unit })
    };
    list.iter().map(mutation).collect()
}

/// Makes the copy, or brings it to the last commit.
fn checkout(repo: &Repo, tree: &Path) -> Result<()> {
    let git = |args: &[&str], dir: &Path| -> Result<()> {
        ensure!(program("git").args(args).dir(dir).succeeds()?, "git {} failed", args.join(" "));
        Ok(())
    };
    let head = program("git").args(["rev-parse", "HEAD"]).dir(&repo.root).text()?;
    let head = head.trim();
    if tree.join(".git").exists() {
        git(&["checkout", "--quiet", "--force", "--detach", head], tree)
    } else {
        let path = tree.to_str().context("the target folder's path is not UTF-8")?;
        git(&["worktree", "prune"], &repo.root)?;
        git(&["worktree", "add", "--quiet", "--detach", path, head], &repo.root)
    }
}

/// Runs seeds until one finds something; how many that took, in words.
fn hunt(repo: &Repo, tree: &Path) -> Result<Option<String>> {
    let test = |args: &[&str]| test(repo, tree, &["-p", "heats-tests", "--test", "sim"]).args(args);
    ensure!(test(&["--no-run"]).succeeds()?, "the mutation does not build");
    let mut first = 1;
    for last in LOTS {
        let run = test(&["--", "promises"]).env("HEATS_SIM_SEEDS", format!("{first}-{last}"));
        if !run.answers() {
            return Ok(Some(format!("found within {last} seeds")));
        }
        first = last + 1;
    }
    Ok(None)
}

/// Runs the package's unit tests; whether one finds it, in words.
fn examine(repo: &Repo, tree: &Path, package: &str) -> Result<Option<String>> {
    let test = || test(repo, tree, &["-p", package, "--lib"]);
    ensure!(test().args(["--no-run"]).succeeds()?, "the mutation does not build");
    Ok((!test().answers()).then(|| format!("found by the tests of {package}")))
}

/// Tests of the copy. Builds are many and most runs short: optimized a little.
fn test(repo: &Repo, tree: &Path, which: &[&str]) -> Run {
    let command = cargo().args(["test", "--locked", "--quiet"]).args(which).dir(tree);
    let target = repo.target.join("mutants/target");
    command.env("CARGO_TARGET_DIR", target).env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
}
