//! JSON as Python's `json` module writes and reads it: with `NaN`, `Infinity` and half surrogates, which other readers
//! refuse. Texts are kept as they were written; they are read here so that nobody stores what breaks its readers.

/// Deeper lists and maps are refused: Python's own reader ends somewhere beyond.
const DEPTH_MAX: usize = 100;
/// Python refuses to read a whole number of more digits.
const DIGITS_MAX: usize = 4_300;

/// A value, which borrows its texts.
#[derive(Clone, PartialEq, Debug)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` and `false`
    Bool(bool),
    /// A number, as near as 64 bits come to it.
    Number(f64),
    /// A string, between its quotes and with its escapes.
    Text(&'a str),
    /// A list.
    List(Vec<Json<'a>>),
    /// A map, in its order.
    Map(Vec<(&'a str, Json<'a>)>),
}

/// Where a text stops being JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not JSON: {what} at byte {at}")]
pub struct JsonError {
    what: &'static str,
    at: usize,
}

impl<'a> Json<'a> {
    /// Reads a whole text.
    ///
    /// # Errors
    /// It is not JSON as Python's `json.loads` takes it, or deeper than [`DEPTH_MAX`].
    pub fn read(text: &'a str) -> Result<Self, JsonError> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.skip_blanks();
        if reader.at < text.len() { Err(reader.error("more than one value")) } else { Ok(value) }
    }

    /// The value under `key`, of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(items) => items.iter().rev().find(|(name, _)| *name == key).map(|(_, value)| value),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// Whether both are the same to Python, where `NaN` is like `NaN`.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Self::List(a), Self::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_like(b)),
            (_, _) => self == other,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    const fn error(&self, what: &'static str) -> JsonError {
        JsonError { what, at: self.at }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().iter().take_while(|byte| b" \t\n\r".contains(byte)).count();
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        if depth > DEPTH_MAX {
            return Err(self.error("too deep"));
        }
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.map(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => {
                let words = [
                    ("null", Json::Null),
                    ("true", Json::Bool(true)),
                    ("false", Json::Bool(false)),
                    ("NaN", Json::Number(f64::NAN)),
                    ("Infinity", Json::Number(f64::INFINITY)),
                ];
                let known = words.into_iter().find(|(word, _)| self.takes(word));
                known.map(|(_, value)| value).ok_or_else(|| self.error("no value"))
            }
            None => Err(self.error("an end where a value should be")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.takes("]") {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            if self.takes("]") {
                return Ok(Json::List(items));
            }
            if !self.takes(",") {
                return Err(self.error("no comma between two values"));
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.takes("}") {
            return Ok(Json::Map(items));
        }
        loop {
            self.skip_blanks();
            let key = self.string()?;
            self.skip_blanks();
            if !self.takes(":") {
                return Err(self.error("no colon after a key"));
            }
            items.push((key, self.value(depth + 1)?));
            self.skip_blanks();
            if self.takes("}") {
                return Ok(Json::Map(items));
            }
            if !self.takes(",") {
                return Err(self.error("no comma between two values"));
            }
        }
    }

    fn string(&mut self) -> Result<&'a str, JsonError> {
        if !self.takes("\"") {
            return Err(self.error("no quote"));
        }
        let from = self.at;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return Err(self.error("a control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.error("a string without an end")),
            }
        }
        // Quotes and backslashes are ASCII, so both ends are those of characters.
        let inner = self.text.get(from..self.at).unwrap_or_default();
        self.at += 1;
        Ok(inner)
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let escaped = self.rest();
        let length = match escaped.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') if escaped.get(2..6).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) => 6,
            Some(_) | None => return Err(self.error("an escape that means nothing")),
        };
        self.at += length;
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn number(&mut self) -> Result<Json<'a>, JsonError> {
        let from = self.at;
        if self.takes("-") && self.takes("Infinity") {
            return Ok(Json::Number(f64::NEG_INFINITY));
        }
        let begins_with_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (begins_with_zero && whole > 1) {
            return Err(self.error("a number that is none"));
        }
        let is_whole = !matches!(self.peek(), Some(b'.' | b'e' | b'E'));
        if is_whole && whole > DIGITS_MAX {
            return Err(self.error("a whole number of too many digits"));
        }
        if self.takes(".") && self.digits() == 0 {
            return Err(self.error("a number without a digit after its point"));
        }
        if self.takes("e") || self.takes("E") {
            let _sign = self.takes("+") || self.takes("-");
            if self.digits() == 0 {
                return Err(self.error("a number without its exponent"));
            }
        }
        let number = self.text.get(from..self.at).and_then(|text| text.parse().ok());
        number.map(Json::Number).ok_or_else(|| self.error("a number that is none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_is_read() {
        let text =
            r#" {"a": [1, -2.5e-3, NaN, Infinity, -Infinity, true, false, null], "b\"": {"c": "\ud800 \u00e9é"}} "#;
        let Ok(Json::Map(items)) = Json::read(text) else { panic!("is read") };
        assert_eq!(items[0].0, "a");
        let Json::List(list) = &items[0].1 else { panic!("is a list") };
        assert_eq!((list.len(), &list[1], &list[7]), (8, &Json::Number(-2.5e-3), &Json::Null));
        assert!(list[2].is_like(&Json::Number(f64::NAN)));
        assert_eq!(items[1].1.get("c"), Some(&Json::Text(r"\ud800 \u00e9é")));
        let (long, longer) = ("9".repeat(DIGITS_MAX), "9".repeat(9_999));
        for text in ["[]", "{}", "\"\"", "0", "-0", &long, &format!("{longer}.0"), &format!("{longer}e1")] {
            assert!(Json::read(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_would_break_a_reader_is_refused() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let long = format!("-{}", "9".repeat(DIGITS_MAX + 1));
        let bad = [
            "",
            " ",
            "nul",
            "1 2",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{a: 1}",
            "{\"a\": 1,}",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "01",
            "1.",
            ".5",
            "1e",
            "-",
            "+1",
            "nan",
            "'a'",
            &deep,
            &long,
        ];
        for text in bad {
            assert!(Json::read(text).is_err(), "{text}");
        }
    }
}
