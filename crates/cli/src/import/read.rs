//! Reading another tool's tree: values that may stand as numbers or as texts, keys that are taken one by one so
//! that what is left over is known.

use serde_json::{Map, Value};

/// A mapping whose keys are taken one by one.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    map: Map<String, Value>,
}

impl Taken {
    /// The mapping `value`; an empty one for anything else.
    pub(super) fn of(value: &Value) -> Self {
        Self { map: value.as_object().cloned().unwrap_or_default() }
    }

    /// Takes `key` out; null counts as not there.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Takes a mapping out.
    pub(super) fn map(&mut self, key: &str) -> Self {
        self.take(key).map_or_else(Self::default, |value| Self::of(&value))
    }

    /// Takes a text out.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        Some(match self.take(key)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    /// Takes a number out, also one that stands as a text.
    pub(super) fn number(&mut self, key: &str) -> Option<f64> {
        number(&self.take(key)?)
    }

    /// Takes a whole number out.
    pub(super) fn whole(&mut self, key: &str) -> Option<u64> {
        self.number(key).filter(|number| *number >= 0.0 && number.fract() == 0.0).map(|number| number as u64)
    }

    /// What has not been taken.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.map
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }
}

/// A number, also one that stands as a text.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
    .filter(|number| number.is_finite())
}

/// The number as JSON, whole where it is whole.
pub(super) fn whole_or_real(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 { Value::from(number as i64) } else { Value::from(number) }
}

/// A text as the scalar that YAML would read: lists of Katib's are texts throughout.
pub(super) fn scalar(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => whole.into(),
            (Err(_), Ok(real)) if real.is_finite() => real.into(),
            (Err(_), _) => text.into(),
        },
    }
}
