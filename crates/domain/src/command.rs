//! The command of a trial: the template's `${...}` filled in, argument by argument. No shell is involved,
//! so nothing is split, quoted or expanded twice.
//!
//! - `${args}`, as an argument by itself, becomes one argument `--name=value` for each parameter that
//!   has a value, in the order of their names; `true` and `false` are written out (`--nesterov=true`).
//! - `${NAME}` is the value of the parameter. **Where the parameter is inactive**, an argument that only gives it
//!   (`${momentum}`, `--momentum=${momentum}`, `optimizer.momentum=${momentum}`) is left out, as `${args}` leaves it out;
//!   within any other argument it is empty, because a part of something longer (`sh -c "..."`) must not take the rest along.
//! - `${args_json_file}` is the path of a JSON file with all values, `${trial.number}` the trial's number in its
//!   sweep, `${seed}` the trial's seed, `${sweep}` the sweep's name. They come before a parameter of the same name.
//! - `$$` is a dollar sign. Any other `$` stands for itself.

use std::ops::Range;

use crate::Params;

/// A name within `${...}` that is no parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BuiltIn {
    /// `${args}`
    Args,
    /// `${args_json_file}`
    ArgsJsonFile,
    /// `${trial.number}`
    TrialNumber,
    /// `${seed}`
    Seed,
    /// `${sweep}`
    Sweep,
}

impl BuiltIn {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Args, Self::ArgsJsonFile, Self::TrialNumber, Self::Seed, Self::Sweep];

    /// What stands within the braces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Args => "args",
            Self::ArgsJsonFile => "args_json_file",
            Self::TrialNumber => "trial.number",
            Self::Seed => "seed",
            Self::Sweep => "sweep",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|built_in| built_in.name() == name)
    }
}

/// A piece of an argument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// `${...}` with a name that the trial gives.
    BuiltIn(BuiltIn),
    /// `${...}` with any other name, and its bytes in the argument.
    Parameter(String, Range<usize>),
}

/// Why an argument is not a template.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`${{` has no `}}` after it")]
pub struct Unclosed {
    /// Where the `${` is, in bytes.
    pub at: usize,
}

/// What one trial fills in.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// Its number in the sweep.
    pub number: u32,
    /// Its seed.
    pub seed: u64,
    /// The sweep's name.
    pub sweep: &'a str,
    /// The path of the JSON file with its parameters.
    pub args_json_file: &'a str,
}

/// Takes one argument of a command apart.
///
/// # Errors
/// The first `${` that is not closed.
pub fn pieces(argument: &str) -> Result<Vec<Piece>, Unclosed> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut at = 0;
    while let Some(found) = argument[at..].find('$') {
        let dollar = at + found;
        text.push_str(&argument[at..dollar]);
        let rest = &argument[dollar + 1..];
        if rest.starts_with('$') {
            text.push('$');
            at = dollar + 2;
        } else if let Some(inside) = rest.strip_prefix('{') {
            let length = inside.find('}').ok_or(Unclosed { at: dollar })?;
            let name = inside[..length].trim();
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            at = dollar + 2 + length + 1;
            pieces.push(match BuiltIn::of(name) {
                Some(built_in) => Piece::BuiltIn(built_in),
                None => Piece::Parameter(name.to_owned(), dollar..at),
            });
        } else {
            text.push('$');
            at = dollar + 1;
        }
    }
    text.push_str(&argument[at..]);
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// The arguments of one trial's command.
///
/// # Errors
/// An argument that is not a template; `check` has refused those in a sweep that was submitted.
pub fn expand(command: &[String], params: &Params, trial: Trial<'_>) -> Result<Vec<String>, Unclosed> {
    let mut arguments = Vec::new();
    for argument in command {
        let pieces = pieces(argument)?;
        match pieces.as_slice() {
            [Piece::BuiltIn(BuiltIn::Args)] => arguments.extend(flags(params)),
            [Piece::Parameter(name, _)] if params.get(name).is_none() => {}
            [Piece::Text(key), Piece::Parameter(name, _)] if key.ends_with('=') && params.get(name).is_none() => {}
            pieces => arguments.push(pieces.iter().map(|piece| filled(piece, params, trial)).collect()),
        }
    }
    Ok(arguments)
}

fn flags(params: &Params) -> impl Iterator<Item = String> {
    params.iter().map(|(name, value)| format!("--{name}={value}"))
}

fn filled(piece: &Piece, params: &Params, trial: Trial<'_>) -> String {
    match piece {
        Piece::Text(text) => text.clone(),
        Piece::BuiltIn(BuiltIn::Args) => flags(params).collect::<Vec<_>>().join(" "),
        Piece::BuiltIn(BuiltIn::ArgsJsonFile) => trial.args_json_file.to_owned(),
        Piece::BuiltIn(BuiltIn::TrialNumber) => trial.number.to_string(),
        Piece::BuiltIn(BuiltIn::Seed) => trial.seed.to_string(),
        Piece::BuiltIn(BuiltIn::Sweep) => trial.sweep.to_owned(),
        Piece::Parameter(name, _) => params.get(name).map_or_else(String::new, ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    const TRIAL: Trial<'_> = Trial { number: 12, seed: 7, sweep: "digits", args_json_file: "/tmp/p.json" };

    fn params() -> Params {
        [
            ("lr", Value::Float(0.01)),
            ("opt", Value::Str("adam w; rm -rf $HOME".into())),
            ("nesterov", Value::Bool(true)),
            ("width", Value::Int(64)),
        ]
        .into_iter()
        .collect()
    }

    fn expanded(command: &[&str]) -> Vec<String> {
        let command: Vec<String> = command.iter().map(|&argument| argument.to_owned()).collect();
        expand(&command, &params(), TRIAL).expect("is a template")
    }

    #[test]
    fn args_become_one_argument_for_each_parameter() {
        assert_eq!(
            expanded(&["python", "train.py", "${args}", "--fast"]),
            [
                "python",
                "train.py",
                "--lr=0.01",
                "--nesterov=true",
                "--opt=adam w; rm -rf $HOME",
                "--width=64",
                "--fast"
            ]
        );
    }

    #[test]
    fn names_are_filled_in_and_everything_else_stays() {
        assert_eq!(expanded(&["--lr=${lr}", "${ width }", "w${width}x${width}"]), ["--lr=0.01", "64", "w64x64"]);
        assert_eq!(
            expanded(&["${args_json_file}", "${trial.number}", "--seed=${seed}", "${sweep}"]),
            ["/tmp/p.json", "12", "--seed=7", "digits"]
        );
        assert_eq!(
            expanded(&["$$", "$${lr}", "$HOME", "a$", "", "ü${lr}ü"]),
            ["$", "${lr}", "$HOME", "a$", "", "ü0.01ü"]
        );
    }

    #[test]
    fn a_value_is_never_expanded_again() {
        let params: Params = [("a", Value::Str("${lr} $$".into())), ("lr", Value::Int(1))].into_iter().collect();
        assert_eq!(expand(&["${a}".to_owned()], &params, TRIAL), Ok(vec!["${lr} $$".to_owned()]));
    }

    #[test]
    fn an_argument_that_only_gives_an_inactive_parameter_is_left_out() {
        assert_eq!(expanded(&["p", "${momentum}", "--momentum=${momentum}", "opt.momentum=${momentum}"]), ["p"]);
        assert_eq!(expanded(&["sh", "-c", "echo ${momentum} ${lr}"]), ["sh", "-c", "echo  0.01"]);
    }

    #[test]
    fn an_unclosed_brace_is_an_error() {
        assert_eq!(pieces("a ${lr"), Err(Unclosed { at: 2 }));
        assert_eq!(Unclosed { at: 2 }.to_string(), "`${` has no `}` after it");
    }
}
