//! From bytes to a sweep, or to everything that is wrong with them.
//!
//! [`read`] is all that most callers need. Those that know more about a sweep than this crate (whether
//! a searcher knows a parameter, whether a script exists) [`open`] a draft, add their faults, and finish it,
//! so that a user sees all faults of all layers at once.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::source::Lines;
use super::{Fault, Faults, Format, Kind, Node, Part, Path, Segment, SourceSpan, json, schema, shape, toml, yaml};
use crate::{SweepSpec, check};

/// Larger files are refused unread.
pub const MAX_BYTES: usize = 10_000_000;

/// A file with more faults than this is not looked at further.
const PRUNED: usize = 100;

/// A sweep file's text and tree.
#[derive(Clone, Debug)]
pub struct Document {
    source: String,
    lines: Lines,
    format: Format,
    root: Node,
}

/// A file that has been read as far as possible, with what is wrong so far.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The sweep. Where the file has faults, what could be read of it: parts at fault are left out, and
    /// later faults about them are dropped. `None` where nothing could be read.
    pub spec: Option<SweepSpec>,
    /// What is wrong; further checks add to it.
    pub faults: Faults,
    document: Arc<Document>,
}

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(bytes: &[u8], format: Format) -> Result<(SweepSpec, Arc<Document>), Faults> {
    open(bytes, format).finish()
}

/// Reads and checks a file, for callers with checks of their own.
pub fn open(bytes: &[u8], format: Format) -> Draft {
    let (source, refusal) = decode(bytes);
    let lines = Lines::of(&source);
    let mut draft = Draft::of(Document { source, lines, format, root: Node { kind: Kind::Null, range: 0..0 } });
    if let Some(fault) = refusal {
        draft.faults.push(fault);
        return draft;
    }
    let (root, faults) = match format {
        Format::Yaml => yaml::parse(draft.document.source()),
        Format::Toml => toml::parse(draft.document.source()),
        Format::Json => json::parse(draft.document.source()),
    };
    if let Some(root) = root {
        let Document { source, lines, format, root: _ } = draft.document.as_ref().clone();
        draft = Draft::of(Document { source, lines, format, root });
        draft.faults.extend(faults);
        draft.interpret();
    } else {
        draft.faults.extend(faults);
        if draft.faults.is_empty() {
            draft.faults.push(empty());
        }
    }
    draft
}

/// The text of a file, and why it is not looked at further.
fn decode(bytes: &[u8]) -> (String, Option<Fault>) {
    let refuse = |message: String, hint: &str| Some(Fault::new(Path::root(), message).hint(hint));
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, and a sweep file may have {MAX_BYTES}", bytes.len());
        return (String::new(), refuse(message, "is this the right file? Data goes into files of its own"));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return (String::new(), refuse("the file is UTF-16".into(), "save it as UTF-8"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(error) => {
            let at = error.valid_up_to();
            let source = String::from_utf8_lossy(bytes).into_owned();
            let message = format!("the file is not UTF-8: byte {at} is 0x{:02x}", bytes[at]);
            let span = Lines::of(&source).span(&source, at..at + '\u{fffd}'.len_utf8());
            let fault = Fault::new(Path::root(), message).spanning(span).hint("save it as UTF-8");
            (source, Some(fault))
        }
    }
}

fn empty() -> Fault {
    Fault::new(Path::root(), "the file is empty")
        .hint("a sweep file needs at least `command: [program, argument]`; `heats init` writes an example")
}

impl Draft {
    fn of(document: Document) -> Self {
        let document = Arc::new(document);
        Self { spec: None, faults: Faults::of(document.clone()), document }
    }

    /// The file's text and tree.
    pub const fn document(&self) -> &Arc<Document> {
        &self.document
    }

    /// The sweep.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn finish(self) -> Result<(SweepSpec, Arc<Document>), Faults> {
        match self.spec {
            Some(spec) if self.faults.is_empty() => Ok((spec, self.document)),
            Some(_) | None => Err(self.faults),
        }
    }

    /// From the tree to the sweep, and what is wrong with either.
    fn interpret(&mut self) {
        let root = &self.document.root;
        if root.kind == Kind::Null {
            return self.faults.push(empty());
        }
        let wrong = shape::check(root, schema(), &Path::root());
        let absent = match wrong.as_slice() {
            [] => match serde_json::from_value(root.to_json()) {
                Ok(spec) => {
                    self.spec = Some(spec);
                    Vec::new()
                }
                Err(error) => {
                    return self.faults.push(Fault::new(Path::root(), format!("this is not a sweep: {error}")));
                }
            },
            _ => match without(root, &wrong) {
                Some((spec, absent)) => {
                    self.spec = Some(spec);
                    absent
                }
                None => Vec::new(),
            },
        };
        self.faults.extend(wrong);
        if let Some(spec) = &self.spec {
            let senseless = check::check_partial(spec, &absent);
            absent.into_iter().for_each(|path| self.faults.settle(path));
            self.faults.extend(senseless);
        }
    }
}

/// What can be read of `root` when the parts at fault are taken out, and which parts those were: of each
/// section as little as possible, all of it at worst.
fn without(root: &Node, wrong: &[Fault]) -> Option<(SweepSpec, Vec<Path>)> {
    let Kind::Map(sections) = &root.kind else { return None };
    if wrong.len() > PRUNED {
        return None;
    }
    let mut rest = root.clone();
    let mut absent: Vec<Path> = Vec::new();
    // What is wrong with the file as a whole is that a section is missing.
    let mut missing = !sections.iter().any(|section| section.key == "command");
    let paths = wrong.iter().map(|fault| &fault.path).filter(|path| **path != Path::root());
    let names: BTreeSet<Path> = paths.clone().map(|path| path.truncated(1)).collect();
    for section in names {
        let within: Vec<&Path> = paths.clone().filter(|path| path.is_within(&section)).collect();
        let (node, removed) = (1..=3).rev().find_map(|depth| {
            let mut removed: Vec<Path> =
                within.iter().map(|path| if depth == 3 { (*path).clone() } else { path.truncated(depth) }).collect();
            removed.dedup();
            let mut node = root.clone();
            removed.iter().for_each(|path| node.remove(path));
            is_section(&node, &section).then_some((node, removed))
        })?;
        missing |= removed.contains(&Path::from("command"));
        rest.adopt(node, &section);
        absent.extend(removed);
    }
    if missing {
        // Any command does: faults about it are dropped.
        rest.put("command", Node::from(&serde_json::json!(["true"])));
        absent.push(Path::from("command"));
    }
    let spec = serde_json::from_value(rest.to_json()).ok()?;
    Some((spec, absent))
}

/// Whether `root`'s section at `path` can be read, be it because it is not there any more.
fn is_section(root: &Node, path: &Path) -> bool {
    let mut alone = serde_json::json!({ "command": ["true"] });
    if let (Some(node), [Segment::Key(key)]) = (root.at(path), path.segments()) {
        alone[key] = node.to_json();
    }
    serde_json::from_value::<SweepSpec>(alone).is_ok()
}

impl Document {
    /// The file's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The language that it is written in.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The file's tree.
    pub const fn root(&self) -> &Node {
        &self.root
    }

    /// Where the value at `path` is; of a value that is not there, the nearest that holds its place.
    pub fn locate(&self, path: &Path) -> Option<SourceSpan> {
        self.span_of(path, &Part::Value)
    }

    pub(super) fn span_of(&self, path: &Path, part: &Part) -> Option<SourceSpan> {
        let range = self.range_of(path, part)?;
        Some(self.lines.span(&self.source, range))
    }

    fn range_of(&self, path: &Path, part: &Part) -> Option<Range<usize>> {
        let entry = self.root.entry_at(path);
        let Some(node) = self.root.at(path) else {
            return self.range_of(&path.parent()?, &Part::Key);
        };
        if *path == Path::root() {
            return None;
        }
        let value = if node.range.is_empty() {
            entry.map_or(0..0, |entry| entry.key_range.clone())
        } else {
            node.range.clone()
        };
        match (part, entry) {
            (Part::Key, Some(entry)) => Some(entry.key_range.clone()),
            (Part::Value | Part::Key, _) => Some(value),
            (Part::Within(within), _) => Some(self.content(node, within).unwrap_or(value)),
        }
    }

    /// Where the bytes `within` of a text's content are in the source: quotes and escapes lie between.
    fn content(&self, node: &Node, within: &Range<usize>) -> Option<Range<usize>> {
        let Kind::Str { text, .. } = &node.kind else { return None };
        let raw = self.source.get(node.range.clone())?;
        let quote = raw.chars().next().filter(|c| ['"', '\''].contains(c));
        let mut at = quote.map_or(0, |_| 1);
        let (mut start, mut end) = (None, None);
        for (i, c) in text.char_indices().chain(std::iter::once((text.len(), '\0'))) {
            start = start.or((i >= within.start).then_some(at));
            end = end.or((i >= within.end).then_some(at));
            if i == text.len() {
                break;
            }
            let rest = raw.get(at..)?;
            let escape = match (quote, c) {
                (Some('"'), '"') => "\\\"",
                (Some('"'), '\\') => "\\\\",
                (Some('\''), '\'') => "''",
                _ => "",
            };
            // A TOML literal keeps its backslashes; a form that is not known here gives up.
            at += if !escape.is_empty() && rest.starts_with(escape) {
                escape.len()
            } else if rest.starts_with(c) {
                c.len_utf8()
            } else {
                return None;
            };
        }
        let (start, end) = (node.range.start + start?, node.range.start + end?);
        Some(start..if end == start { end + 1 } else { end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_by_its_path_and_a_missing_one_by_what_would_hold_it() {
        let text = "command: [a, b]\nspace:\n  lr: { float: [0, 1] }\nbudget: { trials: 1 }\n";
        let (_, document) = read(text.as_bytes(), Format::Yaml).expect("is good");
        let found = |path: &str| document.locate(&Path::from(path)).map(|span| &text[span.start..span.end]);
        assert_eq!(found("command[1]"), Some("b"));
        assert_eq!(found("space.lr.float"), Some("[0, 1]"));
        assert_eq!(found("space.lr.log"), Some("lr"), "the parameter that lacks it");
        assert_eq!(found("search.seed"), None);
    }

    #[test]
    fn a_stretch_of_a_text_is_found_behind_quotes_and_escapes() {
        for (text, shown) in [
            ("command: [\"a \\\"b\\\" ${x} c\"]", "${x}"),
            ("command: ['it''s ${x} c']", "${x}"),
            ("command:\n  - a ${x} c", "${x}"),
            // What a folded text becomes is not followed: all of it is shown.
            ("command: [\"a\\u0041 ${x}\"]", "\"a\\u0041 ${x}\""),
        ] {
            let draft = open(text.as_bytes(), Format::Yaml);
            let fault = draft.faults.list().iter().find(|fault| fault.message.contains("names no parameter"));
            let span = fault.and_then(|fault| fault.span.clone()).expect("has a place");
            assert_eq!(&text[span.start..span.end], shown, "{text}");
        }
    }
}
