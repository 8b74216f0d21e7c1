//! How the agent is let into a cluster that asks who its members are: by a join token it gets a certificate for a key of
//! its own, keeps both in its folder, and has the certificate renewed for as long as it runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use heats_client::{Client, ClientError, Credentials, Options, Token};
use heats_domain::AgentId;
use heats_tls::{
    AuthorityError, Files, Fingerprint, Identity, IdentityError, OwnFiles, Request, Security, Who, write_private,
    write_public,
};
use heats_wire::v1;
use tracing::{info, warn};

use crate::event::{AgentEvent, OnEvent};

/// How long a cluster that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest time between two looks at the certificate: a machine that slept has another clock when it wakes.
const LOOK_LAST: Duration = Duration::from_secs(60);
/// The shortest: whatever the clock and the certificate say, nobody is asked more often.
const LOOK_FIRST: Duration = Duration::from_secs(1);
/// The time between two tries to renew it, at most.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// Variables of the agent that are no trial's business, nor that of what builds its environment.
const SECRETS: [&str; 3] = ["HEATS_JOIN", "HEATS_TOKEN", "HEATS_TOKEN_FILE"];

/// The same command, which gets none of the agent's secrets.
pub fn without_secrets(command: &mut std::process::Command) -> &mut std::process::Command {
    for name in SECRETS {
        command.env_remove(name);
    }
    command
}

/// What lets a machine become an agent: `ID.SECRET.FINGERPRINT`, the last of the cluster's certificate authority.
#[derive(Clone)]
pub struct JoinToken {
    token: Token,
    pin: Fingerprint,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken")
    }
}

impl FromStr for JoinToken {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "not a join token: `heats token create --role agent` prints one, in three parts with points between";
        let (bearer, pin) = text.trim().rsplit_once('.').ok_or(FORM)?;
        if bearer.split('.').count() != 2 {
            return Err(FORM);
        }
        Ok(Self { token: Token::new(bearer).ok_or(FORM)?, pin: pin.parse().map_err(|()| FORM)? })
    }
}

/// Why the agent is not let in.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// It has no certificate of its own.
    #[error("the cluster asks who its agents are, and this one has no certificate")]
    NotJoined,
    /// Its certificate is that of somebody else.
    #[error("this is agent `{agent}`, and its certificate says: {told}")]
    OtherName {
        /// The agent.
        agent: AgentId,
        /// Whom the certificate names.
        told: String,
    },
    /// Its certificate, or what goes with it, cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] AuthorityError),
    /// No coordinator took the token.
    #[error("the token lets this machine not join: {0}")]
    Refused(#[source] Box<ClientError>),
    /// The certificate or the key cannot be written.
    #[error("cannot use `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where an agent's certificate is.
#[derive(Clone, Debug)]
pub struct Wallet {
    folder: PathBuf,
}

impl Wallet {
    /// The one in `folder`.
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// How `agent` reaches the coordinators: with the certificate that it has, or that it gets by `join`, or as `given`.
    ///
    /// # Errors
    /// See [`AdmitError`].
    pub async fn admit(
        &self,
        agent: AgentId,
        coordinators: &[String],
        given: Security,
        join: Option<&JoinToken>,
    ) -> Result<Security, AdmitError> {
        match (self.load(), join) {
            (Some(Ok(identity)), _) => named(agent, identity),
            (Some(Err(_)) | None, Some(join)) => {
                self.join(agent, coordinators, join).await?;
                named(agent, Identity::load(self.files())?)
            }
            (Some(Err(error)), None) => Err(error.into()),
            (None, None) => match given {
                Security::PlainText => Ok(Security::PlainText),
                Security::Tls(identity) => match identity.name().map(|name| name.who) {
                    Some(Who::Agent(_)) => named(agent, identity),
                    // Whoever starts it may be an admin; the agent is not.
                    Some(Who::Coordinator(_) | Who::Admin(_) | Who::User(_)) | None => Err(AdmitError::NotJoined),
                },
            },
        }
    }

    fn files(&self) -> Files {
        let own = OwnFiles { certificate: self.certificate(), key: self.key() };
        Files { ca: self.ca(), own: Some(own), agents_ca: None }
    }

    /// The certificate that is there, if one is.
    fn load(&self) -> Option<Result<Identity, IdentityError>> {
        self.certificate().exists().then(|| Identity::load(self.files()))
    }

    async fn join(&self, agent: AgentId, coordinators: &[String], join: &JoinToken) -> Result<(), AdmitError> {
        let JoinToken { token, pin } = join;
        std::fs::create_dir_all(&self.folder).map_err(|source| AdmitError::Io { path: self.folder.clone(), source })?;
        let request = self.request()?;
        let security = Security::Tls(Identity::newcomer(*pin)?);
        let client = client(coordinators, Credentials { security, token: Some(token.clone()) })?;
        let joined = client.join(v1::JoinRequest { agent: Some(agent), request }).await;
        let v1::JoinResponse { certificate, ca } = joined.map_err(|error| AdmitError::Refused(Box::new(error)))?;
        write(&self.ca(), &ca, write_public)?;
        // The last one: where it is, the others are.
        write(&self.certificate(), &certificate, write_public)?;
        info!(agent_id = %agent, "joined");
        Ok(())
    }

    /// A request for a certificate for the key that is there, or for a new one. The key is on the disk before anybody
    /// hears of it: the cluster knows the agent by it from then on.
    fn request(&self) -> Result<String, AdmitError> {
        let path = self.key();
        let key = match std::fs::read_to_string(&path) {
            Ok(key) => Some(key),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(AdmitError::Io { path, source }),
        };
        let Request { request, key: made } = Request::make(key.as_deref())?;
        if key.is_none() {
            write(&path, &made, write_private)?;
        }
        Ok(request)
    }

    /// Renews the certificate whenever two thirds of its life are over, for ever. What else was made by other hands is
    /// renewed by these.
    pub async fn keep(self, identity: Identity, coordinators: Vec<String>, on_event: OnEvent) {
        loop {
            let due = identity.renew_in().unwrap_or(LOOK_LAST);
            tokio::time::sleep(due.clamp(LOOK_FIRST, LOOK_LAST)).await;
            if !identity.renew_in().is_some_and(|due| due.is_zero()) {
                continue;
            }
            match self.renew(&identity, &coordinators).await {
                Ok(()) => info!("the certificate was renewed"),
                Err(error) => {
                    let left = identity.expires_in().unwrap_or_default();
                    warn!(%error, left_s = left.as_secs(), "the certificate is not renewed");
                    if left.is_zero() {
                        let why = format!("its certificate has expired, and it gets no new one: {error}");
                        on_event.tell(AgentEvent::NotLetIn { why });
                    }
                    tokio::time::sleep(TRY_AGAIN.min(left / 10)).await;
                }
            }
        }
    }

    async fn renew(&self, identity: &Identity, coordinators: &[String]) -> Result<(), AdmitError> {
        let request = self.request()?;
        let client = client(coordinators, Credentials { security: Security::Tls(identity.clone()), token: None })?;
        let renewed = client.renew(v1::RenewRequest { request }).await;
        let v1::RenewResponse { certificate } = renewed.map_err(|error| AdmitError::Refused(Box::new(error)))?;
        write(&self.certificate(), &certificate, write_public)?;
        Ok(identity.reload()?)
    }

    /// Whether `identity` is what is in the wallet.
    pub fn holds(&self, security: &Security) -> Option<Identity> {
        let identity = security.identity()?;
        self.certificate().exists().then(|| identity.clone())
    }
}

fn named(agent: AgentId, identity: Identity) -> Result<Security, AdmitError> {
    match identity.name().map(|name| name.who) {
        Some(Who::Agent(named)) if named == agent => Ok(Security::Tls(identity)),
        Some(other) => Err(AdmitError::OtherName { agent, told: other.to_string() }),
        None => Err(AdmitError::NotJoined),
    }
}

fn client(coordinators: &[String], credentials: Credentials) -> Result<Client, AdmitError> {
    let options = Options { patience: PATIENCE, ..Options::default() };
    Client::connect_as(coordinators.to_vec(), options, credentials)
        .map_err(|error| AdmitError::Refused(Box::new(error)))
}

fn write(path: &Path, text: &str, how: impl FnOnce(&Path, &str) -> std::io::Result<()>) -> Result<(), AdmitError> {
    how(path, text).map_err(|source| AdmitError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_token_has_three_parts_and_is_not_printed() {
        let pin = "ab".repeat(32);
        let token: JoinToken = format!("tok_1.secret.{pin}").parse().expect("three parts");
        assert!(!format!("{token:?}").contains("secret"));
        for bad in
            ["tok_1.secret".to_owned(), pin.clone(), format!("tok_1.{pin}"), format!("a.b.c.{pin}"), "a.b.c".into()]
        {
            assert!(bad.parse::<JoinToken>().is_err(), "{bad}");
        }
    }
}
