//! What admins say about how much projects and users may have.

use heats_domain::check::is_name;

use super::Decision;
use crate::fact::{Fact, QuotaRemoved, QuotaScope, QuotaSet};
use crate::placement::quota::{QUOTAS_MAX, WEIGHT_MAX};
use crate::refusal::Refusal;
use crate::state::State;

/// The longest name of a user, in bytes.
const USER_MAX: usize = 256;

/// Sets a quota, in place of what was said of the same project or user before.
pub fn set(state: &State, quota: QuotaSet) -> Decision<()> {
    let invalid = |why: String| Err(Refusal::Spec(why));
    let scope = quota.scope();
    if let (QuotaScope::Project, Err(why)) = (scope, is_name(&quota.name)) {
        return invalid(format!("a project's name {why}"));
    }
    if quota.name.len() > USER_MAX {
        return invalid(format!("a user's name cannot be longer than {USER_MAX} bytes"));
    }
    if !(1..=WEIGHT_MAX).contains(&quota.weight) {
        return invalid(format!("a weight goes from 1 to {WEIGHT_MAX}"));
    }
    if quota.gpu_hours.is_some_and(|hours| !hours.is_finite() || hours < 0.0) {
        return invalid("a number of GPU-hours is 0 or more".to_owned());
    }
    let before = state.quota(scope, &quota.name);
    if before.is_none() && state.quotas.len() >= QUOTAS_MAX {
        return invalid(format!("there are {QUOTAS_MAX} quotas, which is the limit: remove one first"));
    }
    let is_new = before != Some(&quota);
    Ok((if is_new { vec![Fact::QuotaSet(quota)] } else { Vec::new() }, ()))
}

/// Takes a quota back; one that is not there need not be.
pub fn remove(state: &State, scope: QuotaScope, name: String) -> Decision<()> {
    let exists = state.quota(scope, &name).is_some();
    let fact = Fact::QuotaRemoved(QuotaRemoved { scope: scope.into(), name });
    Ok((if exists { vec![fact] } else { Vec::new() }, ()))
}
