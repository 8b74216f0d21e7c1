//! What a certificate says its holder is: `spiffe://CLUSTER/coordinator/2`. Parsed and printed here; what follows from
//! it is the coordinator's to decide.

use std::fmt;
use std::str::FromStr;

use heats_domain::AgentId;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const SCHEME: &str = "spiffe://";
/// The longest name of a cluster, an admin or a user, in bytes.
const LENGTH_MAX: usize = 63;

/// The holder of a certificate, and the cluster that it belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// The cluster's name.
    pub cluster: String,
    /// Who it is there.
    pub who: Who,
}

/// What somebody is in a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// The coordinator of this number.
    Coordinator(u64),
    /// This agent.
    Agent(AgentId),
    /// Somebody who runs the cluster.
    Admin(String),
    /// Somebody who runs sweeps on it.
    User(String),
}

/// Why a text or a certificate has no name of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is not of the form.
    #[error("`{0}` is not a name like spiffe://CLUSTER/coordinator/1")]
    Form(String),
    /// A part has other letters than it may.
    #[error("`{0}` is not a name: 1 to {LENGTH_MAX} of a-z, 0-9, `-` and `.`")]
    Letters(String),
    /// The certificate does not read.
    #[error("the certificate does not read")]
    Malformed,
    /// It names nobody, or several.
    #[error("the certificate does not say what its holder is in a cluster")]
    Nobody,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/", self.cluster)?;
        match &self.who {
            Who::Coordinator(node) => write!(f, "coordinator/{node}"),
            Who::Agent(agent) => write!(f, "agent/{agent}"),
            Who::Admin(name) => write!(f, "admin/{name}"),
            Who::User(name) => write!(f, "user/{name}"),
        }
    }
}

impl fmt::Display for Who {
    /// For people: `coordinator 2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator(node) => write!(f, "coordinator {node}"),
            Self::Agent(agent) => write!(f, "agent `{agent}`"),
            Self::Admin(name) => write!(f, "admin `{name}`"),
            Self::User(name) => write!(f, "user `{name}`"),
        }
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let form = || NameError::Form(text.to_owned());
        let mut parts = text.strip_prefix(SCHEME).ok_or_else(form)?.split('/');
        let (Some(cluster), Some(kind), Some(id), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(form());
        };
        let who = match kind {
            // A second way to write a number would be a second name for one node.
            "coordinator" => Who::Coordinator(
                id.parse().ok().filter(|node: &u64| *node > 0 && node.to_string() == id).ok_or_else(form)?,
            ),
            "agent" => Who::Agent(id.parse().map_err(|_| form())?),
            "admin" => Who::Admin(letters(id)?),
            "user" => Who::User(letters(id)?),
            _ => return Err(form()),
        };
        Ok(Self { cluster: letters(cluster)?, who })
    }
}

impl Name {
    /// The name in a certificate, whose chain has been checked already.
    ///
    /// # Errors
    /// It has none, or more than one.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, NameError> {
        uri(certificate)?.parse()
    }
}

/// The cluster's name, where `text` may be one.
///
/// # Errors
/// [`NameError::Letters`].
pub fn cluster_name(text: &str) -> Result<String, NameError> {
    letters(text)
}

/// The cluster that an authority's certificate says it is of: `spiffe://CLUSTER`.
pub(crate) fn cluster_of(authority: &CertificateDer<'_>) -> Result<String, NameError> {
    let uri = uri(authority)?;
    letters(uri.strip_prefix(SCHEME).ok_or_else(|| NameError::Form(uri.clone()))?)
}

/// What an authority's certificate says of its cluster.
pub(crate) fn authority_uri(cluster: &str) -> String {
    format!("{SCHEME}{cluster}")
}

/// The one URI in the certificate.
fn uri(certificate: &CertificateDer<'_>) -> Result<String, NameError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| NameError::Malformed)?;
    let names = certificate.subject_alternative_name().map_err(|_| NameError::Malformed)?;
    let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => Ok(uri),
        (None, _) | (Some(_), Some(_)) => Err(NameError::Nobody),
    }
}

fn letters(text: &str) -> Result<String, NameError> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    if (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err(NameError::Letters(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_prints_and_parses_back() {
        let agent: AgentId = "agt_0123456789abc".parse().expect("an id");
        for who in [Who::Coordinator(12), Who::Agent(agent), Who::Admin("ops".into()), Who::User("a.b-1".into())] {
            let name = Name { cluster: "lab".into(), who };
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_name() {
        for bad in [
            "spiffe://lab/coordinator/01",
            "spiffe://lab/coordinator/0",
            "spiffe://lab/coordinator/+1",
            "spiffe://lab/coordinator/1/2",
            "spiffe://lab//coordinator/1",
            "spiffe:///coordinator/1",
            "spiffe://LAB/coordinator/1",
            "spiffe://lab/root/1",
            "spiffe://lab/admin/",
            "http://lab/coordinator/1",
            "spiffe://lab",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
