//! Who this process is, from files, as TLS settings that can be read again: new connections use what was read last,
//! those that are open stay as they are.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::name::{Name, NameError, Who, cluster_of};
use crate::pin::{Fingerprint, Pinned};
use crate::provider;
use crate::verify::ByAuthority;

/// HTTP/2, which is all that gRPC speaks.
const ALPN: &[u8] = b"h2";

/// Where a process's certificates are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// The authority that vouches for coordinators.
    pub ca: PathBuf,
    /// This process's own certificate, where it has one.
    pub own: Option<OwnFiles>,
    /// The authority that vouches for agents, where agents are to be known.
    pub agents_ca: Option<PathBuf>,
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why the files make no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read, or holds something else.
    #[error("cannot read `{path}`: {why}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A certificate names nobody.
    #[error("`{path}`: {source}")]
    Name {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NameError,
    },
    /// The certificate is one of another cluster than the authority.
    #[error("the certificate in `{path}` is of cluster `{own}`, and its authority of cluster `{authority}`")]
    OtherCluster {
        /// The certificate's file.
        path: PathBuf,
        /// Its cluster.
        own: String,
        /// The authority's.
        authority: String,
    },
    /// The certificate is too old.
    #[error("the certificate in `{path}` has expired")]
    Expired {
        /// The file.
        path: PathBuf,
    },
    /// The certificate and the key do not fit, or are of a kind that is not known.
    #[error("`{path}` cannot be used: {source}")]
    Unfit {
        /// The certificate's file, or the authority's.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// Who this process is. A clone is the same, and is renewed with it.
#[derive(Clone, Debug)]
pub struct Identity {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: Files,
    current: RwLock<Arc<Current>>,
}

#[derive(Debug)]
struct Current {
    cluster: Option<String>,
    fingerprint: Option<Fingerprint>,
    authority: Option<String>,
    own: Option<Own>,
    client: Arc<ClientConfig>,
    server: Option<Arc<ServerConfig>>,
}

#[derive(Debug)]
struct Own {
    name: Name,
    leaf: CertificateDer<'static>,
    begins: SystemTime,
    expires: SystemTime,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn load(files: Files) -> Result<Self, IdentityError> {
        let current = read(&files)?;
        Ok(Self { inner: Arc::new(Inner { files, current: RwLock::new(Arc::new(current)) }) })
    }

    /// Nobody, who trusts the cluster whose authority has this fingerprint.
    ///
    /// # Errors
    /// Never, with the cryptography that is built in.
    pub fn newcomer(pin: Fingerprint) -> Result<Self, IdentityError> {
        let unfit = |source| IdentityError::Unfit { path: PathBuf::new(), source };
        let provider = provider();
        let verifier = Arc::new(Pinned::new(pin, provider.clone()));
        let client = client(&provider).map_err(unfit)?.dangerous().with_custom_certificate_verifier(verifier);
        let client = finish(client.with_no_client_auth());
        let current =
            Current { cluster: None, fingerprint: Some(pin), authority: None, own: None, client, server: None };
        let files = Files { ca: PathBuf::new(), own: None, agents_ca: None };
        Ok(Self { inner: Arc::new(Inner { files, current: RwLock::new(Arc::new(current)) }) })
    }

    /// Reads the files again. Connections that are open stay as they are.
    ///
    /// # Errors
    /// As [`Identity::load`]; what was read before stays in use then.
    pub fn reload(&self) -> Result<(), IdentityError> {
        let current = Arc::new(read(&self.inner.files)?);
        *self.inner.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// What its own certificate says it is.
    pub fn name(&self) -> Option<Name> {
        self.current().own.as_ref().map(|own| own.name.clone())
    }

    /// Whether whoever reaches it at `host` can trust its certificate.
    pub fn is_for(&self, host: &str) -> bool {
        let current = self.current();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let (Some(own), Ok(name)) = (&current.own, ServerName::try_from(bare)) else { return false };
        ParsedCertificate::try_from(&own.leaf).is_ok_and(|leaf| verify_server_name(&leaf, &name).is_ok())
    }

    /// The cluster that its authority vouches for.
    pub fn cluster(&self) -> Option<String> {
        self.current().cluster.clone()
    }

    /// The fingerprint of its authority.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.current().fingerprint
    }

    /// The authority that it trusts, in PEM.
    pub fn authority(&self) -> Option<String> {
        self.current().authority.clone()
    }

    /// For how long its own certificate is still good.
    pub fn expires_in(&self) -> Option<Duration> {
        let expires = self.current().own.as_ref()?.expires;
        Some(expires.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// How long until two thirds of its own certificate's life are over: time for a new one.
    pub fn renew_in(&self) -> Option<Duration> {
        let current = self.current();
        let Own { begins, expires, .. } = current.own.as_ref()?;
        let due = *begins + expires.duration_since(*begins).unwrap_or_default() * 2 / 3;
        Some(due.duration_since(SystemTime::now()).unwrap_or_default())
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.current().client.clone()
    }

    /// How it takes connections; `None` for one without a certificate.
    pub(crate) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.current().server.clone()
    }

    fn current(&self) -> Arc<Current> {
        self.inner.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(files: &Files) -> Result<Current, IdentityError> {
    let provider = provider();
    let unfit = |path: &Path| {
        let path = path.to_owned();
        move |source| IdentityError::Unfit { path, source }
    };
    let trusted = certificates(&files.ca)?;
    let first = trusted.first().ok_or_else(|| nothing(&files.ca))?;
    let cluster = cluster_of(first).map_err(|source| IdentityError::Name { path: files.ca.clone(), source })?;
    let fingerprint = Some(Fingerprint::of(first));
    let roots = roots(&files.ca, &trusted)?;
    let text = std::fs::read_to_string(&files.ca);
    let authority = Some(text.map_err(|error| IdentityError::Read { path: files.ca.clone(), why: error.to_string() })?);
    let configured = client(&provider).map_err(unfit(&files.ca))?.with_root_certificates(roots.clone());
    let Some(own) = &files.own else {
        let client = finish(configured.with_no_client_auth());
        return Ok(Current { cluster: Some(cluster), fingerprint, authority, own: None, client, server: None });
    };
    let chain = certificates(&own.certificate)?;
    let leaf = chain.first().cloned().ok_or_else(|| nothing(&own.certificate))?;
    let name = Name::of(&leaf).map_err(|source| IdentityError::Name { path: own.certificate.clone(), source })?;
    if name.cluster != cluster {
        let (path, own) = (own.certificate.clone(), name.cluster);
        return Err(IdentityError::OtherCluster { path, own, authority: cluster });
    }
    let (begins, expires) = life(&leaf).ok_or_else(|| malformed(&own.certificate))?;
    if expires <= SystemTime::now() {
        return Err(IdentityError::Expired { path: own.certificate.clone() });
    }
    let key = || {
        PrivateKeyDer::from_pem_file(&own.key)
            .map_err(|error| IdentityError::Read { path: own.key.clone(), why: error.to_string() })
    };
    let client = configured.with_client_auth_cert(chain.clone(), key()?).map_err(unfit(&own.certificate))?;
    let server = if matches!(name.who, Who::Coordinator(_)) {
        let agents = files.agents_ca.as_ref().map(|path| self::roots(path, &certificates(path)?)).transpose()?;
        let verifier = ByAuthority::new(cluster.clone(), roots, agents, &provider).map_err(unfit(&files.ca))?;
        // A newcomer knows the authority by its fingerprint only, and has to be shown it.
        let mut shown = chain;
        shown.push(first.clone());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(unfit(&files.ca))?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(shown, key()?)
            .map_err(unfit(&own.certificate))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        // A session that is taken up again would not show its certificate again.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Some(Arc::new(server))
    } else {
        None
    };
    let own = Some(Own { name, leaf, begins, expires });
    Ok(Current { cluster: Some(cluster), fingerprint, authority, own, client: finish(client), server })
}

type Begun = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn client(provider: &Arc<CryptoProvider>) -> Result<Begun, rustls::Error> {
    ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13])
}

fn finish(mut client: ClientConfig) -> Arc<ClientConfig> {
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    Arc::new(client)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let fail =
        |error: rustls::pki_types::pem::Error| IdentityError::Read { path: path.to_owned(), why: error.to_string() };
    CertificateDer::pem_file_iter(path).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)
}

fn roots(path: &Path, certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|source| IdentityError::Unfit { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

/// From when until when a certificate is good.
fn life(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let time = |seconds: i64| UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?));
    let validity = certificate.validity();
    Some((time(validity.not_before.timestamp())?, time(validity.not_after.timestamp())?))
}

fn nothing(path: &Path) -> IdentityError {
    IdentityError::Read { path: path.to_owned(), why: "there is no certificate in it".to_owned() }
}

fn malformed(path: &Path) -> IdentityError {
    IdentityError::Read { path: path.to_owned(), why: "the certificate does not read".to_owned() }
}
