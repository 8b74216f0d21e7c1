//! Reads a JSON schema: what it allows at one place, and the few things that the walk asks of it.

use serde_json::{Map, Value};

/// One of the things that a schema allows.
#[derive(Clone, Copy)]
pub(super) struct Alternative<'s> {
    pub schema: &'s Value,
    /// The name of the type, where it has one.
    pub name: Option<&'s str>,
}

impl Alternative<'_> {
    /// Whether values of the JSON type `kind` are among it.
    pub fn is(&self, kind: &str) -> bool {
        match &self.schema["type"] {
            Value::String(one) => one == kind,
            Value::Array(several) => several.iter().any(|one| one == kind),
            _ => false,
        }
    }
}

/// What `schema` allows, references followed and unions laid flat.
pub(super) fn alternatives<'s>(root: &'s Value, schema: &'s Value) -> Vec<Alternative<'s>> {
    fn collect<'s>(root: &'s Value, schema: &'s Value, name: Option<&'s str>, into: &mut Vec<Alternative<'s>>) {
        if let Some(target) = schema["$ref"].as_str() {
            let name = target.rsplit('/').next();
            let definition = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
            if let Some(definition) = definition {
                collect(root, definition, name, into);
            }
            return;
        }
        match schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            Some(union) => union.iter().for_each(|branch| collect(root, branch, name, into)),
            None => into.push(Alternative { schema, name }),
        }
    }
    let mut into = Vec::new();
    collect(root, schema, None, &mut into);
    into
}

/// The names listed under `of`: of properties, or of required keys.
pub(super) fn keys<'s>(schema: &'s Value, of: &str) -> Vec<&'s str> {
    match &schema[of] {
        Value::Object(map) => map.keys().map(String::as_str).collect(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The texts that an enum allows; none for free text.
pub(super) fn words(schema: &Value) -> Vec<&str> {
    match (schema["const"].as_str(), schema["enum"].as_array()) {
        (Some(word), _) => vec![word],
        (None, Some(words)) => words.iter().filter_map(Value::as_str).collect(),
        (None, None) => Vec::new(),
    }
}

/// The smallest and the largest value of an integer's schema.
pub(super) fn bounds(schema: &Value) -> (i128, i128) {
    let (low, high) = match schema["format"].as_str() {
        Some("uint8") => (0, u8::MAX.into()),
        Some("uint16") => (0, u16::MAX.into()),
        Some("uint32") => (0, u32::MAX.into()),
        Some("uint64" | "uint") => (0, u64::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    };
    let given = |name: &str| schema[name].as_i64().map(i128::from);
    (given("minimum").map_or(low, |min| min.max(low)), given("maximum").map_or(high, |max| max.min(high)))
}

/// The first sentence of a property's description.
pub(super) fn description(properties: Option<&Map<String, Value>>, name: &str) -> Option<String> {
    let text = properties?.get(name)?["description"].as_str()?;
    let sentence = text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.');
    let mut letters = sentence.chars();
    let first = letters.next()?;
    Some(first.to_lowercase().chain(letters).map(|c| if c == '\n' { ' ' } else { c }).collect())
}
