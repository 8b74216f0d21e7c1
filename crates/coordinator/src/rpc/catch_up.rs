//! Whether this node has caught up with its own log since it started. Until then it would answer from a past of
//! the sweeps, or deny that there is one. Afterwards it answers from what it has applied, and says at which index.

use std::time::Duration;

use heats_replica::Replica;
use tokio::sync::watch;

/// Where nothing is applied for so long, no leader says what is committed: the past is all that there is to tell.
const STUCK: Duration = Duration::from_secs(5);

/// See the module.
pub struct CatchUp {
    done: watch::Receiver<bool>,
}

impl CatchUp {
    /// Follows what `replica` applies until it has all that its log held when this was called.
    pub fn start(replica: Replica) -> Self {
        let target = replica.status().last_log;
        let mut states = replica.watch_state();
        let (caught_up, done) = watch::channel(false);
        tokio::spawn(async move {
            while replica.status().applied < target {
                match tokio::time::timeout(STUCK, states.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => break,
                }
            }
            caught_up.send_replace(true);
        });
        Self { done }
    }

    /// Waits for it.
    pub async fn wait(&self) {
        // An error means that the node is being stopped: it answers as well as it can.
        let _ = self.done.clone().wait_for(|done| *done).await;
    }
}
