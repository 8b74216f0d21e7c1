//! The tree of a file: values with their places in the source. The same for YAML, TOML and JSON.

use std::ops::Range;

use serde_json::{Map, Number, Value};

use super::Path;
use super::path::Segment;

/// A value and its place in the source.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// The value.
    pub kind: Kind,
    /// Its bytes in the source; empty where it has no source.
    pub range: Range<usize>,
}

/// What a value is.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number. Wide enough to hold any 64-bit number, signed or not.
    Int(i128),
    /// A real number; never NaN nor infinite after the shape check.
    Float(f64),
    /// Text.
    Str {
        /// The text.
        text: String,
        /// Whether it stood without quotes, so that its author may have meant something else than text.
        plain: bool,
    },
    /// A list.
    Seq(Vec<Node>),
    /// A mapping, in the file's order, each key once.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The key's text, also of a key such as `75`.
    pub key: String,
    /// The key's bytes in the source.
    pub key_range: Range<usize>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The entry of `key`, where this is a mapping that has one.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Str { .. } | Kind::Seq(_) => None,
        }
    }

    /// The value one step down.
    fn child(&self, segment: &Segment) -> Option<&Self> {
        match (segment, &self.kind) {
            (Segment::Key(key), _) => self.entry(key).map(|entry| &entry.value),
            (Segment::Index(index), Kind::Seq(items)) => items.get(*index),
            (Segment::Index(_), _) => None,
        }
    }

    /// The value at `path`.
    pub fn at(&self, path: &Path) -> Option<&Self> {
        path.segments().iter().try_fold(self, |node, segment| node.child(segment))
    }

    /// The entry whose value is at `path`; `None` also for list elements.
    pub(super) fn entry_at(&self, path: &Path) -> Option<&Entry> {
        match path.segments().split_last()? {
            (Segment::Key(key), _) => self.at(&path.parent()?)?.entry(key),
            (Segment::Index(_), _) => None,
        }
    }

    /// Puts the entry of `section`, one step below the root, in the state that it has in `other`.
    pub(super) fn adopt(&mut self, other: Self, section: &Path) {
        self.remove(section);
        if let (Kind::Map(entries), Kind::Map(others)) = (&mut self.kind, other.kind) {
            entries.extend(others.into_iter().filter(|entry| Path::root().key(&entry.key) == *section));
        }
    }

    /// Sets the value of `key`, where this is a mapping.
    pub(super) fn put(&mut self, key: &str, value: Self) {
        self.remove(&Path::root().key(key));
        if let Kind::Map(entries) = &mut self.kind {
            entries.push(Entry { key: key.to_owned(), key_range: 0..0, value });
        }
    }

    /// Takes away the mapping entry at `path`, where there is one. A list element becomes the text `true`, a
    /// condition that always holds, so that the elements behind it keep their numbers.
    pub(super) fn remove(&mut self, path: &Path) {
        let Some((last, above)) = path.segments().split_last() else { return };
        let mut node = self;
        for segment in above {
            let child = match (segment, &mut node.kind) {
                (Segment::Key(key), Kind::Map(entries)) => {
                    entries.iter_mut().find(|entry| entry.key == *key).map(|entry| &mut entry.value)
                }
                (Segment::Index(index), Kind::Seq(items)) => items.get_mut(*index),
                (Segment::Key(_) | Segment::Index(_), _) => None,
            };
            match child {
                Some(child) => node = child,
                None => return,
            }
        }
        match (last, &mut node.kind) {
            (Segment::Key(key), Kind::Map(entries)) => entries.retain(|entry| entry.key != *key),
            (Segment::Index(index), Kind::Seq(items)) => {
                if let Some(item) = items.get_mut(*index) {
                    item.kind = Kind::Str { text: "true".into(), plain: false };
                }
            }
            (Segment::Key(_) | Segment::Index(_), _) => {}
        }
    }

    /// How many values this holds, itself included; a long text counts for several.
    pub(super) fn size(&self) -> usize {
        match &self.kind {
            Kind::Seq(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Kind::Map(entries) => 1 + entries.iter().map(|entry| entry.value.size()).sum::<usize>(),
            Kind::Str { text, .. } => 1 + text.len() / 64,
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => 1,
        }
    }

    /// The value as JSON, keys in order. Numbers that JSON cannot hold become null; the shape check refuses them before.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(truth) => Value::Bool(*truth),
            Kind::Int(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(signed), _) => Value::Number(signed.into()),
                (Err(_), Ok(unsigned)) => Value::Number(unsigned.into()),
                (Err(_), Err(_)) => Value::Null,
            },
            Kind::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            Kind::Str { text, .. } => Value::String(text.clone()),
            Kind::Seq(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

/// A tree without a source.
impl From<&Value> for Node {
    fn from(json: &Value) -> Self {
        let kind = match json {
            Value::Null => Kind::Null,
            Value::Bool(truth) => Kind::Bool(*truth),
            Value::Number(number) => match (number.as_i128(), number.as_f64()) {
                (Some(whole), _) => Kind::Int(whole),
                (None, Some(real)) => Kind::Float(real),
                (None, None) => Kind::Null,
            },
            Value::String(text) => Kind::Str { text: text.clone(), plain: false },
            Value::Array(items) => Kind::Seq(items.iter().map(Self::from).collect()),
            Value::Object(map) => Kind::Map(
                map.iter()
                    .map(|(key, value)| Entry { key: key.clone(), key_range: 0..0, value: Self::from(value) })
                    .collect(),
            ),
        };
        Self { kind, range: 0..0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tree_goes_to_json_and_back() {
        let json = json!({"b": [1, 2.5, "x", true, null], "a": {"seed": u64::MAX}});
        assert_eq!(Node::from(&json).to_json(), json);
        assert_eq!(Node::from(&json).size(), 9);
    }

    #[test]
    fn a_value_is_found_and_removed_by_its_path() {
        let mut node = Node::from(&json!({"a": [{"b": 1}, 2]}));
        assert_eq!(node.at(&Path::from("a[0].b")).map(Node::to_json), Some(json!(1)));
        assert_eq!(node.at(&Path::from("a.b")), None);
        node.remove(&Path::from("a[0].b"));
        node.remove(&Path::from("a[7]"));
        node.remove(&Path::from("x.y"));
        assert_eq!(node.to_json(), json!({"a": [{}, 2]}));
        node.remove(&Path::from("a[0]"));
        assert_eq!(node.to_json(), json!({"a": ["true", 2]}), "the second keeps its number");
    }
}
