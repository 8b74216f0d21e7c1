//! What a check over the tree found: places, what is wrong there, and what to do about it.

use crate::tally::Tally;

/// The list that a check fills; empty when all is well.
#[derive(Default)]
pub struct Findings {
    list: Vec<String>,
}

impl Findings {
    /// Adds one. `place` is `path` or `path:line`; `hint` says what to do.
    pub fn add(&mut self, place: impl AsRef<str>, what: impl AsRef<str>, hint: &str) {
        self.list.push(format!("{}: {}\n    {hint}", place.as_ref(), what.as_ref()));
    }

    /// Prints them, in the order of their places, and counts the check as one.
    pub fn report(mut self) -> Tally {
        self.list.sort();
        for finding in &self.list {
            println!("{finding}");
        }
        Tally::of(self.list.is_empty())
    }

    /// The findings as text, for tests.
    #[cfg(test)]
    pub fn text(&self) -> String {
        self.list.join("\n")
    }
}
