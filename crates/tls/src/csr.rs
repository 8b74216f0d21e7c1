//! Requests for certificates: an agent makes a key and asks to have it signed. The key never leaves its machine.

use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair, PublicKey, PublicKeyData};

use crate::authority::AuthorityError;

/// The largest request that is read, in bytes: one with a key of ours has some 400.
const SIZE_MAX: usize = 8 << 10;

/// A key, and what asks for a certificate for it.
pub struct Request {
    /// The request, in PEM, signed by the key.
    pub request: String,
    /// The key, in PEM.
    pub key: String,
}

impl Request {
    /// A request for `key`, or for a new one.
    ///
    /// # Errors
    /// A key that does not read; chance that cannot be had.
    pub fn make(key: Option<&str>) -> Result<Self, AuthorityError> {
        let pair = match key {
            Some(pem) => KeyPair::from_pem(pem)?,
            None => KeyPair::generate()?,
        };
        let request = CertificateParams::default().serialize_request(&pair)?.pem()?;
        Ok(Self { request, key: pair.serialize_pem() })
    }
}

/// A request that has been read: whoever wrote it has the key.
pub struct Requested {
    key: PublicKey,
}

impl Requested {
    /// Reads a request and checks that it is signed by the key that it is for.
    ///
    /// # Errors
    /// [`AuthorityError::Request`].
    pub fn read(pem: &str) -> Result<Self, AuthorityError> {
        if pem.len() > SIZE_MAX {
            return Err(AuthorityError::Request(format!("it has {} bytes: at most {SIZE_MAX} are read", pem.len())));
        }
        let read = CertificateSigningRequestParams::from_pem(pem);
        let CertificateSigningRequestParams { params: _, public_key: key } =
            read.map_err(|error| AuthorityError::Request(error.to_string()))?;
        Ok(Self { key })
    }

    /// What tells this key from all others: the SHA-256 of it.
    pub fn key_hash(&self) -> [u8; 32] {
        crate::pin::sha256(&self.key.subject_public_key_info())
    }

    pub(crate) const fn key(&self) -> &PublicKey {
        &self.key
    }
}
