//! The domain of each parameter by itself: ranges, steps, choices.

use super::{Context, number};
use crate::document::{Fault, Path};
use crate::spec::{ChoiceSpec, FloatSpec, IntSpec, ParameterSpec};

/// Domains without values, or that are not what they seem.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, spec) in context.parameters() {
        let at = Context::at(name);
        match spec {
            ParameterSpec::Float(spec) => float(spec, name, &at, &mut faults),
            ParameterSpec::Int(spec) => int(spec, name, &at, &mut faults),
            ParameterSpec::Choice(spec) => choice(spec, name, &at, &mut faults),
            ParameterSpec::Const(_) => {}
        }
    }
    faults
}

fn float(spec: &FloatSpec, name: &str, at: &Path, faults: &mut Vec<Fault>) {
    let FloatSpec { float: [low, high], log, step, when: _ } = spec;
    let range = at.key("float");
    if low > high {
        return faults.push(backwards(name, &number(*low), &number(*high), "float", range));
    }
    if !(high - low).is_finite() {
        faults.push(Fault::new(range, format!("the range of `{name}` is too wide for its numbers")).hint("narrow it"));
        return;
    }
    if *log && *low <= 0.0 {
        faults.push(no_logarithm(name, range, "float", &number(*low), &number(*high)));
    }
    match step {
        Some(_) if *log => faults.push(stepped_log(name, at)),
        Some(step) if *step <= 0.0 => faults.push(no_step(name, at, &number(*step))),
        Some(step) => {
            let count = (high - low) / step;
            // A step such as 0.1 is not exact: a millionth of it is forgiven.
            if (count - count.round()).abs() > 1e-6 * count.max(1.0) {
                let range = format!("[{}, {}]", number(*low), number(*high));
                let ends = [count.floor(), count.ceil()].map(|k| number(tidy(low + k * step)));
                faults.push(uneven(name, at, number(*step), &range, &ends));
            }
        }
        None => {}
    }
}

/// Without the last digits that a sum of floats brings along.
fn tidy(x: f64) -> f64 {
    format!("{x:.12e}").parse().unwrap_or(x)
}

fn int(spec: &IntSpec, name: &str, at: &Path, faults: &mut Vec<Fault>) {
    let IntSpec { int: [low, high], log, step, when: _ } = spec;
    let range = at.key("int");
    if low > high {
        return faults.push(backwards(name, low, high, "int", range));
    }
    if *log && *low <= 0 {
        faults.push(no_logarithm(name, range, "int", low, high));
    }
    match step {
        Some(_) if *log => faults.push(stepped_log(name, at)),
        Some(step) if *step <= 0 => faults.push(no_step(name, at, step)),
        Some(step) => {
            let (low, high, step) = (i128::from(*low), i128::from(*high), i128::from(*step));
            let rest = (high - low) % step;
            if rest != 0 {
                let ends = [high - rest, high - rest + step].map(|x| x.to_string());
                faults.push(uneven(name, at, step, &format!("[{low}, {high}]"), &ends));
            }
        }
        None => {}
    }
}

fn choice(spec: &ChoiceSpec, name: &str, at: &Path, faults: &mut Vec<Fault>) {
    let values = &spec.choice;
    if values.is_empty() {
        let fault = Fault::new(at.key("choice"), format!("`{name}` has nothing to choose from"));
        faults.push(fault.hint(format!("list its values, or write `{name}: VALUE` for a constant")));
    }
    for (i, value) in values.iter().enumerate() {
        if let Some(first) = values[..i].iter().position(|other| other == value) {
            let message = format!("`{name}` lists {value:?} twice, as number {} and {}", first + 1, i + 1);
            faults
                .push(Fault::new(at.key("choice").index(i), message).hint("remove one; every value is equally likely"));
        }
    }
}

fn backwards(name: &str, low: &impl std::fmt::Display, high: &impl std::fmt::Display, kind: &str, at: Path) -> Fault {
    Fault::new(at, format!("the range of `{name}` begins at {low}, above its end {high}"))
        .hint(format!("write `{kind}: [{high}, {low}]`"))
}

fn no_logarithm(
    name: &str,
    at: Path,
    kind: &str,
    low: &impl std::fmt::Display,
    high: &impl std::fmt::Display,
) -> Fault {
    let example = if kind == "int" { "1" } else { "1e-6" };
    Fault::new(
        at,
        format!("`{name}` is logarithmic, and its range begins at {low}: only positive numbers have a logarithm"),
    )
    .hint(format!("begin above 0, for example `{kind}: [{example}, {high}]`, or remove `log`"))
}

fn stepped_log(name: &str, at: &Path) -> Fault {
    Fault::new(at.key("step"), format!("`{name}` is logarithmic and cannot have a step"))
        .hint("remove `step` or `log`; for certain values of your own write `choice`")
}

fn no_step(name: &str, at: &Path, step: &impl std::fmt::Display) -> Fault {
    Fault::new(at.key("step"), format!("the step of `{name}` is {step}, and a step is above 0"))
        .hint("write a positive step, or remove it")
}

fn uneven(name: &str, at: &Path, step: impl std::fmt::Display, range: &str, ends: &[String; 2]) -> Fault {
    let [reached, next] = ends;
    Fault::new(at.key("step"), format!("the step {step} of `{name}` does not divide its range {range}"))
        .hint(format!("its last value would be {reached}: end the range at {reached} or at {next}"))
}
