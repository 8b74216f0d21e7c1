//! Why a sweep stands where it stands.

use heats_domain::SweepSpec;
use heats_domain::units::Bytes;
use heats_wire::v1;

use crate::{view, words};

/// The reasons, the most important first.
pub(super) fn sentences(sweep: &v1::Sweep, agents: &[v1::AgentStatus]) -> Vec<String> {
    let counts = sweep.counts.unwrap_or_default();
    let live = counts.leased + counts.running;
    let because = if sweep.why.is_empty() { String::new() } else { format!(": {}", sweep.why) };
    let name = &sweep.name;
    match sweep.status() {
        v1::SweepStatus::Paused => {
            let running = if live > 0 { format!("; {live} of its trials run on") } else { String::new() };
            vec![format!("it is paused: no trial starts until `heats resume {name}`{running}")]
        }
        v1::SweepStatus::Draining => {
            vec![
                format!("it is ending{because}"),
                format!("{} still hold a place", words::count(u64::from(live), "trial")),
            ]
        }
        status @ (v1::SweepStatus::Finished
        | v1::SweepStatus::Stopped
        | v1::SweepStatus::Failed
        | v1::SweepStatus::Cancelled) => {
            let mut sentences = vec![format!("it has ended, {}{because}", view::status(status))];
            if counts.failed > 0 {
                let failed = words::count(u64::from(counts.failed), "trial");
                sentences.push(format!("{failed} failed: `heats trials {name} --where 'state == \"failed\"' -o wide`"));
            }
            sentences
        }
        v1::SweepStatus::Running => running(sweep, &counts, live, agents),
    }
}

fn running(sweep: &v1::Sweep, counts: &v1::Counts, live: u32, agents: &[v1::AgentStatus]) -> Vec<String> {
    let of = sweep.trials_max.map_or_else(String::new, |max| format!(" of {max}"));
    let mut sentences = vec![format!("it is running: {}{of} trials are created, {live} hold a place", counts.created)];
    let to_start = counts.waiting > 0 || sweep.trials_max.is_none_or(|max| counts.created < max);
    if !to_start {
        sentences.push("its budget is used up: what runs is all that is left".into());
        return sentences;
    }
    let Some(spec) = view::spec(sweep) else { return sentences };
    sentences.push(what_holds(&spec, live, agents).unwrap_or_else(|| {
        "nothing holds it: the next trial starts as soon as its configuration is proposed".to_owned()
    }));
    sentences
}

/// Why no further trial starts now; `None` where one could.
pub(super) fn what_holds(spec: &SweepSpec, live: u32, agents: &[v1::AgentStatus]) -> Option<String> {
    if let Some(parallel) = spec.budget.parallel.filter(|parallel| live >= *parallel) {
        return Some(format!("`budget.parallel` allows {parallel} at once, and {live} hold a place"));
    }
    let needs = Needs::of(spec);
    let attached: Vec<&v1::AgentStatus> = agents.iter().filter(|agent| agent.attached).collect();
    if attached.is_empty() {
        return Some("no agent is attached: there is no machine to run on".into());
    }
    if !attached.iter().any(|agent| needs.fit(&Needs::whole(agent))) {
        let largest =
            attached.iter().map(|agent| Needs::whole(agent)).max_by_key(|whole| (whole.gpus, whole.cpus, whole.memory));
        let has = largest.map_or_else(String::new, |largest| format!("; the largest has {largest}"));
        return Some(format!("no agent is large enough: a trial needs {needs}{has}"));
    }
    if !attached.iter().any(|agent| needs.fit(&Needs::free(agent))) {
        return Some(format!("every place is taken: a trial needs {needs}, which no agent has free now"));
    }
    None
}

/// What a trial needs, or an agent has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Needs {
    cpus: u32,
    memory: u64,
    gpus: u64,
}

impl Needs {
    fn of(spec: &SweepSpec) -> Self {
        let resources = &spec.resources;
        let memory = resources.memory.map_or(0, |Bytes { count }| count);
        Self { cpus: resources.cpus, memory, gpus: resources.gpus.ceil() as u64 }
    }

    fn whole(agent: &v1::AgentStatus) -> Self {
        let inventory = agent.inventory.clone().unwrap_or_default();
        Self { cpus: inventory.cpus, memory: inventory.memory, gpus: inventory.gpus.len() as u64 }
    }

    fn free(agent: &v1::AgentStatus) -> Self {
        let (whole, held) = (Self::whole(agent), agent.held.clone().unwrap_or_default());
        Self {
            cpus: whole.cpus.saturating_sub(held.cpus),
            memory: whole.memory.saturating_sub(held.memory),
            gpus: whole.gpus.saturating_sub(held.gpus.len() as u64),
        }
    }

    const fn fit(&self, within: &Self) -> bool {
        self.cpus <= within.cpus && self.memory <= within.memory && self.gpus <= within.gpus
    }
}

/// `1 processor, 16.0 GiB, 2 GPUs`
impl std::fmt::Display for Needs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&words::count(u64::from(self.cpus), "processor"))?;
        if self.memory > 0 {
            write!(f, ", {}", words::bytes(self.memory))?;
        }
        if self.gpus > 0 {
            write!(f, ", {}", words::count(self.gpus, "GPU"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::{Grant, Inventory};

    fn agent(cpus: u32, held: u32) -> v1::AgentStatus {
        v1::AgentStatus {
            attached: true,
            inventory: Some(Inventory { cpus, memory: 8 << 30, gpus: vec![] }),
            held: Some(Grant { cpus: held, memory: 0, gpus: vec![] }),
            ..Default::default()
        }
    }

    fn sweep(spec: &str, status: v1::SweepStatus) -> v1::Sweep {
        v1::Sweep {
            name: "s".into(),
            spec: spec.into(),
            status: status.into(),
            trials_max: Some(10),
            counts: Some(v1::Counts { created: 4, running: 2, completed: 2, ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn a_sweep_that_waits_says_for_what() {
        let spec = r#"{"command":["a"],"resources":{"cpus":2},"budget":{"trials":10}}"#;
        let why = |agents: &[v1::AgentStatus]| sentences(&sweep(spec, v1::SweepStatus::Running), agents)[1].clone();
        assert!(why(&[]).contains("no agent is attached"));
        assert!(why(&[v1::AgentStatus { attached: false, ..agent(8, 0) }]).contains("no agent is attached"));
        assert!(
            why(&[agent(1, 0)]).contains("a trial needs 2 processors; the largest has 1 processor"),
            "{}",
            why(&[agent(1, 0)])
        );
        assert!(why(&[agent(4, 3), agent(2, 2)]).contains("every place is taken"));
        assert!(why(&[agent(4, 2)]).contains("nothing holds it"));
        let parallel = r#"{"command":["a"],"budget":{"trials":10,"parallel":2}}"#;
        let narrow = sentences(&sweep(parallel, v1::SweepStatus::Running), &[agent(8, 2)]);
        assert_eq!(narrow[1], "`budget.parallel` allows 2 at once, and 2 hold a place");
    }

    #[test]
    fn a_sweep_that_is_paused_or_over_says_so_first() {
        let spec = r#"{"command":["a"]}"#;
        assert!(
            sentences(&sweep(spec, v1::SweepStatus::Paused), &[])[0]
                .contains("`heats resume s`; 2 of its trials run on")
        );
        let ended = v1::Sweep { why: "too many trials failed".into(), ..sweep(spec, v1::SweepStatus::Failed) };
        assert_eq!(sentences(&ended, &[])[0], "it has ended, failed: too many trials failed");
    }
}
