//! `heats enqueue`

use heats_domain::{Domain, Params, Space, Value};
use heats_wire::v1;

use super::best::sweep_id;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::select::Selector;
use crate::{hints, view, words};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep
    #[arg(value_name = "SWEEP")]
    sweep: Selector,
    /// Values; what they leave open, the searcher fills in
    #[arg(value_name = "NAME=VALUE", required = true)]
    values: Vec<String>,
}

/// Asks for a configuration to be tried next.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { sweep, values } = args;
    let name = super::named::sweep_only(sweep, "enqueue")?;
    let client = context.client()?;
    let sweep = client.get(name).await?.sweep.unwrap_or_default();
    let spec = view::spec(&sweep).ok_or_else(|| {
        Failure::failed(format!("the specification of `{name}` cannot be read by this version of heats"))
    })?;
    let params = parse(&spec.space(), values)?;
    let request = v1::EnqueueRequest { sweep: sweep_id(&sweep), params: Some(params) };
    let v1::EnqueueResponse { waiting, .. } = client.enqueue(request).await?;
    hints::note(&format!("{} in the queue of {}", words::count(u64::from(waiting), "configuration"), sweep.name));
    hints::next(&[
        (format!("heats trials {} --sort -number -n 5", sweep.name), "the newest trials"),
        (format!("heats watch {}", sweep.name), "follow it to its end"),
    ]);
    Ok(Exit::Ok)
}

/// The values, each in the type that the space gives its parameter.
fn parse(space: &Space, values: &[String]) -> Result<Params, Failure> {
    let mut params = Params::default();
    for text in values {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            Failure::usage(format!("`{text}` is not NAME=VALUE")).hint("for example lr=0.01 opt=adamw")
        })?;
        let Some(parameter) = space.get(name) else {
            let known = space.parameters.iter().map(|parameter| parameter.name.as_str());
            let hint = words::nearest(name, known.clone()).map_or_else(
                || format!("one of {}", known.collect::<Vec<_>>().join(", ")),
                |nearest| format!("did you mean `{nearest}`?"),
            );
            return Err(Failure::usage(format!("the sweep has no parameter `{name}`")).hint(hint));
        };
        let typed = typed(&parameter.domain, value);
        match typed.filter(|typed| parameter.domain.contains(typed)) {
            Some(typed) => params.insert(name, typed),
            None => {
                return Err(Failure::usage(format!("`{value}` is not a value of `{name}`"))
                    .hint(format!("{name} is {}", described(&parameter.domain))));
            }
        }
    }
    Ok(params)
}

fn typed(domain: &Domain, text: &str) -> Option<Value> {
    match domain {
        Domain::Float { .. } => text.parse().ok().map(Value::Float),
        Domain::Int { .. } => text.parse().ok().map(Value::Int),
        Domain::Choice(values) => values.iter().find(|value| is(value, text)).cloned(),
        Domain::Const(value) => is(value, text).then(|| value.clone()),
    }
}

/// Whether `text` means `value`: as it prints, or as the same number.
fn is(value: &Value, text: &str) -> bool {
    value.to_string() == text
        || matches!((value, text.parse::<f64>()), (Value::Float(number), Ok(given)) if *number == given)
}

fn described(domain: &Domain) -> String {
    match domain {
        Domain::Float { low, high, step: None, .. } => format!("a number from {low:?} to {high:?}"),
        Domain::Float { low, high, step: Some(step), .. } => {
            format!("a number from {low:?} to {high:?} in steps of {step:?}")
        }
        Domain::Int { low, high, step: 1, .. } => format!("a whole number from {low} to {high}"),
        Domain::Int { low, high, step, .. } => format!("a whole number from {low} to {high} in steps of {step}"),
        Domain::Choice(values) => {
            format!("one of {}", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        Domain::Const(value) => format!("always {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        let spec: heats_domain::SweepSpec = serde_json::from_value(serde_json::json!({
            "command": ["true"],
            "space": {
                "lr": {"float": [1e-5, 1.0], "log": true}, "width": {"int": [32, 512], "step": 32},
                "opt": {"choice": ["sgd", "adamw", 3, 0.5, true]}, "epochs": 27
            }
        }))
        .expect("a spec");
        spec.space()
    }

    fn parsed(values: &[&str]) -> Result<Params, Failure> {
        parse(&space(), &values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_value_gets_the_type_of_its_parameter() {
        let params = parsed(&["lr=1", "width=64", "opt=adamw", "epochs=27"]).expect("parses");
        assert_eq!(params.get("lr"), Some(&Value::Float(1.0)));
        assert_eq!(params.get("width"), Some(&Value::Int(64)));
        assert_eq!(parsed(&["opt=3"]).expect("parses").get("opt"), Some(&Value::Int(3)));
        assert_eq!(parsed(&["opt=.5"]).expect("parses").get("opt"), Some(&Value::Float(0.5)));
        assert_eq!(parsed(&["opt=true"]).expect("parses").get("opt"), Some(&Value::Bool(true)));
    }

    #[test]
    fn a_value_outside_of_the_domain_is_refused_with_the_domain() {
        for (bad, hint) in [
            ("lr=2", "lr is a number from 1e-5 to 1.0"),
            ("width=33", "width is a whole number from 32 to 512 in steps of 32"),
            ("opt=adam", "opt is one of sgd, adamw, 3, 0.5, true"),
            ("wdith=64", "did you mean `width`?"),
            ("lr", "for example lr=0.01 opt=adamw"),
        ] {
            assert_eq!(parsed(&[bad]).expect_err(bad).hint.as_deref(), Some(hint));
        }
    }
}
