//! Makes a stream to a coordinator, up to its Welcome.

use std::time::Duration;

use heats_tls::{Dialer, Distrust, Expect, distrust};
use heats_wire::v1::agents_client::AgentsClient;
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::{self, to_agent};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::Identity;
use super::lost::Lost;
use super::way::{Way, sign_of_life};
use crate::context::{Context, Standing};

/// How many of them the stream's own queue holds.
const STREAM_QUEUE: usize = 256;
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long a coordinator may take to answer Hello.
pub(super) const WELCOME_WAIT: Duration = Duration::from_secs(10);

/// A stream that was welcomed.
pub(super) struct Attached {
    pub(super) to_leader: mpsc::Sender<v1::FromAgent>,
    pub(super) from_leader: Streaming<v1::ToAgent>,
    pub(super) welcome: v1::Welcome,
    /// The number of the last message that was sent.
    pub(super) sent: u64,
    /// What the coordinator was told of the agent last.
    pub(super) told: Standing,
}

/// Says Hello at `address`, and waits for the Welcome.
pub(super) async fn attach(address: &str, way: &Way, identity: &Identity, context: &Context) -> Result<Attached, Lost> {
    let dialer = Dialer::new(way.security.clone(), Expect::AnyCoordinator);
    let channel = connect(address, sign_of_life(&way.coordinators), dialer.clone()).await?;
    let (to_leader, queue) = mpsc::channel(STREAM_QUEUE);
    let Identity { id, name, mut inventory, session, lineage } = identity.clone();
    // Without an address, nobody could be told to meet here.
    inventory.rendezvous = inventory.rendezvous.filter(|own| !own.address.is_empty());
    context.disk.look();
    let condition = context.condition();
    let told = Standing::told(&condition);
    let hello = v1::Hello {
        agent: Some(id),
        name,
        inventory: Some(inventory),
        holding: context.held().iter().map(|held| v1::Holding { key: Some(held.key.to_wire()) }).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        session,
        condition: Some(condition),
        lineage: lineage.number(),
        places: context.stores.places(),
        reads_artifacts: true,
    };
    let first = v1::FromAgent { seq: 1, message: Some(Message::Hello(hello)) };
    // The receiver is right here: the queue is neither full nor closed.
    let _never_full = to_leader.try_send(first);
    let welcomed = async {
        let answer = AgentsClient::new(channel).attach(ReceiverStream::new(queue)).await?;
        let mut from_leader = answer.into_inner();
        match from_leader.message().await?.and_then(|message| message.message) {
            Some(to_agent::Message::Welcome(welcome)) => {
                Ok(Attached { to_leader, from_leader, welcome, sent: 1, told })
            }
            Some(_) => Err(Lost::NoWelcome),
            None => Err(Lost::Ended),
        }
    };
    let attached = tokio::time::timeout(WELCOME_WAIT, welcomed).await.unwrap_or(Err(Lost::Silent));
    // A call in plain text to whoever speaks TLS ends in any of several ways.
    attached.map_err(|lost| match dialer.met_tls() {
        true => Lost::Distrusted { address: address.to_owned(), fault: Distrust::SpeaksTls },
        false => lost,
    })
}

async fn connect(address: &str, sign_of_life: Duration, dialer: Dialer) -> Result<Channel, Lost> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url)
        .map_err(|source| Lost::Address { address: address.to_owned(), source })?
        .connect_timeout(CONNECT_WAIT)
        .http2_keep_alive_interval(sign_of_life)
        .keep_alive_timeout(sign_of_life)
        .keep_alive_while_idle(true);
    endpoint.connect_with_connector(dialer).await.map_err(|source| match distrust(&source) {
        Some(fault) => Lost::Distrusted { address: address.to_owned(), fault },
        None => Lost::Connect { address: address.to_owned(), source },
    })
}
