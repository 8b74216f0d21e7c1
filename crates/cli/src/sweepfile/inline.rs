//! A sweep without a file: `heats submit --float lr=1e-5:1e-1:log --minimize loss --trials 100 -- python train.py`.

use serde_json::{Map, Value, json};

use super::set::value;
use crate::exit::Failure;

/// The options that describe a sweep.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args)]
#[command(next_help_heading = "A sweep without a file")]
pub struct Inline {
    /// A real parameter: NAME=LOW:HIGH, then `:log` or `:STEP` (repeatable)
    #[arg(long, value_name = "NAME=LOW:HIGH[:log]")]
    pub float: Vec<String>,
    /// A whole parameter: NAME=LOW:HIGH, then `:log` or `:STEP` (repeatable)
    #[arg(long, value_name = "NAME=LOW:HIGH[:log]")]
    pub int: Vec<String>,
    /// A parameter that is one of a list (repeatable)
    #[arg(long, value_name = "NAME=A,B,C")]
    pub choice: Vec<String>,
    /// A parameter that is always the same (repeatable)
    #[arg(long = "const", value_name = "NAME=VALUE")]
    pub constant: Vec<String>,
    /// The metric to make small
    #[arg(long, value_name = "METRIC", conflicts_with = "maximize")]
    pub minimize: Option<String>,
    /// The metric to make large
    #[arg(long, value_name = "METRIC")]
    pub maximize: Option<String>,
    /// How many trials
    #[arg(long, value_name = "N")]
    pub trials: Option<u32>,
    /// How many at once
    #[arg(long, value_name = "N")]
    pub parallel: Option<u32>,
    /// How configurations are proposed: auto, tpe, random, grid, sobol
    #[arg(long, value_name = "ALGORITHM")]
    pub search: Option<String>,
    /// When trials are stopped early: asha, median, ... (needs `--set early_stop.max=...` where it has rungs)
    #[arg(long, value_name = "ALGORITHM")]
    pub early_stop: Option<String>,
    /// The program and its arguments; parameters are appended as --NAME=VALUE unless it says ${...} itself
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

impl Inline {
    /// Whether any of the options is given.
    pub fn is_given(&self) -> bool {
        *self != Self::default()
    }

    /// The sweep file that says the same.
    pub(super) fn document(&self) -> Result<Value, Failure> {
        let Self { float, int, choice, constant, minimize, maximize, trials, parallel, search, early_stop, command } =
            self;
        if command.is_empty() {
            return Err(Failure::usage("there is neither a sweep file nor a command")
                .hint("heats submit FILE, or heats submit --float lr=1e-5:1e-1:log --minimize loss --trials 100 -- python train.py"));
        }
        let mut space = Map::new();
        for text in float {
            let (name, range) = range("--float", "float", text)?;
            space.insert(name, range);
        }
        for text in int {
            let (name, range) = range("--int", "int", text)?;
            space.insert(name, range);
        }
        for text in choice {
            let (name, list) = pair("--choice", text, "NAME=A,B,C")?;
            let values: Vec<Value> = list.split(',').map(|item| value(item.trim())).collect();
            space.insert(name, json!({ "choice": values }));
        }
        for text in constant {
            let (name, text) = pair("--const", text, "NAME=VALUE")?;
            space.insert(name, value(text));
        }
        let mut command = command.clone();
        if !space.is_empty() && !command.iter().any(|argument| argument.contains("${")) {
            command.push("${args}".into());
        }
        let mut root = Map::from_iter([
            ("version".to_owned(), json!(1)),
            ("command".to_owned(), json!(command)),
            ("space".to_owned(), space.into()),
        ]);
        let objective = minimize
            .as_ref()
            .map(|m| json!({ "minimize": m }))
            .or_else(|| maximize.as_ref().map(|m| json!({ "maximize": m })));
        if let Some(objective) = objective {
            root.insert("objective".into(), objective);
        } else if search.is_none() {
            // The default learns from an objective; without one there is nothing to learn.
            root.insert("search".into(), json!({ "algorithm": "random" }));
        }
        if let Some(search) = search {
            root.insert("search".into(), json!({ "algorithm": search }));
        }
        if let Some(early_stop) = early_stop {
            root.insert("early_stop".into(), json!({ "algorithm": early_stop }));
        }
        let budget: Map<String, Value> = [("trials", trials), ("parallel", parallel)]
            .into_iter()
            .filter_map(|(name, number)| Some((name.to_owned(), json!((*number)?))))
            .collect();
        if !budget.is_empty() {
            root.insert("budget".into(), budget.into());
        }
        Ok(root.into())
    }
}

fn pair<'a>(option: &str, text: &'a str, form: &str) -> Result<(String, &'a str), Failure> {
    match text.split_once('=') {
        Some((name, rest)) if !name.is_empty() => Ok((name.to_owned(), rest)),
        Some(_) | None => Err(Failure::usage(format!("`{option} {text}` is not {form}"))),
    }
}

/// `NAME=LOW:HIGH[:log|:STEP]`
fn range(option: &str, kind: &str, text: &str) -> Result<(String, Value), Failure> {
    let form = "NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=LOW:HIGH:STEP";
    let (name, rest) = pair(option, text, form)?;
    let number = |text: &str| {
        let value = value(text);
        if value.is_number() {
            Ok(value)
        } else {
            Err(Failure::usage(format!("`{option} {name}=...`: `{text}` is not a number")))
        }
    };
    let parts: Vec<&str> = rest.split(':').collect();
    let (low, high, extra) = match parts.as_slice() {
        [low, high] => (low, high, None),
        [low, high, "log"] => (low, high, Some(("log", json!(true)))),
        [low, high, step] => (low, high, Some(("step", number(step)?))),
        _ => return Err(Failure::usage(format!("`{option} {text}` is not {form}"))),
    };
    let mut map = Map::from_iter([(kind.to_owned(), json!([number(low)?, number(high)?]))]);
    if let Some((key, value)) = extra {
        map.insert(key.to_owned(), value);
    }
    Ok((name, map.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_what_a_file_would() {
        let inline = Inline {
            float: vec!["lr=1e-5:1e-1:log".into(), "dropout=0:0.5:0.1".into()],
            int: vec!["width=32:512".into()],
            choice: vec!["opt=sgd,adamw,3".into()],
            constant: vec!["epochs=27".into()],
            minimize: Some("loss".into()),
            trials: Some(100),
            command: vec!["python".into(), "train.py".into()],
            ..Inline::default()
        };
        assert_eq!(
            inline.document().expect("is complete"),
            json!({
                "version": 1,
                "command": ["python", "train.py", "${args}"],
                "space": {
                    "lr": {"float": [1e-5, 1e-1], "log": true},
                    "dropout": {"float": [0, 0.5], "step": 0.1},
                    "width": {"int": [32, 512]},
                    "opt": {"choice": ["sgd", "adamw", 3]},
                    "epochs": 27
                },
                "objective": {"minimize": "loss"},
                "budget": {"trials": 100}
            })
        );
    }

    #[test]
    fn a_range_that_is_none_is_refused() {
        for bad in ["lr", "lr=1", "=1:2", "lr=a:b", "lr=1:2:log:3", "lr=1:2:logg"] {
            let inline = Inline { float: vec![bad.into()], command: vec!["true".into()], ..Inline::default() };
            assert_eq!(inline.document().expect_err(bad).exit, crate::exit::Exit::Usage);
        }
    }
}
