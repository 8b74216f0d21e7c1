//! `-o`: the forms of output.

use std::str::FromStr;

/// A form of output.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// All columns for people.
    Wide,
    /// One JSON document.
    Json,
    /// One JSON document per line and thing.
    Jsonl,
    /// All columns for spreadsheets.
    Csv,
    /// The JSON document as YAML.
    Yaml,
    /// The addresses alone, one per line.
    Name,
    /// One field alone, one per line.
    Value(String),
}

const NAMES: [&str; 7] = ["table", "wide", "json", "jsonl", "csv", "yaml", "name"];

/// Why a text is not a form of output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a form of output; one of table, wide, json, jsonl, csv, yaml, name, value:FIELD{nearest}")]
pub struct FormatError {
    text: String,
    nearest: String,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        Ok(match text {
            "table" => Self::Table,
            "wide" => Self::Wide,
            "json" => Self::Json,
            "jsonl" => Self::Jsonl,
            "csv" => Self::Csv,
            "yaml" => Self::Yaml,
            "name" => Self::Name,
            other => match other.strip_prefix("value:") {
                Some(field) if !field.is_empty() => Self::Value(field.to_owned()),
                Some(_) | None => {
                    let nearest = crate::words::nearest(other, NAMES)
                        .map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"));
                    return Err(FormatError { text: other.to_owned(), nearest });
                }
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_of_output_is_read_or_refused_with_the_nearest() {
        assert_eq!("value:params.lr".parse(), Ok(Format::Value("params.lr".into())));
        assert_eq!("jsonl".parse(), Ok(Format::Jsonl));
        assert!("value:".parse::<Format>().is_err());
        let error = "jsno".parse::<Format>().expect_err("is refused");
        assert!(error.to_string().contains("did you mean `json`"), "{error}");
    }
}
