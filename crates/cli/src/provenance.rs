//! What an attempt ran in, thing by thing: to be shown, and to be held against what another ran in.

use std::collections::BTreeMap;

use heats_domain::resources::Gpu;
use heats_domain::{Digest, Environment, Inventory};
use heats_wire::v1;
use serde_json::Value;

use crate::output::Fields;
use crate::{view, words};

/// So many differences are told one by one.
const TOLD: usize = 20;

/// An environment and a machine, as far as they are known.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Surroundings {
    environment: Option<Environment>,
    hardware: Option<Inventory>,
    /// Those of the machine's GPUs that were used.
    gpus: Vec<Gpu>,
}

/// A thing that is not the same in both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// What: `package numpy`, `driver`.
    pub what: String,
    /// What it is in the one; none where it has no such thing.
    pub one: Option<String>,
    /// And in the other.
    pub other: Option<String>,
}

impl Surroundings {
    /// What an attempt at the trial of `whole` ran in.
    pub fn of(whole: &v1::TrialResponse, attempt: &v1::Attempt) -> Self {
        let is_named = |name: Option<Digest>, wanted: Option<Digest>| name.is_some() && name == wanted;
        let environment = whole.environments.iter().find(|one| is_named(one.name, attempt.environment_name));
        let machine = whole.hardware.iter().find(|one| is_named(one.name, attempt.hardware_name));
        let hardware = machine.and_then(|one| one.hardware.clone());
        let granted = attempt.grant.as_ref().map(|grant| grant.gpus.as_slice()).unwrap_or_default();
        let of = |index: &u32| hardware.as_ref()?.gpus.iter().find(|gpu| gpu.index == *index).cloned();
        let gpus = granted.iter().filter_map(of).collect();
        Self { environment: environment.and_then(|one| one.environment.clone()), hardware, gpus }
    }

    /// What there is on this machine: `environment`, and for each GPU of `than` one of its own.
    pub fn here(environment: Option<Environment>, machine: &Inventory, than: &Self) -> Self {
        let gpus = machine.gpus.iter().take(than.gpus.len()).cloned().collect();
        Self { environment, hardware: Some(heats_domain::provenance::hardware(machine)), gpus }
    }

    /// The same without the machine.
    #[must_use]
    pub fn environment_only(self) -> Self {
        Self { hardware: None, gpus: Vec::new(), ..self }
    }

    /// The same without the environment.
    #[must_use]
    pub fn hardware_only(self) -> Self {
        Self { environment: None, ..self }
    }

    /// Whether it is known in what environment it ran.
    pub const fn has_environment(&self) -> bool {
        self.environment.is_some()
    }

    /// Everything in it, by what it is.
    pub fn things(&self) -> BTreeMap<String, String> {
        let mut things = BTreeMap::new();
        let mut add = |what: &str, is: String| _ = things.insert(what.to_owned(), is);
        if let Some(Environment { summary, packages, left_out, image }) = &self.environment {
            let (python, lock) = summary.split_once(", ").unwrap_or((summary, ""));
            add("python", python.to_owned());
            // Where not every one is listed, their hash says that some differ.
            if packages.is_empty() || *left_out > 0 {
                add("packages", lock.trim_start_matches("packages ").to_owned());
            }
            add("image", image.clone());
            for package in packages {
                let from = if package.origin.is_empty() { String::new() } else { format!(" ({})", package.origin) };
                add(&format!("package {}", package.name), format!("{}{from}", package.version));
            }
        }
        if let Some(Inventory { cpus, memory, gpus: _, disk: _, labels: _, facts, rendezvous: _ }) = &self.hardware {
            add("processors", cpus.to_string());
            add("memory", words::bytes(*memory));
            for (name, value) in facts {
                add(name, value.clone());
            }
        }
        for (place, gpu) in self.gpus.iter().enumerate() {
            add(&format!("gpu {place}"), model(gpu));
        }
        things.retain(|_, is| !is.is_empty());
        things
    }

    /// Everything that is not the same in `other`, by what it is.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let (ones, others) = (self.things(), other.things());
        let mut names: Vec<&String> = ones.keys().chain(others.keys()).collect();
        names.sort();
        names.dedup();
        let pairs = names.into_iter().map(|what| Difference {
            what: what.clone(),
            one: ones.get(what).cloned(),
            other: others.get(what).cloned(),
        });
        pairs.filter(|pair| pair.one != pair.other).collect()
    }

    /// What runs here has no thing that is not as it was recorded, but for these: sentences, at most [`TOLD`] and one.
    pub fn changes(&self, here: &Self) -> Vec<String> {
        let all = self.differences(here);
        let sentence = |Difference { what, one, other }: &Difference| match (one, other) {
            (Some(then), Some(now)) => format!("{what} was {then}, and is {now}"),
            (Some(then), None) => format!("{what} was {then}, and is not here"),
            (None, Some(now)) => format!("{what} is {now}, and was not there"),
            (None, None) => what.clone(),
        };
        let more = all.len().saturating_sub(TOLD);
        let told = all.iter().take(TOLD).map(sentence);
        told.chain((more > 0).then(|| format!("{} more", words::count(more as u64, "difference")))).collect()
    }

    /// The fields of a program that asks: the packages and the machine.
    pub fn fields(&self) -> Fields {
        Fields::new()
            .with("environment", self.environment.as_ref().map(|one| Value::from(view::environment(one))))
            .with("hardware", self.hardware.as_ref().map(|one| Value::from(view::hardware(one))))
    }

    /// The environment in a line: `cpython 3.12.1, packages 3fa9c1f0a2b4c6d8 (213 of them)`; none where it is the agent's own and
    /// has no Python.
    pub fn environment_line(&self) -> Option<String> {
        let Environment { summary, packages, left_out, image } = self.environment.as_ref()?;
        let count = packages.len() as u64 + u64::from(*left_out);
        let count = if count > 0 { format!(" ({count} of them)") } else { String::new() };
        let python = (!summary.is_empty()).then(|| format!("{summary}{count}"));
        let image = (!image.is_empty()).then(|| format!("image {image}"));
        let parts: Vec<String> = image.into_iter().chain(python).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// The machine in a line.
    pub fn hardware_line(&self) -> Option<String> {
        let machine = self.hardware.as_ref()?;
        let fact = |name: &str| machine.facts.get(name).cloned();
        let cpus = format!("{} × {}", machine.cpus, fact("cpu").unwrap_or_else(|| "processor".to_owned()));
        let gpus = self.gpus.iter().map(model);
        let kernel = fact("kernel").map(|kernel| format!("kernel {kernel}"));
        let driver = fact("driver").map(|driver| format!("driver {driver}"));
        let parts = [Some(cpus), Some(words::bytes(machine.memory))].into_iter().flatten().chain(gpus);
        Some(parts.chain([driver, fact("distribution"), kernel].into_iter().flatten()).collect::<Vec<_>>().join(", "))
    }
}

/// A GPU of its kind: which of them it is does not matter.
fn model(Gpu { index: _, model, memory, uuid: _, slice }: &Gpu) -> String {
    let slice = if slice.is_empty() { String::new() } else { format!(", slice {slice}") };
    format!("{model}{slice}, {}", words::bytes(*memory))
}

#[cfg(test)]
mod tests {
    use heats_domain::Package;

    use super::*;

    fn surroundings(packages: &[(&str, &str)], driver: &str, gpu: &str) -> Surroundings {
        let package = |(name, version): &(&str, &str)| Package {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            origin: String::new(),
        };
        let environment = Environment {
            summary: format!("cpython 3.12.1, packages {}", packages.len()),
            packages: packages.iter().map(package).collect(),
            ..Environment::default()
        };
        let gpu = Gpu { model: gpu.into(), memory: 1 << 30, uuid: format!("GPU-{driver}"), ..Gpu::default() };
        let facts = [("driver".to_owned(), driver.to_owned())].into();
        let hardware = Inventory { cpus: 4, memory: 1 << 30, facts, ..Inventory::default() };
        Surroundings { environment: Some(environment), hardware: Some(hardware), gpus: vec![gpu] }
    }

    #[test]
    fn what_differs_is_told_thing_by_thing_and_the_rest_is_counted() {
        let then = surroundings(&[("numpy", "2.0"), ("old", "1"), ("torch", "2.4")], "550", "H100");
        let now = surroundings(&[("new", "1"), ("numpy", "2.1"), ("torch", "2.4")], "570", "A100");
        let expected = [
            "driver was 550, and is 570",
            "gpu 0 was H100, 1.0 GiB, and is A100, 1.0 GiB",
            "package new is 1, and was not there",
            "package numpy was 2.0, and is 2.1",
            "package old was 1, and is not here",
        ];
        assert_eq!(then.changes(&now), expected);
        assert_eq!(then.clone().environment_only().changes(&now.clone().environment_only()), expected[2..]);
        assert_eq!(then.clone().hardware_only().changes(&now.hardware_only()), expected[..2]);
        assert_eq!(then.changes(&then), [""; 0]);
        let names: Vec<String> = (0..30).map(|n| format!("p{n:02}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        let changes = surroundings(&[], "1", "a").changes(&surroundings(&many, "1", "a"));
        // The 30 packages, and the hash of the list that was empty.
        assert_eq!((changes.len(), changes[TOLD].as_str()), (TOLD + 1, "11 differences more"));
    }
}
