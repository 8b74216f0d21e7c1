//! Gets the checkpoint that an attempt goes on from into its folder.

use heats_domain::Checkpoint;

use crate::checkpoints::{self, Found};
use crate::context::Context;
use crate::key::Key;

/// What is in the attempt's folder then. The error is for the attempt's log: why it cannot be had.
pub async fn fetch(context: &Context, key: Key, from: Option<&Checkpoint>) -> Result<Option<Found>, String> {
    let Some(from) = from.cloned() else { return Ok(None) };
    let failed = |why: String| {
        tracing::warn!(attempt = %key, why, "a checkpoint cannot be had");
        format!("the checkpoint of step {} cannot be had: {why}", from.step)
    };
    let storage = context.stores.at(&from.place);
    let storage = storage.ok_or_else(|| failed(format!("this agent does not reach the storage `{}`", from.place)))?;
    let path = checkpoints::usual(&context.paths.checkpoints(key), from.step);
    let (into, wanted) = (path.clone(), from.clone());
    let got = tokio::task::spawn_blocking(move || {
        // An agent that went down had got it, and did not come to start the attempt: it may be anything.
        let _none_there = std::fs::remove_dir_all(&into);
        storage.get(&wanted.into(), &into)
    });
    let got = got.await.map_err(|error| failed(error.to_string()))?;
    got.map_err(|error| failed(error.to_string()))?;
    Ok(Some(Found { step: from.step, path }))
}
