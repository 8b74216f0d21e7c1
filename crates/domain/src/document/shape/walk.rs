//! Walks a tree along a schema and keeps what does not fit.

use serde_json::Value;

use super::alternatives::{Alternative, alternatives, bounds, description, keys, words};
use super::repair::{advice, repair};
use super::wording::{expected, found, shortened};
use super::written::written_as;
use crate::document::fault::MOST;
use crate::document::hints::{did_you_mean, elsewhere, nearest, one_of};
use crate::document::{Fault, Kind, Node, Path, Segment, scalar, schema};
use crate::spec::PlugParams;

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
                Some(Segment::Key(key)) if key == "float" || key == "int" => {
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
