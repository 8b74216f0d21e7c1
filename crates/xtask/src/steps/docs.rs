//! The step that holds the documentation to the code: a page per refusal, every invariant listed, no dead link or path.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::findings::Findings;
use crate::repo::Repo;
use crate::step::Step;
use crate::tally::Tally;
use crate::tree::Tree;

const REFUSALS: &str = "crates/core/src/refusal.rs";
const INVARIANTS: &str = "crates/core/src/invariants.rs";
const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";

pub struct Docs;

impl Step for Docs {
    fn name(&self) -> &'static str {
        "docs"
    }

    fn about(&self) -> &'static str {
        "each refusal has its page, each invariant is listed, each link and path leads somewhere"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        let mut findings = Findings::default();
        check_refusals(&repo.tree, &mut findings)?;
        check_invariants(&repo.tree, &mut findings)?;
        let exists = |path: &str| repo.root.join(path).exists();
        check_links(&repo.tree, exists, &mut findings);
        check_paths(&repo.tree, exists, &mut findings);
        Ok(findings.report())
    }
}

/// Every code in the source has a page in `docs/errors/`, and every page a code.
fn check_refusals(tree: &Tree, findings: &mut Findings) -> Result<()> {
    let source = tree.get(REFUSALS).with_context(|| format!("there is no `{REFUSALS}`"))?;
    let codes = literals(source, is_code);
    for code in &codes {
        let page = format!("docs/errors/{code}.md");
        match tree.get(&page) {
            None => findings.add(&page, format!("`{code}` has no page"), "write it: what, why, what to do"),
            Some(text) if !text.starts_with(&format!("# {code}: ")) => {
                findings.add(&page, "the title does not name the code", "begin with `# CODE: what happened`");
            }
            Some(_) => {}
        }
    }
    for (path, _) in tree.files("docs/errors/", ".md") {
        let name = path.trim_start_matches("docs/errors/").trim_end_matches(".md");
        if is_code(name) && !codes.contains(name) {
            findings.add(path, format!("no refusal has the code `{name}`"), "remove the page, or mend the code");
        }
    }
    Ok(())
}

/// Every invariant's id in the source stands in the architecture's list.
fn check_invariants(tree: &Tree, findings: &mut Findings) -> Result<()> {
    let source = tree.get(INVARIANTS).with_context(|| format!("there is no `{INVARIANTS}`"))?;
    let listed = tree.get(ARCHITECTURE).with_context(|| format!("there is no `{ARCHITECTURE}`"))?;
    let is_id =
        |text: &str| text.len() == 2 && text.starts_with(char::is_uppercase) && text.ends_with(char::is_numeric);
    for id in literals(source, is_id) {
        if !listed.contains(&format!("| {id} |")) {
            findings.add(ARCHITECTURE, format!("invariant `{id}` is not listed"), "add its line to the table");
        }
    }
    Ok(())
}

/// Every relative link of a Markdown file leads to something in the repository.
fn check_links(tree: &Tree, exists: impl Fn(&str) -> bool, findings: &mut Findings) {
    for (path, text) in tree.files("", ".md") {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, line) in (1..).zip(text.lines()) {
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = link.split('#').next().unwrap_or_default();
                if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                if resolve(folder, target).is_none_or(|file| !exists(&file)) {
                    findings.add(format!("{path}:{number}"), format!("`{link}` leads nowhere"), "mend the link");
                }
            }
        }
    }
}

/// Every path in backticks that begins with one of the root's folders is that of something; `NAME` stands for a choice.
fn check_paths(tree: &Tree, exists: impl Fn(&str) -> bool, findings: &mut Findings) {
    const FOLDERS: [&str; 8] = ["benches/", "crates/", "deploy/", "docs/", "examples/", "proto/", "python/", "tests/"];
    let pages = tree.files("", ".md").filter(|(path, _)| !path.contains('/') || path.starts_with("docs/"));
    for (path, text) in pages {
        for (number, line) in (1..).zip(text.lines()) {
            for word in line.split('`').skip(1).step_by(2) {
                let is_path = FOLDERS.iter().any(|folder| word.starts_with(folder)) && !word.contains([' ', '*']);
                if is_path && !word.contains("NAME") && !exists(word) {
                    findings.add(format!("{path}:{number}"), format!("there is no `{word}`"), "mend the path");
                }
            }
        }
    }
}

/// `target` as seen from `folder`; `None` where it leaves the repository.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The string literals of a source text that satisfy `wanted`.
fn literals(source: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<&str> {
    source.split('"').filter(|text| wanted(text)).collect()
}

fn is_code(text: &str) -> bool {
    text.len() == 5 && text.starts_with('H') && text[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(files: &[(&str, &str)]) -> String {
        let mut findings = Findings::default();
        let mut all = vec![(REFUSALS, "Self::A => \"H0001\", Self::B => \"H0002\"")];
        all.extend(files);
        check_refusals(&Tree::of(&all), &mut findings).expect("reads");
        findings.text()
    }

    #[test]
    fn every_refusal_has_a_page_and_every_page_a_refusal() {
        let first = ("docs/errors/H0001.md", "# H0001: first\n");
        let second = ("docs/errors/H0002.md", "# H0002: second\n");
        assert_eq!(refusals(&[first, second, ("docs/errors/README.md", "")]), "");
        assert!(refusals(&[first]).contains("`H0002` has no page"));
        assert!(
            refusals(&[first, second, ("docs/errors/H0003.md", "# H0003: x\n")]).contains("no refusal has the code")
        );
        assert!(refusals(&[first, ("docs/errors/H0002.md", "# second\n")]).contains("does not name the code"));
    }

    #[test]
    fn an_invariant_that_is_not_listed_is_found() {
        let source = (INVARIANTS, "violation(holds, \"T1\", \"..\"); violation(holds, \"S3\", \"..\");");
        let mut findings = Findings::default();
        check_invariants(&Tree::of(&[source, (ARCHITECTURE, "| T1 | one lease |\n")]), &mut findings).expect("reads");
        assert!(findings.text().contains("invariant `S3` is not listed"), "{}", findings.text());
        assert!(!findings.text().contains("T1"));
    }

    #[test]
    fn a_dead_link_is_found_with_its_line() {
        let text = "[a](../README.md) [b](https://example.org/x)\n[c](gone.md#part) [d](#here) [e](../../out.md)\n";
        let mut findings = Findings::default();
        check_links(&Tree::of(&[("docs/x.md", text)]), |path| path == "README.md", &mut findings);
        let found = findings.text();
        assert!(found.contains("docs/x.md:2: `gone.md#part` leads nowhere"), "{found}");
        assert!(found.contains("`../../out.md`"), "{found}");
        assert!(!found.contains("README.md` leads"), "{found}");
    }

    #[test]
    fn a_path_that_is_not_there_is_found_with_its_line() {
        let text = "`crates/a.rs` and `crates/gone.rs`, `crates/NAME.rs`\n`crates/* and more`\n";
        let mut findings = Findings::default();
        check_paths(&Tree::of(&[("docs/x.md", text)]), |path| path == "crates/a.rs", &mut findings);
        assert_eq!(findings.text(), "docs/x.md:1: there is no `crates/gone.rs`\n    mend the path");
    }
}
