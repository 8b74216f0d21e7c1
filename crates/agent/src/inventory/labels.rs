//! What an operator says about a machine: `key=value`, for sweeps to ask for.

use std::collections::BTreeMap;

/// At most so many labels.
const MOST: usize = 32;
/// At most so many bytes in a key or a value.
const LONGEST: usize = 63;

/// Why labels are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// No `=`, or a character that is not allowed.
    #[error(
        "the label `{label}` is not `key=value`: both have 1 to {LONGEST} letters, digits, `-`, `_`, `.` and `/`, \
         for example `rack=b3`"
    )]
    Form {
        /// As it was written.
        label: String,
    },
    /// Two values for one key.
    #[error("the label `{key}` is given twice, as `{first}` and as `{second}`: leave one out")]
    Twice {
        /// Which.
        key: String,
        /// One value.
        first: String,
        /// Another.
        second: String,
    },
    /// More than an agent may have.
    #[error("{count} labels are more than the {MOST} that an agent may have")]
    TooMany {
        /// How many.
        count: usize,
    },
}

/// Reads labels of the form `key=value`.
///
/// # Errors
/// Where one has another form, or there are too many.
pub fn read<'a>(labels: impl IntoIterator<Item = &'a str>) -> Result<BTreeMap<String, String>, LabelError> {
    let mut read = BTreeMap::new();
    for label in labels {
        let pair = label.trim().split_once('=').filter(|(key, value)| is_word(key) && is_word(value));
        let (key, value) = pair.ok_or_else(|| LabelError::Form { label: label.to_owned() })?;
        if let Some(first) = read.insert(key.to_owned(), value.to_owned()).filter(|first| first != value) {
            return Err(LabelError::Twice { key: key.to_owned(), first, second: value.to_owned() });
        }
    }
    if read.len() > MOST { Err(LabelError::TooMany { count: read.len() }) } else { Ok(read) }
}

fn is_word(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (1..=LONGEST).contains(&text.len()) && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_a_key_and_a_value_and_limits() {
        let two = read(["rack=b3", " pool=shared/a "]).expect("reads");
        assert_eq!(two, [("rack", "b3"), ("pool", "shared/a")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        let long = format!("{}=1", "k".repeat(64));
        for bad in ["rack", "=b3", "rack=", "rack=b 3", "rack=a=b", long.as_str()] {
            assert_eq!(read([bad]), Err(LabelError::Form { label: bad.to_owned() }), "{bad}");
        }
        let said = read(["rack=1", "rack=2"]).expect_err("twice").to_string();
        assert!(said.contains("`1` and as `2`"), "{said}");
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        assert_eq!(read(many.iter().map(String::as_str)), Err(LabelError::TooMany { count: 33 }));
        read(many[..32].iter().map(String::as_str)).expect("as many as may be");
    }
}
