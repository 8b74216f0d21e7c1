//! A certificate authority: makes one, reads it again, issues certificates for what `name` can name.
//!
//! A cluster has two. The first signs coordinators, admins and users, and its key is needed only when one of these is
//! added. The second signs agents, by the day, so coordinators have its key; with it nobody can be more than an agent.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;

use crate::csr::Requested;
use crate::name::{Name, NameError, Who, authority_uri, cluster_name, cluster_of};

/// How long an authority is good for.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Clocks of machines differ: a certificate is good from so long before it was made, but no more than a tenth of its life.
const SKEW_MAX: Duration = Duration::from_secs(600);

/// Why an authority cannot do what it is asked to.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read.
    #[error("cannot read `{path}`: {why}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The cluster, or whoever is to be named, has no good name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A host is neither a name nor an address.
    #[error("`{0}` is not a host name or an IP address")]
    Host(String),
    /// The request that is to be signed is none, or is not signed by its own key.
    #[error("the request for a certificate is not a good one: {0}")]
    Request(String),
    /// The key or the signature could not be made.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate with its private key, both in PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The key: to be written by `write_private`, and told to nobody.
    pub key: String,
}

/// A certificate authority with its key.
pub struct Authority {
    cluster: String,
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// Makes the authority of `cluster` that is called `title`, with its own certificate and key.
    ///
    /// # Errors
    /// A name that is none; chance that cannot be had.
    pub fn make(cluster: &str, title: &str) -> Result<(Self, Issued), AuthorityError> {
        let cluster = cluster_name(cluster)?;
        let mut params = lasting(AUTHORITY_LIFE);
        params.distinguished_name.push(DnType::OrganizationName, "Heats");
        params.distinguished_name.push(DnType::CommonName, format!("{cluster} {title}"));
        params.subject_alt_names = vec![SanType::URI(authority_uri(&cluster).try_into()?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let issued = Issued { certificate: certificate.clone(), key: key.serialize_pem() };
        Ok((Self { cluster, issuer: Issuer::new(params, key), certificate }, issued))
    }

    /// Reads the authority whose certificate and key are in these files.
    ///
    /// # Errors
    /// One cannot be read, or is not what it should be.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, AuthorityError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |why: String| AuthorityError::Read { path, why }
        };
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| fail(path)(error.to_string()));
        let pem = read(certificate)?;
        let der =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| fail(certificate)(error.to_string()))?;
        let cluster = cluster_of(&der)?;
        let key = KeyPair::from_pem(&read(key)?).map_err(|error| fail(key)(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| fail(certificate)(error.to_string()))?;
        Ok(Self { cluster, issuer, certificate: pem })
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Its own certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for `who`, good for `life`, with a new key. A coordinator is to be reached at `hosts`.
    ///
    /// # Errors
    /// A host that is none.
    pub fn issue(&self, who: Who, hosts: &[String], life: Duration) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = self.params(who, hosts, life)?.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// A certificate, in PEM, for the key that asks for one. What the request says about its holder counts for nothing.
    ///
    /// # Errors
    /// The signature could not be made.
    pub fn sign(&self, request: &Requested, who: Who, life: Duration) -> Result<String, AuthorityError> {
        Ok(self.params(who, &[], life)?.signed_by(request.key(), &self.issuer)?.pem())
    }

    fn params(&self, who: Who, hosts: &[String], life: Duration) -> Result<CertificateParams, AuthorityError> {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let mut params = lasting(life);
        params.distinguished_name.push(DnType::OrganizationName, "Heats");
        params.distinguished_name.push(DnType::CommonName, who.to_string());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Nobody but a coordinator can be taken for a server.
        params.extended_key_usages = match &who {
            Who::Coordinator(_) => vec![ServerAuth, ClientAuth],
            Who::Agent(_) | Who::Admin(_) | Who::User(_) => vec![ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        let name = Name { cluster: self.cluster.clone(), who }.to_string();
        // An admin's or a user's name is somebody's own choice.
        name.parse::<Name>()?;
        params.subject_alt_names = vec![SanType::URI(name.try_into()?)];
        for host in hosts {
            params.subject_alt_names.push(self::host(host)?);
        }
        Ok(params)
    }
}

/// A certificate that is good from now on for so long.
fn lasting(life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = now - SKEW_MAX.min(life / 10);
    params.not_after = now + life;
    params
}

fn host(text: &str) -> Result<SanType, AuthorityError> {
    let bad = || AuthorityError::Host(text.to_owned());
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    match rustls::pki_types::DnsName::try_from(text) {
        Ok(_) => Ok(SanType::DnsName(text.to_owned().try_into().map_err(|_| bad())?)),
        Err(_) => Err(bad()),
    }
}
