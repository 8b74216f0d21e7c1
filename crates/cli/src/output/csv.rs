//! CSV: every column, the fields as JSON has them.

use std::io::{self, Write};

use super::{Column, Item};

pub(super) fn write(out: &mut impl Write, items: &[Item], columns: &[Column]) -> io::Result<()> {
    let mut csv = Lines::new(out);
    csv.line(columns.iter().map(|column| &column.path))?;
    for item in items {
        csv.line(columns.iter().map(|column| item.text(&column.path).unwrap_or_default()))?;
    }
    csv.flush()
}

/// Lines of fields. Its errors are those of the writer: a reader that went away must be told from a full disk.
pub struct Lines<W: Write> {
    csv: csv::Writer<W>,
}

impl<W: Write> Lines<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { csv: csv::Writer::from_writer(out) }
    }

    /// Writes one line.
    ///
    /// # Errors
    /// Where the output cannot be written, or the line has not as many fields as the first.
    pub fn line(&mut self, fields: impl IntoIterator<Item = impl AsRef<[u8]>>) -> io::Result<()> {
        self.csv.write_record(fields).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })
    }

    /// Hands everything on.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.csv.flush()
    }
}

/// The columns of a thing that has none of its own: each field that is a scalar, by its path.
pub(super) fn columns_of(item: &Item) -> Vec<Column> {
    let mut columns = Vec::new();
    flatten(&item.json, "", &mut columns);
    columns
}

fn flatten(map: &serde_json::Map<String, serde_json::Value>, above: &str, columns: &mut Vec<Column>) {
    for (key, value) in map {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        match value {
            serde_json::Value::Object(inner) => flatten(inner, &path, columns),
            serde_json::Value::Array(_) => {}
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => columns.push(Column::new(path.clone(), path, super::Kind::Text)),
        }
    }
}
