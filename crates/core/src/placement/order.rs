//! In which order sweeps are asked for a trial when there is a place: weighted fair shares, the highest priority first.
//!
//! Within a priority, the project that holds the smallest dominant share is first, within it the user, within their sweeps the
//! one with the fewest leases, then the oldest. A dominant share is the largest share that somebody holds of any one
//! resource, divided by their weight: dominant resource fairness, after Ghodsi et al., NSDI 2011. With one project and one
//! user this is: fewest leases first.

use std::cmp::Reverse;

use super::line::{Line, QueueKey, Rank};
use super::usage::{Amounts, Usage};
use crate::fact::QuotaScope;
use crate::state::State;

/// What the order depends on.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// The weights.
    pub state: &'a State,
    /// Who holds what.
    pub usage: &'a Usage,
    /// What there is.
    pub all: Amounts,
    /// Who is first in each queue.
    pub line: &'a Line,
}

impl Order<'_> {
    /// The first of these, which stand in these queues.
    pub fn first<'q, T>(&self, these: impl Iterator<Item = (&'q QueueKey, Rank, T)>) -> Option<(Rank, T)> {
        let first = these.min_by_key(|(queue, rank, _)| self.key(queue, *rank));
        first.map(|(_, rank, what)| (rank, what))
    }

    /// Sorts queues, the one whose first sweep is asked first to the end.
    pub fn line_up(&self, queues: &mut [QueueKey]) {
        queues.sort_by_cached_key(|queue| Reverse(self.key_of(queue)));
    }

    /// Brings the queue whose first sweep is asked first to the end, for less than it costs to sort them.
    pub fn bring_first(&self, queues: &mut [QueueKey]) {
        let first = queues.iter().enumerate().min_by_key(|(_, queue)| self.key_of(queue)).map(|(place, _)| place);
        if let (Some(first), Some(last)) = (first, queues.len().checked_sub(1)) {
            queues.swap(first, last);
        }
    }

    fn key_of(&self, queue: &QueueKey) -> impl Ord + use<> {
        self.line.front(queue).map(|rank| self.key(queue, rank))
    }

    fn key(&self, queue: &QueueKey, rank: Rank) -> impl Ord + use<> {
        let QueueKey { priority, project, user, asks: _ } = queue;
        let share = |held: Amounts, scope, name| held.dominant(&self.all) / u128::from(self.state.weight(scope, name));
        let of_project = share(self.usage.holding(QuotaScope::Project, project).amounts, QuotaScope::Project, project);
        let of_user = share(self.usage.within(project, user).amounts, QuotaScope::User, user);
        (*priority, of_project, project.clone(), of_user, user.clone(), rank)
    }
}
