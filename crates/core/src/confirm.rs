//! An honest winner: the leaders of a sweep run again on fresh seeds, and are ranked by what comes of that.
//!
//! The value that made a trial a leader is the best of many noisy ones, and so too good on average, the more so the more
//! trials there were: the winner's curse. It chose the trial; it does not measure it. So only fresh runs count here.

use heats_domain::spec::Confirm;
use heats_domain::{Params, TrialState};

use crate::fact::{Ending, Fact, TrialCreated};
use crate::statistics::mean_interval;
use crate::sweep::{Ranked, Sweep};
use crate::trial::Trial;

/// What the fresh runs of a leader say about its configuration, in the objective's own units.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Confirmation {
    /// How many of them completed with a value. As in the ranking, the value of a run is the best that it reported.
    pub runs: u32,
    /// How many of them there are. One that failed, or was ended by a user or a limit, has no value.
    pub of: u32,
    /// The mean of their values, without the one that the leader was chosen by; `None` where no run has a value.
    pub mean: Option<f64>,
    /// The 95 % interval of that mean, by Student's t; `None` with fewer than two values.
    pub interval: Option<(f64, f64)>,
}

impl Sweep {
    /// How leaders are confirmed, where they are.
    pub fn confirm(&self) -> Option<&Confirm> {
        self.objective()?.confirm.as_ref()
    }

    /// What the fresh runs of `leader` have shown so far; `None` where it has none.
    pub fn confirmation(&self, leader: &Trial) -> Option<Confirmation> {
        let fresh = self.fresh.get(&leader.number)?;
        let completed = fresh.iter().filter_map(|&n| self.trial(n)).filter(|run| run.state == TrialState::Completed);
        let values: Vec<f64> = completed.filter_map(|run| run.best).map(|best| best.value).collect();
        let (mean, interval) = mean_interval(&values).unzip();
        Some(Confirmation { runs: values.len() as u32, of: fresh.len() as u32, mean, interval: interval.flatten() })
    }

    /// The trials with a value, best first: by the best value that each reported, the earliest of equal ones.
    ///
    /// Once the sweep has finished, those with a value from a fresh run come before all others, by the mean of these. While
    /// it runs, and where it was ended before that, the order is that of the ranking: half a confirmation is none.
    pub fn leaderboard(&self) -> impl Iterator<Item = &Trial> {
        let confirmed = self.confirmed();
        let first = confirmed.clone();
        let others = self.ranking.iter().map(|ranked| ranked.trial).filter(move |number| !first.contains(number));
        confirmed.into_iter().chain(others).filter_map(|number| self.trial(number))
    }

    /// The leaders with a mean of fresh runs, best first, where that is what counts.
    fn confirmed(&self) -> Vec<u32> {
        if self.status.ending() != Some(Ending::Finished) {
            return Vec::new();
        }
        let mean = |leader: &Trial| Some(self.loss(self.confirmation(leader)?.mean?));
        let ranked = |leader: &Trial| Some(Ranked { loss: self.loss(leader.best?.value), trial: leader.number });
        let leaders = self.fresh.keys().filter_map(|&number| self.trial(number));
        let mut leaders: Vec<(f64, Ranked)> =
            leaders.filter_map(|leader| Some((mean(leader)?, ranked(leader)?))).collect();
        leaders.sort_by(|(a, one), (b, other)| a.total_cmp(b).then(one.cmp(other)));
        leaders.into_iter().map(|(_, ranked)| ranked.trial).collect()
    }
}

/// The fresh runs that `sweep` still lacks, now that all that it proposed has ended: so many for each leader as it is to be
/// confirmed with.
///
/// Asked again, it lacks nothing: nobody confirms twice. A sweep that went on after its end, and has other leaders now, lacks
/// those of the new ones only.
pub(crate) fn missing(sweep: &Sweep) -> Vec<Fact> {
    let Some(confirm) = sweep.confirm() else { return Vec::new() };
    let runs = leaders(sweep, confirm.top as usize).into_iter().flat_map(|(leader, params)| {
        let there = sweep.fresh.get(&leader.number).map_or(0, imbl::Vector::len);
        (there..confirm.seeds as usize).map(move |_| (leader.number, params.clone()))
    });
    let created = |(trial, (leader, params))| {
        let (sweep, confirms) = (sweep.id, Some(leader));
        Fact::TrialCreated(TrialCreated { sweep, trial, params, saw_index: 0, enqueued: false, confirms, forked: None })
    };
    (sweep.created()..).zip(runs).map(created).collect()
}

/// The best `top` trials of the ranking that differ in their configurations, with these. Of several trials of one
/// configuration the best stands for all.
fn leaders(sweep: &Sweep, top: usize) -> Vec<(&Trial, Params)> {
    let mut leaders: Vec<(&Trial, Params)> = Vec::new();
    for trial in sweep.ranking.iter().filter_map(|ranked| sweep.trial(ranked.trial)) {
        if leaders.len() == top {
            break;
        }
        let Some(params) = sweep.params(trial) else { continue };
        if leaders.iter().all(|(_, other)| *other != params) {
            leaders.push((trial, params));
        }
    }
    leaders
}

#[cfg(test)]
mod tests {
    use heats_domain::{TrialState, Value};
    use serde_json::json;

    use crate::dispatch::Offer;
    use crate::history::trial_seed;
    use crate::ops::attempts::{End, Key};
    use crate::ops::control::{Edit, Verb};
    use crate::testing::{Cluster, SweepBuilder};
    use crate::{Fact, Op, Status};
    use heats_domain::SweepId;

    fn confirmed(top: u32, seeds: u32) -> SweepBuilder {
        SweepBuilder::minimize("loss").set("objective", "confirm", json!({ "top": top, "seeds": seeds }))
    }

    /// Four trials with the losses 0.4, 0.1, 0.3, 0.2 have ended.
    fn four(cluster: &mut Cluster, builder: SweepBuilder) -> SweepId {
        let id = cluster.submit(builder.trials(4));
        cluster.attach(1, 9);
        for (key, loss) in cluster.dispatch().into_iter().zip([0.4, 0.1, 0.3, 0.2]) {
            cluster.complete(key, loss);
        }
        id
    }

    fn fresh(cluster: &Cluster, id: SweepId) -> Vec<(u32, Option<u32>)> {
        cluster.sweep(id).trials.iter().skip(4).map(|trial| (trial.number, trial.confirms)).collect()
    }

    fn board(cluster: &Cluster, id: SweepId) -> Vec<u32> {
        cluster.sweep(id).leaderboard().map(|trial| trial.number).collect()
    }

    #[test]
    fn the_leaders_run_again_and_the_mean_of_their_fresh_runs_ranks_them() {
        let mut cluster = Cluster::default();
        let id = four(&mut cluster, confirmed(2, 2));
        assert_eq!(fresh(&cluster, id), [(4, Some(1)), (5, Some(1)), (6, Some(3)), (7, Some(3))]);
        assert_eq!(cluster.ending(id), None);
        let sweep = cluster.sweep(id);
        assert_eq!(sweep.params(cluster.trial(id, 6)), sweep.params(cluster.trial(id, 3)));
        assert_ne!(trial_seed(sweep.seed, 6), trial_seed(sweep.seed, 3), "another seed");
        let keys = cluster.dispatch();
        for (key, loss) in keys.into_iter().zip([0.5, 0.7, 0.2, 0.4]) {
            assert_eq!(board(&cluster, id), [1, 3, 2, 0], "half a confirmation is none");
            cluster.complete(key, loss);
        }
        assert_eq!(board(&cluster, id), [3, 1, 2, 0], "the winner's value was luck");
        assert_eq!(cluster.sweep(id).best().map(|trial| trial.number), Some(3));
        let confirmation = cluster.sweep(id).confirmation(cluster.trial(id, 3)).expect("was confirmed");
        let (low, high) = confirmation.interval.expect("of two");
        assert_eq!((confirmation.runs, confirmation.of), (2, 2));
        // Half of their difference is the error of the mean, and 12.706 of these are the interval.
        assert!((confirmation.mean.expect("has one") - 0.3).abs() < 1e-12);
        assert!((high - low - 2.0 * 12.706_204_736 * 0.1).abs() < 1e-6, "{low} {high}");
        assert_eq!(cluster.sweep(id).confirmation(cluster.trial(id, 0)), None);
        assert_eq!(cluster.ending(id), Some(("finished", "all 4 trials of its budget ended")));
    }

    #[test]
    fn one_seed_has_a_mean_and_no_interval() {
        let mut cluster = Cluster::default();
        let id = four(&mut cluster, confirmed(1, 1));
        let key = cluster.dispatch()[0];
        cluster.complete(key, 0.75);
        let confirmation = cluster.sweep(id).confirmation(cluster.trial(id, 1)).expect("was confirmed");
        assert_eq!((confirmation.mean, confirmation.interval), (Some(0.75), None));
    }

    #[test]
    fn a_change_of_the_leader_confirms_nobody_twice() {
        let mut cluster = Cluster::default();
        let id = four(&mut cluster, confirmed(2, 2));
        let confirms = |fact: &Fact| matches!(fact, Fact::TrialCreated(fact) if fact.confirms.is_some());
        let facts = cluster.entries.last().expect("is there").facts.iter().filter_map(|cell| cell.fact.as_ref());
        assert_eq!(facts.filter(|fact| confirms(fact)).count(), 4, "the last end and all fresh runs are one entry");
        let mut keys = Vec::new();
        for _ in 0..3 {
            cluster.fail_over();
            cluster.attach_holding(1, 9, &keys);
            keys.extend(cluster.dispatch());
        }
        for key in keys {
            cluster.complete(key, 0.5);
            cluster.fail_over();
            cluster.attach(1, 9);
        }
        for key in cluster.dispatch() {
            cluster.complete(key, 0.5);
        }
        assert_eq!(fresh(&cluster, id).len(), 4);
        assert_eq!(cluster.ending(id).map(|(ending, _)| ending), Some("finished"));
    }

    #[test]
    fn a_leader_without_a_value_from_a_fresh_run_comes_after_those_that_have_one() {
        let mut cluster = Cluster::default();
        let id = four(&mut cluster, confirmed(2, 2).set("run", "retries", 1));
        let keys = cluster.dispatch();
        for key in &keys[..2] {
            cluster.report(*key, 1, 0.01).expect("is live");
            cluster.finish(*key, End::Exited(1));
        }
        cluster.complete(keys[2], 0.9);
        cluster.finish(keys[3], End::Exited(65));
        let again = cluster.dispatch();
        assert_eq!(again, [keys[0], keys[1]].map(|key| Key { attempt: 2, ..key }), "failures are tried again");
        for key in again {
            cluster.finish(key, End::Exited(1));
        }
        assert_eq!(board(&cluster, id), [3, 1, 2, 0]);
        let of = |n| cluster.sweep(id).confirmation(cluster.trial(id, n)).map(|c| (c.runs, c.of, c.mean));
        assert_eq!((of(1), of(3)), (Some((0, 2, None)), Some((1, 2, Some(0.9)))));
    }

    #[test]
    fn a_configuration_that_leads_twice_is_confirmed_once() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(confirmed(2, 1).trials(3));
        for x in [0.5, 0.5, 0.25] {
            let params = [("x", Value::Float(x))].into_iter().collect();
            cluster.suggestions.next.push_back(Offer::Ready { params, saw_index: 0 });
        }
        cluster.attach(1, 9);
        for (key, loss) in cluster.dispatch().into_iter().zip([0.2, 0.1, 0.3]) {
            cluster.complete(key, loss);
        }
        let leaders: Vec<_> = cluster.sweep(id).trials.iter().filter_map(|trial| trial.confirms).collect();
        assert_eq!(leaders, [1, 2]);
    }

    #[test]
    fn a_fresh_run_is_neither_judged_nor_known_to_the_search_nor_ends_the_sweep() {
        let mut cluster = Cluster::default();
        let rule = json!({"algorithm": "threshold", "upper": 1.0});
        let id = four(&mut cluster, confirmed(1, 1).set("objective", "stop_at", 0.05).top("early_stop", rule));
        let events = crate::testing::seen(cluster.sweep(id), 0, |_| Some(())).len();
        let key = cluster.dispatch()[0];
        cluster.report(key, 1, 5.0).expect("is live");
        cluster.report(key, 2, 0.01).expect("is live");
        assert_eq!(cluster.state(id, 4), TrialState::Running);
        cluster.finish(key, End::Exited(0));
        assert_eq!(crate::testing::seen(cluster.sweep(id), 0, |_| Some(())).len(), events);
        assert_eq!(cluster.sweep(id).ranking.len(), 4);
        assert_eq!(cluster.ending(id), Some(("finished", "all 4 trials of its budget ended")));
    }

    #[test]
    fn a_sweep_that_reached_its_target_or_the_end_of_its_space_confirms_its_leaders() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(confirmed(1, 2).trials(9).set("objective", "stop_at", 0.2));
        cluster.attach(1, 2);
        let keys = cluster.dispatch();
        cluster.report(keys[0], 1, 0.1).expect("is live");
        assert_eq!([0, 1].map(|n| cluster.state(id, n)), [TrialState::Stopped; 2]);
        keys.into_iter().for_each(|key| cluster.finish(key, End::Stopped));
        let keys = cluster.dispatch();
        assert_eq!(keys.iter().map(|key| key.trial).collect::<Vec<_>>(), [2, 3], "nothing else is proposed");
        keys.into_iter().for_each(|key| cluster.complete(key, 0.3));
        assert_eq!(cluster.ending(id), Some(("finished", "trial 0 reported loss = 0.1, which reaches stop_at 0.2")));

        let id = cluster.submit(confirmed(1, 1).top("budget", json!({})));
        let params = [("x", Value::Float(0.5))].into_iter().collect();
        cluster.suggestions.next.extend([Offer::Ready { params, saw_index: 0 }, Offer::Exhausted]);
        let key = cluster.dispatch()[0];
        cluster.complete(key, 0.3);
        let key = cluster.dispatch()[0];
        assert_eq!(cluster.trial(id, key.trial).confirms, Some(0));
    }

    #[test]
    fn trials_that_hold_at_a_rung_are_ended_before_the_leaders_run_again() {
        let rule = json!({"algorithm": "asha_promotion", "min": 1, "max": 9, "eta": 3});
        let mut cluster = Cluster::default();
        let id = cluster.submit(confirmed(1, 2).trials(2).top("early_stop", rule));
        cluster.attach(1, 2);
        for (key, loss) in cluster.dispatch().into_iter().zip([0.4, 0.1]) {
            cluster.report(key, 1, loss).expect("is live");
            assert_eq!(cluster.state(id, key.trial), TrialState::Paused);
            cluster.finish(key, End::Stopped);
        }
        assert_eq!([0, 1].map(|n| cluster.state(id, n)), [TrialState::Stopped; 2], "two are too few to promote one");
        let keys = cluster.dispatch();
        assert_eq!(keys.iter().map(|key| cluster.trial(id, key.trial).confirms).collect::<Vec<_>>(), [Some(1); 2]);
        for key in keys {
            cluster.report(key, 1, 0.2).expect("is live");
            assert_eq!(cluster.state(id, key.trial), TrialState::Running, "a fresh run holds nowhere");
            cluster.finish(key, End::Exited(0));
        }
        assert_eq!(cluster.ending(id), Some(("finished", "all 2 trials of its budget ended")));
    }

    #[test]
    fn who_stops_a_sweep_and_a_limit_of_time_confirm_nothing_and_end_what_confirms() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(confirmed(2, 2).trials(9));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.control(id, Verb::Stop).expect("lives");
        cluster.complete(key, 0.5);
        assert_eq!(cluster.ending(id), Some(("stopped", "a user stopped it")));

        let id = four(&mut cluster, confirmed(2, 2).set("budget", "wall", "10s"));
        cluster.attach(1, 3);
        let keys = cluster.dispatch();
        cluster.complete(keys[2], 0.05);
        cluster.pass(10_000);
        assert_eq!(
            [4, 5, 7].map(|n| cluster.state(id, n)),
            [TrialState::Stopped, TrialState::Stopped, TrialState::Cancelled]
        );
        keys[..2].iter().for_each(|key| cluster.finish(*key, End::Stopped));
        assert_eq!(cluster.ending(id).map(|(ending, _)| ending), Some("stopped"));
        assert_eq!(board(&cluster, id), [1, 3, 2, 0], "the confirmation was cut short");
    }

    #[test]
    fn a_sweep_that_goes_on_confirms_its_new_leaders_and_keeps_what_it_knows_of_the_old_ones() {
        let mut cluster = Cluster::default();
        let id = four(&mut cluster, confirmed(2, 1));
        cluster.dispatch().into_iter().for_each(|key| cluster.complete(key, 0.5));
        assert_eq!(cluster.sweep(id).trials_max, Some(4), "fresh runs come on top of the budget");
        cluster.op(Op::Edit(id, Edit { more_trials: Some(1), ..Edit::default() })).expect("goes on");
        assert_eq!(cluster.sweep(id).trials_max, Some(5));
        let key = cluster.dispatch()[0];
        assert_eq!((key.trial, cluster.trial(id, 6).ordinal), (6, 4), "the searcher knows no gap");
        assert_eq!(board(&cluster, id), [1, 3, 2, 0]);
        cluster.complete(key, 0.15);
        assert_eq!(fresh(&cluster, id)[2..], [(6, None), (7, Some(6))]);
        let key = cluster.dispatch()[0];
        cluster.complete(key, 0.6);
        assert_eq!(board(&cluster, id), [1, 3, 6, 2, 0]);
        assert!(matches!(cluster.sweep(id).status, Status::Ended { .. }));
    }

    #[test]
    fn failures_of_fresh_runs_count_towards_max_failures() {
        let mut cluster = Cluster::default();
        let builder = confirmed(2, 2).set("budget", "max_failures", 2).set("run", "retries", 0);
        let id = four(&mut cluster, builder);
        let keys = cluster.dispatch();
        keys[..2].iter().for_each(|key| cluster.finish(*key, End::Exited(1)));
        keys[2..].iter().for_each(|key| cluster.finish(*key, End::Stopped));
        assert_eq!(cluster.ending(id), Some(("failed", "2 trials failed; max_failures is 2")));
    }

    #[test]
    fn a_sweep_whose_trials_all_failed_has_no_leader_and_ends() {
        let mut cluster = Cluster::default();
        let id = cluster.submit(confirmed(2, 2).trials(1).set("run", "retries", 0));
        cluster.attach(1, 1);
        let key = cluster.dispatch()[0];
        cluster.finish(key, End::Exited(1));
        assert_eq!(cluster.ending(id).map(|(ending, _)| ending), Some("finished"));
    }
}
