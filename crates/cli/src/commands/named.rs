//! From what a user typed to what the coordinator knows.

use heats_client::Client;

use crate::exit::Failure;
use crate::select::{Selector, Trials};

/// The trials that `selector` names; none where it names the sweep.
pub(super) async fn numbers(client: &Client, selector: &Selector) -> Result<Vec<u32>, Failure> {
    match &selector.trials {
        Trials::Unnamed => Ok(Vec::new()),
        Trials::Numbers(numbers) => Ok(numbers.clone()),
        Trials::Last => {
            let sweep = client.get(&selector.sweep).await?.sweep.unwrap_or_default();
            let created = sweep.counts.unwrap_or_default().created;
            let last = created.checked_sub(1).ok_or_else(|| {
                Failure::new(crate::exit::Exit::NotFound, format!("sweep `{}` has no trials yet", sweep.name))
                    .hint(format!("heats explain {}", sweep.name))
            })?;
            Ok(vec![last])
        }
    }
}

/// The one trial that `selector` names.
pub(super) async fn one(client: &Client, selector: &Selector) -> Result<Option<u32>, Failure> {
    match numbers(client, selector).await?.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        [..] => Err(Failure::usage("this command takes one trial at a time")),
    }
}

/// Refuses trials where a sweep is meant.
pub(super) fn sweep_only<'a>(selector: &'a Selector, command: &str) -> Result<&'a str, Failure> {
    if selector.trials == Trials::Unnamed {
        return Ok(&selector.sweep);
    }
    Err(Failure::usage(format!("`heats {command}` takes a sweep, not a trial"))
        .hint(format!("heats {command} {}", selector.sweep)))
}
