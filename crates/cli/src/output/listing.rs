//! Many things of one kind, and the columns that show them.

use serde_json::{Map, Value};

use super::Item;
use crate::words;

/// Many things of one kind.
#[derive(Clone, PartialEq, Debug)]
pub struct Listing {
    /// What they are, in the plural: `trials`. The schema is `heats.trials/v1`, the key `trials`.
    pub of: &'static str,
    /// What stands beside them in the JSON document.
    pub meta: Map<String, Value>,
    /// The things.
    pub items: Vec<Item>,
    /// How tables and CSV show them.
    pub columns: Vec<Column>,
    /// The time that ages count from.
    pub now_ms: u64,
}

/// One column.
#[derive(Clone, PartialEq, Debug)]
pub struct Column {
    /// What stands above it.
    pub title: String,
    /// Which field it shows.
    pub path: String,
    /// How people read the field.
    pub kind: Kind,
    /// Only with `-o wide` and in CSV.
    pub wide: bool,
}

/// How people read a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// As it is.
    Text,
    /// A number, shortened.
    Number,
    /// Seconds, as a duration.
    Seconds,
    /// A time, as an age.
    Age,
}

impl Column {
    /// A column of every table.
    pub fn new(title: impl Into<String>, path: impl Into<String>, kind: Kind) -> Self {
        Self { title: title.into(), path: path.into(), kind, wide: false }
    }

    /// A column of wide tables.
    pub fn wide(title: impl Into<String>, path: impl Into<String>, kind: Kind) -> Self {
        Self { wide: true, ..Self::new(title, path, kind) }
    }

    /// What a table shows of `item`.
    pub fn show(&self, item: &Item, now_ms: u64) -> String {
        let Some(text) = item.text(&self.path) else { return "-".into() };
        if text.is_empty() {
            return "-".into();
        }
        match self.kind {
            Kind::Text => text.replace('\n', " "),
            // A whole number and a text stay what they are: parameters may be either.
            Kind::Number => match (text.parse::<i64>(), text.parse::<f64>()) {
                (Err(_), Ok(number)) => words::short(number),
                (Ok(_), _) | (Err(_), Err(_)) => text,
            },
            Kind::Seconds => match text.parse::<f64>() {
                Ok(seconds) => words::duration((seconds * 1000.0) as u64),
                Err(_) => text,
            },
            Kind::Age => match text.parse::<jiff::Timestamp>() {
                Ok(time) => words::ago(time.as_millisecond().unsigned_abs(), now_ms),
                Err(_) => text,
            },
        }
    }
}
