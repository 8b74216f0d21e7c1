//! How many trials wait for a machine.

use heats_wire::v1;

use crate::view;

/// How many further trials of the sweep could run at once, if there were places for them.
pub fn waiting(sweep: &v1::Sweep) -> u64 {
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
}
