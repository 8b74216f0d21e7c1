//! The search space: parameters with their domains and conditions, and the constraints between them.
//!
//! Knows how to lay a point of the unit cube, or a choice per parameter, out as a configuration.
//! Never proposes anything: see the crate `search`.

use rand::{Rng, RngExt};

use crate::expr::EvalError;
use crate::{Expr, Params, Value};

/// The values that a parameter can take.
#[derive(Clone, PartialEq, Debug)]
pub enum Domain {
    /// Real numbers from `low` to `high`, both included.
    Float {
        /// The smallest value.
        low: f64,
        /// The largest value.
        high: f64,
        /// Uniform in the logarithm; then `low` is positive and there is no step.
        log: bool,
        /// Only `low + k * step`.
        step: Option<f64>,
    },
    /// Whole numbers from `low` to `high`, both included.
    Int {
        /// The smallest value.
        low: i64,
        /// The largest value.
        high: i64,
        /// Uniform in the logarithm; then `low` is positive and the step is 1.
        log: bool,
        /// Only `low + k * step`; at least 1.
        step: i64,
    },
    /// One of these, in no order; never empty, no value twice.
    Choice(Vec<Value>),
    /// Always this.
    Const(Value),
}

impl Domain {
    /// The value at `u` in `[0, 1)`: equal lengths of `u` for equal probability.
    pub fn at(&self, u: f64) -> Value {
        let u = u.clamp(0.0, 1.0 - f64::EPSILON);
        match self {
            Self::Float { low, high, log: true, .. } => {
                Value::Float((low.ln() + u * (high.ln() - low.ln())).exp().clamp(*low, *high))
            }
            Self::Float { low, high, log: false, step: None } => {
                Value::Float((low + u * (high - low)).clamp(*low, *high))
            }
            Self::Float { low, high, log: false, step: Some(step) } => {
                let k = (u * (steps(*low, *high, *step) + 1) as f64).floor();
                Value::Float((low + k * step).clamp(*low, *high))
            }
            Self::Int { low, high, log: true, .. } => {
                // Each integer owns the half-open interval of half a unit around it.
                let (from, to) = ((*low as f64 - 0.5).ln(), (*high as f64 + 0.5).ln());
                let x = (from + u * (to - from)).exp().round();
                Value::Int((x as i64).clamp(*low, *high))
            }
            Self::Int { low, high, log: false, step } => {
                let count = self.cardinality_of_ints(*low, *high, *step);
                let k = ((u * count as f64).floor() as u64).min(count - 1);
                Value::Int(low.saturating_add_unsigned(k.saturating_mul(step.unsigned_abs())).min(*high))
            }
            Self::Choice(values) => values[((u * values.len() as f64).floor() as usize).min(values.len() - 1)].clone(),
            Self::Const(value) => value.clone(),
        }
    }

    /// The middle of the stretch of `[0, 1)` that [`Domain::at`] maps to `value`; `None` where the value is not of the domain.
    pub fn unit(&self, value: &Value) -> Option<f64> {
        if !self.contains(value) {
            return None;
        }
        match (self, value) {
            (Self::Choice(values), _) => {
                let place = values.iter().position(|v| v == value)?;
                Some((place as f64 + 0.5) / values.len() as f64)
            }
            (Self::Const(_), _) => Some(0.5),
            (Self::Float { low, high, .. }, Value::Float(_)) if low == high => Some(0.5),
            (Self::Float { low, high, log: true, .. }, Value::Float(x)) => {
                Some((x.ln() - low.ln()) / (high.ln() - low.ln()))
            }
            (Self::Float { low, high, log: false, step: None }, Value::Float(x)) => Some((x - low) / (high - low)),
            (Self::Float { low, high, log: false, step: Some(step) }, Value::Float(x)) => {
                Some((((x - low) / step).round() + 0.5) / (steps(*low, *high, *step) + 1) as f64)
            }
            (Self::Int { low, high, log: true, .. }, Value::Int(i)) => {
                let (from, to) = ((*low as f64 - 0.5).ln(), (*high as f64 + 0.5).ln());
                Some(((*i as f64).ln() - from) / (to - from))
            }
            (Self::Int { low, high, log: false, step }, Value::Int(i)) => {
                let count = self.cardinality_of_ints(*low, *high, *step);
                Some(((i.abs_diff(*low) / step.unsigned_abs()) as f64 + 0.5) / count as f64)
            }
            _ => None,
        }
    }

    /// Whether `value` is one of the domain's, type included.
    pub fn contains(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Float { low, high, step: None, .. }, Value::Float(x)) => low <= x && x <= high,
            (Self::Float { low, high, step: Some(step), .. }, Value::Float(x)) => {
                let k = (x - low) / step;
                // A stepped float went through a multiplication: allow for its rounding.
                low <= x && x <= high && (k - k.round()).abs() < 1e-6
            }
            (Self::Int { low, high, step, .. }, Value::Int(i)) => {
                low <= i && i <= high && i.abs_diff(*low).is_multiple_of(step.unsigned_abs())
            }
            (Self::Choice(values), value) => values.contains(value),
            (Self::Const(constant), value) => constant == value,
            (Self::Float { .. } | Self::Int { .. }, _) => false,
        }
    }

    /// How many values there are; `None` for an unstepped float.
    pub fn cardinality(&self) -> Option<u64> {
        match self {
            Self::Float { low, high, .. } if low == high => Some(1),
            Self::Float { step: None, .. } => None,
            Self::Float { low, high, step: Some(step), .. } => Some(steps(*low, *high, *step) + 1),
            Self::Int { low, high, step, .. } => Some(self.cardinality_of_ints(*low, *high, *step)),
            Self::Choice(values) => Some(values.len() as u64),
            Self::Const(_) => Some(1),
        }
    }

    /// The `k`-th value, for `k` below the cardinality; `None` for an unstepped float.
    pub fn nth(&self, k: u64) -> Option<Value> {
        match self {
            Self::Float { low, high, .. } if low == high => Some(Value::Float(*low)),
            Self::Float { step: None, .. } => None,
            Self::Float { low, high, step: Some(step), .. } => Some(Value::Float((low + k as f64 * step).min(*high))),
            Self::Int { low, high, step, .. } => {
                Some(Value::Int(low.saturating_add_unsigned(k.saturating_mul(step.unsigned_abs())).min(*high)))
            }
            Self::Choice(values) => values.get(k as usize).cloned(),
            Self::Const(value) => Some(value.clone()),
        }
    }

    fn cardinality_of_ints(&self, low: i64, high: i64, step: i64) -> u64 {
        (high.abs_diff(low) / step.unsigned_abs()).saturating_add(1)
    }
}

/// How many whole steps fit between `low` and `high`.
fn steps(low: f64, high: f64, step: f64) -> u64 {
    // 1e-9 forgives the rounding of a step such as 0.1.
    ((high - low) / step + 1e-9).floor() as u64
}

/// One parameter of the space.
#[derive(Clone, PartialEq, Debug)]
pub struct Parameter {
    /// Its name, unique in the space.
    pub name: String,
    /// What it can be.
    pub domain: Domain,
    /// It has a value only where this holds; it may mention parameters that come earlier.
    pub when: Option<Expr>,
}

/// All parameters, each after those that its condition mentions, and the constraints between them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Space {
    /// Parameters and constants, in the file's order as far as the conditions allow.
    pub parameters: Vec<Parameter>,
    /// What every configuration satisfies. A constraint that mentions an inactive parameter does not apply.
    pub constraints: Vec<Expr>,
}

/// Why a configuration is not one of the space's.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParamError {
    /// It names a parameter that the space does not have.
    #[error("`{0}` is not a parameter of this sweep")]
    Unknown(String),
    /// A value is outside of the parameter's domain, or of another type.
    #[error("{value:?} is not a value of `{name}`")]
    Outside {
        /// The parameter.
        name: String,
        /// The value.
        value: Value,
    },
    /// A parameter that is active beside the others has no value.
    #[error("`{0}` has no value")]
    Missing(String),
    /// A value is given for a parameter that is inactive beside the others.
    #[error("`{0}` has no value beside these others: its condition does not hold")]
    Inactive(String),
    /// A constraint does not hold.
    #[error("the constraint `{0}` does not hold")]
    Constraint(String),
}

impl Space {
    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }

    /// Whether `parameter` has a value beside `earlier` values. A condition that cannot be
    /// computed, because it mentions an inactive parameter, does not hold.
    pub fn is_active(&self, parameter: &Parameter, earlier: &Params) -> bool {
        parameter.when.as_ref().is_none_or(|when| when.holds(earlier).unwrap_or(false))
    }

    /// Lays out one configuration: asks `choose` for the value of each active parameter that is not
    /// constant, in order. Constraints are not looked at.
    pub fn assemble(&self, mut choose: impl FnMut(&Parameter, &Params) -> Value) -> Params {
        let mut params = Params::default();
        for parameter in &self.parameters {
            if !self.is_active(parameter, &params) {
                continue;
            }
            let value = match &parameter.domain {
                Domain::Const(value) => value.clone(),
                Domain::Float { .. } | Domain::Int { .. } | Domain::Choice(_) => choose(parameter, &params),
            };
            params.insert(parameter.name.clone(), value);
        }
        params
    }

    /// One configuration drawn uniformly (in the logarithm where so declared). Constraints are not looked at.
    pub fn sample(&self, rng: &mut (impl Rng + ?Sized)) -> Params {
        self.assemble(|parameter, _| parameter.domain.at(rng.random()))
    }

    /// Whether every constraint that applies holds; one that cannot be computed does not hold.
    pub fn is_feasible(&self, params: &Params) -> bool {
        self.broken_constraint(params).is_none()
    }

    /// The first constraint that does not hold for `params`.
    pub fn broken_constraint(&self, params: &Params) -> Option<&Expr> {
        self.constraints.iter().find(|constraint| match constraint.holds(params) {
            Ok(holds) => !holds,
            Err(EvalError::Missing(_)) => false,
            Err(EvalError::Undefined { .. }) => true,
        })
    }

    /// Whether `params` is a complete configuration of this space, constraints included.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, params: &Params) -> Result<(), ParamError> {
        self.check_partial(params)?;
        for parameter in &self.parameters {
            match (self.is_active(parameter, params), params.get(&parameter.name)) {
                (true, None) => return Err(ParamError::Missing(parameter.name.clone())),
                (false, Some(_)) => return Err(ParamError::Inactive(parameter.name.clone())),
                (true, Some(_)) | (false, None) => {}
            }
        }
        if let Some(constraint) = self.broken_constraint(params) {
            return Err(ParamError::Constraint(constraint.source().to_owned()));
        }
        Ok(())
    }

    /// Whether the values in `fixed` could be part of a configuration: known names, values of their domains.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check_partial(&self, fixed: &Params) -> Result<(), ParamError> {
        for (name, value) in fixed.iter() {
            let parameter = self.get(name).ok_or_else(|| ParamError::Unknown(name.to_owned()))?;
            if !parameter.domain.contains(value) {
                return Err(ParamError::Outside { name: name.to_owned(), value: value.clone() });
            }
        }
        Ok(())
    }

    /// The parameters that a searcher chooses: all but the constants.
    pub fn searched(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|p| !matches!(p.domain, Domain::Const(_)))
    }

    /// How many configurations there are when conditions and constraints are left aside; `None` when an
    /// unstepped float makes them endless or the product exceeds 64 bits.
    pub fn cardinality(&self) -> Option<u64> {
        self.parameters.iter().try_fold(1u64, |product, p| product.checked_mul(p.domain.cardinality()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(low: f64, high: f64, log: bool, step: Option<f64>) -> Domain {
        Domain::Float { low, high, log, step }
    }

    fn domains() -> Vec<Domain> {
        vec![
            float(-1.0, 3.0, false, None),
            float(1e-5, 1e-1, true, None),
            float(0.0, 0.5, false, Some(0.1)),
            Domain::Int { low: 32, high: 512, log: false, step: 32 },
            Domain::Int { low: 1, high: 1000, log: true, step: 1 },
            Domain::Int { low: i64::MIN, high: i64::MAX, log: false, step: 1 },
            Domain::Choice(vec![Value::Int(64), Value::Str("a".into()), Value::Bool(true)]),
            Domain::Const(Value::Int(27)),
        ]
    }

    #[test]
    fn every_point_of_the_unit_interval_is_a_value_of_the_domain() {
        for domain in domains() {
            for u in [0.0, 1e-12, 0.25, 0.5, 0.999_999, 1.0 - f64::EPSILON, 1.0] {
                let value = domain.at(u);
                assert!(domain.contains(&value), "{domain:?} at {u} gives {value:?}");
            }
        }
    }

    #[test]
    fn a_value_goes_to_the_unit_interval_and_back() {
        for domain in domains() {
            for u in [0.0, 0.1, 0.3, 0.77, 0.999] {
                let value = domain.at(u);
                let back = domain.at(domain.unit(&value).expect("is of the domain"));
                match (&value, &back) {
                    (Value::Float(a), Value::Float(b)) => assert!((a - b).abs() < 1e-9, "{domain:?}: {a} {b}"),
                    (Value::Int(a), Value::Int(b)) if domain.cardinality() > Some(1 << 53) => {
                        assert!((*a as f64 - *b as f64).abs() <= 1e4, "{a} {b}: beyond the precision of a double");
                    }
                    _ => assert_eq!(value, back, "{domain:?}"),
                }
            }
        }
    }

    #[test]
    fn a_stepped_domain_counts_its_values() {
        assert_eq!(float(0.0, 0.5, false, Some(0.1)).cardinality(), Some(6));
        assert_eq!(Domain::Int { low: 32, high: 512, log: false, step: 32 }.cardinality(), Some(16));
        assert_eq!(float(0.0, 1.0, false, None).cardinality(), None);
        assert_eq!(float(0.0, 0.5, false, Some(0.1)).nth(5), Some(Value::Float(0.5)));
    }

    #[test]
    fn a_parameter_whose_condition_does_not_hold_has_no_value() {
        let space = Space {
            parameters: vec![
                Parameter {
                    name: "opt".into(),
                    domain: Domain::Choice(vec![Value::Str("sgd".into()), Value::Str("adam".into())]),
                    when: None,
                },
                Parameter {
                    name: "momentum".into(),
                    domain: float(0.0, 0.9, false, None),
                    when: Some(Expr::parse(r#"opt == "sgd""#).expect("parses")),
                },
                Parameter {
                    name: "nesterov".into(),
                    domain: Domain::Choice(vec![Value::Bool(true), Value::Bool(false)]),
                    when: Some(Expr::parse("momentum > 0.5").expect("parses")),
                },
            ],
            constraints: vec![Expr::parse("momentum < 0.8").expect("parses")],
        };
        let with = |u: f64| space.assemble(|p, _| p.domain.at(u));
        assert_eq!(with(0.0).to_string(), "momentum=0.0 opt=sgd", "nesterov needs a momentum above 0.5");
        assert_eq!(with(0.9).to_string(), "opt=adam", "nesterov's condition mentions an inactive parameter");
        assert!(space.is_feasible(&with(0.9)), "a constraint on an inactive parameter does not apply");
        assert_eq!(space.check(&with(0.0)), Ok(()));
        let mut params = with(0.9);
        params.insert("momentum", Value::Float(0.1));
        assert_eq!(space.check(&params), Err(ParamError::Inactive("momentum".into())));
        params.remove("opt");
        params.remove("momentum");
        assert_eq!(space.check(&params), Err(ParamError::Missing("opt".into())));
        assert_eq!(
            space.check_partial(&[("depth", Value::Int(1))].into_iter().collect()),
            Err(ParamError::Unknown("depth".into()))
        );
    }
}
