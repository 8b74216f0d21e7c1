//! A user's way to a Heats cluster: finds the leader, follows it, retries what may be retried.
//!
//! Knows the calls and nothing about what they mean: reading files, printing and exit codes are the command's.

mod access;
mod address;
mod archives;
mod backoff;
mod client;
mod cluster;
mod credentials;
mod error;
mod pool;
mod stream;

pub use access::secret;
pub use address::AddressError;
pub use client::{Client, Options};
pub use credentials::{Credentials, Token};
pub use error::{ClientError, Refusal};
pub use stream::Resumed;
