//! Submitting and removing sweeps.

use heats_domain::{SweepId, SweepSpec};

use super::{Decision, artifacts, learn, sweep};
use crate::fact::{Fact, SweepRemoved, SweepSubmitted};
use crate::refusal::Refusal;
use crate::retention;
use crate::state::State;
use crate::study::Change;

/// How many digits of its id an unnamed sweep is called by, where they are its own.
const SHORT: usize = 5;
/// The largest specification, base directory or provenance that the log takes, in bytes.
pub const TEXT_MAX: usize = 1 << 20;

/// A sweep to be made. The specification was checked at the edge.
#[derive(Clone, PartialEq, Debug)]
pub struct Submit {
    /// The new sweep's id, minted at the edge.
    pub sweep: SweepId,
    /// The client's request.
    pub request: u64,
    /// What to run.
    pub spec: SweepSpec,
    /// The name, in place of the specification's.
    pub name: Option<String>,
    /// The seed, where the specification gives none: drawn at the edge.
    pub seed: u64,
    /// The folder of the sweep file.
    pub base_dir: String,
    /// JSON: who submitted it, from where, fingerprints.
    pub provenance: String,
    /// The archive of its code, which the edge has made sure of; empty for none.
    pub code: String,
    /// Who submits it, as shares and quotas count; empty where that is not known.
    pub user: String,
}

/// The reply to a [`Submit`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submitted {
    /// The sweep.
    pub sweep: SweepId,
    /// Its name.
    pub name: String,
    /// The same request had made it before.
    pub existed: bool,
}

impl Submit {
    /// Makes the sweep, once per request.
    pub fn decide(self, state: &State) -> Decision<Submitted> {
        if let Some(existing) = state.by_request(self.request) {
            let reply = Submitted { sweep: existing.id, name: existing.name.clone(), existed: true };
            return Ok((Vec::new(), reply));
        }
        let sweep = state.free_id(self.sweep);
        let name = self.name.or_else(|| self.spec.name.clone()).unwrap_or_else(|| name_of(state, sweep));
        if let Some(other) = state.live_named(&name) {
            return Err(Refusal::NameTaken { name, sweep: other.id });
        }
        if let Some(study) = state.studies.named(&name) {
            return Err(Refusal::NameTaken { name, sweep: study.sweep });
        }
        let spec = self.spec.for_its_environment();
        let priors = learn::priors(state, &spec)?;
        let seed = spec.search.seed.unwrap_or(self.seed);
        let spec = serde_json::to_string(&spec).map_err(|error| Refusal::Spec(error.to_string()))?;
        for (what, text) in [
            ("the specification", &spec),
            ("the base directory", &self.base_dir),
            ("the provenance", &self.provenance),
            ("the user's name", &self.user),
        ] {
            if text.len() > TEXT_MAX {
                return Err(Refusal::TooLarge { what, bytes: text.len(), limit: TEXT_MAX });
            }
        }
        let reply = Submitted { sweep, name: name.clone(), existed: false };
        let fact = SweepSubmitted {
            sweep,
            name,
            spec,
            seed,
            request: self.request,
            base_dir: self.base_dir,
            provenance: self.provenance,
            priors,
            code: self.code,
            user: self.user,
        };
        Ok((vec![Fact::SweepSubmitted(fact)], reply))
    }
}

/// What an unnamed sweep is called: by the end of its id, which is the part that differs, and by more of it where another that
/// lives is called that.
fn name_of(state: &State, sweep: SweepId) -> String {
    let id = sweep.to_string();
    let digits = id.strip_prefix("swp_").unwrap_or(&id);
    let named = |length: usize| format!("sweep-{}", &digits[digits.len().saturating_sub(length)..]);
    let is_free = |name: &String| state.live_named(name).is_none() && state.studies.named(name).is_none();
    (SHORT..digits.len()).map(named).find(is_free).unwrap_or_else(|| named(digits.len()))
}

/// Forgets a sweep that has ended, or a study: whether that is over is not for Heats to say.
pub fn remove(state: &State, id: SweepId) -> Decision<()> {
    if let Some(study) = state.studies.of_sweep(id) {
        let (facts, _) = Change::Remove { study: study.number, request: 0 }.decide(state)?;
        return Ok((facts, ()));
    }
    let sweep = sweep(state, id)?;
    if !sweep.is_ended() {
        return Err(Refusal::NotEnded(sweep.name.clone()));
    }
    let mut facts = retention::all(sweep);
    facts.extend(artifacts::all(sweep));
    facts.push(Fact::SweepRemoved(SweepRemoved { sweep: id }));
    Ok((facts, ()))
}

#[cfg(test)]
mod tests {
    use heats_domain::SweepId;

    use crate::fact::Goal;
    use crate::study::{Change, Done};
    use crate::testing::{Cluster, SweepBuilder, submit};
    use crate::{Op, Refusal, Reply};

    fn named(id: u64, request: u64, name: &str) -> Op {
        let builder = SweepBuilder::minimize("loss").top("name", name);
        Op::Submit(Box::new(submit(SweepId { bits: id }, request, builder)))
    }

    #[test]
    fn a_repeated_request_makes_no_second_sweep() {
        let mut cluster = Cluster::default();
        cluster.op(named(1, 9, "a")).expect("is submitted");
        let Ok(Reply::Submitted(again)) = cluster.op(named(2, 9, "b")) else { panic!("is not refused") };
        assert_eq!((again.sweep.bits, again.name.as_str(), again.existed), (1, "a", true));
        assert_eq!((cluster.applied.sweeps.len(), cluster.entries.len()), (1, 1));
    }

    fn made(answer: Result<Reply, Refusal>) -> (u64, String) {
        let Ok(Reply::Submitted(made)) = answer else { panic!("is not submitted") };
        assert!(!made.existed);
        (made.sweep.bits, made.name)
    }

    #[test]
    fn who_draws_an_id_that_is_taken_gets_the_next_one() {
        let mut cluster = Cluster::default();
        assert_eq!(made(cluster.op(named(1, 1, "a"))), (1, "a".to_owned()));
        let study =
            Change::Create { sweep: SweepId { bits: 1 }, name: "s".into(), goals: vec![Goal::Minimize], request: 1 };
        assert_eq!(cluster.op(Op::Study(study)), Ok(Reply::Study(Done::Made(1))));
        assert_eq!(made(cluster.op(named(1, 2, "b"))), (3, "b".to_owned()));
        assert_eq!(cluster.applied.studies.of_sweep(SweepId { bits: 2 }).map(|study| study.number), Some(1));
    }

    #[test]
    fn unnamed_sweeps_of_like_ids_have_names_of_their_own() {
        let mut cluster = Cluster::default();
        let unnamed =
            |bits, request| Op::Submit(Box::new(submit(SweepId { bits }, request, SweepBuilder::minimize("loss"))));
        assert_eq!(made(cluster.op(unnamed(1, 1))).1, "sweep-00001");
        assert_eq!(made(cluster.op(unnamed(1 + (1 << 25), 2))).1, "sweep-100001");
        assert_eq!(made(cluster.op(unnamed(1 + (1 << 25) + (1 << 30), 3))).1, "sweep-1100001");
    }

    #[test]
    fn a_name_means_the_newest_sweep_and_only_one_that_lives() {
        let mut cluster = Cluster::default();
        cluster.op(named(1, 1, "a")).expect("is submitted");
        let taken = Refusal::NameTaken { name: "a".into(), sweep: SweepId { bits: 1 } };
        assert_eq!(cluster.op(named(2, 2, "a")), Err(taken));
        cluster.control(SweepId { bits: 1 }, crate::ops::control::Verb::Cancel).expect("lives");
        cluster.op(named(2, 2, "a")).expect("the name is free again");
        assert_eq!(cluster.applied.find("a").map(|sweep| sweep.id.bits), Some(2));
        assert_eq!(cluster.applied.find("last").map(|sweep| sweep.id.bits), Some(2));
        assert_eq!(cluster.applied.find("b").map(|sweep| sweep.id.bits), None);
        assert_eq!(cluster.applied.find(&SweepId { bits: 1 }.to_string()).map(|sweep| sweep.id.bits), Some(1));
    }

    #[test]
    fn a_sweep_without_a_name_is_called_by_the_end_of_its_id() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(SweepBuilder::minimize("loss"));
        assert_eq!(cluster.sweep(id).name, "sweep-00001");
    }

    #[test]
    fn only_a_sweep_that_has_ended_is_removed() {
        let mut cluster = Cluster::default();
        cluster.op(named(1, 1, "a")).expect("is submitted");
        let id = SweepId { bits: 1 };
        assert_eq!(cluster.op(Op::Remove(id)), Err(Refusal::NotEnded("a".into())));
        cluster.control(id, crate::ops::control::Verb::Cancel).expect("lives");
        cluster.op(Op::Remove(id)).expect("has ended");
        assert!(cluster.applied.sweeps.is_empty() && cluster.applied.find("a").is_none());
        assert_eq!(cluster.op(Op::Remove(id)), Err(Refusal::NoSuchSweep(id.to_string())));
    }

    #[test]
    fn a_text_beyond_the_limit_is_refused() {
        let mut cluster = Cluster::default();
        let mut large = submit(SweepId { bits: 1 }, 1, SweepBuilder::minimize("loss"));
        large.provenance = "x".repeat(super::TEXT_MAX + 1);
        assert!(matches!(
            cluster.op(Op::Submit(Box::new(large))),
            Err(Refusal::TooLarge { what: "the provenance", .. })
        ));
    }
}
