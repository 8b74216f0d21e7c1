//! How a client shows who it is: a certificate, a bearer token, or nothing on a machine of its own.

use std::fmt;

use heats_tls::Security;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// The metadata key that carries a token, as everywhere.
const AUTHORIZATION: &str = "authorization";

/// How connections are made, and what is said on them about who calls.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// In plain text, or over TLS with a certificate or without one.
    pub security: Security,
    /// The token, which is sent over TLS only.
    pub token: Option<Token>,
}

/// A bearer token. Prints as nothing but the fact that it is one.
#[derive(Clone)]
pub struct Token(AsciiMetadataValue);

impl Token {
    /// The token of this text; `None` where it has letters that no token has.
    pub fn new(text: &str) -> Option<Self> {
        let mut value = AsciiMetadataValue::try_from(format!("Bearer {}", text.trim())).ok()?;
        // Kept out of the compression's tables, and of what the library prints.
        value.set_sensitive(true);
        Some(Self(value))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Credentials {
    pub(crate) fn bearer(&self) -> Bearer {
        match &self.security {
            Security::PlainText => Bearer(None),
            Security::Tls(_) => Bearer(self.token.clone()),
        }
    }
}

/// Says on every call who calls.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(Option<Token>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(Token(value)) = &self.0 {
            request.metadata_mut().insert(AUTHORIZATION, value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_printed_and_not_sent_in_plain_text() {
        let credentials = Credentials { security: Security::PlainText, token: Token::new("secret") };
        assert!(!format!("{credentials:?}").contains("secret"));
        let request = credentials.bearer().call(Request::new(())).expect("passes");
        assert!(request.metadata().is_empty());
    }
}
