//! The side file: what a trial's script itself says that it measured, apart from anything that Heats was told.
//!
//! A script appends one line to `$MEASURED` for every measurement, before it reports: `TRIAL ATTEMPT STEP VALUE`.

use std::path::Path;

/// One line of the side file.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measured {
    /// The trial's number.
    pub trial: u64,
    /// The attempt.
    pub attempt: u64,
    /// The step.
    pub step: u64,
    /// The value, which may be NaN.
    pub value: f64,
}

/// What the side file at `path` holds; nothing where no script has written yet. A last line that was cut by a
/// kill is left out: nothing was reported after it.
pub(crate) fn read(path: &Path) -> Vec<Measured> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| parse(line).unwrap_or_else(|| panic!("`{line}` is no line of a side file"))).collect()
}

fn parse(line: &str) -> Option<Measured> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [trial, attempt, step, value] = words.as_slice() else { return None };
    Some(Measured {
        trial: trial.parse().ok()?,
        attempt: attempt.parse().ok()?,
        step: step.parse().ok()?,
        value: value.parse().ok()?,
    })
}
