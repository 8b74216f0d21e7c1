//! What trials ran in, as output.

use heats_domain::{Digest, Environment, Inventory, Package};
use heats_wire::v1;
use serde_json::{Map, Value};

use super::hardware::{gpu, map};
use crate::output::Fields;

/// An environment's fields.
pub fn environment(environment: &Environment) -> Fields {
    let Environment { summary, packages, left_out, image } = environment;
    let package = |Package { name, version, origin }: &Package| {
        Fields::new()
            .with("name", name.as_str())
            .with("version", version.as_str())
            .with("origin", origin.as_str())
            .into()
    };
    Fields::new()
        .with("summary", summary.as_str())
        .with("image", image.as_str())
        .with("packages", packages.iter().map(package).collect::<Vec<Value>>())
        .with("left_out", *left_out)
}

/// A machine's fields.
pub fn hardware(inventory: &Inventory) -> Fields {
    let Inventory { cpus, memory, gpus, disk: _, labels: _, facts, rendezvous: _ } = inventory;
    Fields::new()
        .with("cpus", *cpus)
        .with("memory", *memory)
        .with("gpus", gpus.iter().map(|one| gpu(one).into()).collect::<Vec<Value>>())
        .with("facts", map(facts))
}

/// The environments that the attempts at a trial name, by name.
pub fn environments(whole: &v1::TrialResponse) -> Value {
    let pairs = whole.environments.iter().filter_map(|one| Some((one.name?, environment(one.environment.as_ref()?))));
    by_name(pairs)
}

/// The machines that they name, likewise.
pub fn machines(whole: &v1::TrialResponse) -> Value {
    let pairs = whole.hardware.iter().filter_map(|one| Some((one.name?, hardware(one.hardware.as_ref()?))));
    by_name(pairs)
}

fn by_name(pairs: impl Iterator<Item = (Digest, Fields)>) -> Value {
    pairs.map(|(name, fields)| (name.to_string(), fields.into())).collect::<Map<String, Value>>().into()
}
