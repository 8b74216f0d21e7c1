//! Warm starts: of what they can be asked for. Whether they are safe only the agent can find out.

use super::Context;
use crate::document::{Fault, Path};
use crate::spec::Env;

/// More than any script needs, and little enough for every order that carries the sweep.
const IMPORTS_MAX: usize = 1000;

/// What is wrong with asking for warm starts.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let spec = context.spec;
    let run = &spec.run;
    if !run.warm {
        let fault = || {
            Fault::new("run.imports", "`imports` are for warm starts, which this sweep does not ask for")
                .hint("write `warm: true` beside it, or remove `imports`")
        };
        return if run.imports.is_empty() { Vec::new() } else { vec![fault()] };
    }
    let mut faults = Vec::new();
    if let Some(Env::Container(_)) = spec.env {
        faults.push(
            Fault::new("run.warm", "a trial in a container cannot be forked from a process outside of it")
                .hint("remove `warm`, or name an environment by `env: { python: .. }` or `env: { prefix: .. }`"),
        );
    }
    if let [program, rest @ ..] = spec.command.as_slice()
        && !(is_python(program) && rest.first().is_some_and(|script| is_script(script)))
    {
        faults.push(
            Fault::new("run.warm", "only a Python script can start warm, and the command does not begin with one")
                .hint("write `command: [python, train.py, ..]`, without options of the interpreter; or remove `warm`"),
        );
    }
    if run.imports.len() > IMPORTS_MAX {
        faults.push(Fault::new("run.imports", format!("more than {IMPORTS_MAX} modules")));
    }
    for (place, module) in run.imports.iter().enumerate().filter(|(_, module)| !is_module(module)) {
        faults.push(
            Fault::new(Path::from("run.imports").index(place), format!("`{module}` is not the name of a module"))
                .hint("write it as after `import`: `numpy`, `sklearn.linear_model`"),
        );
    }
    faults
}

/// Whether a program is a Python by its name: `python`, `python3.12`, `/opt/bin/python3`.
fn is_python(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    let version = name.strip_prefix("python");
    version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

/// Whether an argument is a script whatever the trial's parameters.
fn is_script(argument: &str) -> bool {
    argument.ends_with(".py") && !argument.starts_with('-') && !argument.contains('$')
}

fn is_module(name: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && word.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    name.split('.').all(is_word)
}
