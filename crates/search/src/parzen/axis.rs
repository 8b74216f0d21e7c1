//! One searched parameter as a dimension of the unit cube.

use heats_domain::{Domain, Value};

/// A parameter's place on the unit interval, as [`Domain::unit`] gives it; for a choice, its number.
#[derive(Clone, PartialEq, Debug)]
pub struct Axis {
    domain: Domain,
    /// What lies along it.
    pub kind: Kind,
}

/// What lies along an axis.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// This many values in no order.
    Choice(usize),
    /// Every number.
    Continuous,
    /// This many values, each with an equal part of the interval.
    Even(f64),
    /// Whole numbers, each with the part of the interval that is half a unit around it in the logarithm.
    Log {
        /// The logarithm at 0.
        from: f64,
        /// The logarithm's growth from 0 to 1.
        span: f64,
    },
}

impl Axis {
    /// The axis of `domain`; `None` where it has one value only, so that there is nothing to search.
    pub fn new(domain: &Domain) -> Option<Self> {
        let count = domain.cardinality();
        if count == Some(1) {
            return None;
        }
        let kind = match (domain, count) {
            (Domain::Const(_), _) => return None,
            (Domain::Choice(values), _) => Kind::Choice(values.len()),
            (Domain::Int { low, high, log: true, .. }, _) => {
                let (from, to) = ((*low as f64 - 0.5).ln(), (*high as f64 + 0.5).ln());
                Kind::Log { from, span: to - from }
            }
            (Domain::Float { .. } | Domain::Int { .. }, Some(count)) => Kind::Even(count as f64),
            (Domain::Float { .. } | Domain::Int { .. }, None) => Kind::Continuous,
        };
        Some(Self { domain: domain.clone(), kind })
    }

    /// Where `value` is; `None` where it is not of the domain.
    pub fn place(&self, value: &Value) -> Option<f64> {
        match &self.domain {
            Domain::Choice(values) => values.iter().position(|v| v == value).map(|i| i as f64),
            Domain::Float { .. } | Domain::Int { .. } | Domain::Const(_) => self.domain.unit(value),
        }
    }

    /// What is at `place`.
    pub fn value(&self, place: f64) -> Value {
        match (&self.domain, self.kind) {
            (domain, Kind::Choice(count)) => domain.at((place + 0.5) / count as f64),
            (domain, Kind::Continuous | Kind::Even(_) | Kind::Log { .. }) => domain.at(place),
        }
    }

    /// The place of the value that `place` belongs to. Not for choices.
    pub fn snap(&self, place: f64) -> f64 {
        match self.kind {
            Kind::Choice(_) | Kind::Continuous => place,
            Kind::Even(count) => ((place * count).floor().min(count - 1.0) + 0.5) / count,
            Kind::Log { .. } => self.domain.unit(&self.domain.at(place)).unwrap_or(place),
        }
    }

    /// The stretch of the interval that belongs to the value at `place`; `None` where every number is a value.
    pub fn cell(&self, place: f64) -> Option<(f64, f64)> {
        match self.kind {
            Kind::Choice(_) | Kind::Continuous => None,
            Kind::Even(count) => Some((place - 0.5 / count, place + 0.5 / count)),
            Kind::Log { from, span } => {
                let x = (from + place * span).exp();
                Some((((x - 0.5).ln() - from) / span, ((x + 0.5).ln() - from) / span))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_inside_of_its_own_cell_and_cells_tile_the_interval() {
        for domain in [
            Domain::Int { low: 1, high: 9, log: true, step: 1 },
            Domain::Int { low: -4, high: 12, log: false, step: 4 },
            Domain::Float { low: 0.0, high: 1.0, log: false, step: Some(0.25) },
        ] {
            let axis = Axis::new(&domain).expect("has several values");
            let mut edge = 0.0;
            for k in 0..domain.cardinality().expect("is finite") {
                let value = domain.nth(k).expect("has a k-th value");
                let place = axis.place(&value).expect("is of the domain");
                assert!((axis.snap(place) - place).abs() < 1e-12);
                assert_eq!(axis.value(place), value);
                let (low, high) = axis.cell(place).expect("has a cell");
                assert!((low - edge).abs() < 1e-9 && low < place && place < high, "{domain:?} {value:?}");
                edge = high;
            }
            assert!((edge - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn one_value_is_no_axis() {
        assert_eq!(Axis::new(&Domain::Int { low: 3, high: 3, log: false, step: 1 }), None);
        assert_eq!(Axis::new(&Domain::Choice(vec![Value::Int(1)])), None);
        assert_eq!(Axis::new(&Domain::Const(Value::Int(1))), None);
    }
}
