//! Who may have how much, and what keeps a sweep from having a place. Who has one is decided in `heats_core::placement`.

use heats_core::fact::{QuotaScope, QuotaSet};
use heats_core::placement::explain::fits_nowhere;
use heats_core::placement::{Usage, quota};
use heats_core::{Op, State, Status as Standing, Sweep};
use heats_wire::v1;
use tonic::Status;

use super::reading::Reading;
use crate::caller::Caller;
use crate::node::Node;
use crate::status::unanswered;

/// The user that a submission counts for: whoever the certificate or the token names, and where nobody is asked, whoever the
/// client says it is.
pub fn user(caller: Option<&Caller>, provenance: &str) -> String {
    match caller {
        Some(Caller::Admin(name) | Caller::User(name)) => name.clone(),
        _ => {
            let provenance = serde_json::from_str::<serde_json::Value>(provenance).unwrap_or_default();
            provenance["user"].as_str().unwrap_or_default().to_owned()
        }
    }
}

/// What keeps the trials of a sweep from ever starting as things are.
pub fn warning(state: &State, sweep: &Sweep) -> Option<String> {
    fits_nowhere(state, sweep).then(|| {
        "no agent that is known could ever run one of its trials: `heats explain` says what each lacks".to_owned()
    })
}

/// Why a sweep of which nothing runs gets no place, where that is known without looking at what is free.
pub fn held_back(state: &State, usage: &Usage, sweep: &Sweep, now_ms: u64) -> Option<String> {
    if sweep.status != Standing::Running || !sweep.live.is_empty() {
        return None;
    }
    quota::room(state, usage, sweep, now_ms).err().or_else(|| warning(state, sweep))
}

fn scope(scope: v1::QuotaScope) -> QuotaScope {
    match scope {
        v1::QuotaScope::Project => QuotaScope::Project,
        v1::QuotaScope::Person => QuotaScope::User,
    }
}

/// Sets a quota.
pub async fn set(node: &Node, request: v1::SetQuotaRequest) -> Result<v1::SetQuotaResponse, Status> {
    let quota = request.quota.unwrap_or_default();
    let scope = scope(quota.scope());
    let v1::Quota { scope: _, name, weight, parallel, gpus, gpu_hours } = quota;
    let quota = QuotaSet { scope: scope.into(), name, weight, parallel, gpus, gpu_hours };
    let answer = node.decider.ask(Op::SetQuota(quota)).await.map_err(|error| unanswered(&error))?;
    Ok(v1::SetQuotaResponse { log_index: answer.log_index })
}

/// Takes a quota back.
pub async fn remove(node: &Node, request: v1::RemoveQuotaRequest) -> Result<v1::RemoveQuotaResponse, Status> {
    let op = Op::RemoveQuota(scope(request.scope()), request.name);
    let answer = node.decider.ask(op).await.map_err(|error| unanswered(&error))?;
    Ok(v1::RemoveQuotaResponse { log_index: answer.log_index })
}

/// The quotas, with what is held and used.
pub async fn list(node: &Node, reading: Reading) -> Result<v1::QuotasResponse, Status> {
    let state = reading.state(node).await?;
    let (usage, now_ms) = (Usage::of(&state), node.clock.now_ms());
    let used = |set: &QuotaSet| {
        let holding = usage.holding(set.scope(), &set.name);
        let scope = match set.scope() {
            QuotaScope::Project => v1::QuotaScope::Project,
            QuotaScope::User => v1::QuotaScope::Person,
        };
        let QuotaSet { scope: _, name, weight, parallel, gpus, gpu_hours } = set.clone();
        v1::QuotaUse {
            quota: Some(v1::Quota { scope: scope.into(), name, weight, parallel, gpus, gpu_hours }),
            running: holding.leases,
            gpu_parts: holding.gpus,
            gpu_ms: holding.gpu_ms(now_ms),
        }
    };
    Ok(v1::QuotasResponse { log_index: state.applied, quotas: state.all_quotas().map(used).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_whoever_is_known_and_otherwise_whoever_the_client_says() {
        let provenance = r#"{"user":"ann","host":"desk"}"#;
        assert_eq!(user(Some(&Caller::User("bob".into())), provenance), "bob");
        assert_eq!(user(Some(&Caller::Admin("root".into())), provenance), "root");
        assert_eq!(user(Some(&Caller::Trusted), provenance), "ann");
        assert_eq!((user(None, "no json"), user(None, "{}")), (String::new(), String::new()));
    }
}
