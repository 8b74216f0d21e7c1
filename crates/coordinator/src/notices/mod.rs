//! Sends what is to be told outside of the cluster to webhooks: while this node leads, one notice at a time to each, in order,
//! until it is taken. What was taken is a fact, so that the next leader goes on from there. A notice that was sent and not noted
//! is sent again: receivers know it by its id.

mod post;
mod signature;
mod target;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use heats_core::Op;
use heats_core::notices::{GIVE_UP_MS, Notice, backoff_ms};
use heats_domain::SweepId;
use heats_domain::spec::NotifyOn;
use heats_replica::Leadership;
use heats_wire::notice;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::edge::entropy;
use crate::node::Node;
use post::{Message, PostError, Poster};
pub use signature::{SecretError, WebhookSecret};
pub use target::Webhooks;

/// Webhooks that are told something at once.
const SENDING: usize = 32;
/// How often the state is looked at for news, at most.
const LOOK: Duration = Duration::from_millis(100);
/// How long a webhook that was told of a best is left alone: the next may be better yet.
const PACE: Duration = Duration::from_secs(1);

/// One webhook: a sweep, and which of its.
type Hook = (SweepId, u32);

/// Tells webhooks what there is, whenever this node leads, for ever.
pub async fn tell(node: Node) {
    let mut states = node.replica.watch_state();
    let mut leadership = node.replica.leadership();
    let poster = Poster::new(node.config.webhooks, node.config.webhook_secret.clone());
    loop {
        let leads = matches!(*leadership.borrow_and_update(), Leadership::Leader { .. });
        if leads {
            let mut busy: BTreeSet<Hook> = BTreeSet::new();
            let mut sending = FuturesUnordered::new();
            loop {
                let state = states.borrow_and_update().clone();
                for (id, sweep) in state.hooked() {
                    let hooks = (0..sweep.notices.hooks.len() as u32).filter(|hook| sweep.to_send(*hook).is_some());
                    for hook in hooks.map(|hook| (id, hook)) {
                        if busy.len() < SENDING && busy.insert(hook) {
                            let deliver = deliver(&node, &poster, hook);
                            sending.push(async move { (deliver.await, hook).1 });
                        }
                    }
                }
                drop(state);
                let news = async {
                    let changed = states.changed().await;
                    tokio::time::sleep(LOOK).await;
                    changed
                };
                tokio::select! {
                    changed = leadership.changed() => match changed {
                        Ok(()) => break,
                        Err(_stopped) => return,
                    },
                    Some(hook) = sending.next() => {
                        busy.remove(&hook);
                    }
                    changed = news => if changed.is_err() { return },
                }
            }
        } else if leadership.changed().await.is_err() {
            return;
        }
    }
}

/// Sends what is next to one webhook until it is taken, or nothing is sent there any more.
async fn deliver(node: &Node, poster: &Poster, (id, hook): Hook) {
    let mut tries = 0;
    let mut failing_since = None;
    loop {
        let state = node.replica.state();
        let Some(sweep) = state.sweeps.get(&id) else { return };
        // Another one than at the last try, where a better best came in between.
        let Some((next, message, url)) = sweep.to_send(hook).and_then(|next| {
            let asked = sweep.spec.notify.get(hook as usize)?;
            let body = notice::json(sweep, next)?.to_string();
            Some((next, Message { id: notice::id(sweep, next), event: next.event.name(), body }, asked.webhook.clone()))
        }) else {
            return;
        };
        drop(state);
        // One that was deposed and does not know it would tell what is no news.
        if node.replica.confirm_leadership().await.is_err() {
            // Either it leads no more, and this ends; or it is asked again.
            tokio::time::sleep(PACE).await;
            continue;
        }
        match poster.post(&url, &message).await {
            Ok(()) => return noted(node, id, hook, next).await,
            Err(PostError::Never(why)) => return give_up(node, id, hook, why).await,
            Err(PostError::Failed(why)) => {
                let since = *failing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= Duration::from_millis(GIVE_UP_MS) {
                    return give_up(node, id, hook, format!("it failed for a day, lastly: {why}")).await;
                }
                tries += 1;
                debug!(sweep_id = %id, hook, tries, why, "a webhook did not take a notice");
                // Between a half and the whole of it, so that webhooks of one receiver do not come at once.
                let wait = backoff_ms(tries);
                tokio::time::sleep(Duration::from_millis(wait / 2 + entropy::bits() % (wait / 2 + 1))).await;
            }
        }
    }
}

async fn noted(node: &Node, sweep: SweepId, hook: u32, Notice { place, event }: Notice) {
    // Not noted, it is sent again, by whoever leads then.
    if let Err(error) = node.decider.ask(Op::NoticeDelivered { sweep, hook, place }).await {
        info!(sweep_id = %sweep, hook, %error, "that a notice was delivered was not noted");
        tokio::time::sleep(PACE).await;
    } else if event == NotifyOn::NewBest {
        tokio::time::sleep(PACE).await;
    }
}

async fn give_up(node: &Node, sweep: SweepId, hook: u32, why: String) {
    warn!(sweep_id = %sweep, hook, why, "a webhook is given up");
    if let Err(error) = node.decider.ask(Op::GiveUpHook { sweep, hook, why }).await {
        info!(sweep_id = %sweep, hook, %error, "that a webhook is given up was not noted");
        tokio::time::sleep(PACE).await;
    }
}
