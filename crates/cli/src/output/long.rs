//! One thing with a list that is too long to be held: the head is written first, then the list piece by piece,
//! one element a line where the form has lines. What is written is a whole document only after [`Long::end`].

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::yaml;

/// See the module.
#[derive(Debug)]
pub struct Long<W> {
    out: W,
    form: Form,
    is_empty: bool,
}

/// What stands around the elements.
#[derive(Debug)]
enum Form {
    Json { between: &'static str, end: &'static str },
    Yaml,
}

impl<W: Write> Long<W> {
    /// A JSON document of the fields in `outer`, and of `item` with its list as the last field.
    pub(super) fn json(
        mut out: W,
        outer: &Map<String, Value>,
        of: &str,
        item: &Map<String, Value>,
        list: &str,
    ) -> io::Result<Self> {
        writeln!(out, "{{")?;
        for (key, value) in outer {
            writeln!(out, "  {}: {},", text(key), pretty(value, "\n  ")?)?;
        }
        writeln!(out, "  {}: {{", text(of))?;
        for (key, value) in item {
            writeln!(out, "    {}: {},", text(key), pretty(value, "\n    ")?)?;
        }
        write!(out, "    {}: [", text(list))?;
        Ok(Self { out, form: Form::Json { between: "\n      ", end: "\n    ]\n  }\n}\n" }, is_empty: true })
    }

    /// The same as YAML.
    pub(super) fn yaml(
        mut out: W,
        outer: &Map<String, Value>,
        of: &str,
        item: &Map<String, Value>,
        list: &str,
    ) -> io::Result<Self> {
        let mut head = outer.clone();
        head.insert(of.to_owned(), Value::Object(item.clone()));
        yaml::write(&mut out, &Value::Object(head))?;
        write!(out, "  {list}:")?;
        Ok(Self { out, form: Form::Yaml, is_empty: true })
    }

    /// One line of JSON: the fields in `item`, with its list as the last.
    pub(super) fn json_line(mut out: W, item: &Map<String, Value>, list: &str) -> io::Result<Self> {
        write!(out, "{{")?;
        for (key, value) in item {
            write!(out, "{}:{value},", text(key))?;
        }
        write!(out, "{}:[", text(list))?;
        Ok(Self { out, form: Form::Json { between: "", end: "]}\n" }, is_empty: true })
    }

    /// The list alone, in one line of JSON.
    pub(super) fn bare(mut out: W) -> io::Result<Self> {
        write!(out, "[")?;
        Ok(Self { out, form: Form::Json { between: "", end: "]\n" }, is_empty: true })
    }

    /// Some more elements.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn piece(&mut self, elements: &[Value]) -> io::Result<()> {
        match self.form {
            Form::Json { between, .. } => {
                for element in elements {
                    let comma = if std::mem::take(&mut self.is_empty) { "" } else { "," };
                    write!(self.out, "{comma}{between}{element}")?;
                }
                Ok(())
            }
            Form::Yaml => {
                if !elements.is_empty() && std::mem::take(&mut self.is_empty) {
                    writeln!(self.out)?;
                }
                yaml::elements(&mut self.out, elements, 1)
            }
        }
    }

    /// The rest of the document.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn end(mut self) -> io::Result<()> {
        match self.form {
            Form::Json { end, .. } if self.is_empty => write!(self.out, "{}", end.trim_start())?,
            Form::Json { end, .. } => write!(self.out, "{end}")?,
            Form::Yaml if self.is_empty => writeln!(self.out, " []")?,
            Form::Yaml => {}
        }
        self.out.flush()
    }
}

fn text(key: &str) -> Value {
    Value::from(key)
}

/// A value over several lines; `line` is what begins each but the first. JSON's texts hold no line ends.
fn pretty(value: &Value, line: &str) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)?.replace('\n', line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::document::{Format, open};
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("{value}") };
        map
    }

    fn written(begin: impl FnOnce(&mut Vec<u8>) -> io::Result<Long<&mut Vec<u8>>>, pieces: &[&[Value]]) -> String {
        let mut out = Vec::new();
        let mut long = begin(&mut out).expect("writes");
        pieces.iter().for_each(|piece| long.piece(piece).expect("writes"));
        long.end().expect("writes");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_is_written_in_pieces_is_one_document() {
        let outer = map(json!({ "schema": "heats.trial/v1", "log_index": 3 }));
        let item = map(json!({ "params": { "lr": 0.1, "text": "a\nb" }, "list": [1, 2], "empty": {} }));
        let points = [json!({ "step": 1, "metrics": { "loss": 0.5 } }), json!({ "step": 2 }), json!({ "step": 3 })];
        let none: &[Value] = &[];
        for pieces in [&[][..], &[none], &[&points[..1], none, &points[1..]]] {
            let mut whole = item.clone();
            whole.insert("series".into(), pieces.concat().into());
            let mut document = outer.clone();
            document.insert("trial".into(), whole.clone().into());
            let (document, whole) = (Value::Object(document), Value::Object(whole));
            let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{e}: {text}"));

            let json = written(|out| Long::json(out, &outer, "trial", &item, "series"), pieces);
            assert_eq!(parse(&json), document);
            let yaml = written(|out| Long::yaml(out, &outer, "trial", &item, "series"), pieces);
            assert_eq!(open(yaml.as_bytes(), Format::Yaml).document().root().to_json(), document, "{yaml}");
            let line = written(|out| Long::json_line(out, &item, "series"), pieces);
            assert_eq!((parse(&line), line.lines().count()), (whole.clone(), 1));
            let bare = written(|out| Long::bare(out), pieces);
            assert_eq!((parse(&bare), bare.lines().count()), (whole["series"].clone(), 1));
        }
    }
}
