//! Removes checkpoints and artifacts from storages, one after the other, as a coordinator says. It says so again to whoever
//! attaches, until it has heard that the object is gone: nothing is remembered here.

use std::sync::Arc;

use heats_domain::Object;
use tokio::sync::mpsc;

use crate::storage::Stores;

/// How many may wait. One beyond that is told again another time.
const QUEUE: usize = 16_384;
/// How many may wait to be told as gone.
const GONE: usize = 64;

/// What is to be removed.
#[derive(Debug)]
pub struct Eraser {
    queue: mpsc::Sender<Object>,
    gone: mpsc::Receiver<Object>,
}

impl Eraser {
    /// One that has nothing to do yet; it ends when this is dropped.
    pub fn start(stores: Arc<Stores>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (tell, gone) = mpsc::channel(GONE);
        tokio::spawn(erase(stores, waiting, tell));
        Self { queue, gone }
    }

    /// Puts an object in line.
    pub fn erase(&self, object: Object) {
        // Full: see above.
        let _told_again = self.queue.try_send(object);
    }

    /// The next one that is gone.
    pub async fn gone(&mut self) -> Option<Object> {
        self.gone.recv().await
    }
}

async fn erase(stores: Arc<Stores>, mut waiting: mpsc::Receiver<Object>, tell: mpsc::Sender<Object>) {
    while let Some(object) = waiting.recv().await {
        let Some(storage) = stores.at(&object.place) else { continue };
        let gone = object.clone();
        let removed = tokio::task::spawn_blocking(move || storage.delete(&gone)).await;
        match removed {
            Ok(Ok(())) => {
                if tell.send(object).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "what is not kept cannot be removed"),
            Err(error) => tracing::error!(%error, "what is not kept cannot be removed"),
        }
    }
}
