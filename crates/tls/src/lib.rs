//! Who one is to the others: certificates, the names in them, and connections that check them.
//!
//! A cluster has a certificate authority of its own, and a second one for its agents (see `authority`). A certificate's
//! name says what its holder is: coordinator 2, agent `agt_..`, an admin, a user. What each of these may do is not
//! decided here: see `access` in the coordinator. Bearer tokens are not known here either.

mod authority;
mod connect;
mod csr;
mod fault;
mod files;
mod identity;
mod listen;
mod name;
mod pin;
mod stream;
mod verify;

pub use authority::{Authority, AuthorityError, Issued};
pub use connect::{Dialer, Expect};
pub use csr::{Request, Requested};
pub use fault::{Distrust, distrust};
pub use files::{write_private, write_public};
pub use identity::{Files, Identity, IdentityError, OwnFiles};
pub use listen::{incoming, listen};
pub use name::{Name, NameError, Who, cluster_name};
pub use pin::Fingerprint;
pub use stream::{Io, Peer};

/// How connections are made and taken.
#[derive(Clone, Debug, Default)]
pub enum Security {
    /// In plain text, and nobody is asked who they are.
    #[default]
    PlainText,
    /// Over TLS 1.3.
    Tls(Identity),
}

impl Security {
    /// The identity, where there is one.
    pub const fn identity(&self) -> Option<&Identity> {
        match self {
            Self::PlainText => None,
            Self::Tls(identity) => Some(identity),
        }
    }
}

/// The cryptography that everything here uses.
fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::ring::default_provider())
}
