//! Every configuration of a small space, trained to its end with several seeds.

use std::collections::BTreeMap;

use heats_domain::{Metrics, Params, Value};

use super::{BenchmarkError, Evaluation};

/// Values of a sweep file may be rounded.
const NEARLY: f64 = 1e-6;

#[derive(Debug)]
pub(super) struct Table {
    /// The parameters in the order of the rows' index, the last changing fastest.
    params: Vec<(String, Vec<Value>)>,
    seeds: usize,
    metric: String,
    /// `values[row * seeds + seed]`.
    values: Vec<f32>,
    /// The mean over the seeds, in seconds.
    costs: Vec<f32>,
}

impl Table {
    /// Reads it: for each row and seed a value, then for each row the mean cost; little-endian f32.
    pub(super) fn read(
        params: BTreeMap<String, Vec<Value>>,
        seeds: usize,
        metric: String,
        bytes: &[u8],
    ) -> Result<Self, String> {
        let rows: usize = params.values().map(Vec::len).product();
        let mut values: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if seeds == 0 || values.len() != rows * (seeds + 1) {
            return Err(format!("{} numbers are not {rows} rows of {seeds} seeds and a cost", values.len()));
        }
        let costs = values.split_off(rows * seeds);
        Ok(Self { params: params.into_iter().collect(), seeds, metric, values, costs })
    }

    pub(super) fn at(&self, benchmark: &str, params: &Params, seed: u64) -> Result<Evaluation, BenchmarkError> {
        let mut row = 0;
        for (name, choices) in &self.params {
            let wrong = |why: String| BenchmarkError::Parameter {
                benchmark: benchmark.to_owned(),
                parameter: name.clone(),
                why,
            };
            let value = params.get(name).ok_or_else(|| wrong("no configuration of the sweep has it".to_owned()))?;
            let place = choices.iter().position(|choice| is_nearly(choice, value));
            let place =
                place.ok_or_else(|| wrong(format!("nothing was trained with {value}, only with {choices:?}")))?;
            row = row * choices.len() + place;
        }
        let column = (seed % self.seeds as u64) as usize;
        let value = self.values.get(row * self.seeds + column).copied().map_or(f64::NAN, f64::from);
        let metrics: Metrics = [(self.metric.as_str(), value)].into_iter().collect();
        Ok(Evaluation { cost_s: self.costs.get(row).copied().map_or(0.0, f64::from), metrics })
    }
}

fn is_nearly(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= NEARLY * a.abs().max(b.abs()),
        _ => a == b,
    }
}
