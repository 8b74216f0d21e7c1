//! Whether there is room for a sweep's trials: what one needs against what agents have. Only words about it: who
//! gets which place is the coordinator's decision.

use heats_domain::spec::Resources;
use heats_domain::units::Bytes;
use heats_domain::{Inventory, SweepSpec};
use heats_wire::v1;

use crate::exit::{Exit, Failure};
use crate::{view, words};

/// Why no further trial starts now; `None` where one could.
pub fn what_holds(spec: &SweepSpec, live: u32, agents: &[v1::AgentStatus]) -> Option<String> {
    if let Some(parallel) = spec.budget.parallel.filter(|parallel| live >= *parallel) {
        return Some(format!("`budget.parallel` allows {parallel} at once, and {live} hold a place"));
    }
    let needs = Room::of(&spec.resources);
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
    let others = if barred.is_empty() { String::new() } else { format!("; besides, {}", some_of(&barred)) };
    Some(why + &others)
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

/// Why none of the agents that start trials has room.
fn why(needs: &Room, attached: &[&v1::AgentStatus]) -> Option<String> {
    if !attached.iter().any(|agent| needs.fit(&Room::whole(agent))) {
        let largest =
            attached.iter().map(|agent| Room::whole(agent)).max_by_key(|whole| (whole.gpus, whole.cpus, whole.memory));
        let has = largest.map_or_else(String::new, |largest| format!("; the largest has {largest}"));
        return Some(format!("no agent is large enough: a trial needs {needs}{has}"));
    }
    if !attached.iter().any(|agent| needs.fit(&Room::free(agent))) {
        return Some(format!("every place is taken: a trial needs {needs}, which no agent has free now"));
    }
    None
}

/// Refuses a trial that would find no room on `machine` however long it waited, when `agents` share the machine.
///
/// # Errors
/// It is too large for the largest of them.
pub fn expect(resources: &Resources, machine: &Inventory, agents: u32) -> Result<(), Failure> {
    let whole = Room::inventory(machine);
    // The first of the agents gets what does not divide.
    let largest = Room {
        cpus: whole.cpus.div_ceil(agents),
        memory: whole.memory / u64::from(agents),
        gpus: whole.gpus.div_ceil(u64::from(agents)),
    };
    let needs = Room::of(resources);
    if needs.fit(&largest) {
        return Ok(());
    }
    let (who, hint) = match (needs.fit(&whole), agents) {
        (true, _) => ("each agent", "with fewer `--agents`, each has more".to_owned()),
        (false, 1) => ("this machine", hint(&needs, &whole)),
        (false, _) => ("each agent", hint(&needs, &whole)),
    };
    let message = format!("no trial could ever start: one needs {needs}, and {who} has {largest}");
    Err(Failure::new(Exit::Conflict, message).hint(hint))
}

fn hint(needs: &Room, whole: &Room) -> String {
    let lower = "lower `resources` in the sweep file, or with `--set`, to what this machine has";
    if needs.gpus > whole.gpus {
        format!("`--gpus fake:{}` pretends to have enough GPUs; or {lower}", needs.gpus)
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
}

impl Room {
    fn of(resources: &Resources) -> Self {
        let memory = resources.memory.map_or(0, |Bytes { count }| count);
        Self { cpus: resources.cpus, memory, gpus: resources.gpus.ceil() as u64 }
    }

    fn whole(agent: &v1::AgentStatus) -> Self {
        agent.inventory.as_ref().map_or(Self { cpus: 0, memory: 0, gpus: 0 }, Self::inventory)
    }

    fn inventory(Inventory { cpus, memory, gpus, .. }: &Inventory) -> Self {
        Self { cpus: *cpus, memory: *memory, gpus: gpus.len() as u64 }
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
impl std::fmt::Display for Room {
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

    fn machine(cpus: u32, gpus: u32) -> Inventory {
        let gpus = heats_agent::inventory::detect(Some(&format!("fake:{gpus}"))).expect("reads").gpus;
        Inventory { cpus, memory: 8 << 30, gpus, ..Inventory::default() }
    }

    fn refusal(resources: Resources, machine: &Inventory, agents: u32) -> String {
        let failure = expect(&resources, machine, agents).expect_err("is refused");
        format!("{}; hint: {}", failure.message, failure.hint.unwrap_or_default())
    }

    #[test]
    fn what_fits_the_largest_agent_may_wait_for_it() {
        let two = Resources { gpus: 2.0, cpus: 3, ..Resources::default() };
        expect(&two, &machine(5, 3), 2).expect("the first has 3 processors and 2 GPUs");
        let all = Resources { memory: "8GiB".parse().ok(), ..Resources::default() };
        expect(&all, &machine(1, 0), 1).expect("the whole of it");
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
    }
}
