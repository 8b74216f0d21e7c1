//! By what a receiver knows that a notice is its cluster's: a signature of the body under a secret that only the two have. The
//! secret is in a file of the operator's, and never in the log.

use std::fmt;
use std::path::{Path, PathBuf};

use ring::hmac;

/// The fewest bytes that a secret has.
const BYTES_MIN: usize = 16;
/// The most.
const BYTES_MAX: usize = 4_096;

/// A secret that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file cannot be read.
    #[error("the secret for webhooks in {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is too short to keep anything, or is no secret at all.
    #[error("the secret for webhooks in {path} has {bytes} bytes, and not {BYTES_MIN} to {BYTES_MAX}")]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length without the space around it.
        bytes: usize,
    },
}

/// What notices are signed with.
#[derive(Clone)]
pub struct WebhookSecret(hmac::Key);

/// The secret itself is nobody's business.
impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

impl WebhookSecret {
    /// The secret in a file, without the space around it.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
        let content = std::fs::read(path).map_err(unreadable)?;
        let secret = content.trim_ascii();
        if !(BYTES_MIN..=BYTES_MAX).contains(&secret.len()) {
            return Err(SecretError::Length { path: path.to_owned(), bytes: secret.len() });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// The signature of `body`: `sha256=` and its HMAC-SHA256 in hexadecimal digits.
    pub fn sign(&self, body: &[u8]) -> String {
        let tag = hmac::sign(&self.0, body);
        let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={digits}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_signed_as_the_standard_says_and_the_space_around_a_secret_is_none_of_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("secret");
        // RFC 4231, test case 1.
        std::fs::write(&path, [&[0x0b; 20][..], b"\n"].concat()).expect("writes");
        let secret = WebhookSecret::read(&path).expect("is long enough");
        let signed = "sha256=b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(secret.sign(b"Hi There"), signed);
        assert_eq!(format!("{secret:?}"), "WebhookSecret");
    }

    #[test]
    fn a_secret_that_is_missing_or_short_is_refused_with_its_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("secret");
        let why = || WebhookSecret::read(&path).expect_err("is refused").to_string();
        assert!(why().contains("cannot be read") && why().contains(&path.display().to_string()), "{}", why());
        std::fs::write(&path, "  short\n").expect("writes");
        assert!(why().contains("has 5 bytes"), "{}", why());
    }
}
