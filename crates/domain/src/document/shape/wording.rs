//! What was expected and what was found, in words.

use super::alternatives::{Alternative, keys, words};
use crate::document::hints::one_of;
use crate::document::{Kind, Node};

/// `a whole number`, `a mapping with `float`, `int` or `choice`, or text`.
pub(super) fn expected(allowed: &[Alternative<'_>]) -> String {
    let takes = |kind: &str| allowed.iter().any(|alternative| alternative.is(kind));
    let any_scalar = takes("boolean") && takes("number") && takes("string");
    let mut parts: Vec<String> = Vec::new();
    let mut tags: Vec<&str> = Vec::new();
    let mut words_allowed: Vec<&str> = Vec::new();
    for alternative in allowed {
        let schema = alternative.schema;
        let part = if alternative.is("object") {
            tags.extend(keys(schema, "required"));
            Some("a mapping".to_owned())
        } else if alternative.is("array") {
            Some(match (schema["minItems"].as_u64(), schema["maxItems"].as_u64()) {
                (Some(min), Some(max)) if min == max => format!("a list of {min}"),
                _ => "a list".to_owned(),
            })
        } else if any_scalar {
            Some("a single value".to_owned())
        } else if alternative.is("integer") {
            Some("a whole number".to_owned())
        } else if alternative.is("number") {
            // Where both are allowed, "a number" says it.
            parts.retain(|part| part != "a whole number");
            Some("a number".to_owned())
        } else if alternative.is("boolean") {
            Some("true or false".to_owned())
        } else if alternative.is("string") {
            words_allowed.extend(words(schema));
            match schema["x-heats"].as_str() {
                Some("duration") => Some("a duration such as `90s`".to_owned()),
                Some("size") => Some("a size such as `16GiB`".to_owned()),
                Some("expression") => Some("a CEL expression".to_owned()),
                _ if words(schema).is_empty() => Some("text".to_owned()),
                _ => None,
            }
        } else {
            None
        };
        parts.extend(part.filter(|part| !parts.contains(part)));
    }
    if allowed.iter().filter(|a| a.is("object")).count() > 1 {
        let with_tags = format!("a mapping with {}", one_of(&tags));
        parts.iter_mut().filter(|part| *part == "a mapping").for_each(|part| part.clone_from(&with_tags));
    }
    if !words_allowed.is_empty() {
        parts.push(one_of(&words_allowed));
    }
    match parts.split_last() {
        None => "nothing".into(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// What stands there instead.
pub(super) fn found(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "nothing".into(),
        Kind::Bool(truth) => format!("`{truth}`"),
        Kind::Int(number) => number.to_string(),
        Kind::Float(number) => format!("{number:?}"),
        Kind::Str { text, .. } if text.is_empty() => "an empty text".into(),
        Kind::Str { text, .. } => format!("the text `{}`", shortened(text)),
        Kind::Seq(_) => "a list".into(),
        Kind::Map(_) => "a mapping".into(),
    }
}

/// A text of the file within a sentence: on one line, and not endless.
pub(super) fn shortened(text: &str) -> String {
    let line: String = text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() < text.chars().count() { format!("{line}...") } else { line }
}
