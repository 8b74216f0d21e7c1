//! A token as output: all that is known of it but its secret, which nobody knows.

use heats_wire::v1;

use crate::output::{Fields, Item};

/// The token's fields at `now_ms`; its name is the id, which other commands take.
pub fn token(token: &v1::Token, now_ms: u64) -> Item {
    let id = token.token.unwrap_or_default().to_string();
    let role = match token.role() {
        v1::Role::Agent => "agent",
        v1::Role::User => "user",
        v1::Role::Admin => "admin",
    };
    let spent = token.role() == v1::Role::Agent && token.uses >= token.uses_max;
    let state = match token.expires_ms {
        Some(expires_ms) if expires_ms <= now_ms => "expired",
        _ if spent => "used up",
        _ => "good",
    };
    let json = Fields::new()
        .with("id", id.as_str())
        .with("name", token.name.as_str())
        .with("role", role)
        .with("state", state)
        .with("uses", token.uses)
        .with("uses_max", token.uses_max)
        .time("created_at", token.created_ms)
        .time("expires_at", token.expires_ms)
        .done();
    Item { name: id, json }
}
