//! The Cholesky factor of a matrix that grows by a row at a time.
//!
//! A library's factor is made at once from a whole matrix; a sweep's grows with every report, and a row added
//! costs the square of its length instead of the cube.

/// The lower triangle `L` of `K = L Lᵀ`, row by row.
#[derive(Clone, Debug, Default)]
pub struct Factor {
    rows: Vec<Vec<f64>>,
}

/// The sum of products, over the length of the shorter.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Eight sums side by side, which the processor adds at once; one sum would have to keep the order.
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = if a.len() <= b.len() {
        a8.remainder().iter().zip(&b[a.len() - a8.remainder().len()..]).map(|(x, y)| x * y).sum()
    } else {
        b8.remainder().iter().zip(&a[b.len() - b8.remainder().len()..]).map(|(x, y)| x * y).sum()
    };
    for (x, y) in a8.zip(b8) {
        for k in 0..8 {
            sums[k] += x[k] * y[k];
        }
    }
    sums.iter().sum::<f64>() + rest
}

impl Factor {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds the next row of `K`, up to and with its diagonal. One that says nothing new but for rounding is
    /// taken as if its diagonal were larger by `floor`.
    pub fn push(&mut self, row: &[f64], floor: f64) {
        let n = self.rows.len();
        debug_assert_eq!(row.len(), n + 1);
        let mut solved = self.solve_lower(&row[..n]);
        let left = row[n] - dot(&solved, &solved);
        solved.push(left.max(floor).sqrt());
        self.rows.push(solved);
    }

    /// Takes the rows from `len` on away.
    pub fn truncate(&mut self, len: usize) {
        self.rows.truncate(len);
    }

    /// `x` of `L x = b`, for as many of the first rows as `b` has.
    pub fn solve_lower(&self, b: &[f64]) -> Vec<f64> {
        let mut x = Vec::with_capacity(b.len() + 1);
        for (row, b) in self.rows.iter().zip(b) {
            let i = x.len();
            x.push((b - dot(&row[..i], &x)) / row[i]);
        }
        x
    }

    /// `x` of `Lᵀ x = b`, for as many of the first rows as `b` has.
    pub fn solve_upper(&self, mut b: Vec<f64>) -> Vec<f64> {
        for i in (0..b.len()).rev() {
            let row = &self.rows[i];
            let x = b[i] / row[i];
            b[i] = x;
            for (b, l) in b[..i].iter_mut().zip(&row[..i]) {
                *b -= l * x;
            }
        }
        b
    }

    /// `x` of `K x = b`, for as many of the first rows as `b` has.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        self.solve_upper(self.solve_lower(b))
    }

    /// The logarithm of the determinant of `K`.
    pub fn ln_determinant(&self) -> f64 {
        2.0 * self.rows.iter().enumerate().map(|(i, row)| row[i].ln()).sum::<f64>()
    }

    /// The lower triangle of the inverse of `K`, row by row.
    pub fn inverse(&self) -> Vec<Vec<f64>> {
        let n = self.rows.len();
        // Column j of L⁻¹ from its diagonal down; then K⁻¹ = L⁻ᵀ L⁻¹.
        let columns: Vec<Vec<f64>> = (0..n)
            .map(|j| {
                let mut column: Vec<f64> = Vec::with_capacity(n - j);
                for i in j..n {
                    let row = &self.rows[i];
                    let unit = if i == j { 1.0 } else { 0.0 };
                    column.push((unit - dot(&row[j..i], &column)) / row[i]);
                }
                column
            })
            .collect();
        (0..n).map(|i| (0..=i).map(|j| dot(&columns[i], &columns[j][i - j..])).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A positive definite matrix of `n` rows.
    fn matrix(n: usize) -> Vec<Vec<f64>> {
        let near = |i: usize, j: usize| (-((i as f64 - j as f64) / 3.0).powi(2)).exp();
        (0..n).map(|i| (0..n).map(|j| near(i, j) + if i == j { 0.1 } else { 0.0 }).collect()).collect()
    }

    fn factor(k: &[Vec<f64>]) -> Factor {
        let mut factor = Factor::default();
        for (i, row) in k.iter().enumerate() {
            factor.push(&row[..=i], 1e-12);
        }
        factor
    }

    #[test]
    fn a_product_of_any_length_is_the_sum_of_products() {
        for (m, n) in [(0, 3), (5, 5), (8, 8), (19, 17), (16, 30)] {
            let a: Vec<f64> = (0..m).map(|i| f64::from(i) + 1.0).collect();
            let b: Vec<f64> = (0..n).map(|i| 2.0 - f64::from(i)).collect();
            let plain: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            assert_eq!((dot(&a, &b), dot(&b, &a)), (plain, plain), "{m} {n}");
        }
    }

    #[test]
    fn it_solves_inverts_and_knows_its_determinant() {
        let k = matrix(21);
        let factor = factor(&k);
        let b: Vec<f64> = (0..21).map(|i| f64::from(i % 5) - 2.0).collect();
        let x = factor.solve(&b);
        let inverse = factor.inverse();
        for i in 0..21 {
            assert!((dot(&k[i], &x) - b[i]).abs() < 1e-9);
            for j in 0..21 {
                let full = |i: usize, j: usize| if i >= j { inverse[i][j] } else { inverse[j][i] };
                let unit: f64 = (0..21).map(|m| k[i][m] * full(m, j)).sum();
                assert!((unit - f64::from(u8::from(i == j))).abs() < 1e-9, "{i} {j}: {unit}");
            }
        }
        // Of a matrix of two rows, by hand.
        let small = self::factor(&[vec![2.0, 1.0], vec![1.0, 3.0]]);
        assert!((small.ln_determinant() - 5f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_row_that_is_there_already_leaves_a_factor_that_solves() {
        let mut factor = Factor::default();
        factor.push(&[1.0], 1e-10);
        factor.push(&[1.0, 1.0], 1e-10);
        assert!(factor.solve(&[1.0, 1.0]).iter().all(|x| x.is_finite()));
        factor.truncate(1);
        assert_eq!(factor.solve(&[3.0]), [3.0]);
    }
}
