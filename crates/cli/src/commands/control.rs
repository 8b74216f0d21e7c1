//! `heats pause`, `resume`, `stop` and `cancel`

use heats_wire::v1;

use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::select::Selector;
use crate::{hints, view};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The sweeps
    #[arg(value_name = "SWEEP", required = true)]
    sweeps: Vec<Selector>,
}

/// See [`cancel`].
#[derive(clap::Args, Debug)]
pub struct CancelArgs {
    /// Sweeps, or trials of them: digits, digits/12, digits/1,3,5-8
    #[arg(value_name = "SWEEP[/TRIALS]", required = true)]
    targets: Vec<Selector>,
}

/// Pauses, resumes or stops sweeps.
pub async fn run(context: &Context, args: &Args, verb: v1::Verb) -> Outcome {
    let client = context.client()?;
    let mut last = String::new();
    for selector in &args.sweeps {
        let sweep = super::named::sweep_only(selector, word(verb))?.to_owned();
        let request = v1::ControlRequest { sweep, trial: None, verb: verb.into() };
        let sweep = client.control(request).await?.sweep.unwrap_or_default();
        say(&sweep);
        last = sweep.name;
    }
    suggest(&last, verb);
    Ok(Exit::Ok)
}

/// Ends running trials now: of whole sweeps, or some of them.
pub async fn cancel(context: &Context, args: &CancelArgs) -> Outcome {
    let client = context.client()?;
    let mut last = String::new();
    for selector in &args.targets {
        let numbers = super::named::numbers(&client, selector).await?;
        let request =
            |trial| v1::ControlRequest { sweep: selector.sweep.clone(), trial, verb: v1::Verb::Cancel.into() };
        let sweep = if numbers.is_empty() {
            let sweep = client.control(request(None)).await?.sweep.unwrap_or_default();
            say(&sweep);
            sweep
        } else {
            let mut sweep = v1::Sweep::default();
            for number in numbers {
                sweep = client.control(request(Some(number))).await?.sweep.unwrap_or_default();
                // It may have ended before: then it stays what it was.
                let trial = client.trial(selector.sweep.clone(), number).await?.trial.unwrap_or_default();
                hints::note(&format!("{}/{number} is {}", sweep.name, view::state(trial.state)));
            }
            sweep
        };
        last = sweep.name;
    }
    suggest(&last, v1::Verb::Cancel);
    Ok(Exit::Ok)
}

fn say(sweep: &v1::Sweep) {
    let counts = sweep.counts.unwrap_or_default();
    let live = counts.running + counts.leased;
    let running = if live > 0 { format!("; {live} of its trials still hold a place") } else { String::new() };
    hints::note(&format!("{} is {}{running}", sweep.name, view::status(sweep.status())));
}

fn suggest(sweep: &str, verb: v1::Verb) {
    let show = (format!("heats show {sweep}"), "where it stands");
    let watch = (format!("heats watch {sweep}"), "follow it to its end");
    let best = (format!("heats best {sweep}"), "the best so far");
    match verb {
        v1::Verb::Pause => hints::next(&[(format!("heats resume {sweep}"), "go on"), show]),
        v1::Verb::Resume => hints::next(&[watch, show]),
        v1::Verb::Stop => hints::next(&[watch, best, (format!("heats cancel {sweep}"), "end running trials too")]),
        v1::Verb::Cancel => hints::next(&[show, best]),
    }
}

const fn word(verb: v1::Verb) -> &'static str {
    match verb {
        v1::Verb::Pause => "pause",
        v1::Verb::Resume => "resume",
        v1::Verb::Stop => "stop",
        v1::Verb::Cancel => "cancel",
    }
}
