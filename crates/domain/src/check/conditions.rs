//! `when`: it mentions parameters that exist, not itself, and not in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::types::Names;
use super::{Context, types};
use crate::Expr;
use crate::document::{Fault, Path, did_you_mean};

/// Conditions that cannot be what they are meant to be.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, spec) in context.parameters() {
        let Some(when) = spec.when() else { continue };
        let at = Context::at(name).key("when");
        if when.mentions().contains(name) {
            let fault = Fault::new(at.clone(), format!("`{name}` cannot depend on itself"));
            faults.push(within_name(fault, when, name).hint("a condition mentions other parameters"));
        }
        faults.extend(strangers(context, when, &at));
        faults.extend(types::check(when, Names::Parameters(&context.space), &at));
    }
    faults.extend(circles(context));
    faults
}

/// What an expression mentions that is neither a parameter nor a function of CEL.
pub fn strangers(context: &Context<'_>, expr: &Expr, at: &Path) -> Vec<Fault> {
    let names = context.names();
    let mentions = expr.mentions();
    let parameters = mentions.iter().filter(|mention| !names.contains(&mention.as_str())).map(|stranger| {
        let fault = Fault::new(at.clone(), format!("`{stranger}` is not a parameter"));
        within_name(fault, expr, stranger).maybe_hint(did_you_mean(stranger, names.iter().copied()))
    });
    parameters.chain(unknown_functions(expr, at)).collect()
}

/// The functions that an expression calls and that CEL does not have.
pub fn unknown_functions(expr: &Expr, at: &Path) -> Vec<Fault> {
    let fault = |function: String| {
        let fault = Fault::new(at.clone(), format!("`{function}` is not a function of CEL"));
        within_name(fault, expr, &function)
            .hint("there are `size`, `int`, `double`, `string`, `min`, `max`, `contains`, `startsWith` and `endsWith`")
    };
    expr.unknown_functions().into_iter().map(fault).collect()
}

/// Points at the first place where `name` stands as a word of its own.
pub fn within_name(fault: Fault, expr: &Expr, name: &str) -> Fault {
    let source = expr.source();
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let found = source.match_indices(name).find(|(at, _)| {
        !is_word(source[..*at].chars().next_back()) && !is_word(source[at + name.len()..].chars().next())
    });
    match found {
        Some((at, _)) => fault.within(at..at + name.len()),
        None => fault,
    }
}

/// Each circle of conditions once, at its first parameter in the file.
fn circles(context: &Context<'_>) -> Vec<Fault> {
    // The space leaves out what is in a circle, and what depends on one.
    let left_out: Vec<(&str, &Expr)> = context
        .parameters()
        .filter(|(name, _)| context.space.get(name).is_none())
        .filter_map(|(name, spec)| Some((name, spec.when()?)))
        .collect();
    let depends: BTreeMap<&str, Vec<&str>> = left_out
        .iter()
        .map(|(name, when)| {
            let mentions = when.mentions();
            let others = left_out.iter().map(|(other, _)| *other);
            (*name, others.filter(|other| other != name && mentions.contains(*other)).collect())
        })
        .collect();
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut faults = Vec::new();
    for (name, _) in &left_out {
        if told.contains(name) {
            continue;
        }
        let Some(way) = way_back(name, &depends) else { continue };
        if way.iter().any(|member| told.contains(member)) {
            continue;
        }
        told.extend(&way);
        let shown: Vec<String> = way.iter().chain([name]).map(|member| format!("`{member}`")).collect();
        let message = format!("these conditions go in a circle: {}", shown.join(" -> "));
        let hint = "one of them must not depend on the others";
        faults.push(Fault::new(Context::at(name).key("when"), message).hint(hint));
    }
    faults
}

/// The shortest way from `name` over what it depends on back to itself; each step once.
fn way_back<'a>(name: &'a str, depends: &BTreeMap<&'a str, Vec<&'a str>>) -> Option<Vec<&'a str>> {
    let mut ways: Vec<Vec<&str>> = vec![vec![name]];
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut next = 0;
    while let Some(way) = ways.get(next).cloned() {
        next += 1;
        for other in depends.get(way.last().copied().unwrap_or(name)).into_iter().flatten().copied() {
            if other == name {
                return Some(way);
            }
            if seen.insert(other) {
                let mut longer = way.clone();
                longer.push(other);
                ways.push(longer);
            }
        }
    }
    None
}
