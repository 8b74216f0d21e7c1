//! The calls about who may do what: tokens, for admins, and certificates, for agents.

use heats_wire::v1;
use heats_wire::v1::agents_client::AgentsClient;
use heats_wire::v1::tokens_client::TokensClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::backoff::random;
use crate::client::{Client, Reading, Repeat};
use crate::credentials::Bearer;
use crate::error::ClientError;
use crate::pool::Node;

impl Client {
    /// Makes a token; the same hash twice makes one.
    pub async fn create_token(&self, request: v1::CreateTokenRequest) -> Result<v1::CreateTokenResponse, ClientError> {
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = self.tokens(node);
            async move { to.create(request).await }
        })
        .await
    }

    /// The tokens that there are.
    pub async fn tokens_there_are(&self) -> Result<v1::ListTokensResponse, ClientError> {
        self.ask(Repeat::Safe, v1::ListTokensRequest {}, |node, request| {
            let mut to = self.tokens(node);
            async move { to.list(request).await }
        })
        .await
    }

    /// Revokes a token. Sent once only: a name may mean another one afterwards.
    pub async fn revoke_token(&self, token: impl Into<String>) -> Result<v1::RevokeTokenResponse, ClientError> {
        let request = v1::RevokeTokenRequest { token: token.into() };
        self.ask(Repeat::Never, request, |node, request| {
            let mut to = self.tokens(node);
            async move { to.revoke(request).await }
        })
        .await
    }

    /// Becomes an agent, by a join token; the same agent and key twice are as good as once.
    pub async fn join(&self, request: v1::JoinRequest) -> Result<v1::JoinResponse, ClientError> {
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = agents(node);
            async move { to.join(request).await }
        })
        .await
    }

    /// Gets the agent whose certificate this client shows a new one.
    pub async fn renew(&self, request: v1::RenewRequest) -> Result<v1::RenewResponse, ClientError> {
        self.ask(Repeat::Safe, request, |node, request| {
            let mut to = agents(node);
            async move { to.renew(request).await }
        })
        .await
    }

    fn tokens(&self, node: &Node) -> TokensClient<InterceptedService<Channel, Reading>> {
        TokensClient::with_interceptor(node.channel.clone(), self.reading(node))
    }
}

fn agents(node: &Node) -> AgentsClient<InterceptedService<Channel, Bearer>> {
    AgentsClient::with_interceptor(node.channel.clone(), node.bearer.clone())
}

/// The secret of a new token: 256 bits from the operating system, as 64 hexadecimal digits; `None` where it has none.
pub fn secret() -> Option<String> {
    (0..4).map(|_| Some(format!("{:016x}", random()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_256_bits_and_is_never_the_same() {
        let (first, second) = (secret().expect("chance"), secret().expect("chance"));
        assert!(first.len() == 64 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
        assert_ne!(first, second);
    }
}
