//! Parameter values. A scalar keeps the type that the sweep file gave it: `1` is not `1.0` is not `"1"`.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One scalar of a configuration.
#[derive(Clone, PartialEq, prost::Oneof, Serialize, Deserialize, JsonSchema)]
#[prost(skip_debug)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    #[prost(bool, tag = "1")]
    Bool(bool),
    /// A whole number.
    #[prost(sint64, tag = "2")]
    Int(i64),
    /// A real number.
    #[prost(double, tag = "3")]
    Float(f64),
    /// A text.
    #[prost(string, tag = "4")]
    Str(String),
}

impl Value {
    /// The number, for an integer or a float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            Self::Bool(_) | Self::Str(_) => None,
        }
    }
}

/// The form that a command line gets: no quotes, floats in the shortest form that reads back as the same float.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(i) => write!(f, "{i}"),
            // `{:?}` is the shortest text that reads back as the same float, with `1.0` kept apart from `1`.
            Self::Float(x) => write!(f, "{x:?}"),
            Self::Str(s) => f.write_str(s),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(s) => write!(f, "{s:?}"),
            other => fmt::Display::fmt(other, f),
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Cell {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4")]
    value: Option<Value>,
}

/// One configuration: each active parameter's name and value, constants included, ordered by name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Params {
    #[prost(btree_map = "string, message", tag = "1")]
    cells: BTreeMap<String, Cell>,
}

impl Params {
    /// The value of `name`, or `None` where the parameter is inactive or unknown.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.cells.get(name).and_then(|cell| cell.value.as_ref())
    }

    /// Sets `name`, in place of what it had.
    pub fn insert(&mut self, name: impl Into<String>, value: Value) {
        self.cells.insert(name.into(), Cell { value: Some(value) });
    }

    /// Removes `name`, where it is there.
    pub fn remove(&mut self, name: &str) {
        self.cells.remove(name);
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.cells.iter().filter_map(|(name, cell)| Some((name.as_str(), cell.value.as_ref()?)))
    }

    /// How many parameters have a value.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether no parameter has a value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<N: Into<String>> FromIterator<(N, Value)> for Params {
    fn from_iter<I: IntoIterator<Item = (N, Value)>>(pairs: I) -> Self {
        let mut params = Self::default();
        for (name, value) in pairs {
            params.insert(name, value);
        }
        params
    }
}

/// `lr=0.01 opt=adamw`
impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl Serialize for Params {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<String, Value>::deserialize(deserializer)?.into_iter().collect())
    }
}

impl JsonSchema for Params {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Params".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        BTreeMap::<String, Value>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn a_scalar_keeps_its_type_through_json_and_protobuf() {
        let params: Params = [
            ("a", Value::Int(1)),
            ("b", Value::Float(1.0)),
            ("c", Value::Str("1".into())),
            ("d", Value::Bool(true)),
            ("e", Value::Float(1e-5)),
        ]
        .into_iter()
        .collect();
        let json = serde_json::to_string(&params).expect("serialises");
        assert_eq!(json, r#"{"a":1,"b":1.0,"c":"1","d":true,"e":0.00001}"#);
        assert_eq!(serde_json::from_str::<Params>(&json).expect("parses"), params);
        assert_eq!(Params::decode(params.encode_to_vec().as_slice()).expect("decodes"), params);
    }

    #[test]
    fn a_command_line_gets_text_that_reads_back_as_the_same_number() {
        assert_eq!(Value::Float(0.1).to_string(), "0.1");
        assert_eq!(Value::Float(1.0).to_string(), "1.0");
        assert_eq!(Value::Float(1e-5).to_string(), "1e-5");
        assert_eq!(Value::Str("adam w".into()).to_string(), "adam w");
    }
}
