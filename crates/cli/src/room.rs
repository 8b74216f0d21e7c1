//! Whether there is room for a sweep's trials: what one needs against what agents have. Only words about it: who
//! gets which place is the coordinator's decision.

use std::collections::{BTreeMap, BTreeSet};

use heats_core::placement::{Condition, Free, Suited, failing};
use heats_domain::resources::GPU_PARTS;
use heats_domain::spec::Resources;
use heats_domain::units::Bytes;
use heats_domain::{Inventory, Machine, Params, SweepSpec};
use heats_wire::v1;

use crate::exit::{Exit, Failure};
use crate::{host, view, words};

/// Why no further trial starts now, or none of this configuration; `None` where one could.
pub fn what_holds(spec: &SweepSpec, params: Option<&Params>, live: u32, agents: &[v1::AgentStatus]) -> Option<String> {
    if let Some(parallel) = spec.budget.parallel.filter(|parallel| live >= *parallel) {
        return Some(format!("`budget.parallel` allows {parallel} at once, and {live} hold a place"));
    }
    let needs: Vec<&Resources> =
        spec.variants().iter().filter(|need| params.is_none_or(|params| need.is_for(params))).collect();
    let attached = || agents.iter().filter(|agent| agent.attached);
    if attached().next().is_none() {
        return Some("no agent is attached: there is no machine to run on".into());
    }
    let barred: Vec<String> = attached().filter_map(|agent| Some((agent, view::barred(agent)?))).map(named).collect();
    let attached: Vec<&v1::AgentStatus> = attached().filter(|agent| view::barred(agent).is_none()).collect();
    if attached.is_empty() {
        return Some(format!("nothing starts on any agent: {}", some_of(&barred)));
    }
    let why = why(&needs, &attached)?;
    // The others may have what it needs.
    let takes_gpus = needs.iter().any(|need| need.gpu_parts() > 0);
    let unusable = attached.iter().filter(|_| takes_gpus).flat_map(|agent| unusable(agent));
    let barred: Vec<String> = barred.into_iter().chain(unusable).collect();
    let others = if barred.is_empty() { String::new() } else { format!("; besides, {}", some_of(&barred)) };
    Some(why + &others)
}

/// `GPU 3 of a1 is not leased now (its driver does not answer)`
fn unusable(agent: &v1::AgentStatus) -> Vec<String> {
    let gpus = agent.inventory.iter().flat_map(|inventory| &inventory.gpus);
    let why = |index| view::unusable(agent, index);
    gpus.filter_map(|gpu| Some(format!("GPU {} of {} is not leased now ({})", gpu.index, agent.name, why(gpu.index)?)))
        .collect()
}

/// `a1 is drained (new disk)`
fn named((agent, why): (&v1::AgentStatus, String)) -> String {
    format!("{} {why}", agent.name)
}

/// The first few of what may be many.
fn some_of(fragments: &[String]) -> String {
    const SOME: usize = 4;
    let more = fragments.len().saturating_sub(SOME);
    let more = if more > 0 { format!(", and {more} more are like that") } else { String::new() };
    format!("{}{more}", fragments.iter().take(SOME).cloned().collect::<Vec<_>>().join(", "))
}

/// Why none of the agents that start trials has room, by the conditions by which places are given.
fn why(variants: &[&Resources], attached: &[&v1::AgentStatus]) -> Option<String> {
    let standings: Vec<Standing> = variants.iter().map(|need| Standing::of(need, attached)).collect();
    if standings.iter().any(|standing| standing.do_now >= standing.nodes) {
        return None;
    }
    let needs = variants.iter().map(|need| Room::of(need).to_string()).collect::<Vec<_>>().join(", or ");
    let failing: Vec<String> = standings.iter().map(|standing| standing.words(attached.len())).collect();
    let failing = failing.join("; or ");
    let spans = standings.iter().all(|standing| standing.nodes > 1);
    if standings.iter().all(|standing| standing.would < standing.nodes) {
        if let Some(most) = standings.iter().map(|standing| standing.would).max().filter(|most| *most > 0) {
            let would = words::count(u64::from(most), "agent");
            return Some(format!("there are too few agents: a trial needs {needs}, and {would} would do; {failing}"));
        }
        let largest =
            attached.iter().map(|agent| Room::whole(agent)).max_by_key(|whole| (whole.gpus, whole.cpus, whole.memory));
        let has = largest.map_or_else(String::new, |largest| format!("; the largest has {largest}"));
        return Some(format!("no agent is large enough: a trial needs {needs}{has}; {failing}"));
    }
    Some(format!(
        "every place is taken ({failing}): a trial needs {needs}, which {} free now",
        if spans { "too few agents have" } else { "no agent has" }
    ))
}

/// How one variant stands with the agents: how many fail which condition.
struct Standing {
    /// How many agents a trial takes at once.
    nodes: u32,
    /// How many would do, if nothing of them were taken.
    would: u32,
    /// How many do now.
    do_now: u32,
    /// Whatever is free of them.
    never: BTreeMap<Condition, u64>,
    /// Because others hold what it needs.
    taken: BTreeMap<Condition, u64>,
    /// Its trials run in a container.
    contained: bool,
}

impl Standing {
    fn of(need: &Resources, attached: &[&v1::AgentStatus]) -> Self {
        let contained = need.asks_for_containers();
        let (never, taken) = (BTreeMap::new(), BTreeMap::new());
        let mut standing = Self { nodes: need.nodes, would: 0, do_now: 0, never, taken, contained };
        for agent in attached {
            let inventory = &agent.inventory.clone().unwrap_or_default();
            let suited = Suited::of(need, Machine { name: &agent.name, inventory });
            let fails = |free: &Free| failing(need, inventory, free, suited.as_ref());
            let (never, now) = (fails(&Free::whole(inventory)), fails(&free(agent, inventory)));
            let count = if never.is_empty() { &mut standing.taken } else { &mut standing.never };
            standing.would += u32::from(never.is_empty());
            standing.do_now += u32::from(never.is_empty() && now.is_empty());
            let which = if never.is_empty() { now } else { never };
            which.into_iter().for_each(|condition| *count.entry(condition).or_default() += 1);
        }
        standing
    }

    /// `of 3 agents, 2 have too few processors, and of 1 the GPUs are taken`
    fn words(&self, agents: usize) -> String {
        let never = self.never.iter().map(|(condition, count)| {
            let has = if *count == 1 { "has" } else { "have" };
            format!("{count} {has} {}", lacks(*condition, self.contained))
        });
        let taken = self.taken.iter().map(|(condition, count)| format!("of {count} the {}", holds(*condition)));
        let have = if self.do_now == 1 { "has" } else { "have" };
        let short =
            (self.nodes > 1).then(|| format!("{} {have} room now, and it takes {} at once", self.do_now, self.nodes));
        let all: Vec<String> = short.into_iter().chain(never).chain(taken).collect();
        format!("of {}, {}", words::count(agents as u64, "agent"), all.join(", and "))
    }
}

const fn lacks(condition: Condition, contained: bool) -> &'static str {
    match condition {
        Condition::Require if contained => "nothing that runs containers, or not what `require` asks for",
        Condition::Cpus => "too few processors",
        Condition::Memory => "too little memory",
        Condition::Disk => "too little disk, or do not say how much",
        Condition::Gpus => "too few GPUs",
        Condition::GpuMemory => "too few GPUs with the `gpu_memory`",
        Condition::Require => "not what `require` asks for",
        Condition::Devices => "too few GPUs that are all that is asked for",
        Condition::Rendezvous => "no address for trials that span machines, for they are older than these",
    }
}

const fn holds(condition: Condition) -> &'static str {
    match condition {
        Condition::Cpus => "processors are taken",
        Condition::Memory => "memory is taken",
        Condition::Disk => "disk is taken",
        Condition::Gpus => "GPUs are taken",
        // What machines have is not taken: these are never said.
        Condition::GpuMemory | Condition::Require | Condition::Devices | Condition::Rendezvous => {
            "GPUs that are all that is asked for are taken"
        }
    }
}

/// What is free of an agent.
fn free(agent: &v1::AgentStatus, inventory: &Inventory) -> Free {
    let whole = Free::whole(inventory);
    let held = agent.held.clone().unwrap_or_default();
    let is_told = agent.gpu_parts_free.len() == whole.parts.len();
    let mut free = Free {
        cpus: whole.cpus.saturating_sub(held.cpus),
        memory: whole.memory.saturating_sub(held.memory),
        disk: whole.disk.saturating_sub(held.disk),
        parts: if is_told { agent.gpu_parts_free.clone() } else { whole.parts },
    };
    let indices = inventory.gpus.iter().map(|gpu| gpu.index);
    free.leave_out(inventory, &indices.filter(|index| view::unusable(agent, *index).is_some()).collect());
    free
}

/// Refuses a sweep whose trials would find no room on `machine` however long they waited, when `agents` share the machine.
///
/// # Errors
/// No variant of what it needs fits the largest of them.
pub fn expect(spec: &SweepSpec, machine: &Inventory, agents: u32) -> Result<(), Failure> {
    let spec = &spec.clone().for_its_environment();
    let contained = spec.variants().iter().all(Resources::asks_for_containers);
    let shares = host::shares(machine, agents);
    let fails = |need: &Resources, inventory: &Inventory| {
        let suited = Suited::of(need, Machine { name: "", inventory });
        failing(need, inventory, &Free::whole(inventory), suited.as_ref())
    };
    let fits = |inventory: &Inventory| spec.variants().iter().any(|need| fails(need, inventory).is_empty());
    let has_places =
        |need: &Resources| shares.iter().filter(|share| fails(need, share).is_empty()).count() >= need.nodes as usize;
    // The first of the agents gets what does not divide.
    let Some(largest) = shares.first().filter(|_| !spec.variants().iter().any(has_places)) else { return Ok(()) };
    let fewest = spec.variants().iter().map(|need| need.nodes).min().unwrap_or(1);
    if fewest > agents {
        let message =
            format!("no trial could ever start: one spans {fewest} machines, and there is no more than {agents}");
        let hint = format!("`--agents {fewest}` divides this machine among as many");
        return Err(Failure::new(Exit::Conflict, message).hint(hint));
    }
    let (who, hint) = match (fits(machine), agents) {
        (true, _) => ("each agent", "with fewer `--agents`, each has more".to_owned()),
        (false, 1) => ("this machine", hint(spec, machine)),
        (false, _) => ("each agent", hint(spec, machine)),
    };
    let needs: Vec<String> = spec.variants().iter().map(|need| Room::of(need).to_string()).collect();
    let needs = needs.join(", or ");
    let conditions: BTreeSet<Condition> = spec.variants().iter().flat_map(|need| fails(need, largest)).collect();
    let devices = [Condition::GpuMemory, Condition::Require, Condition::Devices];
    let besides: Vec<&str> = conditions
        .iter()
        .filter(|condition| devices.contains(condition))
        .map(|condition| match condition {
            Condition::GpuMemory => "its GPUs do not have the `gpu_memory`",
            Condition::Require if contained => "it runs no containers, or `require` does not hold for it",
            Condition::Require => "`require` does not hold for it",
            _ => "none of its GPUs is all that is asked for",
        })
        .collect();
    let besides = if besides.is_empty() { String::new() } else { format!(": {}", besides.join(", and ")) };
    let message =
        format!("no trial could ever start: one needs {needs}, and {who} has {}{besides}", Room::inventory(largest));
    Err(Failure::new(Exit::Conflict, message).hint(hint))
}

fn hint(spec: &SweepSpec, whole: &Inventory) -> String {
    let lower = "lower `resources` in the sweep file, or with `--set`, to what this machine has";
    let fewest = spec.variants().iter().map(|need| Room::of(need).gpus).min().unwrap_or_default();
    if fewest > whole.gpus.len() as u64 {
        format!("`--gpus fake:{fewest}` pretends to have enough GPUs; or {lower}")
    } else {
        lower.to_owned()
    }
}

/// What a trial needs, or an agent has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Room {
    cpus: u32,
    memory: u64,
    gpus: u64,
    /// So much on each of so many machines.
    nodes: u32,
}

impl Room {
    fn of(resources: &Resources) -> Self {
        let memory = resources.memory.map_or(0, |Bytes { count }| count);
        let gpus = u64::from(resources.gpu_parts().div_ceil(GPU_PARTS));
        Self { cpus: resources.cpus, memory, gpus, nodes: resources.nodes }
    }

    fn whole(agent: &v1::AgentStatus) -> Self {
        agent.inventory.as_ref().map_or(Self { cpus: 0, memory: 0, gpus: 0, nodes: 1 }, Self::inventory)
    }

    fn inventory(Inventory { cpus, memory, gpus, .. }: &Inventory) -> Self {
        Self { cpus: *cpus, memory: *memory, gpus: gpus.len() as u64, nodes: 1 }
    }
}

/// `1 processor, 16.0 GiB, 2 GPUs`
impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&words::count(u64::from(self.cpus), "processor"))?;
        if self.memory > 0 {
            write!(f, ", {}", words::bytes(self.memory))?;
        }
        if self.gpus > 0 {
            write!(f, ", {}", words::count(self.gpus, "GPU"))?;
        }
        if self.nodes > 1 {
            write!(f, " on each of {} machines", self.nodes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::resources::Gpu;
    use heats_domain::spec::Needs;

    fn machine(cpus: u32, gpus: u32) -> Inventory {
        let gpu = |index| Gpu { index, model: "fake".into(), memory: 16 << 30, ..Gpu::default() };
        let gpus = (0..gpus).map(gpu).collect();
        Inventory { cpus, memory: 8 << 30, gpus, ..Inventory::default() }
    }

    fn sweep(resources: Resources) -> SweepSpec {
        let spec: SweepSpec = serde_json::from_str(r#"{"command":["a"]}"#).expect("is a sweep");
        SweepSpec { resources: Needs::One(resources), ..spec }
    }

    fn refusal(resources: Resources, machine: &Inventory, agents: u32) -> String {
        let failure = expect(&sweep(resources), machine, agents).expect_err("is refused");
        format!("{}; hint: {}", failure.message, failure.hint.unwrap_or_default())
    }

    #[test]
    fn what_fits_the_largest_agent_may_wait_for_it() {
        let two = Resources { gpus: 2.0, cpus: 3, ..Resources::default() };
        expect(&sweep(two), &machine(5, 3), 2).expect("the first has 3 processors and 2 GPUs");
        let all = Resources { memory: "8GiB".parse().ok(), ..Resources::default() };
        expect(&sweep(all), &machine(1, 0), 1).expect("the whole of it");
    }

    #[test]
    fn gpus_that_are_not_leased_now_are_named_where_a_trial_waits_for_one() {
        let spec: SweepSpec = serde_json::from_value(serde_json::json!({
            "command": ["true"], "objective": { "minimize": "loss" }, "resources": { "gpus": 2 }
        }))
        .expect("reads");
        let gpus = vec![v1::UnusableGpu { index: 1, why: "it is too hot".into() }];
        let condition = v1::Condition { gpus, ..v1::Condition::default() };
        let agent = |condition| v1::AgentStatus {
            name: "a1".into(),
            attached: true,
            inventory: Some(machine(4, 2)),
            condition,
            ..v1::AgentStatus::default()
        };
        let said = what_holds(&spec, None, 0, &[agent(Some(condition))]).expect("it waits");
        assert!(
            said.contains("every place is taken") && said.contains("GPU 1 of a1 is not leased now (it is too hot)")
        );
        assert_eq!(what_holds(&spec, None, 0, &[agent(None)]), None);
    }

    #[test]
    fn a_trial_that_spans_machines_waits_for_as_many_as_it_takes_and_it_is_said_how_many_there_are() {
        let spec = sweep(Resources { nodes: 3, cpus: 2, ..Resources::default() });
        let rendezvous = heats_domain::resources::Rendezvous { address: "a".into(), first_port: 1, ports: 1 };
        let agent = |cpus, held| v1::AgentStatus {
            name: "a1".into(),
            attached: true,
            inventory: Some(Inventory { rendezvous: Some(rendezvous.clone()), ..machine(cpus, 0) }),
            held: Some(heats_domain::Grant { cpus: held, ..Default::default() }),
            ..v1::AgentStatus::default()
        };
        let why = |agents: &[v1::AgentStatus]| what_holds(&spec, None, 0, agents).unwrap_or_default();
        let needs = "a trial needs 2 processors on each of 3 machines";
        let few = why(&[agent(2, 0), agent(2, 0), agent(1, 0)]);
        let counted = "of 3 agents, 2 have room now, and it takes 3 at once, and 1 has too few processors";
        assert_eq!(few, format!("there are too few agents: {needs}, and 2 agents would do; {counted}"));
        let taken = why(&[agent(2, 0), agent(2, 1), agent(4, 2)]);
        let counted = "of 3 agents, 2 have room now, and it takes 3 at once, and of 1 the processors are taken";
        assert_eq!(taken, format!("every place is taken ({counted}): {needs}, which too few agents have free now"));
        assert_eq!(why(&[agent(2, 0), agent(2, 0), agent(4, 2)]), "");
        let old = v1::AgentStatus { inventory: Some(machine(8, 0)), ..agent(8, 0) };
        assert!(why(&[agent(2, 0), agent(2, 0), old]).contains("1 has no address for trials that span machines"));
    }

    #[test]
    fn a_trial_that_spans_machines_runs_on_as_many_agents_of_one() {
        let mut whole = machine(4, 0);
        whole.rendezvous = Some(heats_domain::resources::Rendezvous { first_port: 1, ports: 1, ..Default::default() });
        let two = Resources { nodes: 2, cpus: 2, ..Resources::default() };
        expect(&sweep(two.clone()), &whole, 2).expect("two processors each");
        let said = refusal(two.clone(), &whole, 1);
        assert!(said.contains("one spans 2 machines, and there is no more than 1; hint: `--agents 2`"), "{said}");
        let said = refusal(two, &whole, 3);
        assert!(said.contains("needs 2 processors on each of 2 machines, and each agent has 2 processors"), "{said}");
    }

    #[test]
    fn what_fits_nowhere_is_refused_with_what_there_is_and_what_to_do() {
        let gpus = |gpus: f64| Resources { gpus, ..Resources::default() };
        let said = refusal(gpus(4.0), &machine(2, 3), 1);
        assert!(
            said.contains("needs 1 processor, 4 GPUs, and this machine has 2 processors, 8.0 GiB, 3 GPUs"),
            "{said}"
        );
        assert!(said.contains("`--gpus fake:4`"), "{said}");
        let said = refusal(gpus(3.0), &machine(4, 3), 2);
        assert!(said.contains("each agent has 2 processors, 4.0 GiB, 2 GPUs; hint: with fewer `--agents`"), "{said}");
        let said = refusal(Resources { memory: "9GiB".parse().ok(), ..Resources::default() }, &machine(4, 3), 1);
        assert!(said.contains("needs 1 processor, 9.0 GiB") && !said.contains("--gpus"), "{said}");
        let require = heats_domain::Expr::parse("labels.zone == 'a'").ok();
        let said = refusal(Resources { require, ..Resources::default() }, &machine(4, 3), 1);
        assert!(said.contains("3 GPUs: `require` does not hold for it;"), "{said}");
        let half = Resources { gpu_memory: "9GiB".parse().ok(), ..gpus(0.5) };
        let said = refusal(half, &machine(4, 3), 1);
        assert!(said.contains("its GPUs do not have the `gpu_memory`;"), "half of 16 GiB: {said}");
        expect(&sweep(gpus(0.25)), &machine(1, 1), 1).expect("a share of one");
    }
}
