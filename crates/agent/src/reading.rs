//! What a trial writes, line by line, as reports: `::metric` lines and JSON. Pure; never fails on anything
//! that a trial may print, be it binary.
//!
//! - `::metric step=3 loss=0.12 acc=0.9`: `step` may stand anywhere and may be left out.
//! - `{"step": 3, "loss": 0.12}` or `{"step": 3, "metrics": {"loss": 0.12}}`; `step` may be left out.
//!
//! NaN and infinities are values: in JSON as a string, as `null` (NaN), or bare, as Python writes them.

use std::borrow::Cow;

use heats_domain::Metrics;

/// What begins a report on standard output.
pub const MARK: &[u8] = b"::metric";
/// The longest name of a metric, in bytes.
const NAME_MAX: usize = 128;
/// The most metrics that one report may have.
pub const METRICS_MAX: usize = 256;

/// A JSON object.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// One report as a trial wrote it.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// The step, where the trial gave one.
    pub step: Option<u64>,
    /// What was measured; at least one.
    pub metrics: Metrics,
}

/// Why a line, or a request's body, is not a report.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadingError {
    /// The bytes are not text.
    #[error("it is not UTF-8")]
    NotText,
    /// A word of a `::metric` line is not `name=number`.
    #[error("`{word}` is not NAME=NUMBER; write for example `::metric step=3 loss=0.12`")]
    Word {
        /// The word.
        word: String,
    },
    /// A name has characters that a metric's name may not have.
    #[error(
        "`{name}` is not a metric's name: letters, digits and `_ . / - : @` are allowed, at most {NAME_MAX} of them"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The step is not a whole number from 0.
    #[error("step `{step}` is not a whole number from 0 to 2^64 - 1")]
    Step {
        /// What was given.
        step: String,
    },
    /// There is no number in it.
    #[error("it has no metric; write for example `::metric step=3 loss=0.12`")]
    Empty,
    /// There are too many.
    #[error("it has more than {METRICS_MAX} metrics")]
    TooMany,
    /// It should be JSON and is not.
    #[error("it is not a JSON object: {why}")]
    Json {
        /// What the parser says.
        why: String,
    },
    /// A metric's value is not a number.
    #[error("metric `{name}` is `{value}`, not a number")]
    Value {
        /// The metric.
        name: String,
        /// What it was given.
        value: String,
    },
}

/// Reads a line that starts with [`MARK`].
///
/// # Errors
/// Where it is not `NAME=NUMBER` words.
pub fn metric_line(line: &[u8]) -> Result<Reading, ReadingError> {
    let text = std::str::from_utf8(line).map_err(|_| ReadingError::NotText)?;
    let mut step = None;
    let mut metrics = Vec::new();
    for word in text.split_ascii_whitespace().skip(1) {
        let bad = || ReadingError::Word { word: cut(word) };
        let (name, value) = word.split_once('=').ok_or_else(bad)?;
        if name == "step" {
            step = Some(value.parse().map_err(|_| ReadingError::Step { step: cut(value) })?);
        } else {
            check_name(name)?;
            metrics.push((name, value.parse::<f64>().map_err(|_| bad())?));
        }
    }
    reading(step, metrics)
}

/// Reads a line of JSON.
///
/// # Errors
/// Where it is not an object of numbers.
pub fn json(line: &[u8]) -> Result<Reading, ReadingError> {
    of_object(&object(line)?)
}

/// A JSON object, in which numbers that are not finite may stand bare.
///
/// # Errors
/// Where it is anything else.
pub fn object(bytes: &[u8]) -> Result<Object, ReadingError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ReadingError::NotText)?;
    parse(text).map_err(|error| ReadingError::Json { why: error.to_string() })
}

/// The report that an object holds.
///
/// # Errors
/// Where its step is no step, or it has no number.
pub fn of_object(object: &Object) -> Result<Reading, ReadingError> {
    let step = match object.get("step") {
        None | Some(serde_json::Value::Null) => None,
        Some(step) => Some(step.as_u64().ok_or_else(|| ReadingError::Step { step: cut(&step.to_string()) })?),
    };
    let mut metrics = Vec::new();
    match object.get("metrics") {
        Some(serde_json::Value::Object(nested)) => {
            for (name, value) in nested {
                check_name(name)?;
                let number = number(value)
                    .ok_or_else(|| ReadingError::Value { name: name.clone(), value: cut(&value.to_string()) })?;
                metrics.push((name.as_str(), number));
            }
        }
        Some(other) => {
            return Err(ReadingError::Value { name: "metrics".into(), value: cut(&other.to_string()) });
        }
        None => {
            // The flat form is what programs log anyway: texts beside the numbers are theirs, not ours.
            for (name, value) in object {
                if let (false, Some(number)) = (matches!(name.as_str(), "step" | "wait"), number(value)) {
                    check_name(name)?;
                    metrics.push((name.as_str(), number));
                }
            }
        }
    }
    reading(step, metrics)
}

/// The line of JSON that [`json`] reads back as this report.
pub fn to_line(step: u64, metrics: &Metrics) -> Vec<u8> {
    let cells: Object = metrics
        .list
        .iter()
        .map(|metric| {
            let number = serde_json::Number::from_f64(metric.value);
            let value = number.map_or_else(|| metric.value.to_string().into(), serde_json::Value::Number);
            (metric.name.clone(), value)
        })
        .collect();
    let mut line = serde_json::json!({ "step": step, "metrics": cells }).to_string().into_bytes();
    line.push(b'\n');
    line
}

fn reading(step: Option<u64>, metrics: Vec<(&str, f64)>) -> Result<Reading, ReadingError> {
    match metrics.len() {
        0 => Err(ReadingError::Empty),
        1..=METRICS_MAX => Ok(Reading { step, metrics: metrics.into_iter().collect() }),
        _ => Err(ReadingError::TooMany),
    }
}

fn check_name(name: &str) -> Result<(), ReadingError> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | ':' | '@');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(allowed) {
        return Err(ReadingError::Name { name: cut(name) });
    }
    Ok(())
}

fn number(value: &serde_json::Value) -> Option<f64> {
    match value {
        serde_json::Value::Number(number) => number.as_f64(),
        serde_json::Value::Null => Some(f64::NAN),
        serde_json::Value::String(text) => text.parse::<f64>().ok().filter(|number| !number.is_finite()),
        serde_json::Value::Bool(_) | serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
    }
}

fn parse(text: &str) -> Result<Object, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match quoted(text) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(text) => serde_json::from_str(&text).map_err(|_| error),
    })
}

/// The text with bare `NaN`, `Infinity` and `-Infinity` in quotes, wherever they stand outside a string.
fn quoted(text: &str) -> Cow<'_, str> {
    const BARE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
    if !BARE.iter().any(|bare| text.contains(bare)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        if let (false, Some(bare)) = (in_string, BARE.iter().find(|bare| rest.starts_with(**bare))) {
            out.push('"');
            out.push_str(bare);
            out.push('"');
            rest = &rest[bare.len()..];
            continue;
        }
        let taken = if in_string && c == '\\' { rest.chars().take(2).map(char::len_utf8).sum() } else { c.len_utf8() };
        in_string ^= c == '"';
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Cow::Owned(out)
}

/// At most 60 characters: what a trial printed may be megabytes.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(step: Option<u64>, metrics: &[(&str, f64)]) -> Result<Reading, ReadingError> {
        Ok(Reading { step, metrics: metrics.iter().copied().collect() })
    }

    #[test]
    fn a_metric_line_has_a_step_and_numbers() {
        assert_eq!(metric_line(b"::metric step=3 loss=0.12 acc=9e-1"), read(Some(3), &[("loss", 0.12), ("acc", 0.9)]));
        assert_eq!(metric_line(b"::metric  val/loss=-inf\t"), read(None, &[("val/loss", f64::NEG_INFINITY)]));
        assert!(metric_line(b"::metric loss=nan").expect("reads").metrics.get("loss").expect("is there").is_nan());
    }

    #[test]
    fn a_metric_line_that_is_none_says_why() {
        for (line, why) in [
            (&b"::metric"[..], ReadingError::Empty),
            (b"::metric step=3", ReadingError::Empty),
            (b"::metric step=-1 loss=1", ReadingError::Step { step: "-1".into() }),
            (b"::metric loss: 0.1", ReadingError::Word { word: "loss:".into() }),
            (b"::metric loss=0.1,", ReadingError::Word { word: "loss=0.1,".into() }),
            (b"::metric lo(ss)=0.1", ReadingError::Name { name: "lo(ss)".into() }),
            (b"::metric \xff=1", ReadingError::NotText),
        ] {
            assert_eq!(metric_line(line), Err(why));
        }
    }

    #[test]
    fn json_may_be_flat_or_nested_and_knows_what_is_not_finite() {
        assert_eq!(json(br#"{"step":3,"loss":0.1,"phase":"val","n":2}"#), read(Some(3), &[("loss", 0.1), ("n", 2.0)]));
        assert_eq!(json(br#"{"metrics":{"loss":-Infinity}}"#), read(None, &[("loss", f64::NEG_INFINITY)]));
        for nan in [r#"{"loss": NaN, "a\"NaN": 1}"#, r#"{"loss":"NaN"}"#, r#"{"loss":null}"#, r#"{"loss":"nan"}"#] {
            let read = json(nan.replace("a\\\"NaN", "aNaN").as_bytes()).expect(nan);
            assert!(read.metrics.get("loss").expect(nan).is_nan(), "{nan}");
        }
    }

    #[test]
    fn json_that_is_no_report_says_why() {
        for line in [
            &b"[1]"[..],
            b"{}",
            b"{\"step\":1}",
            b"{\"step\":1.5,\"loss\":1}",
            b"{\"step\":-1,\"loss\":1}",
            b"{\"metrics\":{\"loss\":\"0.1\"}}",
            b"{\"metrics\":3}",
            b"{\"loss\": ",
            b"\xff\xfe",
            b"{\"\\\\NaN: NaN",
        ] {
            json(line).expect_err(&String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_line_that_the_agent_wrote_reads_back_as_the_same_report() {
        let metrics: Metrics = [("a", 0.1), ("b", f64::INFINITY), ("c", f64::NEG_INFINITY)].into_iter().collect();
        let line = to_line(7, &metrics);
        assert_eq!(json(line.strip_suffix(b"\n").expect("a line")), Ok(Reading { step: Some(7), metrics }));
        let nan = to_line(1, &[("a", f64::NAN)].into_iter().collect());
        assert!(json(&nan).expect("reads").metrics.get("a").expect("is there").is_nan());
    }
}
