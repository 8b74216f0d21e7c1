//! Places in a source text: a range of bytes with the line and the column at which it begins.

use std::ops::Range;

use serde::Serialize;

/// A stretch of a source text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SourceSpan {
    /// The first byte, counted from 0.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// The line of the first byte, counted from 1.
    pub line: usize,
    /// The column of the first byte in characters, counted from 1.
    pub column: usize,
}

/// The beginnings of a text's lines, so that a byte offset becomes a line without reading the text again.
#[derive(Clone, Debug)]
pub struct Lines {
    starts: Vec<usize>,
    /// Whether bytes are characters, so that columns need no counting.
    is_ascii: bool,
}

impl Lines {
    /// Finds the lines of `text`.
    pub fn of(text: &str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(i, _)| i + 1);
        Self { starts: std::iter::once(0).chain(after_breaks).collect(), is_ascii: text.is_ascii() }
    }

    /// The place of `range` in `text`; a range beyond the text is cut to it.
    pub fn span(&self, text: &str, range: Range<usize>) -> SourceSpan {
        let start = text.floor_char_boundary(range.start);
        let end = text.floor_char_boundary(range.end).max(start);
        let line = self.starts.partition_point(|&s| s <= start);
        let line_start = self.starts[line - 1];
        let before = if self.is_ascii { start - line_start } else { text[line_start..start].chars().count() };
        SourceSpan { start, end, line, column: before + 1 }
    }

    /// The line (counted from 1) that holds the byte at `offset`.
    pub fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|&s| s <= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_becomes_a_line_and_a_column_in_characters() {
        let text = "a: ü\nb: é x\n";
        let lines = Lines::of(text);
        let at = text.find('x').expect("is there");
        assert_eq!(lines.span(text, at..at + 1), SourceSpan { start: at, end: at + 1, line: 2, column: 6 });
        assert_eq!(lines.span(text, 0..999).end, text.len());
        assert_eq!(lines.span(text, 4..4).column, 4, "inside of a character: its beginning");
        assert_eq!(lines.line(text.len()), 3);
    }
}
