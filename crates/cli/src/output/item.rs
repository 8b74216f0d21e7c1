//! One thing of the output: its address, and its fields as JSON. Numbers that JSON cannot hold become null,
//! with a field beside them that says what they were.

use serde_json::{Map, Value};

/// The suffix of the field that says what a null number was: `nan`, `inf` or `-inf`.
const FLAG: &str = "_not_finite";

/// One thing of the output.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    /// What `-o name` prints: something that other commands take.
    pub name: String,
    /// Its fields.
    pub json: Map<String, Value>,
}

impl Item {
    /// The field at a dotted path such as `best.params.lr`. A key may hold dots itself, so the longest key wins.
    pub fn get(&self, path: &str) -> Option<Value> {
        get(&self.json, path)
    }

    /// The field's text for tables, CSV and `value:`. A number that is not finite is `nan`, `inf` or `-inf`; null is empty.
    pub fn text(&self, path: &str) -> Option<String> {
        Some(match self.get(path)? {
            Value::Null => match self.get(&format!("{path}{FLAG}")) {
                Some(Value::String(what)) => what,
                Some(_) | None => String::new(),
            },
            Value::String(text) => text,
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
        })
    }
}

fn get(map: &Map<String, Value>, path: &str) -> Option<Value> {
    if let Some(value) = map.get(path) {
        return Some(value.clone());
    }
    path.match_indices('.').rev().find_map(|(dot, _)| match map.get(&path[..dot])? {
        Value::Object(inner) => get(inner, &path[dot + 1..]),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    })
}

/// A real number as JSON, tables and CSV have it; `nan`, `inf` or `-inf` where it is not finite.
pub fn number(number: f64) -> String {
    serde_json::Number::from_f64(number).map_or_else(|| crate::words::short(number), |number| number.to_string())
}

/// Lays fields out one after the other.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Fields {
    map: Map<String, Value>,
}

impl Fields {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Any value.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.map.insert(key.to_owned(), value.into());
        self
    }

    /// A real number; null and a flag where it is not finite, null alone where there is none.
    #[must_use]
    pub fn number(mut self, key: &str, number: impl Into<Option<f64>>) -> Self {
        let number = number.into();
        let json = number.and_then(serde_json::Number::from_f64).map_or(Value::Null, Value::Number);
        if let (Value::Null, Some(number)) = (&json, number) {
            self.map.insert(format!("{key}{FLAG}"), crate::words::short(number).into());
        }
        self.map.insert(key.to_owned(), json);
        self
    }

    /// A point in time, in RFC 3339; null where there is none.
    #[must_use]
    pub fn time(self, key: &str, at_ms: impl Into<Option<u64>>) -> Self {
        let value = at_ms.into().map_or(Value::Null, |ms| crate::words::timestamp(ms).into());
        self.with(key, value)
    }

    /// A duration in seconds; null where there is none.
    #[must_use]
    pub fn seconds(self, key: &str, ms: impl Into<Option<u64>>) -> Self {
        self.number(key, ms.into().map(|ms| ms as f64 / 1000.0))
    }

    /// The fields.
    pub fn done(self) -> Map<String, Value> {
        self.map
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Self {
        Self::Object(fields.map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_not_finite_is_null_with_a_flag() {
        let json = Fields::new().number("value", f64::NAN).number("last", 0.5).number("none", None).done();
        assert_eq!(
            Value::Object(json.clone()).to_string(),
            r#"{"value_not_finite":"nan","value":null,"last":0.5,"none":null}"#
        );
        let item = Item { name: "a".into(), json };
        assert_eq!(item.text("value").as_deref(), Some("nan"));
        assert_eq!(item.text("none").as_deref(), Some(""));
        assert_eq!(item.text("absent"), None);
    }

    #[test]
    fn a_path_finds_keys_that_hold_dots() {
        let json = Fields::new().with("params", Fields::new().with("opt.lr", 0.1)).done();
        let item = Item { name: "a".into(), json };
        assert_eq!(item.text("params.opt.lr").as_deref(), Some("0.1"));
        assert_eq!(item.text("params.opt"), None);
    }
}
