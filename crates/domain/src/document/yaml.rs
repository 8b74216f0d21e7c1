//! YAML into a tree: one document, core schema, each key once, anchors within limits.
//! The parser's events are taken as they come, because only they know the place of everything.

use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StructureStyle, Tag};

use super::fault::MOST;
use super::source::Lines;
use super::{Entry, Fault, Kind, Node, Path, scalar};

/// How deep lists and mappings may nest.
const DEPTH: usize = 64;
/// How many values all aliases together may stand for: a small file must not become a large one.
const ALIASED: usize = 10_000;

/// Reads `text`. Faults that come with a tree (duplicate keys) do not stand in its way; an error of syntax does.
pub fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    let mut options = granit_parser::options! {
        flow_nesting_limit: DEPTH,
        block_nesting_limit: DEPTH,
    };
    options.set_emit_comments(false);
    let mut builder = Builder::new(text);
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.take(event, range(&span)),
            Err(error) => Err(builder.unclosed(syntax(&error, text, &builder.lines)).into()),
        };
        if let Err(fault) = step {
            builder.faults.push(*fault);
            return (None, builder.faults);
        }
    }
    (builder.root, builder.faults)
}

fn range(span: &Span) -> Range<usize> {
    // Parsing from a string, the parser knows every byte offset.
    span.byte_range().unwrap_or(0..0)
}

/// A list or mapping that is not closed yet.
struct Open {
    content: Content,
    start: usize,
    style: StructureStyle,
    anchor: usize,
}

enum Content {
    Seq(Vec<Node>),
    Map { entries: Vec<Entry>, places: BTreeMap<String, usize>, key: Option<Key> },
}

struct Key {
    text: String,
    range: Range<usize>,
    /// Whether the value is to be dropped: its key is at fault already.
    dropped: bool,
}

struct Builder<'t> {
    text: &'t str,
    lines: Lines,
    open: Vec<Open>,
    /// Finished anchors; `None` for those larger than all aliases may be.
    anchors: BTreeMap<usize, Option<Node>>,
    aliased: usize,
    documents: usize,
    root: Option<Node>,
    faults: Vec<Fault>,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            lines: Lines::of(text),
            open: Vec::new(),
            anchors: BTreeMap::new(),
            aliased: 0,
            documents: 0,
            root: None,
            faults: Vec::new(),
        }
    }

    fn fault(&self, range: Range<usize>, message: impl Into<String>) -> Fault {
        Fault::new(Path::root(), message).spanning(self.lines.span(self.text, range))
    }

    /// An error of syntax, which a bracket that was never closed on a line above may well explain.
    fn unclosed(&self, fault: Fault) -> Fault {
        let flow = self.open.iter().rev().find(|open| open.style == StructureStyle::Flow);
        let (Some(open), Some(span)) = (flow, &fault.span) else { return fault };
        let line = self.lines.line(open.start);
        if line >= span.line {
            return fault;
        }
        let bracket = match open.content {
            Content::Seq(_) => '[',
            Content::Map { .. } => '{',
        };
        fault.hint(format!("the `{bracket}` on line {line} is not closed yet"))
    }

    /// # Errors
    /// What makes the rest of the file meaningless.
    fn take(&mut self, event: Event<'_>, range: Range<usize>) -> Result<(), Box<Fault>> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let fault = self.fault(range, "a second document begins here, and a sweep file holds one");
                    return Err(fault.hint("remove this `---`, or put each sweep into its own file").into());
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = self.scalar(&text, style, tag.as_deref(), &range)?;
                self.node(Node { kind, range }, Some(text.into_owned()), anchor);
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", &range)?;
                self.no_key_here(&range)?;
                self.open.push(Open { content: Content::Seq(Vec::new()), start: range.start, style, anchor });
            }
            Event::MappingStart(style, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", &range)?;
                self.no_key_here(&range)?;
                let content = Content::Map { entries: Vec::new(), places: BTreeMap::new(), key: None };
                self.open.push(Open { content, start: range.start, style, anchor });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(range.end),
            Event::Alias(anchor) => self.alias(anchor, range)?,
            // What is left is without content. The enum may grow in the parser, not in the language.
            _ => {}
        }
        Ok(())
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        range: &Range<usize>,
    ) -> Result<Kind, Box<Fault>> {
        let as_text = || Kind::Str { text: text.to_owned(), plain: false };
        let Some(tag) = tag else {
            return Ok(if style == ScalarStyle::Plain { scalar::resolve(text) } else { as_text() });
        };
        let resolved = scalar::resolve(text);
        let fits = match tag.core_suffix() {
            Some("str") => return Ok(as_text()),
            None if tag.parts() == ("", "!") || tag.parts() == ("!", "") => return Ok(as_text()),
            Some("int") => matches!(resolved, Kind::Int(_)),
            Some("bool") => matches!(resolved, Kind::Bool(_)),
            Some("null") => matches!(resolved, Kind::Null),
            Some("float") => {
                if let Some(number) = scalar::float(text) {
                    return Ok(Kind::Float(number));
                }
                false
            }
            Some(_) | None => return Err(self.foreign_tag(tag, range).into()),
        };
        if fits {
            Ok(resolved)
        } else {
            Err(self.fault(range.clone(), format!("this is not what its tag `{}` says", tag.original())).into())
        }
    }

    fn collection_tag(&self, tag: Option<&Tag>, expected: &str, range: &Range<usize>) -> Result<(), Box<Fault>> {
        match tag {
            Some(tag) if tag.core_suffix() != Some(expected) => Err(self.foreign_tag(tag, range).into()),
            Some(_) | None => Ok(()),
        }
    }

    fn foreign_tag(&self, tag: &Tag, range: &Range<usize>) -> Fault {
        self.fault(range.clone(), format!("the tag `{}` means nothing in a sweep file", tag.original()))
            .hint("remove it; for text in place of a number, use quotes")
    }

    /// Lists and mappings cannot be keys.
    fn no_key_here(&self, range: &Range<usize>) -> Result<(), Box<Fault>> {
        match self.open.last().map(|open| &open.content) {
            Some(Content::Map { key: None, .. }) => {
                let end = self.text.get(range.start..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
                let fault = self.fault(range.start..range.start + end, "a list or a mapping cannot be a key");
                Err(fault.hint("put text that contains brackets, or begins with `{`, in quotes").into())
            }
            Some(Content::Map { .. } | Content::Seq(_)) | None => Ok(()),
        }
    }

    fn alias(&mut self, anchor: usize, range: Range<usize>) -> Result<(), Box<Fault>> {
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(self.fault(range, "this alias stands inside of what it stands for").into());
        };
        self.aliased = self.aliased.saturating_add(target.as_ref().map_or(usize::MAX, Node::size));
        let Some(target) = target.as_ref().filter(|_| self.aliased <= ALIASED) else {
            let fault = self.fault(range, format!("the aliases of this file stand for more than {ALIASED} values"));
            return Err(fault.hint("a sweep file needs few or none: write the values out").into());
        };
        let kind = target.kind.clone();
        let key = match &kind {
            Kind::Str { text, .. } => Some(text.clone()),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Seq(_) | Kind::Map(_) => None,
        };
        if key.is_none() {
            self.no_key_here(&range)?;
        }
        self.node(Node { kind, range }, key, 0);
        Ok(())
    }

    fn close(&mut self, end: usize) {
        // The parser closes only what it opened.
        let Some(Open { content, start, style, anchor }) = self.open.pop() else { return };
        let (kind, last) = match content {
            Content::Seq(items) => {
                let last = items.last().map(|item| item.range.end);
                (Kind::Seq(items), last)
            }
            Content::Map { entries, .. } => {
                let last = entries.last().map(|entry| entry.value.range.end.max(entry.key_range.end));
                (Kind::Map(entries), last)
            }
        };
        // A block ends, for the parser, where the next thing begins.
        let end = match style {
            StructureStyle::Flow => end,
            StructureStyle::Block => last.unwrap_or(end),
        };
        self.node(Node { kind, range: start..end.max(start) }, None, anchor);
    }

    /// Puts a finished value where it belongs. `key` is its text, where it can be a key.
    fn node(&mut self, node: Node, key: Option<String>, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.size() <= ALIASED).then(|| node.clone()));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::Seq(items)) => items.push(node),
            Some(Content::Map { entries, places, key: slot }) => match slot.take() {
                Some(key) if key.dropped => {}
                Some(key) => {
                    places.insert(key.text.clone(), key.range.start);
                    entries.push(Entry { key: key.text, key_range: key.range, value: node });
                }
                None => {
                    let text = key.unwrap_or_default();
                    let plain = !matches!(node.kind, Kind::Str { plain: false, .. });
                    let earlier = places.get(&text).copied();
                    let wrong = if text.is_empty() {
                        Some(("this key is empty".to_owned(), "write the key before the `:`".to_owned()))
                    } else if text == "<<" && plain {
                        Some(("merge keys (`<<`) are not supported".into(), "write the merged keys out".into()))
                    } else {
                        earlier.map(|at| {
                            let line = self.lines.line(at);
                            (format!("`{text}` is here twice: it is on line {line} already"), "keep one of them".into())
                        })
                    };
                    *slot = Some(Key { text, range: node.range.clone(), dropped: wrong.is_some() });
                    if let Some((message, hint)) = wrong.filter(|_| self.faults.len() < MOST) {
                        let fault = self.fault(node.range, message).hint(hint);
                        self.faults.push(fault);
                    }
                }
            },
        }
    }
}

/// The parser's errors in the words of somebody who writes a file, not of somebody who writes a parser.
fn syntax(error: &ScanError, text: &str, lines: &Lines) -> Fault {
    let at = error.marker().byte_offset().unwrap_or(0).min(text.len());
    let end = at + text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    if text[..at].ends_with('$') && text[at..].starts_with('{') {
        return unquoted(text, at, lines);
    }
    let (message, hint): (String, Option<&str>) = match error.kind() {
        ErrorKind::TabInBlockIndentation | ErrorKind::TabNotAllowed | ErrorKind::TabInIndentation => {
            ("a tab is not allowed here".into(), Some("indent with spaces"))
        }
        ErrorKind::UnclosedFlowCollection { open } => (format!("the `{open}` is never closed"), None),
        ErrorKind::UnexpectedEofFlowSequence | ErrorKind::ExpectedFlowSequenceSeparator => {
            ("a `,` or a `]` is missing here".into(), None)
        }
        ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator => ("a `,` or a `}` is missing here".into(), None),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            (format!("the bracket `{open}` is closed by `{close}`"), None)
        }
        ErrorKind::MisplacedFlowCollectionEnd => {
            ("this bracket closes nothing".into(), Some("remove it, or put the text in quotes"))
        }
        ErrorKind::UnclosedQuotedScalar => ("the quote is never closed".into(), None),
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => (
            "something follows a closing quote".into(),
            Some("put the whole text in quotes; within double quotes, write `\\\"` for a quote"),
        ),
        ErrorKind::UnknownQuotedScalarEscape => (
            "this is no escape of double-quoted text".into(),
            Some("use single quotes, or write `\\\\` for a backslash"),
        ),
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            ("a `:` is not allowed here".into(), Some("put text that contains `: ` in quotes, or begin a new line"))
        }
        ErrorKind::InvalidIndentation
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::InvalidFlowScalarIndent
        | ErrorKind::MappingKeyNotAllowed => (
            "this does not fit the lines above".into(),
            Some("indent the keys of one mapping alike, and write `key: value`"),
        ),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            ("a `:` is missing after this key".into(), Some("write `key: value`, with a space after the `:`"))
        }
        ErrorKind::BlockSequenceEntryNotAllowed | ErrorKind::BlockEntryInFlowCollection => {
            ("a list's `-` is not allowed here".into(), Some("begin the list on its own line, or write `[a, b]`"))
        }
        ErrorKind::UnexpectedCharacter { character } => {
            (format!("a value cannot begin with `{character}`"), Some("put the text in quotes"))
        }
        ErrorKind::UnknownAnchor => {
            ("this alias names no anchor above".into(), Some("put text that begins with `*` in quotes"))
        }
        ErrorKind::RecursionLimitExceeded => {
            (format!("lists and mappings are nested deeper than {DEPTH} levels"), Some("a sweep file needs five"))
        }
        ErrorKind::CommentNotSeparated => {
            ("a comment needs a space before its `#`".into(), Some("put text that contains `#` in quotes"))
        }
        other => (other.to_string(), None),
    };
    let fault = Fault::new(Path::root(), message).spanning(lines.span(text, at..end));
    fault.maybe_hint(hint.map(str::to_owned))
}

/// `${` within `[...]` or `{...}` begins a mapping for YAML: the most common slip in a command.
fn unquoted(text: &str, at: usize, lines: &Lines) -> Fault {
    let start = text[..at].rfind(['[', ',', '{', '\n']).map_or(0, |i| i + 1);
    let rest = &text[at..];
    let close = rest.find('}').map_or(rest.len(), |i| i + 1);
    let end = at + close + rest[close..].find([',', ']', '}', '\n']).unwrap_or(rest.len() - close);
    let argument = text[start..end].trim();
    let start = end - text[start..end].trim_start().len();
    Fault::new(Path::root(), "this argument needs quotes: `{` begins a mapping here")
        .spanning(lines.span(text, start..start + argument.len()))
        .hint(format!("write \"{argument}\""))
}
