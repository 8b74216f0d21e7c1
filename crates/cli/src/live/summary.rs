//! What is said about a sweep that has ended, or that somebody asks about: to standard output, for people.

use std::io::{self, Write};

use heats_domain::{Params, SweepSpec};
use heats_wire::v1;

use super::follow::Followed;
use super::progress::{fresh_runs, resource, stopped};
use crate::exit::Failure;
use crate::output::{Fields, Printer};
use crate::{view, words};

/// Prints the sweep: the summary for people, or its fields.
///
/// # Errors
/// Where the output cannot be written.
pub fn print(printer: &Printer, followed: &Followed) -> Result<(), Failure> {
    let Followed { sweep, now_ms } = followed;
    let item = view::sweep(sweep, *now_ms);
    printer.one("sweep", &Fields::new().done(), &item, |out| write_sweep(out, sweep, *now_ms))
}

/// The sweep for people.
///
/// # Errors
/// Where the output cannot be written.
pub fn write_sweep(out: &mut dyn Write, sweep: &v1::Sweep, now_ms: u64) -> io::Result<()> {
    let counts = sweep.counts.unwrap_or_default();
    let spec = view::spec(sweep);
    let took = sweep.ended_ms.unwrap_or(now_ms).saturating_sub(sweep.submitted_ms);
    let of =
        view::planned(sweep).filter(|max| *max != counts.created).map_or_else(String::new, |max| format!(" of {max}"));
    writeln!(
        out,
        "\x1b[1m{}\x1b[0m {}: {}{of} in {}",
        sweep.name,
        view::status(sweep.status()),
        words::count(u64::from(counts.created), "trial"),
        words::duration(took)
    )?;
    if !sweep.why.is_empty() {
        writeln!(out, "  why       {}", sweep.why)?;
    }
    write_best(out, sweep, spec.as_ref())?;
    let outcomes = outcomes(&counts);
    if !outcomes.is_empty() {
        writeln!(out, "  trials    {}", outcomes.join(", "))?;
    }
    if counts.confirming > 0 {
        writeln!(
            out,
            "  confirm   {} on fresh seeds, of the leaders",
            words::count(u64::from(counts.confirming), "run")
        )?;
    }
    if counts.stopped > 0 {
        writeln!(out, "  stopped   {}", stopped(sweep))?;
    }
    write_ledger(out, sweep, spec.as_ref())
}

fn write_best(out: &mut dyn Write, sweep: &v1::Sweep, spec: Option<&SweepSpec>) -> io::Result<()> {
    let Some(objective) = spec.and_then(SweepSpec::objective) else { return Ok(()) };
    if let Some(front) = &sweep.front {
        return write_front(out, sweep, front, spec);
    }
    match sweep.best.first() {
        Some(best) => {
            // Every digit: this is the number that the script measured.
            let value = best.value.unwrap_or(f64::NAN);
            let step = best.value_step.map_or_else(String::new, |step| format!(" at {} {step}", resource(sweep)));
            let (metric, ran) = (objective.metric(), words::duration(best.ran_ms));
            match view::winner(sweep) {
                Some((confirmed, mean)) => {
                    let runs = fresh_runs(confirmed);
                    writeln!(out, "  best      {metric} \x1b[1;32m{mean}\x1b[0m, the mean of {runs}")?;
                    writeln!(out, "            {}/{}, chosen for {value}{step}, ran {ran}", sweep.name, best.number)?;
                }
                None => {
                    writeln!(out, "  best      {metric} \x1b[1;32m{value}\x1b[0m{step}")?;
                    writeln!(out, "            {}/{}, ran {ran}", sweep.name, best.number)?;
                }
            }
            if let Some(params) = &best.params {
                write_params(out, params, "            ")?;
            }
            Ok(())
        }
        None => {
            let counts = sweep.counts.unwrap_or_default();
            let finite = if sweep.ledger.is_some_and(|ledger| ledger.steps > 0) { "a finite " } else { "" };
            let left_out = counts.failed + counts.infeasible + counts.cancelled > 0;
            let but = if left_out { "; one that failed or was cancelled does not count" } else { "" };
            let metrics: Vec<&str> = spec.map_or(&[][..], SweepSpec::objectives).iter().map(|o| o.metric()).collect();
            let together = if metrics.len() > 1 { " in one report" } else { "" };
            let metrics = metrics.join("` and `");
            writeln!(out, "  best      none: no trial has reported {finite}`{metrics}`{together}{but}")
        }
    }
}

/// The front of several objectives, as far as the summary has it.
fn write_front(out: &mut dyn Write, sweep: &v1::Sweep, front: &v1::Front, spec: Option<&SweepSpec>) -> io::Result<()> {
    writeln!(out, "  front     \x1b[1;32m{}\x1b[0m{}", view::front_short(front), counted_from(front, spec))?;
    for trial in &sweep.best {
        let point = trial.point.as_ref().map(view::pairs).unwrap_or_default();
        writeln!(out, "            {point}  {}/{}", sweep.name, trial.number)?;
    }
    match (front.size as usize).saturating_sub(sweep.best.len()) {
        0 => Ok(()),
        more => writeln!(out, "            and {more} more: `heats best {} --pareto`", sweep.name),
    }
}

/// `, counted from loss=0.4 speed=4, the worst of each objective`
pub fn counted_from(front: &v1::Front, spec: Option<&SweepSpec>) -> String {
    if front.hypervolume.is_none() {
        return String::new();
    }
    let objectives = spec.map_or(&[][..], SweepSpec::objectives);
    let worst = objectives.iter().map(|objective| objective.metric()).zip(front.worst.iter().copied()).collect();
    format!(", counted from {}, the worst of each objective", view::pairs(&worst))
}

/// Parameters, one per line, every digit.
///
/// # Errors
/// Where the output cannot be written.
pub fn write_params(out: &mut dyn Write, params: &Params, indent: &str) -> io::Result<()> {
    let width = params.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in params.iter() {
        writeln!(out, "{indent}{name:width$} = {value}")?;
    }
    Ok(())
}

/// Which configuration trained a fork from which step to which: what one has to do again to come to the same. Nothing for a
/// trial that began at the beginning.
///
/// # Errors
/// Where the output cannot be written.
pub fn write_lineage(out: &mut dyn Write, lineage: &[v1::Stretch], indent: &str) -> io::Result<()> {
    let steps = |stretch: &v1::Stretch| match stretch.to_step {
        Some(to) => format!("steps {} to {to}", stretch.from_step),
        None => format!("from step {}", stretch.from_step),
    };
    let width = lineage.iter().map(|stretch| steps(stretch).len()).max().unwrap_or(0);
    for (place, stretch) in lineage.iter().enumerate() {
        let title = if place == 0 { "lineage" } else { "" };
        let params = stretch.params.as_ref().map_or_else(String::new, ToString::to_string);
        writeln!(out, "{indent}{title:<9} {:width$}  trial {}  {params}", steps(stretch), stretch.trial)?;
    }
    Ok(())
}

fn outcomes(counts: &v1::Counts) -> Vec<String> {
    [
        (counts.completed, "completed"),
        (counts.stopped, "stopped early"),
        (counts.failed, "failed"),
        (counts.infeasible, "infeasible"),
        (counts.cancelled, "cancelled"),
        (counts.running, "running"),
        (counts.leased, "starting"),
        (counts.paused, "paused"),
        (counts.waiting, "waiting"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{number} {what}"))
    .collect()
}

fn write_ledger(out: &mut dyn Write, sweep: &v1::Sweep, spec: Option<&SweepSpec>) -> io::Result<()> {
    let v1::Ledger { attempt_ms, cpu_ms, gpu_ms, steps, steps_saved, ms_saved } = sweep.ledger.unwrap_or_default();
    let resource = resource(sweep);
    if attempt_ms > 0 {
        let gpu = if gpu_ms > 0 { format!(", {} of GPUs", words::duration(gpu_ms)) } else { String::new() };
        writeln!(
            out,
            "  used      {} of trials, {} of processor{gpu}",
            words::duration(attempt_ms),
            words::duration(cpu_ms)
        )?;
    }
    if steps > 0 {
        writeln!(out, "  ran       {}", words::count(steps, &resource))?;
    }
    if steps_saved > 0 {
        let saved = words::count(steps_saved, &resource);
        let gpus = spec.as_ref().and_then(|spec| spec.variants().first()).map_or(0.0, |need| need.gpus);
        let time = match gpus > 0.0 {
            true => format!("{} GPU-hours", words::short(gpus * ms_saved as f64 / 3_600_000.0)),
            false => words::duration(ms_saved),
        };
        writeln!(out, "  saved     about {saved} and {time} by early stopping")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sweep: &v1::Sweep) -> String {
        let mut out = Vec::new();
        write_sweep(&mut out, sweep, 0).expect("writes");
        anstream::adapter::strip_str(std::str::from_utf8(&out).expect("text")).to_string()
    }

    #[test]
    fn a_winner_that_was_confirmed_is_told_with_its_mean_and_what_it_was_chosen_for() {
        let confirmed = v1::Confirmed { mean: Some(0.31), low: Some(0.3), high: Some(0.32), runs: 2, of: 3 };
        let best = v1::TrialSummary { number: 4, value: Some(0.25), confirmed: Some(confirmed), ..Default::default() };
        let sweep = v1::Sweep {
            name: "s".into(),
            status: v1::SweepStatus::Finished.into(),
            spec: r#"{"command":["a"],"objective":{"minimize":"loss","confirm":{"top":1,"seeds":3}}}"#.into(),
            trials_max: Some(9),
            counts: Some(v1::Counts { created: 12, confirming: 3, completed: 11, failed: 1, ..Default::default() }),
            best: vec![best],
            ..Default::default()
        };
        assert_eq!(
            told(&sweep),
            "s finished: 12 trials in 0 ms
  best      loss 0.31, the mean of 2 of 3 fresh runs, 95 % interval 0.3 to 0.32
            s/4, chosen for 0.25, ran 0 ms
  trials    11 completed, 1 failed
  confirm   3 runs on fresh seeds, of the leaders
"
        );
        let stopped = v1::Sweep { status: v1::SweepStatus::Stopped.into(), ..sweep };
        assert!(told(&stopped).contains("  best      loss 0.25\n"), "half a confirmation is none");
    }

    #[test]
    fn of_several_objectives_the_summary_shows_the_front() {
        let trial = |number, loss: f64, speed: f64| v1::TrialSummary {
            number,
            value: Some(loss),
            point: Some([("loss", loss), ("speed", speed)].into_iter().collect()),
            ..Default::default()
        };
        let mut sweep = v1::Sweep {
            name: "digits".into(),
            spec: r#"{"command":["a"],"objective":[{"minimize":"loss"},{"maximize":"speed"}]}"#.into(),
            best: vec![trial(4, 0.1, 5.0), trial(0, 0.2, 10.0)],
            front: Some(v1::Front { size: 3, worst: vec![0.4, 4.0], hypervolume: Some(1.3) }),
            ..Default::default()
        };
        let text = |sweep: &v1::Sweep| {
            let mut out = Vec::new();
            write_best(&mut out, sweep, view::spec(sweep).as_ref()).expect("writes");
            anstream::adapter::strip_str(std::str::from_utf8(&out).expect("text")).to_string()
        };
        assert_eq!(
            text(&sweep),
            "  front     3 trials, hypervolume 1.3, counted from loss=0.4 speed=4, the worst of each objective
            loss=0.1 speed=5  digits/4
            loss=0.2 speed=10  digits/0
            and 1 more: `heats best digits --pareto`
"
        );
        (sweep.front, sweep.best) = (None, Vec::new());
        assert_eq!(text(&sweep), "  best      none: no trial has reported `loss` and `speed` in one report\n");
    }

    #[test]
    fn the_summary_gives_the_measured_value_to_the_last_digit() {
        let best = v1::TrialSummary {
            number: 41,
            value: Some(0.983_333_333_333_333_3),
            value_step: Some(27),
            ran_ms: 8_200,
            params: Some([("lr", heats_domain::Value::Float(0.012_345_678_9))].into_iter().collect()),
            ..Default::default()
        };
        let sweep = v1::Sweep {
            name: "digits".into(),
            status: v1::SweepStatus::Finished.into(),
            spec: r#"{"command":["a"],"objective":{"maximize":"val_accuracy"},"early_stop":{"algorithm":"asha","resource":"epoch"}}"#.into(),
            submitted_ms: 1_000,
            ended_ms: Some(134_000),
            trials_max: Some(60),
            counts: Some(v1::Counts { created: 60, completed: 14, stopped: 45, failed: 1, ..Default::default() }),
            stopped_by: vec![v1::RuleCount { rule: "asha".into(), rung: 1, trials: 45 }],
            best: vec![best],
            ledger: Some(v1::Ledger { attempt_ms: 200_000, cpu_ms: 180_000, gpu_ms: 0, steps: 512, steps_saved: 1108, ms_saved: 380_000 }),
            ..Default::default()
        };
        assert_eq!(
            told(&sweep),
            "digits finished: 60 trials in 2m 13s
  best      val_accuracy 0.9833333333333333 at epoch 27
            digits/41, ran 8.2 s
            lr = 0.0123456789
  trials    14 completed, 45 stopped early, 1 failed
  stopped   at rung 1: 45
  used      3m 20s of trials, 3m 00s of processor
  ran       512 epochs
  saved     about 1108 epochs and 6m 20s by early stopping
"
        );
    }
}
