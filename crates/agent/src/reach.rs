//! How the agent reaches coordinators for what does not go over its stream.

use std::sync::{Mutex, PoisonError};

use heats_client::{Client, ClientError, Credentials, Options};
use heats_tls::Security;

/// The coordinators that the agent knows.
#[derive(Debug)]
pub struct Reach {
    security: Security,
    coordinators: Mutex<Vec<String>>,
}

impl Reach {
    /// Those at `coordinators`, as `security` says.
    pub fn new(security: Security, coordinators: &[String]) -> Self {
        Self { security, coordinators: Mutex::new(coordinators.to_owned()) }
    }

    /// Coordinators that may be asked from now on.
    pub fn learn(&self, coordinators: &[String]) {
        coordinators.clone_into(&mut self.coordinators.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A client of theirs, with this much patience.
    ///
    /// # Errors
    /// Where one of them has no address.
    pub fn client(&self, options: Options) -> Result<Client, ClientError> {
        let coordinators = self.coordinators.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let credentials = Credentials { security: self.security.clone(), token: None };
        Client::connect_as(coordinators, options, credentials)
    }
}
