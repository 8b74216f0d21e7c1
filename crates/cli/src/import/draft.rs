//! The sweep file that is being made: its sections, and the remarks that go into it as comments.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Imported;

/// A sweep file in the making.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    tool: String,
    file: String,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) command: Vec<String>,
    /// Their name, ours, the domain.
    space: Vec<(String, String, Value, Option<String>)>,
    pub(super) objective: Map<String, Value>,
    pub(super) search: Map<String, Value>,
    pub(super) early_stop: Map<String, Value>,
    pub(super) budget: Map<String, Value>,
    pub(super) resources: Map<String, Value>,
    pub(super) run: Map<String, Value>,
    remarks: Vec<String>,
}

/// How a program takes its parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    /// `--lr=0.1`
    Flags,
    /// `lr=0.1`, as Hydra does.
    Plain,
}

impl Draft {
    pub(super) fn new(tool: &str, file: &str) -> Self {
        Self {
            tool: tool.to_owned(),
            file: file.to_owned(),
            name: None,
            description: None,
            command: Vec::new(),
            space: Vec::new(),
            objective: Map::new(),
            search: Map::new(),
            early_stop: Map::new(),
            budget: Map::new(),
            resources: Map::new(),
            run: Map::new(),
            remarks: Vec::new(),
        }
    }

    /// Something that could not be mapped, or not exactly: a comment in the file and a warning.
    pub(super) fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// What is left of a mapping: each key has no counterpart.
    pub(super) fn left_over(&mut self, place: &str, rest: &Map<String, Value>) {
        for (key, value) in rest {
            let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            self.remark(format!("`{place}: {}` has no counterpart", cut(&flow(value))));
        }
    }

    /// Adds a parameter under their name.
    pub(super) fn parameter(&mut self, theirs: &str, domain: Value, note: Option<String>) {
        let ours = self.identifier(theirs);
        self.space.push((theirs.to_owned(), ours, domain, note));
    }

    /// What our file calls their parameter `theirs`, where there is one.
    pub(super) fn ours(&self, theirs: &str) -> Option<&str> {
        self.space.iter().find(|(name, ..)| name == theirs).map(|(_, ours, ..)| ours.as_str())
    }

    /// A name that the sweep file allows, used by no other parameter.
    fn identifier(&self, theirs: &str) -> String {
        const WORDS: [&str; 12] =
            ["as", "break", "const", "continue", "else", "false", "for", "if", "in", "null", "return", "true"];
        let mut name: String =
            theirs.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            name.insert(0, 'p');
        }
        // The variable HEATS_PARAM_NAME has no case.
        while WORDS.contains(&name.as_str()) || self.space.iter().any(|(_, ours, ..)| ours.eq_ignore_ascii_case(&name))
        {
            name.push('_');
        }
        name
    }

    /// The arguments that give the program every parameter under the name that it knows.
    pub(super) fn arguments(&self, style: Style) -> Vec<String> {
        let renamed = self.space.iter().any(|(theirs, ours, ..)| theirs != ours);
        match style {
            Style::Flags if !renamed => vec!["${args}".to_owned()],
            Style::Flags => {
                self.space.iter().map(|(theirs, ours, ..)| format!("--{}=${{{ours}}}", escape(theirs))).collect()
            }
            Style::Plain => {
                self.space.iter().map(|(theirs, ours, ..)| format!("{}=${{{ours}}}", escape(theirs))).collect()
            }
        }
    }

    /// The objective: which metric, which way, and where to end.
    pub(super) fn objective(&mut self, metric: &str, maximize: bool, stop_at: Option<f64>) {
        self.objective.insert(if maximize { "maximize" } else { "minimize" }.to_owned(), metric.into());
        if let Some(stop_at) = stop_at {
            self.objective.insert("stop_at".into(), stop_at.into());
        }
    }

    /// The file.
    pub(super) fn finish(mut self) -> Imported {
        if self.objective.is_empty() {
            self.remark("no metric is named: add `objective: { minimize: METRIC }`");
        }
        let mut yaml = format!("# Made from {} of {} by `heats init --from {}`.\n", self.file, self.tool, self.tool);
        if let Some(description) = &self.description {
            comment(&mut yaml, description);
        }
        if !self.remarks.is_empty() {
            yaml.push_str("# What needs a look:\n");
            self.remarks.iter().for_each(|remark| comment(&mut yaml, &format!("- {remark}")));
        }
        yaml.push_str("version: 1\n");
        if let Some(name) = self.name.as_deref().map(sweep_name).filter(|name| !name.is_empty()) {
            line(&mut yaml, "name", &name.into());
        }
        line(&mut yaml, "command", &json!(self.command));
        if !self.space.is_empty() {
            yaml.push_str("space:\n");
        }
        for (theirs, ours, domain, note) in &self.space {
            let renamed = (theirs != ours).then(|| format!("`{theirs}` there"));
            let notes: Vec<&str> = renamed.as_deref().into_iter().chain(note.as_deref()).collect();
            let note =
                if notes.is_empty() { String::new() } else { format!("  # {}", notes.join("; ").replace('\n', " ")) };
            // Writing to a string cannot fail.
            let _ = writeln!(yaml, "  {ours}: {}{note}", flow(domain));
        }
        for (key, map) in [
            ("objective", &self.objective),
            ("search", &self.search),
            ("early_stop", &self.early_stop),
            ("budget", &self.budget),
            ("resources", &self.resources),
            ("run", &self.run),
        ] {
            if !map.is_empty() {
                line(&mut yaml, key, &Value::Object(map.clone()));
            }
        }
        Imported { yaml, warnings: self.remarks }
    }
}

fn line(yaml: &mut String, key: &str, value: &Value) {
    let _ = writeln!(yaml, "{key}: {}", flow(value));
}

fn comment(yaml: &mut String, text: &str) {
    for line in text.lines() {
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(yaml, "# {}", line.trim_end());
    }
}

/// A dollar sign that the other tool meant as one.
pub(super) fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

/// Letters, digits, `-`, `_` and `.`.
fn sweep_name(name: &str) -> String {
    let proper = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = name.chars().map(|c| if proper(c) { c } else { '-' }).take(100).collect();
    let name = name.trim_matches(['-', '.', '_']);
    if name == "last" { "last-sweep".to_owned() } else { name.to_owned() }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// YAML in one line: JSON with fewer quotes.
fn flow(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(truth) => truth.to_string(),
        // `0.1` and `1e-5` as they are typed, a real number with its point.
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (None, Some(real)) => format!("{real:?}"),
            (Some(_) | None, _) => number.to_string(),
        },
        Value::String(text) => plain_or_quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) if map.is_empty() => "{}".into(),
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{}: {}", plain_or_quoted(key), flow(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

fn plain_or_quoted(text: &str) -> String {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if starts && plain && !reserved.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        Value::String(text.to_owned()).to_string()
    }
}
