//! Who gets a place, by the leader's own turns: shares of devices, variants, conditions on machines.

use heats_core::Op;
use heats_core::dispatch::Offer;
use heats_core::ops::agents::Attach;
use heats_core::ops::attempts::{End, Key};
use heats_core::testing::{Cluster, SweepBuilder, attach};
use heats_domain::resources::Gpu;
use heats_domain::{AgentId, Inventory, SweepId, TrialState, Value};
use serde_json::json;

fn gpu(index: u32, model: &str, gib: u64) -> Gpu {
    Gpu { index, model: model.into(), memory: gib << 30, ..Gpu::default() }
}

/// An agent of 8 processors with these GPUs and labels.
fn machine(agent: u64, gpus: Vec<Gpu>, labels: &[(&str, &str)]) -> Attach {
    let labels = labels.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let inventory = Inventory { cpus: 8, memory: 64 << 30, gpus, disk: 100 << 30, labels, ..Inventory::default() };
    Attach { inventory, ..attach(agent, 8, 0) }
}

fn sweep(resources: serde_json::Value) -> SweepBuilder {
    SweepBuilder::minimize("loss").trials(20).top("resources", resources)
}

/// The agent, the devices and the parts that the trial has.
fn seat(cluster: &Cluster, key: Key) -> (u64, Vec<u32>, u32) {
    let attempt = cluster.trial(key.sweep, key.trial).attempts.last().expect("was leased");
    (attempt.agent.bits, attempt.grant.gpus.clone(), attempt.grant.gpu_parts)
}

fn seats(cluster: &mut Cluster) -> Vec<(u64, Vec<u32>, u32)> {
    let keys = cluster.dispatch();
    keys.into_iter().map(|key| seat(cluster, key)).collect()
}

/// The next configurations that are offered have these widths.
fn offer(cluster: &mut Cluster, widths: &[i64]) {
    for width in widths {
        let params = [("x", Value::Float(0.5)), ("width", Value::Int(*width))].into_iter().collect();
        cluster.suggestions.next.push_back(Offer::Ready { params, saw_index: 0 });
    }
}

/// Wide configurations need a GPU with 80 GiB, the others any.
fn by_width(cluster: &mut Cluster) -> SweepId {
    let variants =
        json!([{ "when": "width > 256", "gpus": 1, "gpu_memory": "80GiB" }, { "when": "width <= 256", "gpus": 1 }]);
    let space = json!({ "x": { "float": [0.0, 1.0] }, "width": { "int": [1, 512] } });
    cluster.submit(sweep(variants).top("space", space))
}

#[test]
fn shares_of_all_sweeps_gather_on_as_few_devices_as_hold_them() {
    let mut cluster = Cluster::default();
    cluster.op(Op::Attach(machine(1, vec![gpu(0, "A", 16)], &[]))).expect("attaches");
    cluster.op(Op::Attach(machine(2, vec![gpu(0, "A", 16), gpu(1, "A", 16)], &[]))).expect("attaches");
    cluster.submit(sweep(json!({ "gpus": 0.6 })).trials(2));
    assert_eq!(seats(&mut cluster), [(1, vec![0], 60), (2, vec![0], 60)]);
    cluster.submit(sweep(json!({ "gpus": 0.4 })).trials(3));
    assert_eq!(seats(&mut cluster), [(1, vec![0], 40), (2, vec![0], 40), (2, vec![1], 40)], "fullest first");
    cluster.submit(sweep(json!({ "gpus": 1 })).trials(1));
    assert_eq!(seats(&mut cluster), [], "no device is whole any more");
}

#[test]
fn a_share_that_ends_gives_its_part_back_and_its_time_is_its_part() {
    let mut cluster = Cluster::default();
    cluster.op(Op::Attach(machine(1, vec![gpu(0, "A", 16)], &[]))).expect("attaches");
    let id = cluster.submit(sweep(json!({ "gpus": 0.25 })));
    let keys = cluster.dispatch();
    assert_eq!(keys.len(), 4);
    cluster.complete(keys[1], 0.5);
    assert_eq!(cluster.sweep(id).ledger.gpu_ms, 250);
    // Another leader knows how much of the device is taken.
    cluster.fail_over();
    let holding = [keys[0], keys[2], keys[3]].into();
    cluster.op(Op::Attach(Attach { holding, ..machine(1, vec![gpu(0, "A", 16)], &[]) })).expect("attaches");
    assert_eq!(seats(&mut cluster), [(1, vec![0], 25)]);
}

#[test]
fn a_condition_finds_its_machine_and_a_machine_that_changes_is_looked_at_again() {
    let mut cluster = Cluster::default();
    cluster.op(Op::Attach(machine(1, vec![gpu(0, "NVIDIA H100", 80)], &[("zone", "b")]))).expect("attaches");
    cluster
        .op(Op::Attach(machine(2, vec![gpu(0, "NVIDIA T4", 16), gpu(1, "NVIDIA H100", 80)], &[("zone", "a")])))
        .expect("attaches");
    cluster.op(Op::Attach(machine(3, vec![gpu(0, "NVIDIA H100", 80)], &[]))).expect("attaches");
    cluster.submit(sweep(json!({ "gpus": 1, "require": "gpu.name == 'H100' && labels.zone == 'a'" })));
    assert_eq!(seats(&mut cluster), [(2, vec![1], 0)]);
    cluster.op(Op::Attach(machine(3, vec![gpu(0, "NVIDIA H100", 80)], &[("zone", "a")]))).expect("attaches");
    assert_eq!(seats(&mut cluster), [(3, vec![0], 0)]);
}

#[test]
fn a_variant_is_taken_only_where_no_preferred_one_has_a_place() {
    let mut cluster = Cluster::default();
    cluster.op(Op::Attach(machine(1, vec![gpu(0, "T4", 16)], &[]))).expect("attaches");
    cluster.op(Op::Attach(machine(2, vec![gpu(0, "H100", 80)], &[]))).expect("attaches");
    cluster.submit(sweep(json!([{ "gpus": 1, "gpu_memory": "80GiB" }, { "gpus": 0.5 }])));
    assert_eq!(seats(&mut cluster), [(2, vec![0], 0), (1, vec![0], 50), (1, vec![0], 50)]);
}

#[test]
fn a_configuration_that_fits_nowhere_waits_and_does_not_hold_up_those_that_fit() {
    let mut cluster = Cluster::default();
    let id = by_width(&mut cluster);
    cluster.op(Op::Attach(machine(1, vec![gpu(0, "T4", 16), gpu(1, "T4", 16)], &[]))).expect("attaches");
    offer(&mut cluster, &[512, 64, 300, 64]);
    let keys = cluster.dispatch();
    assert_eq!(keys.iter().map(|key| key.trial).collect::<Vec<_>>(), [1, 3], "the narrow ones");
    assert_eq!((cluster.state(id, 0), cluster.state(id, 2)), (TrialState::Waiting, TrialState::Waiting));
    assert_eq!(cluster.dispatch(), [], "and nothing is proposed for places that are taken");
    // The first comes first where there is a place for it.
    cluster.op(Op::Attach(machine(2, vec![gpu(0, "H100", 80)], &[]))).expect("attaches");
    let keys = cluster.dispatch();
    assert_eq!(keys.iter().map(|key| key.trial).collect::<Vec<_>>(), [0]);
    assert_eq!(seat(&cluster, keys[0]), (2, vec![0], 0));
    // Its place is taken from it: it waits for the same kind of device, and a narrow one is not held up.
    cluster.op(Op::Expire(AgentId { bits: 2 }, 30_000)).expect("expires");
    let narrow = Key { sweep: id, trial: 1, attempt: 1 };
    cluster.complete(narrow, 0.5);
    offer(&mut cluster, &[10]);
    assert_eq!(cluster.dispatch(), [Key { trial: 4, ..narrow }]);
}

#[test]
fn only_so_many_configurations_are_proposed_that_have_no_place() {
    let mut cluster = Cluster::default();
    let id = by_width(&mut cluster);
    cluster.op(Op::Attach(machine(1, vec![gpu(0, "T4", 16)], &[]))).expect("attaches");
    offer(&mut cluster, &[512; 20]);
    assert_eq!(cluster.dispatch(), []);
    assert_eq!(cluster.sweep(id).waiting.len(), 16);
}

#[test]
fn a_configuration_that_no_variant_is_for_is_infeasible() {
    let mut cluster = Cluster::default();
    let id = cluster.submit(sweep(json!([{ "when": "width > 256" }])).trials(2));
    cluster.op(Op::Attach(machine(1, Vec::new(), &[]))).expect("attaches");
    offer(&mut cluster, &[1, 300]);
    let keys = cluster.dispatch();
    assert_eq!(cluster.state(id, 0), TrialState::Infeasible);
    assert_eq!(cluster.sweep(id).detail(cluster.trial(id, 0)), "no variant of `resources` is for its configuration");
    cluster.complete(keys[0], 0.5);
    assert_eq!(cluster.ending(id).map(|(how, _)| how), Some("finished"));
}

#[test]
fn a_disk_is_leased_like_memory_and_nothing_fits_one_that_nobody_knows() {
    let mut cluster = Cluster::default();
    cluster.attach(1, 8);
    let id = cluster.submit(sweep(json!({ "disk": "40GiB" })));
    assert_eq!(cluster.dispatch(), [], "it does not say how much disk it has");
    cluster.op(Op::Attach(machine(2, Vec::new(), &[]))).expect("attaches");
    let keys = cluster.dispatch();
    assert_eq!(keys.len(), 2);
    cluster.finish(keys[0], End::Lost);
    assert_eq!(cluster.dispatch().len(), 1);
    assert_eq!(cluster.sweep(id).live.len(), 2);
}
