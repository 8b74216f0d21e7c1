//! Budgets and the treatment of processes: numbers that contradict each other or mean nothing.

use super::{Context, number};
use crate::document::{Fault, Path};
use crate::spec::{OutOfMemory, PRIORITY, PRIORITY_MAX, Plateau, Variants};
use crate::units::Span;

/// A trial that needs longer than this to stop does not stop.
const LONGEST_GRACE: Span = Span { ms: 3_600_000 };
/// A trial that fails more often than this fails for good.
const MOST_RETRIES: u32 = 1_000;

/// What is wrong with the limits.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let mut faults = budget(context);
    let priority = context.spec.priority;
    if priority > PRIORITY_MAX {
        let fault = Fault::new("priority", format!("a priority of {priority} is beyond {PRIORITY_MAX}"));
        faults.push(fault.hint(format!("write 0 to {PRIORITY_MAX}; without the key it is {PRIORITY}")));
    }
    faults.extend(run(context));
    faults
}

fn budget(context: &Context<'_>) -> Vec<Fault> {
    let budget = &context.spec.budget;
    let mut faults = Vec::new();
    let zero =
        |key: &str, what: &str, hint: &str| Fault::new(Path::from("budget").key(key), what.to_owned()).hint(hint);
    match budget.trials {
        Some(0) => faults.push(zero("trials", "a budget of 0 trials runs nothing", "write at least 1")),
        Some(trials) => {
            if let Some(parallel) = budget.parallel.filter(|parallel| *parallel > trials) {
                let message = format!("{parallel} trials in parallel are more than the {trials} of the budget");
                let fault = Fault::new("budget.parallel", message);
                faults.push(fault.hint(format!("write at most {trials}, or remove `parallel` to use all that fits")));
            }
        }
        // Only a grid has an end of its own.
        None if context.spec.search.algorithm != "grid" && context.lacks("budget") && context.lacks("search") => {
            let message = format!("the sweep has no end: `{}` proposes for ever", context.spec.search.algorithm);
            faults.push(
                Fault::new("budget", message)
                    .at_key()
                    .hint("add `budget: { trials: 100 }`; only a grid ends by itself"),
            );
        }
        None => {}
    }
    if budget.parallel == Some(0) {
        faults.push(zero(
            "parallel",
            "0 trials in parallel never run",
            "write at least 1, or remove the key to use all that fits",
        ));
    }
    if budget.max_failures == Some(0) {
        faults.push(zero(
            "max_failures",
            "a sweep that fails after 0 failures fails at once",
            "write 1 to fail with the first",
        ));
    }
    if budget.wall.is_some_and(|wall| wall.ms == 0) {
        faults.push(zero("wall", "a sweep that takes no time runs nothing", "write for example 12h"));
    }
    if let Some(Plateau { top, std, patience: _ }) = budget.plateau {
        let fault = |key: &str, message: String| Fault::new(Path::from("budget").key("plateau").key(key), message);
        if top < 2 {
            faults.push(fault("top", format!("the best {top} cannot differ")).hint("write for example 10"));
        }
        if std <= 0.0 {
            let message = format!("a standard deviation of at most {} is hardly ever reached", number(std));
            faults.push(fault("std", message).hint("write how far the best trials may lie apart, for example 0.001"));
        }
    }
    if let Some(regret) = budget.regret.filter(|regret| *regret <= 0.0) {
        let message = format!("nobody can be sure that nothing is more than {} better", number(regret));
        faults.push(Fault::new("budget.regret", message).hint("write what an improvement must be worth, above 0"));
    }
    if let Some(hours) = budget.gpu_hours.filter(|hours| *hours <= 0.0) {
        let message = format!("a budget of {} GPU-hours runs nothing", number(hours));
        faults.push(Fault::new("budget.gpu_hours", message).hint("write more than 0, or remove the key"));
    }
    faults
}

fn run(context: &Context<'_>) -> Vec<Fault> {
    let run = &context.spec.run;
    let mut faults = Vec::new();
    if run.timeout.is_some_and(|timeout| timeout.ms == 0) {
        faults.push(
            Fault::new("run.timeout", "an attempt that takes no time does nothing")
                .hint("write for example 2h, or remove the key"),
        );
    }
    if run.stop_grace > LONGEST_GRACE {
        let message = format!("a grace of {} is beyond {LONGEST_GRACE}", run.stop_grace);
        let hint =
            "it is the time between SIGTERM and SIGKILL, in which a trial writes its checkpoint: write for example 60s";
        faults.push(Fault::new("run.stop_grace", message).hint(hint));
    }
    let by_kind = run.retry.numbers().map(|(key, times)| (Path::from("run.retry").key(key), times));
    for (at, times) in std::iter::once((Path::from("run.retries"), run.retries)).chain(by_kind) {
        if times > MOST_RETRIES {
            let fault = Fault::new(at, format!("{times} retries are beyond {MOST_RETRIES}"));
            faults.push(fault.hint("a trial that fails so often fails for good: write for example 2"));
        }
    }
    let after_memory = run.retry.out_of_memory;
    if after_memory == Some(OutOfMemory::Variants(Variants::NextVariant)) && context.spec.variants().len() < 2 {
        let fault = Fault::new("run.retry.out_of_memory", "there is no next variant: `resources` has only one");
        faults.push(fault.hint("write a list: `resources: [{ memory: 8GiB }, { memory: 32GiB }]`, or a number here"));
    }
    for code in run.exit_codes.keys() {
        let at = Path::from("run.exit_codes").key(code);
        match code.parse::<u8>() {
            // `007` and `+7` parse as well, and would be a second key for 7.
            Ok(number) if number.to_string() != *code => {
                faults.push(
                    Fault::new(at, format!("`{code}` is not how an exit code is written"))
                        .at_key()
                        .hint(format!("write {number}")),
                );
            }
            Ok(0) => {
                let fault = Fault::new(at, "exit code 0 means that the trial succeeded, and nothing else").at_key();
                faults.push(fault.hint("let the program exit with another code"));
            }
            Ok(_) => {}
            Err(_) => {
                let fault = Fault::new(at, format!("`{code}` is not an exit code")).at_key();
                faults.push(fault.hint("exit codes are whole numbers from 1 to 255"));
            }
        }
    }
    faults
}
