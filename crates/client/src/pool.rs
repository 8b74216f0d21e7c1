//! The coordinators that are known, one channel each, and which of them is asked next. Sends nothing itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heats_tls::{Dialer, Expect};
use tonic::transport::Channel;

use crate::address::{AddressError, endpoint};
use crate::credentials::{Bearer, Credentials};

/// More would be a cluster that names itself by a new address every time.
const KNOWN_MAX: usize = 32;

#[derive(Debug)]
pub(crate) struct Pool {
    credentials: Credentials,
    nodes: Mutex<Nodes>,
}

#[derive(Debug)]
struct Nodes {
    known: Vec<Node>,
    next: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) address: String,
    pub(crate) channel: Channel,
    dialer: Dialer,
    /// What calls on the channel say about who calls.
    pub(crate) bearer: Bearer,
    /// It has answered, and not failed since.
    living: Arc<AtomicBool>,
}

impl Pool {
    /// Channels to `addresses`, connected when they are first used. To be called within a tokio runtime.
    pub(crate) fn new(addresses: &[String], credentials: Credentials) -> Result<Self, AddressError> {
        let known = addresses.iter().map(|address| Node::at(address, &credentials)).collect::<Result<_, _>>()?;
        Ok(Self { credentials, nodes: Mutex::new(Nodes { known, next: 0 }) })
    }

    /// Whom to ask now; `None` where nobody is known.
    pub(crate) fn current(&self) -> Option<Node> {
        let nodes = self.lock();
        nodes.known.get(nodes.next).cloned()
    }

    /// `failed` did not help: ask the one after it, unless somebody else has moved on already.
    pub(crate) fn move_on(&self, failed: &str) {
        let mut nodes = self.lock();
        if nodes.known.get(nodes.next).is_some_and(|node| node.address == failed) {
            nodes.next = (nodes.next + 1) % nodes.known.len();
        }
    }

    /// `leader` leads: ask it from now on.
    pub(crate) fn follow(&self, leader: &str) -> Result<(), AddressError> {
        let mut nodes = self.lock();
        let place = nodes.known.iter().position(|node| node.address == leader);
        nodes.next = match place {
            Some(place) => place,
            None if nodes.known.len() < KNOWN_MAX => {
                nodes.known.push(Node::at(leader, &self.credentials)?);
                nodes.known.len() - 1
            }
            None => nodes.next,
        };
        Ok(())
    }

    /// `address` failed: it has to give a sign of life before it is asked again.
    pub(crate) fn doubt(&self, address: &str) {
        if let Some(node) = self.lock().known.iter().find(|node| node.address == address) {
            node.living.store(false, Ordering::Relaxed);
        }
    }

    /// Whether `address` speaks TLS, and was addressed in plain text.
    pub(crate) fn met_tls(&self, address: &str) -> bool {
        self.lock().known.iter().any(|node| node.address == address && node.met_tls())
    }

    /// How many there are to choose from.
    pub(crate) fn size(&self) -> usize {
        self.lock().known.len()
    }

    /// Where it has been tried.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.lock().known.iter().map(|node| node.address.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Nodes> {
        // No code that holds the lock can panic halfway through a change.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    fn at(address: &str, credentials: &Credentials) -> Result<Self, AddressError> {
        let dialer = Dialer::new(credentials.security.clone(), Expect::AnyCoordinator);
        let channel = endpoint(address)?.connect_with_connector_lazy(dialer.clone());
        let bearer = credentials.bearer();
        Ok(Self { address: address.to_owned(), channel, dialer, bearer, living: Arc::default() })
    }

    pub(crate) fn met_tls(&self) -> bool {
        self.dialer.met_tls()
    }

    pub(crate) fn is_living(&self) -> bool {
        self.living.load(Ordering::Relaxed)
    }

    pub(crate) fn lives(&self) {
        self.living.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pool: &Pool) -> String {
        pool.current().expect("knows somebody").address
    }

    #[tokio::test]
    async fn the_pool_goes_round_and_follows_the_leader() {
        let pool = Pool::new(&["a:1".into(), "b:1".into()], Credentials::default()).expect("addresses");
        assert_eq!(asked(&pool), "a:1");
        pool.move_on("a:1");
        pool.move_on("a:1");
        assert_eq!(asked(&pool), "b:1", "two callers that failed at one node skip no other");
        pool.move_on("b:1");
        assert_eq!(asked(&pool), "a:1");
        pool.follow("c:1").expect("an address");
        assert_eq!(asked(&pool), "c:1");
        pool.follow("b:1").expect("an address");
        assert_eq!((asked(&pool).as_str(), pool.addresses().len()), ("b:1", 3));
    }
}
