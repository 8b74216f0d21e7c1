//! The step that reads every Rust file for what no compiler looks at: headers, lengths, things left undone.

use anyhow::Result;

use crate::findings::Findings;
use crate::repo::Repo;
use crate::step::Step;
use crate::tally::Tally;
use crate::tree::Tree;

/// The most lines of a file; a longer one usually holds two things.
const LINES_MAX: usize = 700;
/// Files that may be longer, each with the reason.
const LONG: [(&str, &str); 0] = [];
/// What must not stand anywhere, and what to do instead. Written in two parts, so that this file may hold them.
const BANNED: [([&str; 2], &str); 10] = [
    (["#[al", "low("], "use `#[expect(lint, reason = \"..\")]`, which complains once it is not needed"),
    (["#![al", "low("], "use `#![expect(lint, reason = \"..\")]`, which complains once it is not needed"),
    (["to", "do!("], "finish it, or leave it out"),
    (["unimple", "mented!("], "finish it, or leave it out"),
    (["TO", "DO"], "do it, or file an issue and leave the line out"),
    (["FIX", "ME"], "mend it, or file an issue and leave the line out"),
    (["XX", "X"], "mend it, or file an issue and leave the line out"),
    (["#[ig", "nore]"], "a test that is set aside proves nothing; one that another test starts says so as its reason"),
    (["assert!(t", "rue)"], "an assertion that cannot fail proves nothing"),
    (["fn te", "st_"], "name a test as a sentence about behaviour, without the prefix"),
];

pub struct Tidy;

impl Step for Tidy {
    fn name(&self) -> &'static str {
        "tidy"
    }

    fn about(&self) -> &'static str {
        "every Rust file says what it is, holds one thing, and leaves nothing undone"
    }

    fn verify(&self, repo: &Repo) -> Result<Tally> {
        Ok(check(&repo.tree).report())
    }
}

fn check(tree: &Tree) -> Findings {
    let mut findings = Findings::default();
    for (path, text) in tree.files("", ".rs") {
        if !text.starts_with("//! ") {
            findings.add(path, "no header", "begin with `//! `: what the file is, and what it deliberately is not");
        }
        let lines = text.lines().count();
        if lines > LINES_MAX && !LONG.iter().any(|(long, _)| *long == path) {
            findings.add(
                path,
                format!("{lines} lines, more than {LINES_MAX}"),
                "split it by what it holds, or list it with the reason in crates/xtask/src/steps/tidy.rs",
            );
        }
        for (number, line) in (1..).zip(text.lines()) {
            for ([start, end], instead) in BANNED {
                let banned = format!("{start}{end}");
                if line.contains(&banned) {
                    findings.add(format!("{path}:{number}"), format!("`{banned}`"), instead);
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> String {
        check(&Tree::of(&[("crates/x/src/lib.rs", text)])).text()
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert!(found("use std::fmt;\n").contains("crates/x/src/lib.rs: no header"));
        assert_eq!(found("//! What it is.\n"), "");
    }

    #[test]
    fn what_is_left_undone_is_found_with_its_line() {
        for ([start, end], _) in BANNED {
            let text = found(&format!("//! Header.\n\n// {start}{end}\n"));
            assert!(text.contains("lib.rs:3: `"), "{start}{end}: {text}");
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_found() {
        let lines = |count| format!("//! Header.\n{}", "//\n".repeat(count - 1));
        assert_eq!(found(&lines(LINES_MAX)), "");
        assert!(found(&lines(LINES_MAX + 1)).contains("701 lines"));
    }
}
