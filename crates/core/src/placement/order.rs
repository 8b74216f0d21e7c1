//! In which order sweeps are asked for a trial when there is a place: weighted fair shares, the highest priority first.
//!
//! Within a priority, the project that holds the smallest dominant share is first, within it the user, within their sweeps the
//! one with the fewest leases, then the oldest. A dominant share is the largest share that somebody holds of any one
//! resource, divided by their weight: dominant resource fairness, after Ghodsi et al., NSDI 2011. With one project and one
//! user this is: fewest leases first.

use std::cmp::Reverse;

use heats_domain::SweepId;

use super::usage::{Amounts, Usage};
use crate::fact::QuotaScope;
use crate::state::State;
use crate::sweep::Sweep;

/// What the order depends on.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// The sweeps, and the weights.
    pub state: &'a State,
    /// Who holds what.
    pub usage: &'a Usage,
    /// What there is.
    pub all: Amounts,
}

impl Order<'_> {
    /// The sweep of `these` that is asked first.
    pub fn first<'s>(&self, these: impl Iterator<Item = &'s Sweep>) -> Option<SweepId> {
        these.min_by_key(|sweep| self.key(sweep)).map(|sweep| sweep.id)
    }

    /// Sorts sweeps, the one that is asked first to the end.
    pub fn line_up(&self, sweeps: &mut [SweepId]) {
        sweeps.sort_by_cached_key(|id| Reverse(self.key_of(*id)));
    }

    /// Brings the sweep that is asked first to the end, for less than it costs to sort them.
    pub fn bring_first(&self, sweeps: &mut [SweepId]) {
        let first = sweeps.iter().enumerate().min_by_key(|(_, id)| self.key_of(**id)).map(|(place, _)| place);
        if let (Some(first), Some(last)) = (first, sweeps.len().checked_sub(1)) {
            sweeps.swap(first, last);
        }
    }

    fn key_of(&self, id: SweepId) -> impl Ord + use<'_> {
        self.state.sweeps.get(&id).map(|sweep| self.key(sweep))
    }

    fn key<'s>(&self, sweep: &'s Sweep) -> impl Ord + use<'s> {
        let (project, user) = (sweep.project(), sweep.user.as_str());
        let share = |held: Amounts, scope, name| held.dominant(&self.all) / u128::from(self.state.weight(scope, name));
        let of_project = share(self.usage.holding(QuotaScope::Project, project).amounts, QuotaScope::Project, project);
        let of_user = share(self.usage.within(project, user).amounts, QuotaScope::User, user);
        (Reverse(sweep.priority), of_project, project, of_user, user, sweep.live.len(), sweep.id)
    }
}
