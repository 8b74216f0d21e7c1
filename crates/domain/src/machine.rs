//! A machine as the expressions of `resources.require` see it: what it has, not what is free of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Expr;
use crate::expr::EvalError;
use crate::resources::{Gpu, Inventory};

/// What can be asked about a machine, by the name in an expression. Of `labels` and `facts` every part can be.
pub(crate) const NAMES: [&str; 10] = [
    "gpu.name",
    "gpu.model",
    "gpu.memory",
    "gpu.slice",
    "cpus",
    "memory",
    "disk",
    "agent.name",
    "labels.NAME",
    "facts.NAME",
];

/// An agent's machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// The agent's name.
    pub name: &'a str,
    /// What it offers.
    pub inventory: &'a Inventory,
}

impl Machine<'_> {
    /// Whether `require` holds for the machine, where `gpu` is the device that would be taken of it.
    ///
    /// # Errors
    /// As [`Expr::holds`]; mostly a label that the machine does not have.
    pub fn satisfies(&self, require: &Expr, gpu: Option<&Gpu>) -> Result<bool, EvalError> {
        let Self { name, inventory } = self;
        require.holds_where(|asked| match asked {
            "cpus" => Some(i64::from(inventory.cpus).into()),
            "memory" => Some(bytes(inventory.memory)),
            "disk" => Some(bytes(inventory.disk)),
            "labels" => Some(texts(&inventory.labels)),
            "facts" => Some(texts(&inventory.facts)),
            "agent" => Some(map([("name", (*name).into())])),
            "gpu" => gpu.map(|gpu| {
                let (short, model, slice) =
                    (gpu.short_name().into(), gpu.model.as_str().into(), gpu.slice.as_str().into());
                map([("name", short), ("model", model), ("memory", bytes(gpu.memory)), ("slice", slice)])
            }),
            _ => None,
        })
    }
}

/// CEL compares sizes as whole numbers with a sign.
fn bytes(count: u64) -> cel::Value {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}

fn texts(all: &BTreeMap<String, String>) -> cel::Value {
    map(all.iter().map(|(name, text)| (name.as_str(), text.as_str().into())))
}

fn map<'n>(entries: impl IntoIterator<Item = (&'n str, cel::Value)>) -> cel::Value {
    let entries = entries.into_iter().map(|(name, value)| (name.into(), value));
    cel::Value::Map(cel::objects::Map { map: Arc::new(entries.collect()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_sees_the_machine_its_labels_and_the_device() {
        let gpu = Gpu { model: "NVIDIA H100 80GB HBM3".into(), memory: 80 << 30, ..Gpu::default() };
        let inventory = Inventory {
            cpus: 16,
            memory: 64 << 30,
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            facts: [("os".to_owned(), "linux".to_owned())].into(),
            ..Inventory::default()
        };
        let machine = Machine { name: "node-1", inventory: &inventory };
        let holds = |source: &str| machine.satisfies(&Expr::parse(source).expect(source), Some(&gpu)).ok();
        assert_eq!(holds(r#"gpu.name in ["A100", "H100"] && labels.zone == "a""#), Some(true));
        assert_eq!(holds(r#"gpu.model.contains("HBM3") && gpu.memory >= 80000000000 && gpu.slice == """#), Some(true));
        assert_eq!(holds(r#"cpus > 16 || memory < 1"#), Some(false));
        assert_eq!(holds(r#"agent.name.startsWith("node") && facts["os"] == "linux""#), Some(true));
        assert_eq!(holds(r#"labels.rack == "7""#), None, "a label that the machine does not have");
        assert_eq!(holds(r#"has(labels.rack) || labels.zone == "a""#), Some(true));
        assert!(machine.satisfies(&Expr::parse(r#"gpu.name == "H100""#).expect("parses"), None).is_err());
    }
}
