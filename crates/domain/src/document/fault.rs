//! What is wrong with a file: one sentence each, with its place and what to do about it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use super::render::{Colour, render};
use super::{Document, Path, SourceSpan};

/// No more are kept of one file: nobody reads further, and a hostile file can have millions.
pub(super) const MOST: usize = 200;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Fault {
    /// The value that it is about.
    pub path: Path,
    /// Which part of it.
    #[serde(skip)]
    pub part: Part,
    /// Where that is in the source; `None` where there is no source, or none of it is to blame.
    pub span: Option<SourceSpan>,
    /// What is wrong: a lowercase fragment without a final period.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The part of a mapping's entry, or of a value, that a fault is about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Part {
    /// The value.
    #[default]
    Value,
    /// The key, where the value has one.
    Key,
    /// Some bytes of a text's content.
    Within(Range<usize>),
}

impl Fault {
    /// A fault of the value at `path`.
    pub fn new(path: impl Into<Path>, message: impl Into<String>) -> Self {
        Self { path: path.into(), part: Part::Value, span: None, message: message.into(), hint: None }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with what to do about it, where something is known.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// The same about the key.
    #[must_use]
    pub fn at_key(mut self) -> Self {
        self.part = Part::Key;
        self
    }

    /// The same about some bytes of the text at the path.
    #[must_use]
    pub fn within(mut self, range: Range<usize>) -> Self {
        self.part = Part::Within(range);
        self
    }

    /// The same with a place that the reader of the text knows better than the tree.
    #[must_use]
    pub(super) fn spanning(mut self, span: SourceSpan) -> Self {
        self.span = Some(span);
        self
    }
}

/// `7:12: message (hint)`, without the source.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.span {
            Some(span) => write!(f, "{}:{}: ", span.line, span.column)?,
            // Most sentences name the place themselves.
            None if self.path != Path::root() && !self.message.contains(&self.path.to_string()) => {
                write!(f, "`{}`: ", self.path)?;
            }
            None => {}
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// Everything that is wrong with one file, by place, together with its text.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    list: Vec<Fault>,
    document: Option<Arc<Document>>,
    /// What faults are about already: further ones below these would only follow from them.
    settled: Vec<Path>,
}

impl Faults {
    /// None yet, for a file that has been read into `document`.
    pub fn of(document: Arc<Document>) -> Self {
        Self { list: Vec::new(), document: Some(document), settled: Vec::new() }
    }

    /// Adds one about the value at `path`; its place is looked up.
    pub fn add(&mut self, path: impl Into<Path>, message: impl Into<String>, hint: Option<&str>) {
        self.push(Fault::new(path, message).maybe_hint(hint.map(str::to_owned)));
    }

    /// Adds one; its place is looked up where it has none. Left out is one about a part of the file
    /// that could not be read, because what is wrong there is said already.
    pub fn push(&mut self, mut fault: Fault) {
        if self.list.len() >= MOST || self.settled.iter().any(|settled| fault.path.is_within(settled)) {
            return;
        }
        if fault.span.is_none() {
            fault.span = self.document.as_ref().and_then(|document| document.span_of(&fault.path, &fault.part));
        }
        if let Some(document) = &self.document {
            fault.hint = fault.hint.map(|hint| document.format().speak(&hint));
        }
        if self.list.contains(&fault) {
            return;
        }
        // By place, those without one last; equal places in the order of their arrival.
        let key = |fault: &Fault| fault.span.as_ref().map_or((usize::MAX, 0), |span| (span.start, span.end));
        let at = self.list.partition_point(|other| key(other) <= key(&fault));
        self.list.insert(at, fault);
    }

    /// Adds several.
    pub fn extend(&mut self, faults: impl IntoIterator<Item = Fault>) {
        for fault in faults {
            self.push(fault);
        }
    }

    /// From here on, leaves out faults about `path` and what is below it.
    pub(super) fn settle(&mut self, path: Path) {
        self.settled.push(path);
    }

    /// The faults, by place.
    pub fn list(&self) -> &[Fault] {
        &self.list
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The file's text; empty where it could not be read as text.
    pub fn source(&self) -> &str {
        self.document.as_ref().map_or("", |document| document.source())
    }

    /// All of them under their source lines, for people; `name` is the file's.
    pub fn render(&self, name: &str, colour: Colour) -> String {
        render(name, self.source(), &self.list, colour)
    }
}

/// One line for each.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.list.iter().enumerate() {
            write!(f, "{}{fault}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_without_a_source_name_their_place() {
        let mut faults = Faults::default();
        faults.add("search.gamma", "must be below 1", Some("write 0.25"));
        faults.add("budget", "`budget` is empty", None);
        assert_eq!(faults.to_string(), "`search.gamma`: must be below 1 (write 0.25)\n`budget` is empty");
    }

    #[test]
    fn the_same_fault_is_told_once() {
        let mut faults = Faults::default();
        faults.extend([Fault::new("a", "x"), Fault::new("a", "x"), Fault::new("b", "x")]);
        assert_eq!(faults.len(), 2);
    }
}
