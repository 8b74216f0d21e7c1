//! Whether a sweep's early stopping is right: for people, and as fields.

use std::io::{self, Write};

use heats_wire::v1;
use serde_json::Value;

use crate::output::Fields;
use crate::words;

/// The fields.
pub(super) fn fields(told: &v1::EarlyStopping) -> Fields {
    let v1::EarlyStopping { control, rungs, hasty, patient } = told;
    let rung = |rung: &v1::Rung| {
        let v1::Rung { at, trials, correlation } = *rung;
        Fields::new().with("rung", at).with("trials", trials).number("correlation", correlation).into()
    };
    Fields::new()
        .with("control", control.as_ref().map(|control| Value::from(self::control(control))))
        .with("rungs", rungs.iter().map(rung).collect::<Vec<Value>>())
        .with("hasty", *hasty)
        .with("min", *patient)
}

fn control(control: &v1::ControlGroup) -> Fields {
    let v1::ControlGroup { spared, ended, peers, above_median, best } = control;
    let share = |share: &v1::Share| {
        let v1::Share { count, low, high } = *share;
        let of = Fields::new().with("count", count).number("share", f64::from(count) / f64::from(*ended));
        Value::from(of.number("low", low).number("high", high))
    };
    Fields::new()
        .with("spared", *spared)
        .with("ended", *ended)
        .with("peers", *peers)
        .with("above_median", above_median.as_ref().map(share))
        .with("best", best.as_ref().map(share))
}

/// What people read, below the sweep's own lines. `rule` is the stopper's name.
pub(super) fn write(out: &mut dyn Write, rule: &str, told: &v1::EarlyStopping) -> io::Result<()> {
    let v1::EarlyStopping { control, rungs, hasty, patient } = told;
    if let Some(control) = control {
        write_control(out, rule, control)?;
    }
    if !rungs.is_empty() {
        let told: Vec<String> = rungs
            .iter()
            .map(|v1::Rung { at, trials, correlation }| format!("at {at}: {correlation:.2} ({trials} trials)"))
            .collect();
        writeln!(out, "  rungs     how their values rank with the final ones, of trials that ran to their end only:")?;
        writeln!(out, "            {} (Spearman)", told.join(", "))?;
    }
    match (hasty, patient) {
        (false, _) => Ok(()),
        (true, Some(step)) => {
            let first = rungs.first().map_or(0, |rung| rung.at);
            writeln!(
                out,
                "  advice    rung {first} tells little about the final value: a longer grace period stops fewer"
            )?;
            writeln!(out, "            good trials. Write `early_stop: {{ ..., min: {step} }}`")
        }
        (true, None) => {
            writeln!(
                out,
                "  advice    no rung tells much about the final value: `{rule}` stops trials almost by chance."
            )?;
            writeln!(
                out,
                "            Make `min` larger than the last of them, or write `early_stop: {{ algorithm: none }}`"
            )
        }
    }
}

fn write_control(out: &mut dyn Write, rule: &str, control: &v1::ControlGroup) -> io::Result<()> {
    let v1::ControlGroup { spared, ended, peers, above_median, best } = control;
    let trials = words::count(u64::from(*spared), "trial");
    writeln!(out, "  audit     {trials} that `{rule}` would have stopped ran on, {ended} of them to the end")?;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let told = |share: &v1::Share| {
        let v1::Share { count, low, high } = *share;
        let seen = percent(f64::from(count) / f64::from(*ended));
        format!("{count} of {ended}, {seen} (95 % interval by Wilson: {} to {})", percent(low), percent(high))
    };
    match (above_median, best) {
        (Some(above_median), Some(best)) => {
            let peers = words::count(u64::from(*peers), "trial");
            writeln!(out, "            better than the median of the {peers} that it let run: {}", told(above_median))?;
            writeln!(out, "            better than all that were not spared: {}", told(best))
        }
        (Some(_) | None, Some(_) | None) if *ended == 0 => Ok(()),
        (Some(_) | None, Some(_) | None) => {
            writeln!(out, "            it let none run to its end: there is nothing to compare them with")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(early_stopping: &v1::EarlyStopping) -> String {
        let mut out = Vec::new();
        write(&mut out, "asha", early_stopping).expect("writes");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_control_group_is_told_with_its_shares_and_how_far_they_can_be_trusted() {
        let above_median = Some(v1::Share { count: 2, low: 0.047, high: 0.448 });
        let best = Some(v1::Share { count: 0, low: 0.0, high: 0.2425 });
        let control = v1::ControlGroup { spared: 14, ended: 12, peers: 20, above_median, best };
        let rungs =
            vec![v1::Rung { at: 1, trials: 32, correlation: 0.314 }, v1::Rung { at: 3, trials: 31, correlation: 0.7 }];
        let all = v1::EarlyStopping { control: Some(control), rungs, hasty: true, patient: Some(3) };
        assert_eq!(
            told(&all),
            "  audit     14 trials that `asha` would have stopped ran on, 12 of them to the end
            better than the median of the 20 trials that it let run: 2 of 12, 17 % (95 % interval by Wilson: 5 % to 45 %)
            better than all that were not spared: 0 of 12, 0 % (95 % interval by Wilson: 0 % to 24 %)
  rungs     how their values rank with the final ones, of trials that ran to their end only:
            at 1: 0.31 (32 trials), at 3: 0.70 (31 trials) (Spearman)
  advice    rung 1 tells little about the final value: a longer grace period stops fewer
            good trials. Write `early_stop: { ..., min: 3 }`
"
        );
        let json = Value::from(fields(&all));
        assert_eq!((&json["min"], &json["control"]["above_median"]["count"]), (&3.into(), &2.into()), "{json}");
        assert!(told(&v1::EarlyStopping { patient: None, ..all }).contains("{ algorithm: none }"));
    }

    #[test]
    fn a_control_group_without_anybody_to_compare_with_says_so() {
        let control = v1::ControlGroup { spared: 3, ended: 2, ..Default::default() };
        let all = v1::EarlyStopping { control: Some(control), ..Default::default() };
        assert!(told(&all).ends_with("it let none run to its end: there is nothing to compare them with\n"));
        assert_eq!(told(&v1::EarlyStopping::default()), "");
    }
}
