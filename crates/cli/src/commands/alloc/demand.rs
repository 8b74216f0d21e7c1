//! What waits for machines.

use heats_wire::v1;

use crate::view;

/// Trials that could run and have no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Demand {
    /// How many they are.
    pub trials: u64,
    /// How many places they take: each has one on every machine that it spans.
    pub places: u64,
    /// The most machines that one of them spans.
    pub at_once: u32,
}

impl Demand {
    /// That of these sweeps.
    pub fn of(sweeps: &[v1::Sweep]) -> Self {
        sweeps.iter().fold(Self::default(), |sum, sweep| {
            let trials = waiting(sweep);
            let nodes = if trials > 0 { nodes(sweep) } else { 0 };
            let places = trials.saturating_mul(nodes.into());
            Self {
                trials: sum.trials.saturating_add(trials),
                places: sum.places.saturating_add(places),
                at_once: sum.at_once.max(nodes),
            }
        })
    }

    /// What there was of it before as well.
    pub fn and_before(self, before: Self) -> Self {
        Self {
            trials: self.trials.min(before.trials),
            places: self.places.min(before.places),
            at_once: self.at_once.min(before.at_once),
        }
    }
}

/// How many machines a trial of the sweep can do with.
fn nodes(sweep: &v1::Sweep) -> u32 {
    let fewest = view::spec(sweep).and_then(|spec| spec.variants().iter().map(|need| need.nodes).min());
    fewest.unwrap_or(1)
}

/// How many further trials of the sweep could run at once, if there were places for them.
fn waiting(sweep: &v1::Sweep) -> u64 {
    if sweep.status() != v1::SweepStatus::Running {
        return 0;
    }
    let counts = sweep.counts.unwrap_or_default();
    let parallel = view::spec(sweep).and_then(|spec| spec.budget.parallel).unwrap_or(u32::MAX);
    // A grid has an end that nobody has counted.
    let left = view::planned(sweep).map_or(1, |planned| planned.saturating_sub(counts.created));
    let live = counts.leased + counts.running;
    u64::from(counts.waiting).saturating_add(left.into()).min(parallel.saturating_sub(live).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(status: v1::SweepStatus, spec: &str, counts: v1::Counts) -> v1::Sweep {
        let (status, spec) = (status.into(), spec.to_owned());
        v1::Sweep { status, spec, counts: Some(counts), trials_max: Some(20), ..v1::Sweep::default() }
    }

    #[test]
    fn what_could_run_is_what_is_left_within_what_may_run_at_once() {
        let spec = r#"{"command": ["true"], "space": {}}"#;
        let few = r#"{"command": ["true"], "space": {}, "budget": {"parallel": 4}}"#;
        let counts = v1::Counts { created: 12, waiting: 1, leased: 1, running: 2, ..v1::Counts::default() };
        assert_eq!(waiting(&sweep(v1::SweepStatus::Running, spec, counts)), 9);
        assert_eq!(waiting(&sweep(v1::SweepStatus::Running, few, counts)), 1);
        assert_eq!(waiting(&sweep(v1::SweepStatus::Paused, spec, counts)), 0);
        assert_eq!(waiting(&v1::Sweep { trials_max: None, ..sweep(v1::SweepStatus::Running, spec, counts) }), 2);
    }

    #[test]
    fn a_trial_that_spans_machines_takes_a_place_on_each() {
        let spans = r#"{"command": ["true"], "space": {}, "budget": {"parallel": 2}, "resources": {"nodes": 3}}"#;
        let alone = r#"{"command": ["true"], "space": {}, "budget": {"parallel": 4}}"#;
        let running = |spec| sweep(v1::SweepStatus::Running, spec, v1::Counts::default());
        let both = Demand::of(&[running(spans), running(alone)]);
        assert_eq!(both, Demand { trials: 6, places: 10, at_once: 3 });
        let none = Demand::of(&[sweep(v1::SweepStatus::Paused, spans, v1::Counts::default())]);
        assert_eq!((none, both.and_before(none)), (Demand::default(), Demand::default()));
    }
}
