//! Prints listings and single things in the form that was asked for.

use std::io::{self, IsTerminal, Write};

use serde_json::{Map, Value};

use super::{Format, Item, Kind, Listing, Long, csv, table, yaml};
use crate::exit::Failure;

/// Prints to standard output.
#[derive(Clone, Debug)]
pub struct Printer {
    format: Format,
    width: Option<u16>,
}

impl Printer {
    /// Prints in `format`; as wide as the terminal, and without a limit into anything else.
    pub fn new(format: Format) -> Self {
        let width = if io::stdout().is_terminal() { width_of(&io::stdout()) } else { None };
        Self { format, width }
    }

    /// Whether people read it.
    pub const fn is_for_people(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// The form of output.
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// Many things; `none` is what people read where there are none.
    ///
    /// # Errors
    /// Where the output cannot be written, or `value:` names a field that none of the things has.
    pub fn list(&self, listing: &Listing, none: &str) -> Result<(), Failure> {
        let mut out = io::BufWriter::new(anstream::stdout().lock());
        let Listing { of, meta, items, columns, now_ms } = listing;
        let schema = format!("heats.{of}/v1");
        match &self.format {
            Format::Table | Format::Wide if items.is_empty() => {
                drop(out);
                crate::hints::note(none);
                return Ok(());
            }
            Format::Table | Format::Wide => {
                let shown: Vec<_> =
                    columns.iter().filter(|column| !column.wide || self.format == Format::Wide).collect();
                let header: Vec<String> = shown.iter().map(|column| column.title.clone()).collect();
                let right: Vec<bool> =
                    shown.iter().map(|column| matches!(column.kind, Kind::Number | Kind::Seconds)).collect();
                let rows: Vec<Vec<String>> =
                    items.iter().map(|item| shown.iter().map(|column| column.show(item, *now_ms)).collect()).collect();
                for line in table::lines(&header, &rows, &right, self.width) {
                    writeln!(out, "{line}")?;
                }
            }
            Format::Json => json(&mut out, &document(&schema, meta, of, items))?,
            Format::Yaml => yaml::write(&mut out, &document(&schema, meta, of, items))?,
            Format::Jsonl => {
                let singular = format!("heats.{}/v1", of.trim_end_matches('s'));
                for item in items {
                    writeln!(out, "{}", with_schema(&singular, &item.json))?;
                }
            }
            Format::Csv => csv::write(&mut out, items, columns)?,
            Format::Name => {
                for item in items {
                    writeln!(out, "{}", item.name)?;
                }
            }
            Format::Value(field) => {
                if !items.is_empty() && items.iter().all(|item| item.get(field).is_none()) {
                    return Err(no_such_field(field, &items[0]));
                }
                for item in items {
                    writeln!(out, "{}", item.text(field).unwrap_or_default())?;
                }
            }
        }
        Ok(out.flush()?)
    }

    /// One thing, called `of` (`sweep`); `human` writes what people read.
    ///
    /// # Errors
    /// Where the output cannot be written, or `value:` names a field that the thing does not have.
    pub fn one(
        &self,
        of: &str,
        meta: &Map<String, Value>,
        item: &Item,
        human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut out = io::BufWriter::new(anstream::stdout().lock());
        let schema = format!("heats.{of}/v1");
        let whole = || {
            let mut map = with_schema_map(&schema, meta);
            map.insert(of.to_owned(), Value::Object(item.json.clone()));
            Value::Object(map)
        };
        match &self.format {
            Format::Table | Format::Wide => human(&mut out)?,
            Format::Json => json(&mut out, &whole())?,
            Format::Yaml => yaml::write(&mut out, &whole())?,
            Format::Jsonl => writeln!(out, "{}", with_schema(&schema, &item.json))?,
            Format::Csv => csv::write(&mut out, std::slice::from_ref(item), &csv::columns_of(item))?,
            Format::Name => writeln!(out, "{}", item.name)?,
            Format::Value(field) => match item.text(field) {
                Some(text) => writeln!(out, "{text}")?,
                None => return Err(no_such_field(field, item)),
            },
        }
        Ok(out.flush()?)
    }
}

impl Printer {
    /// One thing whose field `list` is too long to be held: its head, without that list, which comes in pieces.
    /// `None` where this form of output does not show such a list: [`Self::one`] is for it then.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn long(
        &self,
        of: &str,
        meta: &Map<String, Value>,
        item: &Item,
        list: &str,
    ) -> Result<Option<Long<impl Write + use<>>>, Failure> {
        let schema = format!("heats.{of}/v1");
        let out = io::BufWriter::new(anstream::stdout().lock());
        Ok(match &self.format {
            Format::Json => Some(Long::json(out, &with_schema_map(&schema, meta), of, &item.json, list)?),
            Format::Yaml => Some(Long::yaml(out, &with_schema_map(&schema, meta), of, &item.json, list)?),
            Format::Jsonl => Some(Long::json_line(out, &with_schema_map(&schema, &item.json), list)?),
            Format::Value(field) if field == list => Some(Long::bare(out)?),
            Format::Table | Format::Wide | Format::Csv | Format::Name | Format::Value(_) => None,
        })
    }
}

fn document(schema: &str, meta: &Map<String, Value>, key: &str, items: &[Item]) -> Value {
    let mut map = with_schema_map(schema, meta);
    map.insert(key.to_owned(), items.iter().map(|item| Value::Object(item.json.clone())).collect());
    Value::Object(map)
}

fn with_schema_map(schema: &str, rest: &Map<String, Value>) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("schema".to_owned(), schema.into());
    map.extend(rest.clone());
    map
}

fn with_schema(schema: &str, rest: &Map<String, Value>) -> Value {
    Value::Object(with_schema_map(schema, rest))
}

fn json(out: &mut impl Write, value: &Value) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

fn no_such_field(field: &str, item: &Item) -> Failure {
    let known: Vec<String> = csv::columns_of(item).into_iter().map(|column| column.path).collect();
    let nearest = crate::words::nearest(field, known.iter().map(String::as_str));
    let hint =
        nearest.map_or_else(|| format!("one of {}", known.join(", ")), |known| format!("did you mean `{known}`?"));
    Failure::usage(format!("there is no field `{field}`")).hint(hint)
}

fn width_of(terminal: &impl std::os::fd::AsFd) -> Option<u16> {
    rustix::termios::tcgetwinsize(terminal).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}

/// Whether standard error gets colours.
pub fn is_coloured() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}
