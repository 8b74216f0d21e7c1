//! The JSON document as YAML. Writes block style with JSON's own quoting, which YAML reads as well.

use std::io::{self, Write};

use serde_json::Value;

pub(super) fn write(out: &mut impl Write, value: &Value) -> io::Result<()> {
    match value {
        Value::Object(map) if !map.is_empty() => entries(out, map, 0, false),
        Value::Array(items) if !items.is_empty() => elements(out, items, 0),
        scalar => writeln!(out, "{}", inline(scalar)),
    }
}

fn entries(
    out: &mut impl Write,
    map: &serde_json::Map<String, Value>,
    depth: usize,
    mut first_inline: bool,
) -> io::Result<()> {
    for (key, value) in map {
        // The first entry of a list's element stands behind its dash.
        let indent = if std::mem::take(&mut first_inline) { 0 } else { depth * 2 };
        write!(out, "{:indent$}{}:", "", text(key))?;
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                writeln!(out)?;
                entries(out, inner, depth + 1, false)?;
            }
            Value::Array(items) if !items.is_empty() => {
                writeln!(out)?;
                elements(out, items, depth)?;
            }
            scalar => writeln!(out, " {}", inline(scalar))?,
        }
    }
    Ok(())
}

pub(super) fn elements(out: &mut impl Write, items: &[Value], depth: usize) -> io::Result<()> {
    for item in items {
        write!(out, "{:indent$}- ", "", indent = depth * 2)?;
        match item {
            Value::Object(map) if !map.is_empty() => entries(out, map, depth + 1, true)?,
            other => writeln!(out, "{}", inline(other))?,
        }
    }
    Ok(())
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(content) => text(content),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// Plain where every YAML reader takes it for text, JSON's quotes otherwise.
fn text(content: &str) -> String {
    let starts = content.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = content.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    if starts && plain && !reserved.contains(&content.to_ascii_lowercase().as_str()) {
        content.to_owned()
    } else {
        Value::String(content.to_owned()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::document::{Format, open};
    use serde_json::json;

    #[test]
    fn what_is_written_reads_back_as_the_same() {
        let value = json!({
            "schema": "heats.trials/v1",
            "trials": [
                {"number": 0, "params": {"lr": 0.01, "opt": "adamw", "on": true}, "list": [1, "a: b", []]},
                {"number": 1, "params": {}, "value": null, "why": "line one\nline two # no comment", "nested": [{"a": [1, 2]}]},
            ],
            "odd": ["1", "1e5", "yes", "- x", "", "\u{1b}"],
        });
        let mut out = Vec::new();
        write(&mut out, &value).expect("writes");
        let read = open(&out, Format::Yaml);
        assert_eq!(read.document().root().to_json(), value, "{}", String::from_utf8_lossy(&out));
    }
}
