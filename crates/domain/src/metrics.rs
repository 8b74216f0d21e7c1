//! What a trial measures, and which way is better.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which values of the objective are better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Smaller is better.
    Minimize,
    /// Larger is better.
    Maximize,
}

impl Direction {
    /// The value as a loss: smaller is better, and NaN is `+inf`, so that it ranks worst.
    pub fn loss(self, value: f64) -> f64 {
        match self {
            _ if value.is_nan() => f64::INFINITY,
            Self::Minimize => value,
            Self::Maximize => -value,
        }
    }

    /// The value that has this loss: the inverse of [`Direction::loss`] for numbers.
    pub fn value(self, loss: f64) -> f64 {
        match self {
            Self::Minimize => loss,
            Self::Maximize => -loss,
        }
    }

    /// Whether `a` is strictly better than `b`; NaN is never better.
    pub fn better(self, a: f64, b: f64) -> bool {
        self.loss(a) < self.loss(b)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minimize => "minimize",
            Self::Maximize => "maximize",
        })
    }
}

/// One named number of a report. NaN and infinities are values like others.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metric {
    /// The metric's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What was measured.
    #[prost(double, tag = "2")]
    pub value: f64,
}

/// What one report measured, in the order in which it was written; a name occurs once.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metrics {
    /// The named numbers.
    #[prost(message, repeated, tag = "1")]
    pub list: Vec<Metric>,
}

impl Metrics {
    /// The value of `name`, where it was reported.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.list.iter().find(|m| m.name == name).map(|m| m.value)
    }
}

impl<N: Into<String>> FromIterator<(N, f64)> for Metrics {
    /// The last value wins where a name occurs twice.
    fn from_iter<I: IntoIterator<Item = (N, f64)>>(pairs: I) -> Self {
        let mut list: Vec<Metric> = Vec::new();
        for (name, value) in pairs {
            let name = name.into();
            match list.iter_mut().find(|m| m.name == name) {
                Some(metric) => metric.value = value,
                None => list.push(Metric { name, value }),
            }
        }
        Self { list }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_ranks_worst_in_both_directions() {
        for direction in [Direction::Minimize, Direction::Maximize] {
            assert!(direction.better(1.0, f64::NAN));
            assert!(!direction.better(f64::NAN, 1.0));
            assert!(!direction.better(f64::NAN, f64::NAN));
        }
        assert!(Direction::Maximize.better(2.0, 1.0));
        assert!(Direction::Minimize.better(1.0, 2.0));
    }
}
