//! Spaces of every shape, and what to make them of.

use std::collections::BTreeSet;

use heats_domain::{Domain, Expr, Parameter, Space, Value};

/// A parameter that is always active.
pub fn parameter(name: &str, domain: Domain) -> Parameter {
    Parameter { name: name.to_owned(), domain, when: None }
}

/// A parameter that is active where `when` holds.
pub fn conditional(name: &str, domain: Domain, when: &str) -> Parameter {
    Parameter { name: name.to_owned(), domain, when: Some(expr(when)) }
}

/// A constraint or condition.
pub fn expr(source: &str) -> Expr {
    Expr::parse(source).unwrap_or_else(|error| panic!("{error}"))
}

/// Real numbers.
pub fn float(low: f64, high: f64) -> Domain {
    Domain::Float { low, high, log: false, step: None }
}

/// Whole numbers.
pub fn int(low: i64, high: i64) -> Domain {
    Domain::Int { low, high, log: false, step: 1 }
}

/// One of these texts.
pub fn choice(values: &[&str]) -> Domain {
    Domain::Choice(values.iter().map(|value| Value::Str((*value).to_owned())).collect())
}

/// Spaces of every shape: endless and finite, with and without conditions and constraints.
pub fn spaces() -> Vec<(&'static str, Space)> {
    let of = |parameters: Vec<Parameter>, constraints: &[&str]| Space {
        parameters,
        constraints: constraints.iter().map(|source| expr(source)).collect(),
    };
    vec![
        ("one float", of(vec![parameter("x", float(-5.0, 5.0))], &[])),
        (
            "logarithms and steps",
            of(
                vec![
                    parameter("lr", Domain::Float { low: 1e-5, high: 0.1, log: true, step: None }),
                    parameter("layers", Domain::Int { low: 1, high: 1000, log: true, step: 1 }),
                    parameter("width", Domain::Int { low: 32, high: 512, log: false, step: 32 }),
                    parameter("drop", Domain::Float { low: 0.0, high: 0.5, log: false, step: Some(0.1) }),
                    parameter("huge", int(i64::MIN, i64::MAX)),
                    parameter("epochs", Domain::Const(Value::Int(27))),
                ],
                &[],
            ),
        ),
        (
            "conditions",
            of(
                vec![
                    parameter("opt", choice(&["sgd", "adam"])),
                    conditional("momentum", float(0.0, 0.99), r#"opt == "sgd""#),
                    conditional(
                        "nesterov",
                        Domain::Choice(vec![Value::Bool(true), Value::Bool(false)]),
                        r#"opt == "sgd""#,
                    ),
                    conditional("beta", float(0.8, 0.999), r#"opt == "adam""#),
                    conditional("warm", int(1, 5), "momentum > 0.5"),
                    parameter("lr", Domain::Float { low: 1e-4, high: 1.0, log: true, step: None }),
                ],
                &[],
            ),
        ),
        (
            "constraints",
            of(
                vec![parameter("width", int(1, 100)), parameter("batch", int(1, 100)), parameter("x", float(0.0, 1.0))],
                &["width * batch <= 2500", "x < 0.75 || width > 10"],
            ),
        ),
        ("one value each", of(vec![parameter("k", int(3, 3)), parameter("c", choice(&["only"]))], &[])),
        ("constants only", of(vec![parameter("epochs", Domain::Const(Value::Int(27)))], &[])),
        ("nothing at all", of(vec![], &[])),
        ("twenty dimensions", of((0..20).map(|i| parameter(&format!("x{i}"), float(0.0, 1.0))).collect(), &[])),
        (
            "choices only",
            of(vec![parameter("a", choice(&["p", "q", "r"])), parameter("b", choice(&["u", "v", "w", "x"]))], &[]),
        ),
        ("finite with conditions and constraints", finite()),
    ]
}

/// A finite space in which some points are no configuration and some break a constraint.
pub fn finite() -> Space {
    Space {
        parameters: vec![
            parameter("opt", choice(&["sgd", "adam"])),
            conditional(
                "momentum",
                Domain::Float { low: 0.0, high: 0.9, log: false, step: Some(0.3) },
                r#"opt == "sgd""#,
            ),
            parameter("depth", Domain::Int { low: 2, high: 10, log: false, step: 2 }),
            parameter("seed", Domain::Const(Value::Int(1))),
        ],
        constraints: vec![expr("depth != 6"), expr("momentum * 10.0 <= double(depth)")],
    }
}

/// Every configuration of a finite space, found by trying all.
pub fn configurations(space: &Space) -> BTreeSet<String> {
    let mut points = vec![Vec::<u64>::new()];
    for p in &space.parameters {
        let count = p.domain.cardinality().unwrap_or_else(|| panic!("`{}` is endless", p.name));
        points = points.into_iter().flat_map(|point| (0..count).map(move |k| [&point[..], &[k]].concat())).collect();
    }
    let lay_out = |point: Vec<u64>| {
        let place = |name: &str| space.parameters.iter().position(|p| p.name == name);
        space.assemble(|p, _| place(&p.name).and_then(|i| p.domain.nth(point[i])).unwrap_or(Value::Bool(false)))
    };
    points
        .into_iter()
        .map(lay_out)
        .filter(|params| space.is_feasible(params))
        .map(|params| params.to_string())
        .collect()
}
