//! Runs as a table.

use std::fmt::Write as _;

use crate::by_setting;
use crate::plan::{Suite, YARDSTICK};
use crate::statistics::{Estimate, Of, mean, mean_ranks, ratio};
use crate::sweep::Ran;

/// Mean regret by setting and budget, in thousandths; then against the yardstick.
pub(crate) fn markdown(suite: &Suite, runs: &[Ran]) -> String {
    let settings = by_setting(runs);
    let mut out = format!("### {}\n\n", suite.name);
    let tasks: std::collections::BTreeSet<&str> = runs.iter().map(|ran| ran.task.as_str()).collect();
    let seeds = runs.iter().map(|ran| ran.number + 1).max().unwrap_or(0);
    let (tasks, agents) = (tasks.len(), suite.agents);
    let _ = writeln!(
        out,
        "{tasks} tasks, {seeds} sweeps on each, {agents} agents. Mean regret in thousandths [95 % interval].\n"
    );
    let budgets: Vec<String> = suite.budgets.iter().map(|budget| format!("{budget}x")).collect();
    let _ =
        writeln!(out, "| | {} | mean rank at {} | seconds a sweep |", budgets.join(" | "), budgets[budgets.len() - 1]);
    let _ = writeln!(out, "|---|{}---|---|", "---|".repeat(budgets.len()));
    let last = suite.budgets.len() - 1;
    let ranks = mean_ranks(&settings.iter().map(|(_, runs)| at(runs, last)).collect::<Vec<_>>());
    for ((name, runs), rank) in settings.iter().zip(ranks) {
        let cells: Vec<String> = (0..suite.budgets.len()).map(|place| thousandths(mean(&at(runs, place)))).collect();
        let seconds = runs.iter().map(|ran| ran.decided_s).sum::<f64>() / runs.len() as f64;
        let _ = writeln!(out, "| {name} | {} | {rank:.1} | {seconds:.2} |", cells.join(" | "));
    }
    let Some((_, yardstick)) = settings.iter().find(|(name, _)| *name == YARDSTICK) else { return out };
    let _ = writeln!(out, "\nRegret by that of `{YARDSTICK}`:\n");
    let _ = writeln!(out, "| | {} |\n|---|{}", budgets.join(" | "), "---|".repeat(budgets.len()));
    for (name, runs) in settings.iter().filter(|(name, _)| *name != YARDSTICK) {
        let cells: Vec<String> =
            (0..suite.budgets.len()).map(|place| shares(ratio(&at(runs, place), &at(yardstick, place)))).collect();
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    }
    out
}

fn at<'a>(runs: &[&'a Ran], budget: usize) -> Vec<Of<'a>> {
    runs.iter().map(|ran| Of { task: &ran.task, value: ran.regrets[budget] }).collect()
}

fn thousandths(Estimate { value, low, high }: Estimate) -> String {
    format!("{:.0} [{:.0}, {:.0}]", value * 1e3, low * 1e3, high * 1e3)
}

fn shares(Estimate { value, low, high }: Estimate) -> String {
    format!("{value:.2} [{low:.2}, {high:.2}]")
}
