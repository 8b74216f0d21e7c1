//! `heats edit`

use std::str::FromStr;

use heats_wire::v1;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::hints;
use crate::select::Selector;

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweep
    #[arg(value_name = "SWEEP")]
    sweep: Selector,
    /// How many trials in all: 200, or 500 more: +500
    #[arg(long, value_name = "N|+N", allow_hyphen_values = true)]
    trials: Option<Trials>,
    /// How many at once
    #[arg(long, value_name = "N")]
    parallel: Option<u32>,
    /// Which sweeps get places first, from 0 to 100
    #[arg(long, value_name = "N")]
    priority: Option<u32>,
}

/// A number of trials, or a change of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trials {
    Total(u32),
    More(i64),
}

impl FromStr for Trials {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("`{text}` is not a number of trials: write 200, +500 or -20");
        if text.starts_with(['+', '-']) {
            text.parse().map(Self::More).map_err(|_| error())
        } else {
            text.parse().map(Self::Total).map_err(|_| error())
        }
    }
}

/// Changes a sweep's limits.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { sweep, trials, parallel, priority } = args;
    let name = super::named::sweep_only(sweep, "edit")?;
    let (parallel, priority) = (*parallel, *priority);
    let mut request = v1::EditRequest { sweep: name.to_owned(), parallel, priority, ..Default::default() };
    match trials {
        Some(Trials::Total(total)) => request.trials = Some(*total),
        Some(Trials::More(more)) => request.more_trials = Some(*more),
        None if parallel.is_none() && priority.is_none() => {
            return Err(Failure::usage("there is nothing to change").hint(format!("heats edit {name} --trials +100")));
        }
        None => {}
    }
    let sweep = context.client()?.edit(request).await?.sweep.unwrap_or_default();
    let trials = sweep.trials_max.map_or_else(|| "no limit of trials".to_owned(), |max| format!("{max} trials in all"));
    hints::note(&format!("{} now has {trials}", sweep.name));
    hints::next(&[
        (format!("heats watch {}", sweep.name), "follow it to its end"),
        (format!("heats show {}", sweep.name), "where it stands"),
    ]);
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_makes_a_change_of_a_number() {
        assert_eq!("200".parse(), Ok(Trials::Total(200)));
        assert_eq!("+500".parse(), Ok(Trials::More(500)));
        assert_eq!("-20".parse(), Ok(Trials::More(-20)));
        assert!("many".parse::<Trials>().is_err() && "".parse::<Trials>().is_err());
    }
}
