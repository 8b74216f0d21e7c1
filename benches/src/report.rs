//! What a benchmark finds: figures, printed as they come and kept as lines of JSON, with what they mean nothing without:
//! the commit, the machine and the command.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::spread::Spread;

/// What a figure has to come to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Target {
    /// The median is at most this.
    AtMost(f64),
    /// The median is at least this.
    AtLeast(f64),
}

impl Target {
    fn is_met(self, median: f64) -> bool {
        match self {
            Self::AtMost(most) => median <= most,
            Self::AtLeast(least) => median >= least,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
        }
    }
}

/// One thing that was measured, maybe several times.
#[derive(Clone, PartialEq, Debug)]
struct Figure {
    what: String,
    unit: &'static str,
    values: Spread,
    target: Option<Target>,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, values, target } = self;
        let space = if unit.is_empty() { "" } else { " " };
        write!(f, "{what}: {values}{space}{unit}")?;
        target.map_or(Ok(()), |target| {
            let word = if target.is_met(values.median()) { "met" } else { "not met" };
            write!(f, " (target: {target}; {word})")
        })
    }
}

/// What one benchmark has found so far.
#[derive(Debug)]
pub(crate) struct Report {
    bench: &'static str,
    machine: Machine,
    figures: Vec<Figure>,
}

impl Report {
    /// Nothing yet; says where it is measured.
    ///
    /// # Errors
    /// Where the system does not say what it is.
    pub(crate) fn begin(bench: &'static str) -> Result<Self> {
        let machine = Machine::here()?;
        println!("  {machine}");
        Ok(Self { bench, machine, figures: Vec::new() })
    }

    /// Ratios, or numbers in `unit`, of the same thing.
    pub(crate) fn figure(&mut self, what: &str, unit: &'static str, values: Vec<f64>, target: Option<Target>) {
        let figure = Figure { what: what.to_owned(), unit, values: Spread::of(values), target };
        println!("  {figure}");
        self.figures.push(figure);
    }

    /// What helps to understand the figures, and is none.
    pub(crate) fn note(&self, text: &str) {
        println!("  {text}");
    }

    fn lines(&self) -> Vec<Value> {
        let Machine { commit, processors, model, kernel, load } = &self.machine;
        let line = |Figure { what, unit, values, target }: &Figure| {
            json!({
                "schema": "heats.bench/v1", "bench": self.bench, "what": what, "unit": unit,
                "median": values.median(), "least": values.least(), "most": values.most(), "count": values.count(),
                "target": target.map(|target| target.to_string()),
                "met": target.map(|target| target.is_met(values.median())),
                "commit": commit, "processors": processors, "model": model, "kernel": kernel, "load": load,
                "command": format!("cargo xtask bench {}", self.bench), "at": Timestamp::now().to_string(),
            })
        };
        self.figures.iter().map(line).collect()
    }

    /// Puts the figures in the place of those that `folder` has of this benchmark, and makes its table anew.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub(crate) fn keep(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let text: String = self.lines().iter().map(|line| format!("{line}\n")).collect();
        let file = folder.join(format!("{}.jsonl", self.bench));
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        table(folder)
    }
}

/// Writes `README.md` in `folder`: every figure that is kept there.
fn table(folder: &Path) -> Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|kind| kind == "jsonl"));
    files.sort();
    let mut text =
        "# What was measured last\n\nWritten by `cargo xtask bench`, which measures again; the lines of JSON beside \
                    it have the machine as well. Only\nfigures of one row, and ratios, can be compared.\n\n\
                    | benchmark | what | median | from | to | times | target | | commit | load before |\n\
                    |---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for file in files {
        let lines = std::fs::read_to_string(&file)?;
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).with_context(|| format!("{} is damaged", file.display()))?;
            text.push_str(&row(&line));
        }
    }
    Ok(std::fs::write(folder.join("README.md"), text)?)
}

fn row(line: &Value) -> String {
    let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| line[key].as_f64().map(short).unwrap_or_default();
    let unit = Some(word("unit")).filter(|unit| !unit.is_empty()).map(|unit| format!(" {unit}")).unwrap_or_default();
    let met = line["met"].as_bool().map_or("", |met| if met { "met" } else { "**not met**" });
    format!(
        "| `{}` | {} | {}{unit} | {} | {} | {} | {} | {met} | {} | {} |\n",
        word("bench"),
        word("what"),
        number("median"),
        number("least"),
        number("most"),
        line["count"],
        word("target"),
        word("commit"),
        word("load"),
    )
}

/// Three digits that count.
pub(crate) fn short(number: f64) -> String {
    let digits = if number == 0.0 { 0.0 } else { number.abs().log10().floor() };
    let after = (2.0 - digits).clamp(0.0, 6.0) as usize;
    format!("{number:.after$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_again_takes_the_place_of_what_was_measured_before() {
        let folder = tempfile::tempdir().expect("a folder");
        for (bench, value) in [("b", 3.0), ("a", 1.0), ("b", 2.0)] {
            let mut report = Report::begin(bench).expect("a machine");
            report.figure("a ratio", "", vec![value, value], Some(Target::AtMost(2.5)));
            report.keep(folder.path()).expect("is kept");
        }
        let table = std::fs::read_to_string(folder.path().join("README.md")).expect("is there");
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
        let begins = |row: &str, with: &str| assert!(row.starts_with(with), "{row}");
        assert_eq!(rows.len(), 2);
        begins(rows[0], "| `a` | a ratio | 1.00 | 1.00 | 1.00 | 2 | at most 2.5 | met |");
        begins(rows[1], "| `b` | a ratio | 2.00 |");
    }

    #[test]
    fn a_figure_says_whether_its_target_is_met() {
        let of = |target| Figure { what: "x".into(), unit: "ms", values: Spread::of(vec![3.0]), target };
        assert_eq!(of(Some(Target::AtMost(2.0))).to_string(), "x: 3.00 ms (target: at most 2; not met)");
        assert_eq!(of(Some(Target::AtLeast(2.0))).to_string(), "x: 3.00 ms (target: at least 2; met)");
        assert_eq!(of(None).to_string(), "x: 3.00 ms");
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        assert_eq!([0.0, 0.012345, 1.2345, 123.45, 12345.6].map(short), ["0.00", "0.0123", "1.23", "123", "12346"]);
    }
}
