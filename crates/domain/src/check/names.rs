//! Names: of the sweep, of its parameters, of its data, of environment variables.

use std::collections::BTreeMap;

use super::Context;
use crate::document::{Fault, Path};

/// The longest name of anything.
const LONGEST: usize = 100;
/// Words that CEL keeps for itself.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Names that cannot be used.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    faults.extend(context.spec.name.as_deref().and_then(sweep));
    faults.extend(context.spec.project.as_deref().and_then(project));
    faults.extend(context.parameters().filter_map(|(name, _)| parameter(name)));
    faults.extend(collisions(context));
    faults.extend(data(context));
    faults.extend(context.spec.run.env.keys().filter_map(|name| variable(name)));
    faults
}

/// A project is named like a sweep.
fn project(name: &str) -> Option<Fault> {
    is_name(name)
        .err()
        .map(|why| Fault::new("project", format!("a project's name {why}")).hint("write for example `vision`"))
}

/// Whether something can be called so: letters, digits, `-`, `_` and `.`, not none and not too many.
///
/// # Errors
/// Why not, after "the name".
pub fn is_name(name: &str) -> Result<(), String> {
    let proper = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match name.chars().find(|c| !proper(*c)) {
        Some(bad) => Err(format!("cannot hold {}", character(bad))),
        None if name.is_empty() => Err("cannot be empty".to_owned()),
        None if name.len() > LONGEST => Err(format!("cannot be longer than {LONGEST} characters")),
        None => Ok(()),
    }
}

/// Letters, digits, `-`, `_` and `.`: what an address on the command line can hold.
fn sweep(name: &str) -> Option<Fault> {
    let fault = |message: String| Some(Fault::new("name", message));
    let proper = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() {
        return fault("the sweep's name is empty".into())?
            .hint("write a name, or remove the key to have one made")
            .into();
    }
    if let Some((at, bad)) = name.char_indices().find(|(_, c)| !proper(*c)) {
        let suggestion: String = name.chars().map(|c| if proper(c) { c } else { '-' }).collect();
        let suggestion = suggestion.trim_matches(['-', '.']);
        let fault = fault(format!("a sweep's name cannot hold {}", character(bad)))?.within(at..at + bad.len_utf8());
        let advice = "letters, digits, `-`, `_` and `.` are possible";
        let advice = if suggestion.is_empty() { advice.to_owned() } else { format!("{advice}: `{suggestion}`") };
        return Some(fault.hint(advice));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return fault("a sweep's name begins with a letter or a digit".into());
    }
    if name == "last" || name.starts_with("swp_") {
        return fault(format!("`{name}` cannot name a sweep: on the command line it means something else"));
    }
    (name.len() > LONGEST).then(|| Fault::new("name", format!("a sweep's name has at most {LONGEST} characters")))
}

/// What is an identifier in CEL, and in an environment variable's name, and in a program.
fn parameter(name: &str) -> Option<Fault> {
    let fault = |message: String| Some(Fault::new(Context::at(name), message).at_key());
    let proper = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some(bad) = name.chars().find(|c| !proper(*c)) {
        let identifier: String = name.chars().map(|c| if proper(c) { c } else { '_' }).collect();
        let message = format!("a parameter's name cannot hold {}", character(bad));
        let hint = format!(
            "call it `{identifier}`; a program that wants `{name}` is given `--{name}=${{{identifier}}}` in `command`"
        );
        return Some(fault(message)?.hint(hint));
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(fault("a parameter's name cannot begin with a digit".into())?.hint(format!("call it `p{name}`")));
    }
    if RESERVED.contains(&name) {
        let message = format!("`{name}` cannot name a parameter: it is a word of the expression language");
        return Some(fault(message)?.hint(format!("call it `{name}_`")));
    }
    if name.len() > LONGEST {
        return fault(format!("a parameter's name has at most {LONGEST} characters"));
    }
    None
}

/// `lr` and `LR` would both be `HEATS_PARAM_LR`.
fn collisions(context: &Context<'_>) -> Vec<Fault> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut faults = Vec::new();
    for (name, _) in context.parameters() {
        let upper = name.to_ascii_uppercase();
        match seen.get(&upper) {
            Some(first) => {
                let message =
                    format!("`{name}` and `{first}` would share the environment variable HEATS_PARAM_{upper}");
                faults.push(
                    Fault::new(Context::at(name), message)
                        .at_key()
                        .hint("give them names that differ in more than case"),
                );
            }
            None => {
                seen.insert(upper, name);
            }
        }
    }
    faults
}

fn data(context: &Context<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let list = &context.spec.data;
    for (i, data) in list.iter().enumerate() {
        let at = Path::from("data").index(i).key("name");
        if data.name.is_empty() {
            faults.push(Fault::new(at, "the data's name is empty").hint("write a name"));
        } else if list[..i].iter().any(|other| other.name == data.name) {
            faults.push(
                Fault::new(at, format!("`{}` names other data already", data.name)).hint("names of data are unique"),
            );
        }
    }
    faults
}

fn variable(name: &str) -> Option<Fault> {
    let fault = |message: String| Fault::new(Path::from("run.env").key(name), message).at_key();
    let proper = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(proper) || name.starts_with(|c: char| c.is_ascii_digit()) {
        let message = format!("`{name}` cannot name an environment variable");
        return Some(fault(message).hint("letters, digits and `_` are possible, and no digit at the front"));
    }
    if name.starts_with("HEATS_") {
        let message = format!("`{name}` is set by Heats itself");
        return Some(fault(message).hint("variables that begin with `HEATS_` are reserved; choose another name"));
    }
    None
}

/// A character in a sentence.
pub fn character(c: char) -> String {
    match c {
        ' ' => "a space".into(),
        c if c.is_control() => format!("the character U+{:04X}", c as u32),
        c => format!("`{c}`"),
    }
}
