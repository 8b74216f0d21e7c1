//! Several numbers of the same thing: the middle, and how far they lie apart.

use std::fmt;

use crate::report::short;

/// Numbers, sorted.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    /// Of at least one number.
    pub(crate) fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        Self { sorted: numbers }
    }

    /// The one in the middle; the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let count = self.sorted.len();
        (self.sorted[(count - 1) / 2] + self.sorted[count / 2]) / 2.0
    }

    /// The smallest.
    pub(crate) fn least(&self) -> f64 {
        self.sorted[0]
    }

    /// The largest.
    pub(crate) fn most(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.sorted.len()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&short(self.median()))?;
        if self.count() > 1 {
            write!(f, " (from {} to {}, {} times)", short(self.least()), short(self.most()), self.count())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).to_string(), "2.00 (from 1.00 to 3.00, 3 times)");
    }
}
