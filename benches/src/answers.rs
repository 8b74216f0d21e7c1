//! A program that answers orders: a line of JSON for each line of JSON.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::three::Process;

/// Ends with this value.
pub(crate) struct Answers {
    _process: Process,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Answers {
    /// Starts it.
    ///
    /// # Errors
    /// Where it cannot be.
    pub(crate) fn start(mut program: Command) -> Result<Self> {
        let spawned = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.with_context(|| format!("cannot start {program:?}"))?;
        let orders = process.stdin.take().context("is piped")?;
        let answers = BufReader::new(process.stdout.take().context("is piped")?).lines();
        Ok(Self { _process: Process(process), orders, answers })
    }

    /// The answer to `order`.
    ///
    /// # Errors
    /// Where the program has ended, or its answer is no JSON.
    pub(crate) fn to(&mut self, order: &Value) -> Result<Value> {
        writeln!(self.orders, "{order}")?;
        let answer = self.answers.next().with_context(|| format!("the program ended: {order}"))??;
        serde_json::from_str(&answer).with_context(|| format!("no JSON: {answer}"))
    }
}

/// The number called `key` of an answer.
///
/// # Errors
/// Where there is none.
pub(crate) fn number(answer: &Value, key: &str) -> Result<f64> {
    answer[key].as_f64().with_context(|| format!("no `{key}` in {answer}"))
}
