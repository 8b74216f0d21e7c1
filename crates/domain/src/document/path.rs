//! Where something is in a file's tree: `space.lr.float[1]`.

use std::fmt;

/// One step down the tree.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Segment {
    /// To the value of a mapping's key.
    Key(String),
    /// To a list's element, counted from 0.
    Index(usize),
}

/// The way from the root of the tree to a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Path {
    segments: Vec<Segment>,
}

impl Path {
    /// The whole file.
    pub const fn root() -> Self {
        Self { segments: Vec::new() }
    }

    /// The value of `key` below this.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.below(Segment::Key(key.into()))
    }

    /// The element `index` below this.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.below(Segment::Index(index))
    }

    fn below(&self, segment: Segment) -> Self {
        let mut segments = self.segments.clone();
        segments.push(segment);
        Self { segments }
    }

    /// The steps from the root.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// What holds this; `None` for the whole file.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.segments.split_last()?;
        Some(Self { segments: above.to_vec() })
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.segments.starts_with(&other.segments)
    }

    /// The first `depth` steps of this.
    pub(crate) fn truncated(&self, depth: usize) -> Self {
        Self { segments: self.segments[..depth.min(self.segments.len())].to_vec() }
    }

    /// As it is shown within a sentence.
    pub(crate) fn quoted(&self) -> String {
        if self.segments.is_empty() { "the file".into() } else { format!("`{self}`") }
    }
}

/// Reads `space.lr.float[1]`. A key that holds a dot or a bracket is made with [`Path::key`] instead.
impl From<&str> for Path {
    fn from(text: &str) -> Self {
        let mut segments = Vec::new();
        for part in text.split('.').filter(|part| !part.is_empty()) {
            let (key, indices) = part.split_once('[').unwrap_or((part, ""));
            if !key.is_empty() {
                segments.push(Segment::Key(key.to_owned()));
            }
            let numbers = indices.split('[').filter_map(|index| index.trim_end_matches(']').parse().ok());
            segments.extend(numbers.map(Segment::Index));
        }
        Self { segments }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Key(key) => write!(f, "{}{key}", if i == 0 { "" } else { "." })?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl serde::Serialize for Path {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_it_prints() {
        for text in ["", "command[1]", "space.lr.float[1]", "search.enqueue[0].lr", "a[0][2].b"] {
            assert_eq!(Path::from(text).to_string(), text);
        }
        assert_eq!(Path::from("space.lr"), Path::root().key("space").key("lr"));
        assert!(Path::from("space.lr.float[1]").is_within(&Path::from("space.lr")));
        assert!(!Path::from("space.lr2").is_within(&Path::from("space.lr")));
    }
}
