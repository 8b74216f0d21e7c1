//! How much projects and users may have at once and in all. What runs beyond a quota that was lowered runs on.

use super::usage::Usage;
use crate::fact::{Fact, QuotaScope, QuotaSet, Record};
use crate::state::State;
use crate::sweep::Sweep;

/// The most quotas.
pub const QUOTAS_MAX: usize = 10_000;
/// The largest weight.
pub const WEIGHT_MAX: u32 = 1_000_000;

impl State {
    /// What an admin said about a project or a user.
    pub fn quota(&self, scope: QuotaScope, name: &str) -> Option<&QuotaSet> {
        self.quotas.get(&(scope.into(), name.to_owned())).and_then(|record| set(record))
    }

    /// All that admins said, projects first.
    pub fn all_quotas(&self) -> impl Iterator<Item = &QuotaSet> {
        self.quotas.values().filter_map(|record| set(record))
    }

    /// How many shares a project or a user has; 1 where nobody said.
    pub fn weight(&self, scope: QuotaScope, name: &str) -> u32 {
        if self.quotas.is_empty() { 1 } else { self.quota(scope, name).map_or(1, |quota| quota.weight.max(1)) }
    }
}

fn set(record: &Record) -> Option<&QuotaSet> {
    match record.cell.fact.as_ref()? {
        Fact::QuotaSet(fact) => Some(fact),
        _ => None,
    }
}

/// How many hundredths of GPUs another trial of the sweep may take.
///
/// # Errors
/// Why it may take nothing at all, for people.
pub fn room(state: &State, usage: &Usage, sweep: &Sweep, now_ms: u64) -> Result<u64, String> {
    let mut room = u64::MAX;
    if state.quotas.is_empty() {
        return Ok(room);
    }
    for (scope, name) in [(QuotaScope::Project, sweep.project()), (QuotaScope::User, sweep.user.as_str())] {
        let Some(quota) = state.quota(scope, name) else { continue };
        let holding = usage.holding(scope, name);
        let who = scope.name();
        if let Some(most) = quota.parallel.filter(|most| holding.leases >= *most) {
            return Err(format!("{who} `{name}` may run {most} trials at once, and runs {}", holding.leases));
        }
        if let Some(hours) = quota.gpu_hours
            && holding.gpu_ms(now_ms) as f64 >= hours * 3_600_000.0
        {
            return Err(format!("{who} `{name}` has used its {hours} GPU-hours"));
        }
        if let Some(most) = quota.gpus {
            room = room.min((u64::from(most) * 100).saturating_sub(holding.gpus));
        }
    }
    let least = sweep.spec.variants().iter().map(|need| need.gpu_parts_in_all()).min().unwrap_or(0);
    if room < least {
        return Err(format!("the quotas of project `{}` and user `{}` leave no GPU", sweep.project(), sweep.user));
    }
    Ok(room)
}
