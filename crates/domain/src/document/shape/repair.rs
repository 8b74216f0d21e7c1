//! How to write what was probably meant: the way out that stands in a fault's hint.

use super::alternatives::{Alternative, keys, words};
use super::wording::shortened;
use crate::document::hints::all_of;
use crate::document::{Kind, Node, Path, Segment, scalar};

/// How to write what was probably meant.
pub(super) fn repair(node: &Node, allowed: &[Alternative<'_>], path: &Path) -> Option<String> {
    let takes = |kind: &str| allowed.iter().any(|alternative| alternative.is(kind));
    let written = |kind: &str| allowed.iter().any(|alternative| alternative.schema["x-heats"] == kind);
    let named = allowed.iter().find_map(|alternative| alternative.name);
    let has_words = allowed.iter().any(|alternative| !words(alternative.schema).is_empty());
    match &node.kind {
        Kind::Str { text, .. } if takes("number") || takes("integer") => {
            let plain = scalar::underscored(text).unwrap_or_else(|| text.trim().to_owned());
            if takes("number") && scalar::float(&plain).is_some() || scalar::int(&plain).is_some() {
                return Some(format!("write {plain}, without {}", if text.contains('_') { "`_`" } else { "quotes" }));
            }
            None
        }
        Kind::Str { text, .. } if takes("boolean") => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" | "true" | "t" => Some("write true".into()),
            "no" | "off" | "n" | "false" | "f" => Some("write false".into()),
            _ => None,
        },
        Kind::Str { text, .. } if takes("object") && text.contains(':') && !text.contains(": ") => {
            Some(format!("write `{}`, with a space after the `:`", shortened(&text.replacen(':', ": ", 1))))
        }
        Kind::Str { text, .. } if takes("array") && named.is_none() && !text.is_empty() && lists_text(allowed) => {
            let parts: Vec<&str> = text.split_whitespace().collect();
            let is_command = *path == Path::from("command");
            let joined = parts.iter().map(|part| quoted_if_needed(part)).collect::<Vec<_>>().join(", ");
            Some(if is_command {
                format!("write [{joined}]; no shell is involved")
            } else {
                format!("write [{}]", quoted_if_needed(text))
            })
        }
        Kind::Int(0 | 1) if takes("boolean") => {
            Some(if node.kind == Kind::Int(1) { "write true" } else { "write false" }.into())
        }
        Kind::Int(number) if written("duration") => {
            Some(format!("a number needs its unit: write {number}s, {number}m or {number}h"))
        }
        Kind::Int(number) if written("size") => {
            Some(format!("a number needs its unit: write {number}GiB or {number}MiB"))
        }
        Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) if takes("array") && path.segments().len() > 1 => {
            Some(format!("write [{}]", node.to_json()))
        }
        Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) if takes("string") && !written("expression") && !has_words => {
            Some(format!("put it in quotes: \"{}\"", node.to_json()))
        }
        Kind::Float(number) if takes("integer") && number.fract() == 0.0 && number.abs() < 1e15 => {
            Some(format!("write {number:.0}"))
        }
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Str { .. } | Kind::Seq(_) | Kind::Map(_) => {
            advice(node, named, path).or_else(|| form(allowed))
        }
    }
}

/// Whether a list is allowed, and one of texts.
fn lists_text(allowed: &[Alternative<'_>]) -> bool {
    allowed.iter().any(|alternative| alternative.is("array") && alternative.schema["items"]["type"] == "string")
}

/// The keys of the mapping that is allowed.
fn form(allowed: &[Alternative<'_>]) -> Option<String> {
    let [mapping] = allowed.iter().filter(|alternative| alternative.is("object")).collect::<Vec<_>>()[..] else {
        return None;
    };
    let known = keys(mapping.schema, "properties");
    (!known.is_empty()).then(|| format!("its keys are {}", all_of(&known)))
}

fn quoted_if_needed(word: &str) -> String {
    let harmless = |c: char| c.is_alphanumeric() || "/._-=+".contains(c);
    if word.chars().all(harmless) && !word.is_empty() { word.to_owned() } else { format!("{word:?}") }
}

/// How the type called `name` is written, given what stands in its place.
pub(super) fn advice(node: &Node, name: Option<&str>, path: &Path) -> Option<String> {
    let key = match path.segments().last() {
        Some(Segment::Key(key)) => key.as_str(),
        Some(Segment::Index(_)) | None => "name",
    };
    if matches!(node.kind, Kind::Null) && path.is_within(&Path::from("space")) && ["float", "int"].contains(&key) {
        return Some(format!("write `{key}: [smallest, largest]`"));
    }
    match name? {
        "FloatSpec" | "IntSpec" | "ChoiceSpec" | "Value" if path.segments().len() == 2 => {
            Some(parameter_advice(node, key))
        }
        "Value" => {
            Some("lists and mappings are no values: write them as text, and let the program take it apart".into())
        }
        "Data" => Some("write `data: [{ name: digits, path: data/ }]`".into()),
        "Env" => Some("write `env: { python: requirements.txt }`".into()),
        "Objective" | "Objectives" => Some("write `objective: { minimize: loss }`".into()),
        "Search" => Some("write `search: { algorithm: auto }`".into()),
        "EarlyStop" => Some("write `early_stop: { algorithm: asha, max: 27 }`".into()),
        "Space" => Some("write each parameter as `lr: { float: [1e-5, 1e-1], log: true }`".into()),
        _ => None,
    }
}

/// How other tools write a parameter, and how it is written here.
fn parameter_advice(node: &Node, key: &str) -> String {
    let json = |name: &str| node.entry(name).map(|entry| entry.value.clone());
    let pair = [("min", "max"), ("low", "high"), ("lower", "upper"), ("minval", "maxval")]
        .into_iter()
        .find_map(|(low, high)| Some((json(low)?, json(high)?)));
    let list = [("values"), ("categories"), ("options"), ("list"), ("grid")].into_iter().find_map(json);
    let items = match &node.kind {
        Kind::Seq(_) => Some(node.clone()),
        _ => list,
    };
    if let Some((low, high)) = pair {
        let kind = if matches!((&low.kind, &high.kind), (Kind::Int(_), Kind::Int(_))) { "int" } else { "float" };
        return format!("write `{key}: {{ {kind}: [{}, {}] }}`", low.to_json(), high.to_json());
    }
    if let Some(value) = json("value") {
        return format!("for a constant write `{key}: {}`", value.to_json());
    }
    match items.map(|items| items.to_json().to_string().replace("\":", "\": ").replace(',', ", ")) {
        Some(text) if text.len() < 60 => format!("write `{key}: {{ choice: {text} }}`"),
        _ => {
            format!("write for example `{key}: {{ float: [1e-5, 1e-1], log: true }}` or `{key}: {{ choice: [a, b] }}`")
        }
    }
}
