//! A replica in a process of its own: this program again, which does what lines on its standard input say, and answers
//! each with a line.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::node::Node;

/// The argument that makes this program a node; the folder and the number follow.
pub(crate) const COMMAND: &str = "node";
const DONE: &str = "done";

/// Is a node until its standard input ends.
///
/// # Errors
/// What goes wrong; the process ends with it.
pub(crate) fn serve(folder: &str, id: &str) -> Result<()> {
    let node = Node::start(Path::new(folder), id.parse().context("the node's number")?)?;
    println!("{}", node.address);
    for order in std::io::stdin().lines() {
        let order = order?;
        let (what, index) = order.split_once(' ').context("an order and an entry")?;
        let index = index.parse().context("the entry's index")?;
        match what {
            "snapshot" => node.snapshot()?,
            "catch-up" => node.catch_up(index)?,
            "settle" => node.settle(index)?,
            _ => bail!("`{order}` is no order"),
        }
        println!("{DONE}");
    }
    node.stop();
    Ok(())
}

/// Such a process, which ends with this value.
pub(crate) struct Remote {
    pub(crate) id: u64,
    pub(crate) address: String,
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Remote {
    /// Starts one; see [`Node::start`].
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) fn start(folder: &Path, id: u64) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("this program's own file")?);
        command.arg(COMMAND).arg(folder).arg(id.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start a node")?;
        let orders = process.stdin.take().context("is piped")?;
        let answers = BufReader::new(process.stdout.take().context("is piped")?).lines();
        let mut remote = Self { id, address: String::new(), process, orders, answers };
        remote.address = remote.answer()?;
        Ok(remote)
    }

    /// Tells it to take a snapshot; [`Remote::wait`] for it.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn snapshot(&mut self) -> Result<()> {
        self.order("snapshot", 0)
    }

    /// As [`Node::catch_up`].
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn catch_up(&mut self, index: u64) -> Result<()> {
        self.order("catch-up", index)?;
        self.wait()
    }

    /// As [`Node::settle`].
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn settle(&mut self, index: u64) -> Result<()> {
        self.order("settle", index)?;
        self.wait()
    }

    /// Waits until it has done what it was told.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let answer = self.answer()?;
        ensure!(answer == DONE, "node {} answers `{answer}`", self.id);
        Ok(())
    }

    fn order(&mut self, what: &str, index: u64) -> Result<()> {
        writeln!(self.orders, "{what} {index}").with_context(|| format!("node {} is gone", self.id))
    }

    fn answer(&mut self) -> Result<String> {
        Ok(self.answers.next().with_context(|| format!("node {} has ended", self.id))??)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It may have ended by itself; what it leaves goes with the folder.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
