//! A neural network that was fitted to training runs: what it answers is what they would have reported. The format is that
//! of the files' own README; all arithmetic in f32.

use std::collections::BTreeMap;

use heats_domain::{Metrics, Params, Value};
use serde::Deserialize;

use super::{BenchmarkError, Evaluation};

/// The category of what a configuration has no value for.
const MISSING: &str = "#na#";

#[derive(Debug)]
pub(super) struct Surrogate {
    embeddings: Vec<Embedding>,
    features: Vec<Feature>,
    first: Linear,
    blocks: Vec<Block>,
    last: Norm,
    head: Linear,
    outputs: Vec<Output>,
    asked: Asked,
}

#[derive(Debug)]
struct Embedding {
    input: String,
    categories: BTreeMap<String, usize>,
    width: usize,
    rows: Vec<f32>,
}

#[derive(Debug)]
struct Feature {
    input: String,
    ops: Vec<Op>,
}

#[derive(Debug)]
struct Output {
    name: String,
    column: usize,
    ops: Vec<Op>,
}

#[derive(Debug)]
struct Block {
    norm: Norm,
    wide: Linear,
    narrow: Linear,
}

#[derive(Debug)]
struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// Batch normalization with what was found in training: one factor and one summand for each column.
#[derive(Debug)]
struct Norm {
    factor: Vec<f32>,
    summand: Vec<f32>,
}

/// One operation of those that inputs and outputs pass through.
#[derive(Clone, Copy, Debug)]
enum Op {
    Add(f32),
    Mul(f32),
    Div(f32),
    /// A constant less the number.
    From(f32),
    /// A constant by the number.
    By(f32),
    Log,
    Exp,
    Neg,
}

/// The file, as it is.
#[derive(Debug, Deserialize)]
struct Raw {
    cat: Vec<String>,
    cont: Vec<String>,
    outputs: Vec<String>,
    encoding: BTreeMap<String, BTreeMap<String, usize>>,
    embs: Vec<(String, usize)>,
    feats: Vec<(usize, Vec<RawOp>)>,
    outs: Vec<(usize, Vec<RawOp>)>,
    n_layers: usize,
    bn_eps: f32,
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawOp {
    With(String, f32),
    Alone((String,)),
}

#[derive(Debug, Deserialize)]
struct Tensor {
    offset: usize,
    shape: Vec<usize>,
}

/// What the surrogate is asked with besides the configuration.
#[derive(Debug)]
pub(super) struct Asked {
    /// The output that is the cost in seconds.
    pub(super) cost: String,
    /// The input that is the epoch, or the share of the data.
    pub(super) fidelity: String,
    /// Inputs that are the same for every configuration: the task, the repetition.
    pub(super) fixed: BTreeMap<String, Value>,
    /// Inputs that a configuration may lack.
    pub(super) optional: Vec<String>,
}

impl Surrogate {
    /// Reads it from its description and its weights, little-endian f32.
    pub(super) fn read(description: &[u8], weights: &[u8], asked: Asked) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(description).map_err(|error| error.to_string())?;
        let weights = Weights {
            tensors: &raw.tensors,
            numbers: weights.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        };
        let nth = |names: &[String], place: usize| {
            names.get(place).cloned().ok_or_else(|| format!("there is no column {place}"))
        };
        let embedding = |(tensor, column): &(String, usize)| {
            let input = nth(&raw.cat, *column)?;
            let categories = raw.encoding.get(&input).cloned().unwrap_or_default();
            let (rows, width) = weights.matrix(tensor)?;
            if categories.values().any(|row| row * width >= rows.len()) {
                return Err(format!("`{tensor}` has too few rows"));
            }
            Ok(Embedding { input, categories, width, rows })
        };
        let feature = |(column, raw_ops): &(usize, Vec<RawOp>)| {
            Ok(Feature { input: nth(&raw.cont, *column)?, ops: ops(raw_ops)? })
        };
        let output = |(name, (column, raw_ops)): (&String, &(usize, Vec<RawOp>))| {
            Ok(Output { name: name.clone(), column: *column, ops: ops(raw_ops)? })
        };
        let block = |layer: usize| {
            let part = |name: &str| format!("layers.{layer}.{name}");
            Ok(Block {
                norm: weights.norm(&part("norm"), raw.bn_eps)?,
                wide: weights.linear(&part("linear0"))?,
                narrow: weights.linear(&part("linear1"))?,
            })
        };
        let read = Self {
            embeddings: raw.embs.iter().map(embedding).collect::<Result<_, String>>()?,
            features: raw.feats.iter().map(feature).collect::<Result<_, String>>()?,
            first: weights.linear("first_layer")?,
            blocks: (0..raw.n_layers).map(block).collect::<Result<_, String>>()?,
            last: weights.norm("last_normalization", raw.bn_eps)?,
            head: weights.linear("head")?,
            outputs: raw.outputs.iter().zip(&raw.outs).map(output).collect::<Result<_, String>>()?,
            asked,
        };
        read.check()
    }

    /// What does not fit together would be found by the first question, in the middle of a run.
    fn check(self) -> Result<Self, String> {
        let inputs = self.embeddings.iter().map(|embedding| embedding.width).sum::<usize>() + self.features.len();
        let width = self.first.outputs();
        let fits = self.first.inputs() == inputs
            && self.last.factor.len() == width
            && self.head.inputs() == width
            && self.outputs.iter().all(|output| output.column < self.head.outputs())
            && self.blocks.iter().all(|block| {
                let half = block.wide.outputs() / 2;
                block.norm.factor.len() == width
                    && block.wide.inputs() == width
                    && (block.narrow.inputs(), block.narrow.outputs()) == (half, width)
            });
        if !fits {
            return Err("its tensors do not fit together".to_owned());
        }
        if self.outputs.iter().all(|output| output.name != self.asked.cost) {
            return Err(format!("it does not answer `{}`", self.asked.cost));
        }
        Ok(self)
    }

    pub(super) fn at(&self, benchmark: &str, params: &Params, fidelity: f64) -> Result<Evaluation, BenchmarkError> {
        let fidelity = Value::Float(fidelity);
        let value = |input: &str| {
            if input == self.asked.fidelity {
                return Some(&fidelity);
            }
            // A sweep file's parameters have no dots in their names.
            self.asked.fixed.get(input).or_else(|| params.get(&input.replace('.', "_")))
        };
        let wrong = |input: &str, why: String| BenchmarkError::Parameter {
            benchmark: benchmark.to_owned(),
            parameter: input.to_owned(),
            why,
        };
        let lacks = |input: &str| wrong(input, "no configuration of the sweep has it".to_owned());
        let may_lack = |input: &str| self.asked.optional.iter().any(|name| name == input);
        let mut x = Vec::with_capacity(self.first.inputs());
        for Embedding { input, categories, width, rows } in &self.embeddings {
            let category = match value(input) {
                Some(value) => value.to_string(),
                None if may_lack(input) => MISSING.to_owned(),
                None => return Err(lacks(input)),
            };
            let row = categories.get(&category).ok_or_else(|| wrong(input, format!("it is never `{category}`")))?;
            x.extend_from_slice(&rows[row * width..][..*width]);
        }
        for Feature { input, ops } in &self.features {
            let number = match value(input) {
                Some(value) => value.as_f64().ok_or_else(|| wrong(input, format!("`{value}` is no number")))?,
                None if may_lack(input) => 0.0,
                None => return Err(lacks(input)),
            };
            x.push(through(ops, number as f32));
        }
        let y = self.answer(&x);
        let answered = self.outputs.iter().map(|Output { name, column, ops }| {
            let y = y.get(*column).copied().unwrap_or_default();
            (name.as_str(), f64::from(through(ops, y)))
        });
        let metrics: Metrics = answered.collect();
        Ok(Evaluation { cost_s: metrics.get(&self.asked.cost).unwrap_or_default(), metrics })
    }

    /// The network itself.
    fn answer(&self, inputs: &[f32]) -> Vec<f32> {
        let mut x = self.first.times(inputs);
        for Block { norm, wide, narrow } in &self.blocks {
            let mut z = wide.times(&norm.of(&x));
            let gate = z.split_off(z.len() / 2);
            z.iter_mut().zip(gate).for_each(|(a, b)| *a *= b.max(0.0));
            x.iter_mut().zip(narrow.times(&z)).for_each(|(x, more)| *x += more);
        }
        let x: Vec<f32> = self.last.of(&x).into_iter().map(|x| x.max(0.0)).collect();
        self.head.times(&x).into_iter().map(|y| 1.0 / (1.0 + (-y).exp())).collect()
    }
}

impl Linear {
    fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len().max(1)
    }

    fn times(&self, x: &[f32]) -> Vec<f32> {
        self.weight.chunks_exact(x.len().max(1)).zip(&self.bias).map(|(row, bias)| dot(row, x) + bias).collect()
    }
}

/// In eight sums, for a processor adds eight at a time.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

impl Norm {
    fn of(&self, x: &[f32]) -> Vec<f32> {
        x.iter().zip(&self.factor).zip(&self.summand).map(|((x, factor), summand)| x * factor + summand).collect()
    }
}

struct Weights<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    numbers: Vec<f32>,
}

impl Weights<'_> {
    fn tensor(&self, name: &str) -> Result<(Vec<f32>, &[usize]), String> {
        let Tensor { offset, shape } = self.tensors.get(name).ok_or_else(|| format!("there is no tensor `{name}`"))?;
        let length = shape.iter().try_fold(1_usize, |length, side| length.checked_mul(*side));
        let end = length.and_then(|length| length.checked_add(*offset));
        let numbers = end.and_then(|end| self.numbers.get(*offset..end));
        let numbers = numbers.ok_or_else(|| format!("the weights end before `{name}`"))?;
        Ok((numbers.to_vec(), shape))
    }

    fn matrix(&self, name: &str) -> Result<(Vec<f32>, usize), String> {
        match self.tensor(name)? {
            (numbers, [_, width]) if *width > 0 => Ok((numbers, *width)),
            (_, shape) => Err(format!("`{name}` is no matrix but {shape:?}")),
        }
    }

    fn linear(&self, name: &str) -> Result<Linear, String> {
        let (weight, inputs) = self.matrix(&format!("{name}.weight"))?;
        let (bias, _) = self.tensor(&format!("{name}.bias"))?;
        if weight.len() != bias.len() * inputs {
            return Err(format!("`{name}` has {} summands for {} factors", bias.len(), weight.len()));
        }
        Ok(Linear { weight, bias })
    }

    fn norm(&self, name: &str, eps: f32) -> Result<Norm, String> {
        let part = |part: &str| self.tensor(&format!("{name}.{part}")).map(|(numbers, _)| numbers);
        let (weight, bias, mean, var) = (part("weight")?, part("bias")?, part("running_mean")?, part("running_var")?);
        let factor: Vec<f32> = weight.iter().zip(&var).map(|(weight, var)| weight / (var + eps).sqrt()).collect();
        let summand = bias.iter().zip(&mean).zip(&factor).map(|((bias, mean), factor)| bias - mean * factor).collect();
        if [bias.len(), mean.len(), var.len()].iter().any(|length| *length != weight.len()) {
            return Err(format!("`{name}` has parts of different lengths"));
        }
        Ok(Norm { factor, summand })
    }
}

fn ops(raw: &[RawOp]) -> Result<Vec<Op>, String> {
    let op = |raw: &RawOp| {
        let (name, constant) = match raw {
            RawOp::With(name, constant) => (name, Some(*constant)),
            RawOp::Alone((name,)) => (name, None),
        };
        Ok(match (name.as_str(), constant) {
            ("add" | "radd", Some(c)) => Op::Add(c),
            ("sub", Some(c)) => Op::Add(-c),
            ("mul" | "rmul", Some(c)) => Op::Mul(c),
            ("div", Some(c)) => Op::Div(c),
            ("rsub", Some(c)) => Op::From(c),
            ("rdiv", Some(c)) => Op::By(c),
            ("log", None) => Op::Log,
            ("exp", None) => Op::Exp,
            ("neg", None) => Op::Neg,
            _ => return Err(format!("there is no operation `{name}` with {constant:?}")),
        })
    };
    raw.iter().map(op).collect()
}

fn through(ops: &[Op], x: f32) -> f32 {
    ops.iter().fold(x, |x, op| match op {
        Op::Add(c) => x + c,
        Op::Mul(c) => x * c,
        Op::Div(c) => x / c,
        Op::From(c) => c - x,
        Op::By(c) => c / x,
        Op::Log => x.ln(),
        Op::Exp => x.exp(),
        Op::Neg => -x,
    })
}
