//! SIGHUP: certificates are read again. New connections use the new ones; those that are open stay as they are.

use heats_tls::{Identity, Security};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;
use crate::hints;

/// Waits for SIGHUP, where there is something to read again. Otherwise the signal does what it does to any process.
#[derive(Debug)]
pub struct Renewals {
    watched: Option<(Identity, Signal)>,
}

impl Renewals {
    /// Listens from here on.
    ///
    /// # Errors
    /// Where the system does not allow it.
    pub fn listen(security: &Security) -> Result<Self, Failure> {
        let Some(identity) = security.identity() else { return Ok(Self { watched: None }) };
        let hangups = signal(SignalKind::hangup())
            .map_err(|error| Failure::failed(format!("cannot listen to signals: {error}")))?;
        Ok(Self { watched: Some((identity.clone(), hangups)) })
    }

    /// Waits for the next signal, and reads the certificates again.
    pub async fn next(&mut self) {
        let Some((identity, hangups)) = &mut self.watched else { return std::future::pending().await };
        let _never_closed = hangups.recv().await;
        match identity.reload() {
            Ok(()) => hints::note("the certificates were read again; new connections use them"),
            Err(error) => hints::warn(&format!("the certificates stay as they were: {error}")),
        }
    }
}
