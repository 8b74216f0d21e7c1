//! The command: there is a program, and every `${...}` names something.

use super::Context;
use crate::command::{BuiltIn, Piece, pieces};
use crate::document::{Fault, Path, did_you_mean};

/// What is wrong with the command.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let command = &context.spec.command;
    if command.is_empty() {
        return vec![
            Fault::new("command", "the command is empty")
                .hint("write `[program, argument]`, for example `[python, train.py, \"${args}\"]`"),
        ];
    }
    let mut faults = Vec::new();
    if command[0].trim().is_empty() {
        faults.push(
            Fault::new("command[0]", "the program's name is empty").hint("the first word of a command is its program"),
        );
    }
    for (i, argument) in command.iter().enumerate() {
        let at = Path::from("command").index(i);
        match pieces(argument) {
            Ok(pieces) => {
                for piece in &pieces {
                    faults.extend(reference(context, argument, i, piece, &at));
                }
                let dangling = i > 0 && command[i - 1].starts_with('-') && !command[i - 1].contains('=');
                if let ([Piece::Parameter(name, _)], true) = (pieces.as_slice(), dangling) {
                    faults.extend(left_alone(context, &command[i - 1], name, &at));
                }
            }
            Err(unclosed) => {
                let fault = Fault::new(at, "this `${` is never closed").within(unclosed.at..argument.len());
                faults.push(fault.hint("write `${name}`, or `$$` for a dollar sign"));
            }
        }
    }
    faults
}

fn reference(context: &Context<'_>, argument: &str, i: usize, piece: &Piece, at: &Path) -> Option<Fault> {
    let names = context.names();
    match piece {
        Piece::Text(_) => None,
        Piece::BuiltIn(BuiltIn::Args) if i == 0 => {
            Some(Fault::new(at.clone(), "`${args}` cannot be the program").hint("write the program before it"))
        }
        Piece::BuiltIn(BuiltIn::Args)
            if argument.trim() != argument || pieces(argument).is_ok_and(|pieces| pieces.len() > 1) =>
        {
            Some(
                Fault::new(at.clone(), "`${args}` becomes several arguments and cannot be a part of one")
                    .hint("make it an element of its own: `[program, \"${args}\"]`"),
            )
        }
        Piece::BuiltIn(built_in) => {
            let name = built_in.name();
            let clash = names.contains(&name);
            clash.then(|| {
                Fault::new(at.clone(), format!("`${{{name}}}` is ambiguous: there is a parameter `{name}` too"))
                    .hint(format!("call the parameter something else, for example `my_{name}`"))
            })
        }
        Piece::Parameter(name, range) => {
            if names.contains(&name.as_str()) || !context.is_whole("space") && names.is_empty() {
                return None;
            }
            let mut known: Vec<&str> = names.to_vec();
            known.extend(BuiltIn::ALL.map(BuiltIn::name).iter().filter(|built_in| !names.contains(built_in)));
            let fault = Fault::new(at.clone(), format!("`${{{name}}}` names no parameter")).within(range.clone());
            Some(fault.maybe_hint(did_you_mean(name, known.iter().copied())))
        }
    }
}

/// `--momentum ${momentum}` leaves `--momentum` behind where the parameter has no value.
fn left_alone(context: &Context<'_>, option: &str, name: &str, at: &Path) -> Option<Fault> {
    context.space.get(name)?.when.as_ref()?;
    let message = format!("where `{name}` has no value, `{option}` would be left without one");
    Some(
        Fault::new(at.clone(), message)
            .hint(format!("write \"{option}=${{{name}}}\", which is then left out as a whole")),
    )
}
