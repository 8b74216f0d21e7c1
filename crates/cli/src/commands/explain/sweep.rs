//! Why a sweep stands where it stands.

use heats_wire::v1;

use crate::{room, view, words};

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
    let of = view::planned(sweep).map_or_else(String::new, |max| format!(" of {max}"));
    let mut sentences = vec![format!("it is running: {}{of} trials are created, {live} hold a place", counts.created)];
    let to_start = counts.waiting > 0 || view::planned(sweep).is_none_or(|max| counts.created < max);
    let left = counts.waiting + live;
    if counts.confirming > 0 && left > 0 {
        let runs = words::count(u64::from(counts.confirming), "run");
        sentences.push(format!("its leaders are confirmed by {runs} on fresh seeds, of which {left} have not ended"));
    }
    if !to_start {
        sentences.push("its budget is used up: what runs is all that is left".into());
        return sentences;
    }
    let Some(spec) = view::spec(sweep) else { return sentences };
    let held = room::what_holds(&spec, None, live, agents);
    let is_held = held.is_some() || !sweep.why.is_empty();
    sentences.extend(Some(sweep.why.clone()).filter(|why| !why.is_empty()));
    sentences.extend(held);
    if !is_held {
        sentences.push("nothing holds it: the next trial starts as soon as its configuration is proposed".to_owned());
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::{Grant, Inventory};

    fn agent(cpus: u32, held: u32) -> v1::AgentStatus {
        v1::AgentStatus {
            attached: true,
            inventory: Some(Inventory { cpus, memory: 8 << 30, gpus: vec![], ..Inventory::default() }),
            held: Some(Grant { cpus: held, memory: 0, gpus: vec![], ..Grant::default() }),
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
        let taken = why(&[agent(4, 3), agent(2, 2), agent(1, 0)]);
        let counted = "every place is taken (of 3 agents, 1 has too few processors, and of 2 the processors are taken)";
        assert!(taken.starts_with(counted), "{taken}");
        let drain = v1::AgentDrain { reason: "new disk".into(), ..Default::default() };
        let drained = v1::AgentStatus { name: "a1".into(), drain: Some(drain), ..agent(8, 0) };
        assert_eq!(why(std::slice::from_ref(&drained)), "nothing starts on any agent: a1 is drained (new disk)");
        let besides = why(&[agent(2, 2), drained.clone()]);
        assert!(besides.ends_with("no agent has free now; besides, a1 is drained (new disk)"), "{besides}");
        assert!(why(&[agent(4, 2), drained]).contains("nothing holds it"));
        let quarantine = v1::AgentQuarantine { why: "3 failed".into(), proven: true, ..Default::default() };
        let alone = v1::AgentStatus { name: "a3".into(), quarantine: Some(quarantine), ..agent(8, 0) };
        assert_eq!(why(std::slice::from_ref(&alone)), "nothing starts on any agent: a3 is quarantined (3 failed)");
        assert!(why(&[agent(2, 2), alone]).ends_with("besides, a3 is quarantined (3 failed)"));
        let condition = v1::Condition { unable: "its disk is full".into(), ..Default::default() };
        let unable = v1::AgentStatus { name: "a2".into(), condition: Some(condition), ..agent(8, 0) };
        assert_eq!(why(&[unable]), "nothing starts on any agent: a2 can start nothing: its disk is full");
        assert!(why(&[agent(4, 2)]).contains("nothing holds it"));
        let held_back = v1::Sweep { why: "its quota is used".into(), ..sweep(spec, v1::SweepStatus::Running) };
        assert_eq!(sentences(&held_back, &[agent(4, 2)])[1..], ["its quota is used"]);
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
