//! The configurations of a finite space, numbered.
//!
//! A number is a mixed-radix rank: one digit for each parameter, the last parameter's the least. Where a
//! condition leaves a parameter without a value its digit is 0, so that each configuration has one number
//! and some numbers have no configuration. Proposes nothing: see `deck`.

use heats_domain::{Domain, Params, Space, Value};

/// A finite space of at most 2^64 - 1 points.
#[derive(Clone, Debug)]
pub struct Lattice {
    space: Space,
    axes: Vec<Axis>,
    /// For each constraint, the last parameter that it mentions: later ones cannot mend it.
    reach: Vec<usize>,
    points: u64,
}

#[derive(Clone, Copy, Debug)]
struct Axis {
    /// How many values the parameter has.
    radix: u64,
    /// What one step of its digit adds to the rank.
    weight: u64,
}

/// What stands at a rank.
#[derive(Clone, PartialEq, Debug)]
pub enum Point {
    /// A configuration that satisfies every constraint.
    Feasible(Params),
    /// None; nor at any rank from here to below `next`.
    Nothing {
        /// The next rank worth a look.
        next: u64,
    },
}

impl Lattice {
    /// The lattice of `space`; `None` where an unstepped float, or sheer size, makes it endless.
    pub fn new(space: &Space) -> Option<Self> {
        let points = space.cardinality()?;
        let mut weight = points;
        let mut axes = Vec::with_capacity(space.parameters.len());
        for parameter in &space.parameters {
            let radix = parameter.domain.cardinality()?;
            weight /= radix;
            axes.push(Axis { radix, weight });
        }
        let reach = space
            .constraints
            .iter()
            .map(|constraint| {
                let mentions = constraint.mentions();
                space.parameters.iter().rposition(|p| mentions.contains(&p.name)).unwrap_or(0)
            })
            .collect();
        Some(Self { space: space.clone(), axes, reach, points })
    }

    /// How many ranks there are: the number of configurations when conditions and constraints are left aside.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// What stands at `rank`.
    pub fn visit(&self, rank: u64) -> Point {
        let mut params = Params::default();
        for (parameter, axis) in self.space.parameters.iter().zip(&self.axes) {
            let digit = rank / axis.weight % axis.radix;
            if self.space.is_active(parameter, &params) {
                if let Some(value) = parameter.domain.nth(digit) {
                    params.insert(parameter.name.clone(), value);
                }
            } else if digit != 0 {
                return Point::Nothing { next: next_multiple(rank, axis.weight.saturating_mul(axis.radix)) };
            }
        }
        let Some(broken) = self.space.broken_constraint(&params) else {
            return Point::Feasible(params);
        };
        let reach = self.space.constraints.iter().position(|c| c == broken).and_then(|i| self.reach.get(i));
        let step = reach.and_then(|i| self.axes.get(*i)).map_or(1, |axis| axis.weight);
        Point::Nothing { next: next_multiple(rank, step) }
    }

    /// The rank of the configuration that has `rank`'s digits where they count, whatever the constraints say of it.
    pub fn settle(&self, rank: u64) -> u64 {
        let mut params = Params::default();
        let mut settled = 0;
        for (parameter, axis) in self.space.parameters.iter().zip(&self.axes) {
            if self.space.is_active(parameter, &params) {
                let digit = rank / axis.weight % axis.radix;
                settled += digit * axis.weight;
                if let Some(value) = parameter.domain.nth(digit) {
                    params.insert(parameter.name.clone(), value);
                }
            }
        }
        settled
    }

    /// The rank of `params`; `None` where a value is not of its domain.
    pub fn rank(&self, params: &Params) -> Option<u64> {
        let mut rank = 0;
        for (parameter, axis) in self.space.parameters.iter().zip(&self.axes) {
            if let Some(value) = params.get(&parameter.name) {
                rank += digit(&parameter.domain, value)? * axis.weight;
            }
        }
        Some(rank)
    }
}

/// The smallest multiple of `step` above `rank`.
fn next_multiple(rank: u64, step: u64) -> u64 {
    (rank / step).saturating_add(1).saturating_mul(step)
}

/// Which of the domain's values `value` is: the inverse of [`Domain::nth`].
fn digit(domain: &Domain, value: &Value) -> Option<u64> {
    if !domain.contains(value) {
        return None;
    }
    match (domain, value) {
        (Domain::Choice(values), _) => values.iter().position(|v| v == value).map(|i| i as u64),
        (Domain::Const(_), _) => Some(0),
        (Domain::Float { low, high, .. }, Value::Float(_)) if low == high => Some(0),
        (Domain::Float { low, step: Some(step), .. }, Value::Float(x)) => Some(((x - low) / step).round() as u64),
        (Domain::Int { low, step, .. }, Value::Int(i)) => Some(i.abs_diff(*low) / step.unsigned_abs()),
        (Domain::Float { .. } | Domain::Int { .. }, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::{Expr, Parameter};
    use std::collections::BTreeSet;

    fn space() -> Space {
        let parameter = |name: &str, domain, when: Option<&str>| Parameter {
            name: name.into(),
            domain,
            when: when.map(|source| Expr::parse(source).expect("parses")),
        };
        Space {
            parameters: vec![
                parameter("opt", Domain::Choice(vec![Value::Str("sgd".into()), Value::Str("adam".into())]), None),
                parameter("k", Domain::Const(Value::Int(7)), None),
                parameter(
                    "momentum",
                    Domain::Float { low: 0.0, high: 0.9, log: false, step: Some(0.3) },
                    Some(r#"opt == "sgd""#),
                ),
                parameter("depth", Domain::Int { low: 2, high: 10, log: false, step: 2 }, None),
            ],
            constraints: vec![Expr::parse("depth != 6").expect("parses")],
        }
    }

    #[test]
    fn each_configuration_has_one_rank() {
        let lattice = Lattice::new(&space()).expect("is finite");
        assert_eq!(lattice.points(), 2 * 4 * 5);
        let mut seen = BTreeSet::new();
        for rank in 0..lattice.points() {
            if let Point::Feasible(params) = lattice.visit(rank) {
                assert_eq!(space().check(&params), Ok(()));
                assert_eq!(lattice.rank(&params), Some(rank));
                assert_eq!(lattice.settle(rank), rank);
                assert!(seen.insert(params.to_string()), "{params} twice");
            }
        }
        assert_eq!(seen.len(), 4 * 4 + 4, "sgd with four momenta, adam once, each with four depths");
    }

    #[test]
    fn a_skip_leaves_no_configuration_out() {
        let lattice = Lattice::new(&space()).expect("is finite");
        let (mut rank, mut found) = (0, 0);
        while rank < lattice.points() {
            match lattice.visit(rank) {
                Point::Feasible(_) => (rank, found) = (rank + 1, found + 1),
                Point::Nothing { next } => {
                    assert!(next > rank);
                    rank = next;
                }
            }
        }
        assert_eq!(found, 20);
    }

    #[test]
    fn an_endless_space_has_no_lattice() {
        let mut endless = space();
        endless.parameters[2].domain = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
        assert!(Lattice::new(&endless).is_none());
    }
}
