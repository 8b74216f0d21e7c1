//! Shows faults to people: where, what, the source line with a caret run under it, what to do.
//! Plain text, and colours where they are asked for.

use std::fmt::Write as _;

use super::{Fault, SourceSpan};

/// Whether the text carries ANSI colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    /// For files, pipes and logs.
    Never,
    /// For terminals.
    Ansi,
}

struct Palette {
    bold: &'static str,
    red: &'static str,
    blue: &'static str,
    cyan: &'static str,
    reset: &'static str,
}

const PLAIN: Palette = Palette { bold: "", red: "", blue: "", cyan: "", reset: "" };
const ANSI: Palette =
    Palette { bold: "\x1b[1m", red: "\x1b[1;31m", blue: "\x1b[1;34m", cyan: "\x1b[36m", reset: "\x1b[0m" };

/// A source line is shown up to this many characters, so that a file of one endless line stays readable.
const WIDTH: usize = 120;
/// How many characters are shown before the caret where a line is cut.
const BEFORE: usize = 40;
/// Sentences beyond this many characters are cut.
const SENTENCE: usize = 600;
/// Faults beyond this are counted, not shown.
const SHOWN: usize = 50;

/// The faults of the file called `name`, whose text is `source`, ending with how many there are.
pub fn render(name: &str, source: &str, faults: &[Fault], colour: Colour) -> String {
    let palette = match colour {
        Colour::Never => &PLAIN,
        Colour::Ansi => &ANSI,
    };
    let mut out = String::new();
    for fault in faults.iter().take(SHOWN) {
        one(&mut out, name, source, fault, palette);
        out.push('\n');
    }
    if faults.len() > SHOWN {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "... and {} more\n", faults.len() - SHOWN);
    }
    let _ = writeln!(out, "{} {}", faults.len(), if faults.len() == 1 { "error" } else { "errors" });
    out
}

fn one(out: &mut String, name: &str, source: &str, fault: &Fault, palette: &Palette) {
    let Palette { bold, red, blue, cyan, reset } = palette;
    let place = fault.span.as_ref().map_or_else(String::new, |span| format!(":{}:{}", span.line, span.column));
    let (name, message) = (visible(name), visible(&fault.message));
    let _ = writeln!(out, "{bold}{name}{place}:{reset} {red}error:{reset} {bold}{message}{reset}");
    let mut margin = 2;
    if let Some(span) = &fault.span {
        let number = span.line.to_string();
        margin = number.len() + 2;
        let (line, caret, run) = excerpt(source, span);
        let _ = writeln!(out, "{blue}{number:>margin$} |{reset} {line}");
        let _ = writeln!(out, "{:>margin$} {blue}|{reset} {:caret$}{red}{}{reset}", "", "", "^".repeat(run));
    }
    if let Some(hint) = &fault.hint {
        let _ = writeln!(out, "{:>margin$} {cyan}hint:{reset} {}", "", visible(hint));
    }
}

/// The line of `span`, cut to what can be read, how many characters stand before the caret, and how
/// many carets there are: at least one, and none beyond what is shown.
fn excerpt(source: &str, span: &SourceSpan) -> (String, usize, usize) {
    // No further than what is shown: a line may be the whole file.
    let window = 4 * (WIDTH + 1);
    let before = &source[source.floor_char_boundary(span.start.saturating_sub(window))..span.start];
    let before = before.rsplit('\n').next().unwrap_or_default();
    let after = &source[span.start..source.floor_char_boundary(span.start + window)];
    let after = after.split(['\n', '\r']).next().unwrap_or_default();
    // One more than fits tells whether the line is cut.
    let is_long = before.chars().chain(after.chars()).take(WIDTH + 1).count() > WIDTH;
    let most_before = if is_long { BEFORE } else { WIDTH };
    let shown_before: Vec<char> = before.chars().rev().take(most_before).collect();
    let shown_after: String = after.chars().take(WIDTH - shown_before.len()).map(shown).collect();

    let is_cut_before = shown_before.iter().map(|c| c.len_utf8()).sum::<usize>() < before.len();
    let mut text = if is_cut_before { "..." } else { "" }.to_owned();
    text.extend(shown_before.iter().rev().copied().map(shown));
    let caret = text.chars().count();
    text.push_str(&shown_after);
    let room = shown_after.chars().count();
    if room < after.chars().take(WIDTH + 1).count() {
        text.push_str("...");
    }
    let end = span.end.min(span.start + after.trim_end().len()).max(span.start);
    let run = source[span.start..end].chars().take(room).count();
    (text.trim_end().to_owned(), caret, run.max(1))
}

/// A file may hold anything, the terminal's own commands too: those are shown, not obeyed.
fn shown(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// A sentence: on one line, and not endless where it quotes the file.
fn visible(text: &str) -> String {
    let short: String = text.chars().take(SENTENCE).map(shown).collect();
    if short.chars().count() < text.chars().count() { format!("{short}...") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::source::Lines;

    fn fault(source: &str, needle: &str) -> Fault {
        let at = source.find(needle).expect("is there");
        Fault::new("a", "is wrong").spanning(Lines::of(source).span(source, at..at + needle.len()))
    }

    #[test]
    fn the_caret_run_lies_under_the_span() {
        let source = "a: 1\nünï: wrong  \n";
        let text = render("f.yaml", source, &[fault(source, "wrong").hint("write right")], Colour::Never);
        assert_eq!(
            text,
            "f.yaml:2:6: error: is wrong\n  2 | ünï: wrong\n    |      ^^^^^\n    hint: write right\n\n1 error\n"
        );
    }

    #[test]
    fn a_span_of_several_lines_is_shown_on_its_first() {
        let source = "a:\n  - 1\n  - 2\n";
        let text = render("f", source, &[fault(source, "- 1\n  - 2")], Colour::Never);
        assert!(text.contains("  2 |   - 1\n    |   ^^^\n"), "{text}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let source = format!("a: {} wrong {}", "x".repeat(500), "y".repeat(500));
        let text = render("f", &source, &[fault(&source, "wrong")], Colour::Never);
        let mut lines = text.lines().skip(1);
        let (line, carets) = (lines.next().expect("source"), lines.next().expect("carets"));
        assert!(line.chars().count() < 140, "{line}");
        assert_eq!(line.find("wrong"), carets.find('^'), "{text}");
    }

    #[test]
    fn control_characters_are_shown_and_colours_only_on_request() {
        let source = "a: \u{1b}[31mred\tx";
        let plain = render("f", source, &[fault(source, "red")], Colour::Never);
        assert!(!plain.contains('\u{1b}') && plain.contains("\u{fffd}[31mred x"), "{plain}");
        assert!(render("f", source, &[fault(source, "red")], Colour::Ansi).contains("\u{1b}[1;31merror:"));
    }

    #[test]
    fn faults_are_counted_also_beyond_those_shown() {
        let text = render("f", "", &vec![Fault::new("a", "x"); 60], Colour::Never);
        assert!(text.ends_with("... and 10 more\n\n60 errors\n"), "{text}");
    }
}
