//! Durations and sizes as people write them in a sweep file: `90s`, `2h`, `16GiB`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A length of time, to the millisecond. Written `250ms`, `60s`, `5m`, `2h`, `1d`, or a sum such as `1h30m`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span {
    /// The length in milliseconds.
    pub ms: u64,
}

/// A number of bytes. Written `512`, `64MB` (powers of 1000) or `16GiB` (powers of 1024).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bytes {
    /// The number of bytes.
    pub count: u64,
}

/// Why a text is not a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}")]
pub struct UnitError {
    text: String,
    what: &'static str,
}

const SPANS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// The leading number of `text` and what follows it.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

impl Span {
    /// The length as the standard library's type.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError {
            text: text.to_owned(),
            what: "a duration; write for example 250ms, 60s, 5m, 2h, 1d or 1h30m",
        };
        let mut rest = text.trim();
        let mut ms = 0.0;
        if rest.is_empty() {
            return Err(error());
        }
        while !rest.is_empty() {
            let (count, after) = number(rest).ok_or_else(error)?;
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (_, scale) = SPANS.iter().find(|(unit, _)| *unit == &after[..end]).ok_or_else(error)?;
            ms += count * *scale as f64;
            rest = after[end..].trim_start();
        }
        // 2^53 ms are 285,000 years: beyond that the sum above is not exact any more.
        if ms > 9e15 { Err(error()) } else { Ok(Self { ms: ms.round() as u64 }) }
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError { text: text.to_owned(), what: "a size; write for example 512MiB, 16GiB or 2TB" };
        let (count, unit) = number(text.trim()).ok_or_else(error)?;
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, scale) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        let bytes = count * *scale as f64;
        if bytes > 9e15 { Err(error()) } else { Ok(Self { count: bytes.round() as u64 }) }
    }
}

/// The largest units that say it exactly: `1h30m`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.ms;
        for (unit, scale) in SPANS {
            if rest / scale > 0 {
                write!(f, "{}{unit}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

impl Bytes {
    /// For people, to three digits: `16.0 GiB`, `150 MiB`.
    pub fn rounded(self) -> String {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.count as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(unit > 0 && value < 100.0);
        format!("{value:.digits$} {}", UNITS[unit])
    }
}

/// The largest unit that says it exactly: `16GiB`, `1500MB`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZES.iter().find(|(_, scale)| self.count > 0 && self.count.is_multiple_of(*scale));
        let (unit, scale) = exact.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.count / scale)
    }
}

macro_rules! as_text {
    ($name:ident, $schema_name:literal, $kind:literal, $pattern:literal, $description:literal) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $schema_name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $description, "x-heats": $kind })
            }
        }
    };
}

as_text!(
    Span,
    "Duration",
    "duration",
    r"^\s*([0-9.]+\s*(d|h|m|s|ms)\s*)+$",
    "A duration: 250ms, 60s, 5m, 2h, 1d, 1h30m."
);
as_text!(Bytes, "Size", "size", r"^\s*[0-9.]+\s*([TGMK]iB|[TGM]B|kB|B)?\s*$", "A size: 512MiB, 16GiB, 2TB.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_and_prints_as_people_write_it() {
        for (text, ms, printed) in [
            ("90s", 90_000, "1m30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1.5h", 5_400_000, "1h30m"),
            ("250ms", 250, "250ms"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().expect(text);
            assert_eq!(span.ms, ms, "{text}");
            assert_eq!(span.to_string(), printed);
        }
        for bad in ["", "h", "90", "-1s", "1 fortnight", "999999999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_size_reads_and_prints_as_people_write_it() {
        for (text, count, printed) in [
            ("16GiB", 16 << 30, "16GiB"),
            ("1.5GB", 1_500_000_000, "1500MB"),
            ("512", 512, "512B"),
            ("1024", 1024, "1KiB"),
        ] {
            let size: Bytes = text.parse().expect(text);
            assert_eq!(size.count, count, "{text}");
            assert_eq!(size.to_string(), printed);
        }
        assert!("16 gigs".parse::<Bytes>().is_err());
    }
}
