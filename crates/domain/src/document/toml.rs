//! TOML into a tree.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::Lines;
use super::{Entry, Fault, Kind, Node, Path};

/// Reads `text`; all errors of syntax at once.
pub fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let range = table.span();
        return (Some(Node { kind: map(table.into_inner()), range }), Vec::new());
    }
    let lines = Lines::of(text);
    // After an error of syntax the parser guesses, and what it finds then is noise; a key that is there twice is not.
    let mut is_first = true;
    let telling = errors
        .iter()
        .filter(|error| error.message().contains("duplicate key") || std::mem::replace(&mut is_first, false));
    let faults: Vec<Fault> = telling
        .map(|error| {
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            let fault = Fault::new(Path::root(), format!("this is not TOML: {message}"));
            match error.span() {
                Some(range) => fault.spanning(lines.span(text, range)),
                None => fault,
            }
        })
        .collect();
    (None, faults)
}

fn map(table: DeTable<'_>) -> Kind {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry { key_range: key.span(), key: key.into_inner().into_owned(), value: node(value) })
        .collect();
    // The parser sorts by name; the order of parameters is the file's.
    entries.sort_by_key(|entry| entry.key_range.start);
    Kind::Map(entries)
}

fn node(value: Spanned<DeValue<'_>>) -> Node {
    let range = value.span();
    let kind = match value.into_inner() {
        DeValue::String(text) => Kind::Str { text: text.into_owned(), plain: false },
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            // Beyond 128 bits: as good as endless, and refused as that.
            .map_or(Kind::Float(f64::INFINITY), Kind::Int),
        DeValue::Float(number) => Kind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Kind::Bool(truth),
        DeValue::Datetime(moment) => Kind::Str { text: moment.to_string(), plain: true },
        DeValue::Array(items) => Kind::Seq(items.into_iter().map(node).collect()),
        DeValue::Table(table) => map(table),
    };
    Node { kind, range }
}
