//! Whether a trial fits a machine, and which of its devices it takes.

use std::collections::BTreeSet;

use heats_domain::resources::{GPU_PARTS, Gpu};
use heats_domain::spec::Resources;
use heats_domain::{AgentId, Grant, Inventory, Machine, SweepId};

use crate::state::State;

/// What is free of an inventory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Free {
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Disk in bytes.
    pub disk: u64,
    /// Of each GPU, in the inventory's order, how many of its [`GPU_PARTS`] parts.
    pub parts: Vec<u32>,
}

impl Free {
    /// All of it.
    pub fn whole(inventory: &Inventory) -> Self {
        let Inventory { cpus, memory, gpus, disk, labels: _, facts: _, rendezvous: _ } = inventory;
        Self { cpus: *cpus, memory: *memory, disk: *disk, parts: vec![GPU_PARTS; gpus.len()] }
    }

    /// Whether everything that fits here fits `other`, too: not where a device has come, or gone.
    pub fn is_within(&self, other: &Self) -> bool {
        let parts = self.parts.len() == other.parts.len() && self.parts.iter().zip(&other.parts).all(|(a, b)| a <= b);
        parts && self.cpus <= other.cpus && self.memory <= other.memory && self.disk <= other.disk
    }

    /// What is left without `grant`. What the machine does not have any more is taken by nobody.
    pub fn take(&mut self, inventory: &Inventory, grant: &Grant) {
        self.cpus = self.cpus.saturating_sub(grant.cpus);
        self.memory = self.memory.saturating_sub(grant.memory);
        self.disk = self.disk.saturating_sub(grant.disk);
        let taken = if grant.gpu_parts == 0 { GPU_PARTS } else { grant.gpu_parts };
        for (gpu, left) in inventory.gpus.iter().zip(&mut self.parts) {
            if grant.gpus.contains(&gpu.index) {
                *left = left.saturating_sub(taken);
            }
        }
    }

    /// Nothing is left of the GPUs of these indices.
    pub fn leave_out(&mut self, inventory: &Inventory, gpus: &BTreeSet<u32>) {
        for (_, left) in inventory.gpus.iter().zip(&mut self.parts).filter(|(gpu, _)| gpus.contains(&gpu.index)) {
            *left = 0;
        }
    }
}

impl State {
    /// What an agent has that no lease holds. A trial that was leased ahead holds nothing yet.
    pub fn free(&self, agent: AgentId) -> Free {
        self.free_but_for(agent, &BTreeSet::new())
    }

    /// The same, as if it did not hold `these` trials.
    pub fn free_but_for(&self, agent: AgentId, these: &BTreeSet<(SweepId, u32)>) -> Free {
        let nothing = Inventory::default();
        let inventory = self.agent(agent).map_or(&nothing, |attached| &attached.inventory);
        let mut free = Free::whole(inventory);
        let held = self.leases.get(&agent).into_iter().flatten();
        for (_, lease) in held.filter(|(trial, lease)| !lease.ahead && !these.contains(trial)) {
            free.take(inventory, &lease.grant);
        }
        free
    }
}

/// What `require` says about a machine. It depends on what the machine has and not on what is free, so that it can be
/// remembered for as long as the agent is attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suited {
    /// About the machine, for a trial that takes no GPU.
    machine: bool,
    /// About each GPU, in the inventory's order.
    devices: Vec<bool>,
}

impl Suited {
    /// What the condition of `need` says, where it has one. One that cannot be computed for a device does not hold for it.
    pub fn of(need: &Resources, machine: Machine<'_>) -> Option<Self> {
        let require = need.require.as_ref()?;
        let holds = |gpu: Option<&Gpu>| machine.satisfies(require, gpu) == Ok(true);
        Some(if need.gpu_parts() == 0 {
            Self { machine: holds(None), devices: Vec::new() }
        } else {
            Self { machine: true, devices: machine.inventory.gpus.iter().map(|gpu| holds(Some(gpu))).collect() }
        })
    }
}

/// Something that a machine needs for a trial to fit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Condition {
    /// Processors.
    Cpus,
    /// Memory.
    Memory,
    /// Disk.
    Disk,
    /// GPUs, or room on one.
    Gpus,
    /// GPUs with so much memory.
    GpuMemory,
    /// What `require` says.
    Require,
    /// GPUs of which each has all of that.
    Devices,
    /// An address at which the other members of its trial reach it.
    Rendezvous,
}

impl Condition {
    /// All of them, in the order in which people are told.
    pub const ALL: [Self; 8] = [
        Self::Cpus,
        Self::Memory,
        Self::Disk,
        Self::Gpus,
        Self::GpuMemory,
        Self::Require,
        Self::Devices,
        Self::Rendezvous,
    ];
}

/// What one trial takes, against what one machine has.
struct Question<'a> {
    need: &'a Resources,
    inventory: &'a Inventory,
    free: &'a Free,
    suited: Option<&'a Suited>,
}

impl Question<'_> {
    fn devices(&self) -> usize {
        self.need.gpu_parts().div_ceil(GPU_PARTS) as usize
    }

    fn parts(&self) -> u32 {
        self.need.gpu_parts().min(GPU_PARTS)
    }

    fn has_room(&self, place: usize) -> bool {
        self.free.parts[place] >= self.parts()
    }

    /// Of a shared device, the trial counts on its share of the memory.
    fn has_memory(&self, place: usize) -> bool {
        let share = u128::from(self.inventory.gpus[place].memory) * u128::from(self.parts()) / u128::from(GPU_PARTS);
        self.need.gpu_memory.is_none_or(|needed| share >= u128::from(needed.count))
    }

    fn is_suited(&self, place: usize) -> bool {
        self.suited.is_none_or(|suited| suited.devices[place])
    }

    fn places(&self) -> std::ops::Range<usize> {
        0..self.inventory.gpus.len()
    }

    /// Whether there are as many devices as it takes: otherwise that is what is to be said, and not what they are like.
    fn has_devices(&self) -> bool {
        self.inventory.gpus.len() >= self.devices()
    }

    /// Whether fewer devices than it takes are `good`.
    fn too_few(&self, good: impl Fn(usize) -> bool) -> bool {
        let needed = self.devices();
        needed > 0 && self.places().filter(|place| good(*place)).take(needed).count() < needed
    }

    fn fails(&self, condition: Condition) -> bool {
        let Self { need, free, .. } = self;
        match condition {
            Condition::Cpus => free.cpus < need.cpus,
            Condition::Memory => need.memory.is_some_and(|memory| free.memory < memory.count),
            Condition::Disk => need.disk.is_some_and(|disk| free.disk < disk.count),
            Condition::Gpus => self.too_few(|place| self.has_room(place)),
            Condition::GpuMemory => self.has_devices() && self.too_few(|place| self.has_memory(place)),
            Condition::Require => {
                let is_unsuited = self.suited.is_some_and(|suited| !suited.machine);
                is_unsuited || self.has_devices() && self.too_few(|place| self.is_suited(place))
            }
            Condition::Devices => self.too_few(|place| self.is_good(place)),
            Condition::Rendezvous => need.spans_machines() && self.inventory.rendezvous.is_none(),
        }
    }

    fn is_good(&self, place: usize) -> bool {
        self.has_room(place) && self.has_memory(place) && self.is_suited(place)
    }
}

/// What a trial that needs `need` is granted of a machine; `None` where it does not fit.
///
/// Whole GPUs are those with the lowest indices. A share is taken of the device that has the least left and still enough, so
/// that shares gather on few devices and the others stay whole.
pub fn grant(need: &Resources, inventory: &Inventory, free: &Free, suited: Option<&Suited>) -> Option<Grant> {
    let question = Question { need, inventory, free, suited };
    // The last of them implies those on devices that are left out.
    let all = [
        Condition::Cpus,
        Condition::Memory,
        Condition::Disk,
        Condition::Require,
        Condition::Devices,
        Condition::Rendezvous,
    ];
    if all.into_iter().any(|condition| question.fails(condition)) {
        return None;
    }
    let mut good: Vec<usize> = question.places().filter(|place| question.is_good(*place)).collect();
    let index = |place: &usize| inventory.gpus[*place].index;
    if need.shares_a_gpu() {
        good.sort_by_key(|place| (free.parts[*place], index(place)));
    } else {
        good.sort_by_key(index);
    }
    Some(Grant {
        cpus: need.cpus,
        memory: need.memory.map_or(0, |memory| memory.count),
        gpus: good.iter().take(question.devices()).map(index).collect(),
        disk: need.disk.map_or(0, |disk| disk.count),
        gpu_parts: if need.shares_a_gpu() { need.gpu_parts() } else { 0 },
    })
}

/// The conditions that a machine fails, each looked at by itself; none exactly where [`grant`] grants something.
pub fn failing(need: &Resources, inventory: &Inventory, free: &Free, suited: Option<&Suited>) -> Vec<Condition> {
    let question = Question { need, inventory, free, suited };
    let mut failing: Vec<Condition> =
        Condition::ALL.into_iter().filter(|condition| question.fails(*condition)).collect();
    let alone = [Condition::Gpus, Condition::GpuMemory, Condition::Require];
    if failing.iter().any(|condition| alone.contains(condition)) {
        // That no device has all follows from it.
        failing.retain(|condition| *condition != Condition::Devices);
    }
    failing
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::Expr;
    use proptest::prelude::*;

    fn gpu(index: u32, model: &str, gib: u64) -> Gpu {
        Gpu { index, model: model.into(), memory: gib << 30, ..Gpu::default() }
    }

    fn machine(gpus: Vec<Gpu>) -> Inventory {
        Inventory { cpus: 8, memory: 64 << 30, disk: 100 << 30, gpus, ..Inventory::default() }
    }

    fn need(json: serde_json::Value) -> Resources {
        serde_json::from_value(json).expect("resources")
    }

    fn suited(need: &Resources, inventory: &Inventory) -> Option<Suited> {
        Suited::of(need, Machine { name: "a", inventory })
    }

    /// What `json` is granted of `free`, which has it less then.
    fn take(json: serde_json::Value, inventory: &Inventory, free: &mut Free) -> Option<Grant> {
        let need = need(json);
        let grant = grant(&need, inventory, free, suited(&need, inventory).as_ref())?;
        free.take(inventory, &grant);
        Some(grant)
    }

    #[test]
    fn shares_gather_on_devices_that_are_shared_and_whole_ones_stay_whole() {
        let inventory = machine(vec![gpu(0, "A", 16), gpu(1, "A", 16), gpu(2, "A", 16)]);
        let mut free = Free::whole(&inventory);
        let half = || serde_json::json!({ "gpus": 0.5 });
        let on = |grant: Option<Grant>| grant.map(|grant| (grant.gpus, grant.gpu_parts));
        assert_eq!(on(take(half(), &inventory, &mut free)), Some((vec![0], 50)));
        assert_eq!(on(take(serde_json::json!({ "gpus": 1 }), &inventory, &mut free)), Some((vec![1], 0)));
        assert_eq!(on(take(serde_json::json!({ "gpus": 0.2 }), &inventory, &mut free)), Some((vec![0], 20)));
        assert_eq!(
            on(take(half(), &inventory, &mut free)),
            Some((vec![2], 50)),
            "30 parts of the first are not enough"
        );
        assert_eq!(on(take(serde_json::json!({ "gpus": 0.3 }), &inventory, &mut free)), Some((vec![0], 30)), "exactly");
        assert_eq!(free.parts, [0, 0, 50]);
        assert_eq!(take(serde_json::json!({ "gpus": 1 }), &inventory, &mut free), None);
    }

    #[test]
    fn the_memory_of_a_share_is_its_part_of_the_devices() {
        let inventory = machine(vec![gpu(0, "A", 16), gpu(1, "A", 80)]);
        let mut free = Free::whole(&inventory);
        let on = |json, free: &mut Free| take(json, &inventory, free).map(|grant| grant.gpus);
        assert_eq!(on(serde_json::json!({ "gpus": 0.5, "gpu_memory": "10GiB" }), &mut free), Some(vec![1]));
        assert_eq!(on(serde_json::json!({ "gpus": 1, "gpu_memory": "16GiB" }), &mut free), Some(vec![0]));
        assert_eq!(on(serde_json::json!({ "gpus": 0.5, "gpu_memory": "41GiB" }), &mut free), None);
    }

    #[test]
    fn a_condition_picks_the_devices_and_a_disk_is_leased_like_memory() {
        let inventory = machine(vec![gpu(0, "NVIDIA T4", 16), gpu(1, "NVIDIA H100 80GB HBM3", 80)]);
        let mut free = Free::whole(&inventory);
        let h100 = || serde_json::json!({ "gpus": 1, "require": "gpu.name == \"H100\"", "disk": "60GiB" });
        assert_eq!(
            take(h100(), &inventory, &mut free).map(|grant| (grant.gpus, grant.disk)),
            Some((vec![1], 60 << 30))
        );
        assert_eq!(free.disk, 40 << 30);
        let need = need(h100());
        let failing = failing(&need, &inventory, &free, suited(&need, &inventory).as_ref());
        assert_eq!(
            failing,
            [Condition::Disk, Condition::Devices],
            "a GPU is free, and one is an H100, but none is both"
        );
    }

    proptest! {
        #[test]
        fn a_trial_fits_exactly_where_no_condition_fails_and_never_takes_more_than_there_is(
            gpus in proptest::collection::vec((1_u64..80, 0_u32..3), 0..4),
            wishes in proptest::collection::vec((0_u32..300, 0_u64..40, 1_u32..4, 0_u64..50, 0_usize..4), 1..20),
        ) {
            let models = ["NVIDIA T4", "NVIDIA H100", "fake"];
            let gpus = gpus.iter().enumerate().map(|(i, (gib, model))| gpu(i as u32, models[*model as usize], *gib));
            let inventory = machine(gpus.collect());
            let mut free = Free::whole(&inventory);
            let mut held = vec![0_u32; inventory.gpus.len()];
            for (parts, gib, cpus, disk, require) in wishes {
                let parts = if parts > 100 { parts / 100 * 100 } else { parts };
                let require = [None, Some("gpu.name == 'H100'"), Some("cpus > 8"), Some("gpu.memory > 20000000000")][require];
                let need = Resources {
                    gpus: f64::from(parts) / 100.0,
                    gpu_memory: (parts > 0 && gib > 0).then_some(heats_domain::units::Bytes { count: gib << 30 }),
                    cpus,
                    disk: (disk > 0).then_some(heats_domain::units::Bytes { count: disk << 30 }),
                    require: require.map(|source| Expr::parse(source).expect("parses")),
                    ..Resources::default()
                };
                let suited = suited(&need, &inventory);
                let granted = grant(&need, &inventory, &free, suited.as_ref());
                let failing = failing(&need, &inventory, &free, suited.as_ref());
                prop_assert_eq!(granted.is_some(), failing.is_empty(), "{:?}", failing);
                let Some(granted) = granted else { continue };
                prop_assert_eq!(granted.gpu_hundredths(), u64::from(parts));
                prop_assert!(granted.cpus <= free.cpus && granted.disk <= free.disk);
                for index in &granted.gpus {
                    held[*index as usize] += if granted.gpu_parts == 0 { GPU_PARTS } else { granted.gpu_parts };
                    prop_assert!(held[*index as usize] <= GPU_PARTS);
                }
                free.take(&inventory, &granted);
            }
        }
    }
}
