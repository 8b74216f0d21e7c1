//! What projects and users hold and have used. Kept by the leader in memory, a step for each lease that begins or ends, so that
//! a decision costs the same however many trials there are.

use std::collections::BTreeMap;

use heats_domain::{Grant, Inventory};

use crate::fact::QuotaScope;
use crate::gang::Member;
use crate::state::State;
use crate::sweep::Sweep;
use crate::trial::Attempt;

/// Amounts of what machines have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Amounts {
    /// Processors, bytes of memory, hundredths of GPUs, bytes of disk.
    of: [u128; 4],
}

impl Amounts {
    /// What a machine has.
    pub fn of_inventory(inventory: &Inventory) -> Self {
        let Inventory { cpus, memory, gpus, disk, labels: _, facts: _, rendezvous: _ } = inventory;
        Self { of: [u128::from(*cpus), u128::from(*memory), gpus.len() as u128 * 100, u128::from(*disk)] }
    }

    fn of_grant(grant: &Grant) -> Self {
        let gpus = u128::from(grant.gpu_hundredths());
        Self { of: [u128::from(grant.cpus), u128::from(grant.memory), gpus, u128::from(grant.disk)] }
    }

    /// Adds the same of `other`.
    pub fn add(&mut self, other: Self) {
        self.of.iter_mut().zip(other.of).for_each(|(sum, more)| *sum += more);
    }

    fn subtract(&mut self, other: Self) {
        self.of.iter_mut().zip(other.of).for_each(|(sum, less)| *sum = sum.saturating_sub(less));
    }

    /// The largest share that this is of anything that `all` has, in billionths. What nobody has any more is had whole.
    pub fn dominant(&self, all: &Self) -> u128 {
        const WHOLE: u128 = 1_000_000_000;
        let shares = self.of.iter().zip(all.of).filter(|(held, _)| **held > 0);
        shares.map(|(held, all)| (held * WHOLE).checked_div(all).unwrap_or(WHOLE)).max().unwrap_or(0)
    }
}

/// What a project or a user holds, and has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Holding {
    /// Trials that hold a place, on however many machines.
    pub leases: u32,
    /// What they hold.
    pub amounts: Amounts,
    /// The GPUs of these, in hundredths.
    pub gpus: u64,
    /// The sum over these of when each was leased, times its hundredths of GPUs.
    gpu_since: u128,
    /// GPU time of attempts that have ended, in milliseconds.
    gpu_ms: u64,
}

impl Holding {
    fn begin(&mut self, grant: &Grant, leased_ms: u64) {
        self.amounts.add(Amounts::of_grant(grant));
        self.gpus += grant.gpu_hundredths();
        self.gpu_since += u128::from(leased_ms) * u128::from(grant.gpu_hundredths());
    }

    fn end(&mut self, grant: &Grant, leased_ms: u64, ran_ms: u64) {
        self.amounts.subtract(Amounts::of_grant(grant));
        self.gpus = self.gpus.saturating_sub(grant.gpu_hundredths());
        self.gpu_since = self.gpu_since.saturating_sub(u128::from(leased_ms) * u128::from(grant.gpu_hundredths()));
        self.gpu_ms += grant.gpu_ms(ran_ms);
    }

    /// The GPU time used until `now_ms`, in milliseconds. What runs counts from when it was leased.
    pub fn gpu_ms(&self, now_ms: u64) -> u64 {
        let held = (u128::from(now_ms) * u128::from(self.gpus)).saturating_sub(self.gpu_since) / 100;
        self.gpu_ms.saturating_add(u64::try_from(held).unwrap_or(u64::MAX))
    }
}

/// What projects and users hold and have used.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    projects: BTreeMap<String, Holding>,
    users: BTreeMap<String, Holding>,
    /// By project, then user.
    within: BTreeMap<String, BTreeMap<String, Holding>>,
}

impl Usage {
    /// What `state` says.
    pub fn of(state: &State) -> Self {
        let mut usage = Self::default();
        for sweep in state.sweeps.values() {
            usage.each(sweep, |holding| holding.gpu_ms += sweep.ledger.gpu_ms);
            for (_, attempt) in sweep.live.iter().filter_map(|number| sweep.trial(*number)?.live()) {
                usage.begin(sweep, attempt.holders().map(|holder| holder.grant), attempt.leased_ms);
                let ended_ms = attempt.gang.as_ref().map_or(0, |gang| gang.gpu_ms());
                usage.each(sweep, |holding| holding.gpu_ms += ended_ms);
            }
        }
        usage
    }

    fn each(&mut self, sweep: &Sweep, change: impl Fn(&mut Holding)) {
        let (project, user) = (sweep.project().to_owned(), sweep.user.clone());
        let within = self.within.entry(project.clone()).or_default();
        change(within.entry(user.clone()).or_default());
        change(self.projects.entry(project).or_default());
        change(self.users.entry(user).or_default());
    }

    /// A trial of the sweep was leased, which holds these.
    pub fn begin<'a>(&mut self, sweep: &Sweep, grants: impl Iterator<Item = &'a Grant>, leased_ms: u64) {
        self.each(sweep, |holding| holding.leases += 1);
        for grant in grants {
            self.each(sweep, |holding| holding.begin(grant, leased_ms));
        }
    }

    /// A member of an attempt of the sweep has ended, after its process ran so long.
    pub fn end_member(&mut self, sweep: &Sweep, attempt: &Attempt, member: &Member, ran_ms: u64) {
        self.each(sweep, |holding| holding.end(&member.grant, attempt.leased_ms, ran_ms));
    }

    /// An attempt of the sweep has ended, after its process ran so long.
    pub fn end(&mut self, sweep: &Sweep, attempt: &Attempt, ran_ms: u64) {
        // Of a gang, the members gave back what they held one by one.
        let held = attempt.gang.is_none().then_some(&attempt.grant);
        self.each(sweep, |holding| {
            holding.leases = holding.leases.saturating_sub(1);
            if let Some(grant) = held {
                holding.end(grant, attempt.leased_ms, ran_ms);
            }
        });
    }

    /// A sweep and what it has used is gone.
    pub fn forget(&mut self, sweep: &Sweep) {
        let used = sweep.ledger.gpu_ms;
        self.each(sweep, |holding| holding.gpu_ms = holding.gpu_ms.saturating_sub(used));
    }

    /// What a project or a user holds and has used.
    pub fn holding(&self, scope: QuotaScope, name: &str) -> Holding {
        let map = match scope {
            QuotaScope::Project => &self.projects,
            QuotaScope::User => &self.users,
        };
        map.get(name).copied().unwrap_or_default()
    }

    /// What a user holds within a project.
    pub fn within(&self, project: &str, user: &str) -> Holding {
        self.within.get(project).and_then(|users| users.get(user)).copied().unwrap_or_default()
    }
}
