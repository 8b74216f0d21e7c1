//! Compares a tree with a JSON schema: unknown keys, missing keys, wrong types, all at once.
//! Knows nothing of what values mean together: see `crate::check`.
//!
//! The schema is the one that the types give, so that a new field of the sweep file, or of a plug, needs
//! nothing here. Of JSON schema it understands what `schemars` writes for types with named fields,
//! lists, maps, scalars and enums.

use serde_json::{Map, Value};

use super::fault::MOST;
use super::hints::{all_of, did_you_mean, elsewhere, nearest, one_of};
use super::{Fault, Kind, Node, Path, scalar, schema};
use crate::expr::{Expr, ParseError};
use crate::spec::PlugParams;
use crate::units::{Bytes, Span};

/// Everything in `node`, which stands at `at`, that `schema` does not allow.
pub fn check(node: &Node, schema: &Value, at: &Path) -> Vec<Fault> {
    let mut walk = Walk { root: schema, required: true, beside: &[], faults: Vec::new() };
    walk.value(node, schema, at);
    walk.faults
}

/// Everything in a plug's parameters that the plug's own `schema` does not allow. They stand in the
/// section `section` (`search`, `early_stop`) beside keys of the section's own, which a slip may have meant.
pub fn check_params(params: &PlugParams, schema: &Value, section: &str) -> Vec<Fault> {
    let own = section_keys(section);
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let node = Node::from(&Value::Object(params.clone().into_iter().collect()));
    let mut walk = Walk { root: schema, required: true, beside: &own, faults: Vec::new() };
    walk.value(&node, schema, &Path::root().key(section));
    walk.faults
}

/// The keys that a section of the sweep file has whatever the plug is.
fn section_keys(section: &str) -> Vec<String> {
    let root = schema();
    let alternatives = alternatives(root, &root["properties"][section]);
    alternatives.iter().flat_map(|alternative| keys(alternative.schema, "properties")).map(str::to_owned).collect()
}

/// One of the things that a schema allows.
#[derive(Clone, Copy)]
struct Alternative<'s> {
    schema: &'s Value,
    /// The name of the type, where it has one.
    name: Option<&'s str>,
}

impl Alternative<'_> {
    fn is(&self, kind: &str) -> bool {
        match &self.schema["type"] {
            Value::String(one) => one == kind,
            Value::Array(several) => several.iter().any(|one| one == kind),
            _ => false,
        }
    }
}

/// What `schema` allows, references followed and unions laid flat.
fn alternatives<'s>(root: &'s Value, schema: &'s Value) -> Vec<Alternative<'s>> {
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

fn keys<'s>(schema: &'s Value, of: &str) -> Vec<&'s str> {
    match &schema[of] {
        Value::Object(map) => map.keys().map(String::as_str).collect(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

struct Walk<'s> {
    root: &'s Value,
    /// Whether the mapping around the value that is looked at cannot do without it.
    required: bool,
    /// Keys that are known beside the topmost mapping's own.
    beside: &'s [&'s str],
    faults: Vec<Fault>,
}

impl<'s> Walk<'s> {
    fn value(&mut self, node: &Node, schema: &'s Value, path: &Path) {
        if self.faults.len() > MOST {
            return;
        }
        let allowed = alternatives(self.root, schema);
        if allowed.iter().any(|alternative| alternative.schema.get("type").is_none()) {
            // No type: anything goes, as in a plug's parameters that nobody has looked at yet.
            return self.anything(node, path);
        }
        match &node.kind {
            Kind::Null if allowed.iter().any(|alternative| alternative.is("null")) => {}
            Kind::Null => {
                let named = allowed.iter().find_map(|alternative| alternative.name);
                let hint = advice(node, named, path).unwrap_or_else(|| {
                    format!("write {}{}", expected(&allowed), if self.required { "" } else { ", or remove the key" })
                });
                self.faults.push(Fault::new(path.clone(), format!("{} is empty", path.quoted())).hint(hint));
            }
            Kind::Map(_) => {
                let objects: Vec<Alternative> = allowed.iter().copied().filter(|a| a.is("object")).collect();
                match objects.as_slice() {
                    [] => self.mismatch(node, &allowed, path),
                    [one] => self.object(node, one.schema, path),
                    several => self.branch(node, several, path),
                }
            }
            Kind::Seq(items) => match allowed.iter().find(|alternative| alternative.is("array")) {
                Some(array) => self.array(items, array.schema, &allowed, path),
                None => self.mismatch(node, &allowed, path),
            },
            Kind::Str { text, plain } => self.text(node, text, *plain, &allowed, path),
            Kind::Bool(_) if allowed.iter().any(|alternative| alternative.is("boolean")) => {}
            Kind::Bool(_) => self.mismatch(node, &allowed, path),
            Kind::Int(number) => self.whole(node, *number, &allowed, path),
            Kind::Float(number) => self.real(node, *number, &allowed, path),
        }
    }

    fn anything(&mut self, node: &Node, path: &Path) {
        match &node.kind {
            Kind::Float(number) => self.finite(*number, path),
            Kind::Int(number) if i64::try_from(*number).is_err() && u64::try_from(*number).is_err() => {
                self.faults.push(Fault::new(path.clone(), format!("{number} does not fit into 64 bits")));
            }
            Kind::Str { text, .. } => self.no_nul(text, path),
            Kind::Seq(items) => {
                items.iter().enumerate().for_each(|(i, item)| self.anything(item, &path.index(i)));
            }
            Kind::Map(entries) => {
                entries.iter().for_each(|entry| self.anything(&entry.value, &path.key(&entry.key)));
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) => {}
        }
    }

    fn object(&mut self, node: &Node, schema: &'s Value, path: &Path) {
        let Kind::Map(entries) = &node.kind else { return };
        let properties = schema["properties"].as_object();
        for entry in entries {
            if self.faults.len() > MOST {
                return;
            }
            let below = path.key(&entry.key);
            let own = properties.and_then(|properties| properties.get(&entry.key));
            self.required = keys(schema, "required").contains(&entry.key.as_str());
            match (own, &schema["additionalProperties"]) {
                (Some(schema), _) => self.value(&entry.value, schema, &below),
                (None, Value::Bool(false)) => self.unknown_key(&entry.key, schema, path),
                (None, Value::Object(_)) => self.value(&entry.value, &schema["additionalProperties"], &below),
                (None, _) => self.anything(&entry.value, &below),
            }
        }
        for required in keys(schema, "required") {
            if node.entry(required).is_none() {
                let message = format!("{} needs the key `{required}`", path.quoted());
                let hint = match description(properties, required) {
                    Some(what) => format!("`{required}`: {what}"),
                    None => format!("add `{required}: ...`"),
                };
                self.faults.push(Fault::new(path.clone(), message).at_key().hint(hint));
            }
        }
    }

    fn unknown_key(&mut self, key: &str, schema: &'s Value, path: &Path) {
        let mut known = keys(schema, "properties");
        if path.segments().len() == 1 {
            known.extend(self.beside);
        }
        let place = if *path == Path::root() { String::new() } else { format!(" in `{path}`") };
        let hint = nearest(key, known.iter().copied())
            .map(|nearest| format!("did you mean `{nearest}`?"))
            .or_else(|| self.belongs(key, path))
            .or_else(|| elsewhere(key).map(str::to_owned))
            .or_else(|| did_you_mean(key, known.iter().copied()));
        let fault = Fault::new(path.key(key), format!("unknown key `{key}`{place}")).at_key();
        self.faults.push(fault.maybe_hint(hint));
    }

    /// The one section of the file that knows this key.
    fn belongs(&self, key: &str, path: &Path) -> Option<String> {
        let sections = self.root["properties"].as_object()?;
        if path.segments().len() > 1 {
            return None;
        }
        if sections.contains_key(key) {
            return Some(format!("`{key}` belongs to the top of the file: indent it less"));
        }
        let homes: Vec<&String> = sections
            .iter()
            .filter(|(_, schema)| {
                alternatives(self.root, schema).iter().any(|a| keys(a.schema, "properties").contains(&key))
            })
            .map(|(section, _)| section)
            .collect();
        match homes.as_slice() {
            [home] => Some(format!("`{key}` belongs under `{home}`")),
            _ => None,
        }
    }

    /// One of several mappings, told apart by the keys that they require.
    fn branch(&mut self, node: &Node, branches: &[Alternative<'s>], path: &Path) {
        let tag = |branch: &Alternative<'s>| keys(branch.schema, "required");
        let named: Vec<&Alternative> =
            branches.iter().filter(|branch| tag(branch).iter().any(|key| node.entry(key).is_some())).collect();
        let tags: Vec<&str> = branches.iter().flat_map(tag).collect();
        match named.as_slice() {
            [one] => self.object(node, one.schema, path),
            [] => {
                let Kind::Map(entries) = &node.kind else { return };
                let slip =
                    entries.iter().find_map(|entry| Some((&entry.key, nearest(&entry.key, tags.iter().copied())?)));
                let fault = match slip {
                    Some((key, nearest)) => {
                        let message = format!("unknown key `{key}` in `{path}`");
                        Fault::new(path.key(key), message).at_key().hint(format!("did you mean `{nearest}`?"))
                    }
                    None => Fault::new(path.clone(), format!("{} needs one of {}", path.quoted(), one_of(&tags)))
                        .maybe_hint(advice(node, branches[0].name, path)),
                };
                self.faults.push(fault);
            }
            several => {
                let present: Vec<&str> =
                    several.iter().flat_map(|b| tag(b)).filter(|key| node.entry(key).is_some()).collect();
                let message = format!("{} is either {}, not several of them", path.quoted(), one_of(&present));
                self.faults.push(Fault::new(path.clone(), message).hint("keep the one that you mean"));
            }
        }
    }

    fn array(&mut self, items: &[Node], schema: &'s Value, allowed: &[Alternative<'s>], path: &Path) {
        let bound = |name: &str| schema[name].as_u64();
        let count = items.len() as u64;
        if bound("minItems").is_some_and(|min| count < min) || bound("maxItems").is_some_and(|max| count > max) {
            let what = expected(allowed);
            let message = format!("{} must be {what}, not a list of {count}", path.quoted());
            let hint = match path.segments().last() {
                Some(super::Segment::Key(key)) if key == "float" || key == "int" => {
                    Some("write `[smallest, largest]`; for single values write `choice: [...]`".to_owned())
                }
                _ => None,
            };
            self.faults.push(Fault::new(path.clone(), message).maybe_hint(hint));
            return;
        }
        for (i, item) in items.iter().enumerate() {
            self.required = true;
            self.value(item, &schema["items"], &path.index(i));
        }
    }

    fn text(&mut self, node: &Node, text: &str, plain: bool, allowed: &[Alternative<'s>], path: &Path) {
        let strings: Vec<&Alternative> = allowed.iter().filter(|alternative| alternative.is("string")).collect();
        let words: Vec<&str> = strings.iter().flat_map(|a| words(a.schema)).collect();
        if strings.is_empty() {
            return self.mismatch(node, allowed, path);
        }
        if !words.is_empty() {
            if !words.contains(&text) {
                let message = format!("{} cannot be `{}`", path.quoted(), shortened(text));
                let hint = nearest(text, words.iter().copied())
                    .map_or_else(|| format!("write {}", one_of(&words)), |word| format!("did you mean `{word}`?"));
                self.faults.push(Fault::new(path.clone(), message).hint(hint));
            }
            return;
        }
        let takes_numbers = allowed.iter().any(|alternative| alternative.is("number"));
        if let Some(number) = scalar::underscored(text).filter(|_| plain && takes_numbers) {
            let message = format!("`{text}` is text in YAML, though it looks like a number");
            let hint = format!("write {number} for the number, or \"{text}\" for the text");
            self.faults.push(Fault::new(path.clone(), message).hint(hint));
            return;
        }
        self.no_nul(text, path);
        let kind = strings.iter().find_map(|alternative| alternative.schema["x-heats"].as_str());
        self.faults.extend(kind.and_then(|kind| written_as(kind, text, path)));
    }

    fn no_nul(&mut self, text: &str, path: &Path) {
        if text.contains('\0') {
            // No program can be given one, in an argument or in a variable.
            let message = format!("{} holds a NUL character", path.quoted());
            self.faults.push(Fault::new(path.clone(), message).hint("remove it"));
        }
    }

    fn whole(&mut self, node: &Node, number: i128, allowed: &[Alternative<'s>], path: &Path) {
        let integer = allowed.iter().find(|alternative| alternative.is("integer"));
        match integer {
            Some(integer) => {
                let (low, high) = bounds(integer.schema);
                let limit = match (number < low, number > high) {
                    (true, _) => format!("at least {low}"),
                    (_, true) => format!("at most {high}"),
                    _ => return,
                };
                self.faults.push(Fault::new(path.clone(), format!("{} must be {limit}, not {number}", path.quoted())));
            }
            None if allowed.iter().any(|alternative| alternative.is("number")) => {}
            None => self.mismatch(node, allowed, path),
        }
    }

    fn real(&mut self, node: &Node, number: f64, allowed: &[Alternative<'s>], path: &Path) {
        if allowed.iter().any(|alternative| alternative.is("number")) {
            self.finite(number, path);
        } else {
            self.mismatch(node, allowed, path);
        }
    }

    fn finite(&mut self, number: f64, path: &Path) {
        if !number.is_finite() {
            let what = if number.is_nan() { "not a number (NaN)" } else { "infinite" };
            let message = format!("{} is {what}", path.quoted());
            self.faults.push(Fault::new(path.clone(), message).hint("write a finite number, or remove it"));
        }
    }

    fn mismatch(&mut self, node: &Node, allowed: &[Alternative<'s>], path: &Path) {
        let message = format!("{} must be {}, not {}", path.quoted(), expected(allowed), found(node));
        let hint = if *path == Path::root() {
            Some("a sweep file needs at least `command: [program, argument]`".into())
        } else {
            repair(node, allowed, path)
        };
        self.faults.push(Fault::new(path.clone(), message).maybe_hint(hint));
    }
}

/// The texts that an enum allows; none for free text.
fn words(schema: &Value) -> Vec<&str> {
    match (schema["const"].as_str(), schema["enum"].as_array()) {
        (Some(word), _) => vec![word],
        (None, Some(words)) => words.iter().filter_map(Value::as_str).collect(),
        (None, None) => Vec::new(),
    }
}

/// The smallest and the largest value of an integer's schema.
fn bounds(schema: &Value) -> (i128, i128) {
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
fn description(properties: Option<&Map<String, Value>>, name: &str) -> Option<String> {
    let text = properties?.get(name)?["description"].as_str()?;
    let sentence = text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.');
    let mut letters = sentence.chars();
    let first = letters.next()?;
    Some(first.to_lowercase().chain(letters).map(|c| if c == '\n' { ' ' } else { c }).collect())
}

/// `a whole number`, `a mapping with `float`, `int` or `choice`, or text`.
fn expected(allowed: &[Alternative<'_>]) -> String {
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

fn found(node: &Node) -> String {
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

fn shortened(text: &str) -> String {
    let line: String = text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() < text.chars().count() { format!("{line}...") } else { line }
}

/// How to write what was probably meant.
fn repair(node: &Node, allowed: &[Alternative<'_>], path: &Path) -> Option<String> {
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
fn advice(node: &Node, name: Option<&str>, path: &Path) -> Option<String> {
    let key = match path.segments().last() {
        Some(super::Segment::Key(key)) => key.as_str(),
        Some(super::Segment::Index(_)) | None => "name",
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
        "Search" => Some("write `search: { algorithm: tpe }`".into()),
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

/// What is wrong with a text that has to be written in some way; `None` where nothing is.
fn written_as(kind: &str, text: &str, path: &Path) -> Option<Fault> {
    let fault = |message: String| Fault::new(path.clone(), message);
    match kind {
        "duration" => {
            text.parse::<Span>().err()?;
            Some(
                fault(format!("`{}` is not a duration", shortened(text)))
                    .hint("write for example 250ms, 60s, 5m, 2h, 1d or 1h30m"),
            )
        }
        "size" => {
            text.parse::<Bytes>().err()?;
            Some(fault(format!("`{}` is not a size", shortened(text))).hint("write for example 512MiB, 16GiB or 2TB"))
        }
        "expression" => {
            let error: ParseError = Expr::parse(text).err()?;
            Some(expression(&error, path))
        }
        _ => None,
    }
}

/// A text that is not a CEL expression.
pub(crate) fn expression(error: &ParseError, path: &Path) -> Fault {
    let fault = Fault::new(path.clone(), format!("{} is not a CEL expression: {}", path.quoted(), error.why()));
    let fault = match error.range() {
        Some(range) => fault.within(range),
        None => fault,
    };
    fault.maybe_hint(error.hint().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(schemars::JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Plug {
        /// Trials before the model is used.
        startup: Option<u32>,
        /// The share of good trials.
        gamma: f64,
    }

    fn faults(params: &Value) -> Vec<String> {
        let params: PlugParams = serde_json::from_value(params.clone()).expect("is a mapping");
        let schema = schemars::schema_for!(Plug).to_value();
        let faults = check_params(&params, &schema, "search");
        faults.iter().map(|fault| format!("{}: {fault}", fault.path)).collect()
    }

    #[test]
    fn a_plugs_parameters_are_held_against_its_own_schema() {
        assert_eq!(faults(&json!({"gamma": 1})), [""; 0]);
        assert_eq!(
            faults(&json!({"gamma": "0.1", "startup": -1})),
            [
                "search.gamma: `search.gamma` must be a number, not the text `0.1` (write 0.1, without quotes)",
                "search.startup: `search.startup` must be at least 0, not -1",
            ]
        );
    }

    #[test]
    fn a_slip_in_a_plugs_section_may_have_meant_the_sections_own_key() {
        assert_eq!(
            faults(&json!({"gama": 0.1, "sed": 3})),
            [
                "search.gama: `search.gama`: unknown key `gama` in `search` (did you mean `gamma`?)",
                "search.sed: `search.sed`: unknown key `sed` in `search` (did you mean `seed`?)",
                "search: `search` needs the key `gamma` (`gamma`: the share of good trials)",
            ]
        );
    }
}
