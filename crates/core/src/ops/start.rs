//! What an agent says of an attempt that begins: that its process was started, and in what.

use heats_domain::{Digest, Environment, Inventory, provenance};

use super::Decision;
use super::attempts::{Key, clip, fenced};
use crate::fact::{EnvironmentRecorded, Fact, HardwareRecorded, TrialStarted};
use crate::refusal::Refusal;
use crate::state::State;

/// An attempt's process was started, or that of one member of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Start {
    /// Whose.
    pub key: Key,
    /// Which member's; 0 where the attempt is on one machine.
    pub rank: u32,
    /// What its environment was found to be, in one line.
    pub environment: String,
    /// What the environment is called by its content; an agent of an earlier version does not say.
    pub name: Option<Digest>,
    /// The environment, where the agent was not told that its sweep names it already.
    pub found: Option<Environment>,
    /// Whether it was forked from a template that had the imports of its script.
    pub warm: bool,
    /// Why it was not, where its sweep asks for that.
    pub cold: String,
}

impl Start {
    /// Records the start, and before it what the attempt runs in where nothing has run in that before. A start that was told
    /// before changes nothing.
    ///
    /// # Errors
    /// [`crate::Refusal::Stale`] where the trial has gone to another attempt, or the member has ended.
    pub fn decide(self, state: &State) -> Decision<()> {
        let Self { key, rank, environment, name, found, warm, cold } = self;
        let (_, trial) = fenced(state, key)?;
        let holder = trial.live().and_then(|(_, live)| live.holders().find(|holder| holder.rank == rank));
        let Some(holder) = holder else {
            return Err(Refusal::Stale { sweep: key.sweep, trial: key.trial, attempt: key.attempt });
        };
        if holder.started_ms.is_some() {
            return Ok((Vec::new(), ()));
        }
        let mut facts = Vec::new();
        let environment = clip(environment);
        let environment_name = match name.filter(|name| state.environment(*name).is_some()) {
            Some(name) => name,
            None => {
                // Called by what it is here, whatever its agent calls it.
                let line = || Environment { summary: environment.clone(), ..Environment::default() };
                let environment = found.unwrap_or_else(line).bounded();
                let name = Digest::of_environment(&environment);
                if state.environment(name).is_none() {
                    facts.push(Fact::EnvironmentRecorded(EnvironmentRecorded { name, environment }));
                }
                name
            }
        };
        let machine = state.agent(holder.agent).map(|attached| provenance::hardware(&attached.inventory));
        let hardware: Inventory = machine.unwrap_or_default();
        let hardware_name = Digest::of_hardware(&hardware);
        if state.hardware(hardware_name).is_none() {
            facts.push(Fact::HardwareRecorded(HardwareRecorded { name: hardware_name, hardware }));
        }
        let Key { sweep, trial, attempt } = key;
        facts.push(Fact::TrialStarted(TrialStarted {
            sweep,
            trial,
            attempt,
            environment,
            environment_name: Some(environment_name),
            hardware_name: Some(hardware_name),
            rank,
            warm,
            cold: clip(cold),
        }));
        Ok((facts, ()))
    }
}

#[cfg(test)]
mod tests {
    use heats_domain::{Digest, Environment, Package, SweepId};

    use super::Start;
    use crate::fact::TrialStarted;
    use crate::ops::attempts::{End, Key};
    use crate::ops::control::Verb;
    use crate::testing::{Cluster, SweepBuilder};
    use crate::{Fact, Op, State};

    fn environment(version: &str) -> Environment {
        let package = Package { name: "numpy".into(), version: version.into(), origin: String::new() };
        Environment { summary: "cpython 3.12".into(), packages: vec![package], ..Environment::default() }
    }

    fn start(cluster: &mut Cluster, key: Key, found: &Environment, with_content: bool) {
        let name = Some(Digest::of_environment(found));
        let found = with_content.then(|| found.clone());
        let line = "cpython 3.12".into();
        let start = Start { key, rank: 0, environment: line, name, found, warm: false, cold: String::new() };
        cluster.op(Op::Start(start)).expect("is live");
    }

    /// What the last start of a trial names.
    fn named(cluster: &Cluster, id: SweepId, number: u32) -> TrialStarted {
        let sweep = cluster.sweep(id);
        let mut starts =
            sweep.records(cluster.trial(id, number)).filter_map(|record| match record.cell.fact.as_ref()? {
                Fact::TrialStarted(fact) => Some(fact.clone()),
                _ => None,
            });
        starts.next_back().expect("was started")
    }

    fn kept(state: &State) -> Vec<&'static str> {
        state.surroundings.records().filter_map(|record| record.cell.fact.as_ref()).map(Fact::name).collect()
    }

    #[test]
    fn an_environment_and_a_machine_are_recorded_once_and_named_by_each_attempt() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(4));
        cluster.attach(1, 4);
        let keys = cluster.dispatch();
        start(&mut cluster, keys[0], &environment("1"), true);
        start(&mut cluster, keys[1], &environment("1"), false);
        start(&mut cluster, keys[2], &environment("2"), true);
        assert_eq!(kept(&cluster.applied), ["environment_recorded", "environment_recorded", "hardware_recorded"]);
        let of = |number| {
            let TrialStarted { environment_name, hardware_name, .. } = named(&cluster, id, number);
            let environment = cluster.applied.environment(environment_name.expect("has one")).expect("is there");
            let hardware = cluster.applied.hardware(hardware_name.expect("has one")).expect("is there");
            (environment.clone(), hardware.cpus)
        };
        assert_eq!([of(0), of(1), of(2)], [(environment("1"), 4), (environment("1"), 4), (environment("2"), 4)]);
    }

    #[test]
    fn what_an_agent_names_and_nobody_knows_is_recorded_as_far_as_it_says() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        cluster.attach(1, 2);
        let keys = cluster.dispatch();
        start(&mut cluster, keys[0], &environment("1"), false);
        let line = "cpython 3.12".into();
        let (name, found, cold) = (None, None, String::new());
        let old = Start { key: keys[1], rank: 0, environment: line, name, found, warm: false, cold };
        cluster.op(Op::Start(old)).expect("is live");
        let name = named(&cluster, id, 0).environment_name.expect("has one");
        assert_eq!(named(&cluster, id, 1).environment_name, Some(name));
        let known = cluster.applied.environment(name).expect("is there");
        assert_eq!((known.summary.as_str(), known.packages.len()), ("cpython 3.12", 0));
    }

    #[test]
    fn what_no_sweep_names_any_more_goes_with_the_last_that_did_and_a_snapshot_has_the_rest() {
        let mut cluster = Cluster::default();
        cluster.attach(1, 1);
        let ids = [(); 2].map(|()| {
            let id = cluster.submit(SweepBuilder::minimize("loss").trials(1));
            let key = cluster.dispatch()[0];
            start(&mut cluster, key, &environment("shared"), true);
            cluster.finish(key, End::Lost);
            let key = cluster.dispatch()[0];
            start(&mut cluster, key, &environment(&id.to_string()), true);
            cluster.finish(key, End::Exited(1));
            cluster.control(id, Verb::Cancel).expect("runs");
            id
        });
        assert_eq!(kept(&cluster.applied).len(), 4);
        cluster.op(Op::Remove(ids[0])).expect("has ended");
        assert_eq!(kept(&cluster.applied).len(), 3, "the other sweep names what both have named");
        let records = cluster.applied.records().map(|record| record.as_ref().clone());
        let again = State::from_records(cluster.applied.applied, cluster.applied.turn, records).expect("reads");
        assert_eq!((kept(&again).len(), again.hash()), (3, cluster.applied.hash()));
        cluster.op(Op::Remove(ids[1])).expect("has ended");
        assert_eq!(kept(&cluster.applied), [""; 0]);
    }
}
