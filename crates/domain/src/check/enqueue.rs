//! Configurations to try first: each is one of the space's, as far as it goes.

use super::{Context, space};
use crate::document::{Fault, Path, did_you_mean};
use crate::expr::EvalError;
use crate::{Domain, Params, Value};

/// Points that are not of the space.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let points = &context.spec.search.enqueue;
    let sound = space::check(context).is_empty();
    for (i, point) in points.iter().enumerate() {
        let at = Path::from("search.enqueue").index(i);
        let before = faults.len();
        for (name, value) in point.iter() {
            faults.extend(one(context, name, value, &at, sound));
        }
        if faults.len() == before && sound {
            faults.extend(together(context, point, &at));
        }
    }
    let trials = context.spec.budget.trials.filter(|trials| (*trials as usize) < points.len());
    if let Some(trials) = trials.filter(|trials| *trials > 0) {
        let message =
            format!("{} configurations are enqueued, more than the {trials} trials of the budget", points.len());
        faults.push(Fault::new("search.enqueue", message).at_key().hint("raise `budget.trials`, or remove some"));
    }
    faults
}

fn one(context: &Context<'_>, name: &str, value: &Value, at: &Path, sound: bool) -> Option<Fault> {
    let names = context.names();
    if !names.contains(&name) {
        let fault = Fault::new(at.key(name), format!("`{name}` is not a parameter")).at_key();
        return Some(fault.maybe_hint(did_you_mean(name, names.iter().copied())));
    }
    let domain = &context.space.get(name)?.domain;
    if !sound || domain.contains(value) {
        return None;
    }
    let fault = |message: String| Fault::new(at.key(name), message);
    Some(match (domain, value) {
        (Domain::Float { .. }, Value::Int(number)) => {
            fault(format!("`{name}` is a real number, and {number} a whole one")).hint(format!("write {number}.0"))
        }
        (Domain::Float { low, high, .. }, Value::Float(x)) if low <= x && x <= high => {
            fault(format!("{x:?} is not on the steps of `{name}`")).hint(steps(domain))
        }
        (Domain::Int { low, high, .. }, Value::Int(x)) if low <= x && x <= high => {
            fault(format!("{x} is not on the steps of `{name}`")).hint(steps(domain))
        }
        (Domain::Float { low, high, .. }, value) => fault(format!("{value:?} is not a value of `{name}`"))
            .hint(format!("`{name}` goes from {low:?} to {high:?}")),
        (Domain::Int { low, high, .. }, value) => fault(format!("{value:?} is not a value of `{name}`"))
            .hint(format!("`{name}` goes from {low} to {high}, in whole numbers")),
        (Domain::Choice(values), value) => {
            let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
            let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
            let hint = match values.iter().find(|other| other.to_string() == value.to_string()) {
                Some(Value::Str(text)) => Some(format!("`{name}` lists it as text: write \"{text}\"")),
                Some(other) => Some(format!("`{name}` lists it as {other:?}, without quotes")),
                None => did_you_mean(&value.to_string(), shown),
            };
            fault(format!("{value:?} is not a value of `{name}`")).maybe_hint(hint)
        }
        (Domain::Const(constant), value) => {
            fault(format!("`{name}` is always {constant:?}, and cannot be {value:?}")).hint("remove it from the point")
        }
    })
}

fn steps(domain: &Domain) -> String {
    let values: Vec<String> = (0..3).filter_map(|k| domain.nth(k)).map(|value| value.to_string()).collect();
    let last = domain.cardinality().and_then(|count| domain.nth(count.saturating_sub(1)));
    let last = last.map_or_else(String::new, |last| format!(" up to {last}"));
    format!("the values are {}, ...{last}", values.join(", "))
}

/// A point whose values are each possible, and not beside each other.
fn together(context: &Context<'_>, point: &Params, at: &Path) -> Vec<Fault> {
    let mut given = point.clone();
    for parameter in &context.space.parameters {
        if let (Domain::Const(value), None) = (&parameter.domain, &parameter.when) {
            given.insert(parameter.name.clone(), value.clone());
        }
    }
    let mut faults = Vec::new();
    for (name, _) in point.iter() {
        let Some(when) = context.space.get(name).and_then(|parameter| parameter.when.as_ref()) else { continue };
        if when.holds(&given) == Ok(false) {
            let fault = Fault::new(
                at.key(name),
                format!("`{name}` has no value here: `{when}` does not hold beside the others"),
            );
            faults.push(fault.hint("remove it from the point, or change what it depends on"));
        }
    }
    for constraint in &context.spec.constraints {
        let complete = constraint.mentions().iter().all(|name| given.get(name).is_some());
        let breaks = match constraint.holds(&given) {
            Ok(holds) => !holds,
            Err(EvalError::Missing(_)) => false,
            Err(EvalError::Undefined { .. }) => true,
        };
        if complete && breaks {
            let message = format!("this point does not satisfy the constraint `{constraint}`");
            faults.push(Fault::new(at.clone(), message).hint("change the point, or the constraint"));
        }
    }
    faults
}
