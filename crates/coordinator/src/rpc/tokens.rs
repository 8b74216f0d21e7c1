//! Tokens, for admins: made, listed, revoked. Sees hashes; a secret is known to whoever made it.

use heats_core::ops::tokens::Create;
use heats_core::{Op, Reply, Token, TokenRole};
use heats_wire::v1;
use heats_wire::v1::tokens_server::Tokens;
use tonic::{Request, Response, Status};
use tracing::info;

use super::reading::Reading;
use crate::edge::entropy;
use crate::node::Node;
use crate::status::unanswered;

/// The service.
pub struct TokensService {
    node: Node,
}

impl TokensService {
    /// The service of this node.
    pub const fn new(node: Node) -> Self {
        Self { node }
    }

    /// Has `op` carried out; the token that it is about, and the log index at which it holds.
    async fn ask(&self, op: Op) -> Result<(heats_domain::TokenId, u64), Status> {
        let answer = self.node.decider.ask(op).await.map_err(|error| unanswered(&error))?;
        match answer.reply {
            Reply::Token(token) => Ok((token, answer.log_index)),
            Reply::Done
            | Reply::Submitted(_)
            | Reply::Enqueued(_)
            | Reply::Retried(_)
            | Reply::Attached(_)
            | Reply::Study(_) => Err(Status::internal("not the reply to a request about a token")),
        }
    }
}

#[tonic::async_trait]
impl Tokens for TokensService {
    async fn create(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let request = request.into_inner();
        let role = match request.role() {
            v1::Role::Agent => TokenRole::Agent,
            v1::Role::User => TokenRole::User,
            v1::Role::Admin => TokenRole::Admin,
        };
        let v1::CreateTokenRequest { name, role: _, hash, ttl_ms, uses_max } = request;
        let hash = blake3::Hash::from_slice(&hash)
            .map_err(|_| Status::invalid_argument("the hash of a token's secret has 32 bytes"))?;
        let create = Create { token: entropy::token_id(self.node.clock.as_ref()), name, role, hash, ttl_ms, uses_max };
        let (token, log_index) = self.ask(Op::CreateToken(create)).await?;
        info!(token_id = %token, role = role.name(), log_index, "token created");
        Ok(Response::new(v1::CreateTokenResponse { token: Some(token), log_index }))
    }

    async fn list(&self, request: Request<v1::ListTokensRequest>) -> Result<Response<v1::ListTokensResponse>, Status> {
        let state = Reading::of(request.metadata()).state(&self.node).await?;
        let tokens = state.tokens.values().filter_map(|token| view(token)).collect();
        Ok(Response::new(v1::ListTokensResponse { log_index: state.applied, now_ms: self.node.clock.now_ms(), tokens }))
    }

    async fn revoke(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let v1::RevokeTokenRequest { token } = request.into_inner();
        let (token, log_index) = self.ask(Op::RevokeToken(token)).await?;
        info!(token_id = %token, log_index, "token revoked");
        Ok(Response::new(v1::RevokeTokenResponse { token: Some(token), log_index }))
    }
}

fn view(token: &Token) -> Option<v1::Token> {
    let created = token.created()?;
    let role = match token.role()? {
        TokenRole::Agent => v1::Role::Agent,
        TokenRole::User => v1::Role::User,
        TokenRole::Admin => v1::Role::Admin,
    };
    Some(v1::Token {
        token: Some(created.token),
        name: created.name.clone(),
        role: role.into(),
        created_ms: token.created_ms(),
        expires_ms: created.expires_ms,
        uses: token.uses(),
        uses_max: created.uses_max,
    })
}
