//! Where a coordinator's certificates are: flags, the environment, and the table `[tls]` of its file, one after the other.

use std::path::{Path, PathBuf};

use heats_domain::units::Span;
use heats_tls::{Files, Identity, OwnFiles, Security};
use serde::Deserialize;

use crate::commands::tls;
use crate::exit::Failure;

/// The heading of these flags.
pub const SECURITY: &str = "Security";

/// Where the coordinator's certificates are.
#[derive(clap::Args, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsArgs {
    /// The folder that `heats tls init` made for this coordinator; SIGHUP has the files read again
    #[arg(id = "tls_dir", long = "tls", value_name = "DIR", env = "HEATS_TLS", help_heading = SECURITY)]
    dir: Option<PathBuf>,
    /// The cluster's certificate authority [default: DIR/ca.pem]
    #[arg(id = "tls_ca", long = "tls-ca", value_name = "FILE", env = "HEATS_TLS_CA", help_heading = SECURITY)]
    ca: Option<PathBuf>,
    /// This coordinator's certificate [default: DIR/node.pem]
    #[arg(id = "tls_cert", long = "tls-cert", value_name = "FILE", env = "HEATS_TLS_CERT", help_heading = SECURITY)]
    cert: Option<PathBuf>,
    /// Its private key [default: DIR/node.key]
    #[arg(id = "tls_key", long = "tls-key", value_name = "FILE", env = "HEATS_TLS_KEY", help_heading = SECURITY)]
    key: Option<PathBuf>,
    /// The authority that vouches for agents [default: DIR/agents-ca.pem, where it is there]
    #[arg(id = "tls_agents_ca", long = "tls-agents-ca", value_name = "FILE", env = "HEATS_TLS_AGENTS_CA", help_heading = SECURITY)]
    agents_ca: Option<PathBuf>,
    /// Its private key, with which agents are let join [default: DIR/agents-ca.key, where it is there]
    #[arg(id = "tls_agents_key", long = "tls-agents-key", value_name = "FILE", env = "HEATS_TLS_AGENTS_KEY", help_heading = SECURITY)]
    agents_key: Option<PathBuf>,
    /// How long the certificates of agents are good; they are renewed after two thirds of it [default: 24h]
    #[arg(long = "agent-certificate-life", value_name = "TIME", env = "HEATS_AGENT_CERTIFICATE_LIFE", help_heading = SECURITY)]
    pub agent_certificate_life: Option<Span>,
}

impl TlsArgs {
    /// What these say, and what `other` says where these say nothing.
    pub fn or(&self, other: Self) -> Self {
        let Self { dir, ca, cert, key, agents_ca, agents_key, agent_certificate_life } = other;
        Self {
            dir: self.dir.clone().or(dir),
            ca: self.ca.clone().or(ca),
            cert: self.cert.clone().or(cert),
            key: self.key.clone().or(key),
            agents_ca: self.agents_ca.clone().or(agents_ca),
            agents_key: self.agents_key.clone().or(agents_key),
            agent_certificate_life: self.agent_certificate_life.or(agent_certificate_life),
        }
    }

    /// Files that a file names lie where it says, seen from its folder.
    pub fn seen_from(&mut self, folder: &Path) {
        let Self { dir, ca, cert, key, agents_ca, agents_key, agent_certificate_life: _ } = self;
        for path in [dir, ca, cert, key, agents_ca, agents_key].into_iter().flatten() {
            *path = folder.join(&path);
        }
    }

    /// The agents' authority, where agents may join here.
    ///
    /// # Errors
    /// Its key is named and its certificate is not.
    pub fn agents_authority(&self) -> Result<Option<OwnFiles>, Failure> {
        let in_dir = |name: &str| self.dir.as_ref().map(|dir| dir.join(name)).filter(|path| path.exists());
        let certificate = self.agents_ca.clone().or_else(|| in_dir(tls::AGENTS_CA));
        match (certificate, self.agents_key.clone().or_else(|| in_dir(tls::AGENTS_KEY))) {
            (Some(certificate), Some(key)) => Ok(Some(OwnFiles { certificate, key })),
            (None, Some(_)) => Err(Failure::usage(
                "the key of the agents' authority without its certificate: `--tls-agents-ca` is missing",
            )),
            (Some(_) | None, None) => Ok(None),
        }
    }

    /// How connections are made and taken: over TLS, where certificates are named.
    ///
    /// # Errors
    /// Some are named and others not; one cannot be read.
    pub fn security(self) -> Result<Security, Failure> {
        let Self { dir, ca, cert, key, agents_ca, agents_key: _, agent_certificate_life: _ } = self;
        if dir.is_none() && ca.is_none() && cert.is_none() && key.is_none() {
            return Ok(Security::PlainText);
        }
        let in_dir = |name: &str| dir.as_ref().map(|dir| dir.join(name));
        let needed = |given: Option<PathBuf>, name: &str, flag: &str| {
            given.or_else(|| in_dir(name)).ok_or_else(|| {
                Failure::usage(format!("a coordinator that speaks TLS needs its authority, its certificate and its key: `{flag}` is missing"))
                    .hint("`--tls DIR` names the folder that `heats tls init` made, which holds all three")
            })
        };
        let files = Files {
            ca: needed(ca, tls::CA, "--tls-ca")?,
            own: Some(OwnFiles {
                certificate: needed(cert, tls::NODE, "--tls-cert")?,
                key: needed(key, tls::NODE_KEY, "--tls-key")?,
            }),
            agents_ca: agents_ca.or_else(|| in_dir(tls::AGENTS_CA).filter(|path| path.exists())),
        };
        Identity::load(files).map(Security::Tls).map_err(|error| {
            Failure::usage(error.to_string()).hint("`heats tls init` and `heats tls issue` make certificates")
        })
    }
}
