//! Whom a coordinator takes for whom: the cluster's authority vouches for coordinators, admins and users, that of the
//! agents for agents. Who has no certificate is let in as nobody: a token may say who that is.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use crate::name::{Name, Who};

/// Checks who connects.
#[derive(Debug)]
pub(crate) struct ByAuthority {
    cluster: String,
    main: Arc<dyn ClientCertVerifier>,
    agents: Option<Arc<dyn ClientCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ByAuthority {
    /// For `cluster`, with the roots of its authority and of that of its agents.
    pub(crate) fn new(
        cluster: String,
        main: RootCertStore,
        agents: Option<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let verifier = |roots: RootCertStore| {
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|error| Error::General(error.to_string()))
        };
        Ok(Self {
            cluster,
            main: verifier(main)?,
            agents: agents.map(verifier).transpose()?,
            provider: provider.clone(),
        })
    }
}

impl ClientCertVerifier for ByAuthority {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Whoever has a certificate has one of this cluster.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let by_agents =
            |agents: &Arc<dyn ClientCertVerifier>| agents.verify_client_cert(end_entity, intermediates, now);
        let (verified, vouches_for_agents) = match self.main.verify_client_cert(end_entity, intermediates, now) {
            Ok(verified) => (verified, false),
            Err(error) => match self.agents.as_ref().map(by_agents) {
                Some(Ok(verified)) => (verified, true),
                // The certificate of an agent that has expired is to be told from one of another cluster.
                Some(Err(of_agent @ Error::InvalidCertificate(_))) if is_unknown(&error) => return Err(of_agent),
                Some(Err(_)) | None => return Err(error),
            },
        };
        let name = Name::of(end_entity);
        let is_in_order = name.is_ok_and(|Name { cluster, who }| {
            cluster == self.cluster && matches!(who, Who::Agent(_)) == vouches_for_agents
        });
        let refused = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        if is_in_order { Ok(verified) } else { Err(refused) }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

const fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature))
}
