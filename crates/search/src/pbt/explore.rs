//! What becomes of a configuration that is copied: each parameter is drawn anew, or moved.
//!
//! Ray Tune's `_explore`: a number times one of the factors, one of a list to its neighbour. On purpose different from there:
//! the result is brought back to the parameter's bounds and steps, where Ray lets it leave them; a number that has steps (an
//! integer has) moves by one of them at least, where Ray rounds 1 times 1.2 back to 1; a parameter that has a value only
//! beside the new others is drawn; and a configuration that breaks a constraint is explored again.

use heats_domain::{Domain, Params, Space, Value};
use rand::{Rng, RngExt};

use super::Plan;
use crate::draw::DRAWS_MAX;

/// What is done to one parameter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Move {
    /// It is drawn anew: the value at this place of the unit interval, see [`Domain::at`].
    Resample(f64),
    /// A number is multiplied; of a list, the neighbour above is taken if the factor is above 1, else the one below.
    Times(f64),
}

/// The configuration of a copy of one that has `parent`; one of the space's, as long as `parent` is.
pub fn explore(space: &Space, plan: &Plan, parent: &Params, rng: &mut (impl Rng + ?Sized)) -> Params {
    let is_explored = |name: &str| plan.mutate.is_empty() || plan.mutate.iter().any(|other| other == name);
    for _ in 0..DRAWS_MAX {
        let params = space.assemble(|parameter, _| {
            let Some(value) = parent.get(&parameter.name) else { return parameter.domain.at(rng.random()) };
            if is_explored(&parameter.name) {
                moved(&parameter.domain, value, draw(plan, &parameter.domain, rng))
            } else {
                value.clone()
            }
        });
        if space.is_feasible(&params) {
            return params;
        }
    }
    parent.clone()
}

fn draw(plan: &Plan, domain: &Domain, rng: &mut (impl Rng + ?Sized)) -> Move {
    if rng.random::<f64>() < plan.resample {
        return Move::Resample(rng.random());
    }
    match domain {
        Domain::Choice(_) => Move::Times(if rng.random::<bool>() { 2.0 } else { 0.5 }),
        Domain::Float { .. } | Domain::Int { .. } | Domain::Const(_) => {
            Move::Times(plan.factors[rng.random_range(0..plan.factors.len())])
        }
    }
}

/// `value` of `domain` after the move: a value of the domain as well.
pub fn moved(domain: &Domain, value: &Value, movement: Move) -> Value {
    let factor = match movement {
        Move::Resample(u) => return domain.at(u),
        Move::Times(factor) => factor,
    };
    match (domain, value) {
        (Domain::Float { low, high, step, .. }, Value::Float(x)) => {
            let to = (x * factor).clamp(*low, *high);
            let Some(step) = step else { return Value::Float(to) };
            let place = |x: f64| ((x - low) / step).round();
            let last = ((high - low) / step + 1e-9).floor();
            Value::Float((low + onward(place(*x), place(to), x * factor - x).clamp(0.0, last) * step).min(*high))
        }
        (Domain::Int { low, high, step, .. }, Value::Int(x)) => {
            let (at, step) = (*x as f64, *step as f64);
            let place = |x: f64| ((x - *low as f64) / step).round();
            let last = ((*high as f64 - *low as f64) / step).floor();
            let to = onward(place(at), place((at * factor).clamp(*low as f64, *high as f64)), at * factor - at);
            Value::Int((*low as f64 + to.clamp(0.0, last) * step) as i64)
        }
        (Domain::Choice(values), value) => {
            let Some(at) = values.iter().position(|other| other == value) else { return value.clone() };
            let to = if factor > 1.0 { at.saturating_add(1) } else { at.saturating_sub(1) };
            values[to.min(values.len() - 1)].clone()
        }
        (Domain::Float { .. } | Domain::Int { .. } | Domain::Const(_), value) => value.clone(),
    }
}

/// The place `to` among the steps, or where that is the old one the next that lies the way of `by`.
fn onward(from: f64, to: f64, by: f64) -> f64 {
    if to == from && by != 0.0 { from + by.signum() } else { to }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{configurations, finite, spaces};
    use crate::rng::{Purpose, stream};

    fn plan() -> Plan {
        Plan {
            population: 4,
            interval: 1,
            max: 9,
            burn_in: 0,
            quantile: 0.25,
            resample: 0.25,
            factors: vec![1.2, 0.8],
            mutate: Vec::new(),
        }
    }

    #[test]
    fn whatever_is_explored_is_a_configuration_of_the_space() {
        for (name, space) in spaces() {
            for trial in 0..200 {
                let mut rng = stream(3, trial, Purpose::Exploit);
                let mut params = space.sample(&mut rng);
                if !space.is_feasible(&params) {
                    continue;
                }
                for _ in 0..20 {
                    params = explore(&space, &plan(), &params, &mut rng);
                    assert_eq!(space.check(&params), Ok(()), "{params} in {name}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_to_be_explored_stays_as_it_is() {
        let space = finite();
        let plan = Plan { mutate: vec!["depth".into()], ..plan() };
        let mut depths = std::collections::BTreeSet::new();
        for trial in 0..200 {
            let mut rng = stream(5, trial, Purpose::Exploit);
            let parent: Params =
                [("depth", Value::Int(4)), ("opt", Value::Str("adam".into())), ("seed", Value::Int(1))]
                    .into_iter()
                    .collect();
            let params = explore(&space, &plan, &parent, &mut rng);
            assert_eq!(params.get("opt"), parent.get("opt"));
            depths.insert(params.to_string());
        }
        assert!(depths.len() > 1 && configurations(&space).is_superset(&depths), "{depths:?}");
    }

    #[test]
    fn numbers_stay_within_their_bounds_and_on_their_steps_and_move_by_one_at_least() {
        let int = |low, high, step| Domain::Int { low, high, log: false, step };
        let float = |low, high, step| Domain::Float { low, high, log: false, step };
        let up = |domain: &Domain, value: Value| moved(domain, &value, Move::Times(1.2));
        let down = |domain: &Domain, value: Value| moved(domain, &value, Move::Times(0.8));
        assert_eq!(up(&int(1, 9, 1), Value::Int(1)), Value::Int(2), "1.2 would be 1 again");
        assert_eq!(
            (up(&int(1, 9, 1), Value::Int(9)), down(&int(1, 9, 1), Value::Int(1))),
            (Value::Int(9), Value::Int(1))
        );
        assert_eq!(up(&int(32, 512, 32), Value::Int(64)), Value::Int(96));
        assert_eq!(up(&int(-9, 9, 1), Value::Int(-2)), Value::Int(-3), "away from zero, as the factor says");
        assert_eq!(up(&float(0.0, 1.0, None), Value::Float(0.9)), Value::Float(1.0));
        assert_eq!(down(&float(0.0, 0.5, Some(0.25)), Value::Float(0.5)), Value::Float(0.25));
        let list = Domain::Choice(["a", "b", "c"].map(|name| Value::Str(name.into())).into());
        assert_eq!(up(&list, Value::Str("c".into())), Value::Str("c".into()));
        assert_eq!(down(&list, Value::Str("c".into())), Value::Str("b".into()));
        assert_eq!(moved(&list, &Value::Str("c".into()), Move::Resample(0.0)), Value::Str("a".into()));
    }
}
