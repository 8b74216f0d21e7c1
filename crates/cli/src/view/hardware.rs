//! What a machine offers, as output.

use std::collections::BTreeMap;
use std::io::{self, Write};

use heats_domain::Inventory;
use heats_domain::resources::{Gpu, Rendezvous};
use serde_json::{Map, Value};

use crate::output::Fields;
use crate::words;

/// A GPU's fields.
pub fn gpu(gpu: &Gpu) -> Fields {
    let Gpu { index, model, memory, uuid, slice } = gpu;
    Fields::new()
        .with("index", *index)
        .with("model", model.as_str())
        .with("memory", *memory)
        .with("uuid", uuid.as_str())
        .with("slice", slice.as_str())
}

/// A GPU in words: `0 NVIDIA H100, slice 1g.10gb, 9.8 GiB, MIG-5a0f`
pub fn gpu_line(gpu: &Gpu) -> String {
    let Gpu { index, model, memory, uuid, slice } = gpu;
    let slice = if slice.is_empty() { String::new() } else { format!(", slice {slice}") };
    let uuid = if uuid.is_empty() { String::new() } else { format!(", {uuid}") };
    format!("{index} {model}{slice}, {}{uuid}", words::bytes(*memory))
}

/// `16 processors, 2 GPUs`
pub fn offered(inventory: &Inventory) -> String {
    let cpus = words::count(u64::from(inventory.cpus), "processor");
    match inventory.gpus.len() {
        0 => cpus,
        gpus => format!("{cpus}, {}", words::count(gpus as u64, "GPU")),
    }
}

/// The ports at which the members of trials that span machines meet: `29500-29563`.
pub fn gang_ports(own: &Rendezvous) -> String {
    format!("{}-{}", own.first_port, own.first_port + own.ports - 1)
}

/// Words by their names.
pub fn map(words: &BTreeMap<String, String>) -> Value {
    words.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
}

/// What is said and found out about a machine, in lines for people.
pub fn write_words(out: &mut dyn Write, inventory: &Inventory) -> io::Result<()> {
    let pairs: Vec<String> = inventory.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !pairs.is_empty() {
        writeln!(out, "  labels    {}", pairs.join(" "))?;
    }
    for (name, value) in &inventory.facts {
        writeln!(out, "  {name:<9} {value}")?;
    }
    Ok(())
}
