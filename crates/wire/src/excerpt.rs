//! The lines of a log that somebody asked for: chosen where the log is, so that the rest need not travel. Bounded, whatever the
//! pattern and the log.

use std::collections::VecDeque;

use regex::bytes::{Regex, RegexBuilder};

/// The longest line that is looked at, in bytes; of a longer one, what is beyond is neither searched nor shown.
pub const LINE_MAX: usize = 64 << 10;
/// The longest pattern, in bytes.
pub const PATTERN_MAX: usize = 4 << 10;
/// What a compiled pattern may take, in bytes.
const COMPILED_MAX: usize = 1 << 20;
/// What lines that wait to be among the last may take together, in bytes: of more, fewer are shown.
const WAITING_MAX: usize = 4 << 20;

/// A pattern that cannot be searched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is longer than one may be.
    #[error("the pattern is longer than {PATTERN_MAX} bytes")]
    TooLong,
    /// It is no regular expression, or one that would take too much memory.
    #[error("{0}")]
    Pattern(String),
}

/// Chooses lines of one file, which is fed to it piece by piece.
#[derive(Debug)]
pub struct Excerpt {
    pattern: Option<Regex>,
    /// The last lines so far, and how many there may be; `None` once what was there has been read.
    last: Option<Last>,
    line: Vec<u8>,
    /// Whether `line` has been dealt with, and the rest of it is skipped.
    skipping: bool,
}

#[derive(Debug)]
struct Last {
    count: usize,
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Excerpt {
    /// Those in which `grep` is found, of these the last `tail`; `None` where that means everything.
    ///
    /// # Errors
    /// Where `grep` cannot be searched for.
    pub fn of(grep: &str, tail: Option<u32>) -> Result<Option<Self>, PatternError> {
        if grep.is_empty() && tail.is_none() {
            return Ok(None);
        }
        if grep.len() > PATTERN_MAX {
            return Err(PatternError::TooLong);
        }
        let compile =
            |grep: &str| RegexBuilder::new(grep).size_limit(COMPILED_MAX).dfa_size_limit(COMPILED_MAX).build();
        let pattern = Some(grep).filter(|grep| !grep.is_empty()).map(compile).transpose();
        let pattern = pattern.map_err(|error| PatternError::Pattern(error.to_string()))?;
        let last = tail.map(|count| Last { count: count as usize, lines: VecDeque::new(), bytes: 0 });
        Ok(Some(Self { pattern, last, line: Vec::new(), skipping: false }))
    }

    /// Takes the next bytes of the file, and gives what is to be shown by now: whole lines.
    pub fn feed(&mut self, mut data: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        while let Some(end) = data.iter().position(|&byte| byte == b'\n') {
            self.grow(&data[..end], &mut shown);
            if !std::mem::take(&mut self.skipping) {
                self.end_line(&mut shown);
            }
            data = &data[end + 1..];
        }
        self.grow(data, &mut shown);
        shown
    }

    /// All that there was when somebody asked has been fed; gives the last lines of it. What is fed later is not among them.
    pub fn now(&mut self) -> Vec<u8> {
        self.last.take().map(|last| last.lines.into_iter().flatten().collect()).unwrap_or_default()
    }

    /// There is no more: what stands after the last line's end is a line, too.
    pub fn finish(mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        if !self.line.is_empty() && !self.skipping {
            self.end_line(&mut shown);
        }
        shown.splice(0..0, self.now());
        shown
    }

    fn grow(&mut self, data: &[u8], shown: &mut Vec<u8>) {
        if self.skipping {
            return;
        }
        let room = LINE_MAX - self.line.len();
        self.line.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            self.end_line(shown);
            self.skipping = true;
        }
    }

    fn end_line(&mut self, shown: &mut Vec<u8>) {
        if self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&self.line)) {
            self.line.push(b'\n');
            match &mut self.last {
                None => shown.append(&mut self.line),
                Some(last) => last.push(std::mem::take(&mut self.line)),
            }
        }
        self.line.clear();
    }
}

impl Last {
    fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > self.count || self.bytes > WAITING_MAX {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(grep: &str, tail: Option<u32>, text: &[u8], piece: usize) -> String {
        let mut excerpt = Excerpt::of(grep, tail).expect("a pattern").expect("chooses");
        let mut shown: Vec<u8> = text.chunks(piece).flat_map(|data| excerpt.feed(data)).collect();
        shown.extend(excerpt.finish());
        String::from_utf8_lossy(&shown).into_owned()
    }

    #[test]
    fn lines_are_chosen_whole_however_the_log_comes_in() {
        let text = b"epoch 1\nwarning: a\n\nepoch 2\nwarning: b\xff\nloss 0.1";
        for piece in [1, 2, 7, 100] {
            assert_eq!(all("^warning", None, text, piece), "warning: a\nwarning: b\u{fffd}\n");
            assert_eq!(all("(?i)LOSS|epoch", Some(2), text, piece), "epoch 2\nloss 0.1\n");
            assert_eq!(all("", Some(3), text, piece), "epoch 2\nwarning: b\u{fffd}\nloss 0.1\n");
            assert_eq!(all("", Some(0), text, piece), "");
        }
        assert!(Excerpt::of("", None).expect("nothing").is_none(), "everything needs no choice");
    }

    #[test]
    fn what_is_written_after_the_last_lines_were_asked_for_comes_as_well() {
        let mut excerpt = Excerpt::of("", Some(1)).expect("no pattern").expect("chooses");
        assert!(excerpt.feed(b"one\ntwo\nth").is_empty());
        assert_eq!(excerpt.now(), b"two\n");
        assert_eq!(excerpt.feed(b"ree\nfour\n"), b"three\nfour\n");
        assert!(excerpt.finish().is_empty());
    }

    #[test]
    fn a_line_without_an_end_and_a_million_of_them_stay_within_bounds() {
        let mut text = vec![b'x'; 3 * LINE_MAX];
        text.extend_from_slice(b"needle\nshort needle\n");
        let shown = all("x|needle", None, &text, 1000);
        assert_eq!(shown.len(), LINE_MAX + 1 + "short needle\n".len(), "the first line is cut");
        assert_eq!(all("needle", None, &text, 1 << 20), "short needle\n", "what is cut off is not searched");
        let mut excerpt = Excerpt::of("", Some(u32::MAX)).expect("no pattern").expect("chooses");
        let line = [b"y".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..10_000 {
            assert!(excerpt.feed(&line).is_empty());
        }
        assert!(excerpt.finish().len() <= WAITING_MAX);
    }

    #[test]
    fn a_pattern_that_is_none_or_would_take_too_much_is_refused() {
        assert!(matches!(Excerpt::of("(", None), Err(PatternError::Pattern(_))));
        assert!(matches!(Excerpt::of(r"(\w{100}){100}{100}", None), Err(PatternError::Pattern(_))));
        assert_eq!(Excerpt::of(&"a".repeat(PATTERN_MAX + 1), None).err(), Some(PatternError::TooLong));
    }
}
