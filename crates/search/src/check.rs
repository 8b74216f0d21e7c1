//! Whether a sweep's searcher and stopper can be built, and fit its space, objective and budget.
//!
//! Does not look at the rest of the sweep file: see the crate `domain`.

use heats_domain::spec::EarlyStop;
use heats_domain::{Direction, Domain, Space, SweepSpec};

use crate::plug::{About, Complaint};
use crate::stoppers::ladder::Plan;
use crate::{Problem, Setting, around, searchers, stoppers};

/// One thing about a sweep file that does not fit, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misfit {
    /// The way to it from the file's top: `["early_stop", "eta"]`. It may name a key that is not there.
    pub path: Vec<String>,
    /// What is wrong, as a fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Misfit {
    fn new(path: &[&str], message: String, hint: &str) -> Self {
        Self { path: path.iter().map(|key| (*key).to_owned()).collect(), message, hint: Some(hint.to_owned()) }
    }

    fn from_complaint(section: &str, complaint: Complaint) -> Self {
        let Complaint { about, message, hint } = complaint;
        let path = match about {
            About::Algorithm => [section.to_owned(), "algorithm".to_owned()],
            About::Param(name) => [section.to_owned(), name],
            About::Space(name) => ["space".to_owned(), name],
        };
        Self { path: path.into(), message, hint }
    }
}

/// Everything that keeps this sweep's searcher and stopper from working: unknown names and parameters, a
/// space that the searcher cannot search, an objective or a budget that is missing.
///
/// A space with a malformed domain is somebody else's finding; then only names and parameters are looked at.
pub fn check(spec: &SweepSpec) -> Vec<Misfit> {
    let space = spec.space();
    let sound = space.parameters.iter().all(|p| is_sound(&p.domain));
    let mut problem = Problem::of(spec, spec.search.seed.unwrap_or(0));
    problem.space = if sound { space } else { Space::default() };
    let mut misfits = searcher_misfits(spec, &problem, sound);
    misfits.extend(stopper_misfits(spec));
    misfits.extend(enough_misfits(spec));
    misfits.extend(population_misfits(spec, &problem));
    misfits
}

/// What says of single trials what is not true of the members of a population.
fn population_misfits(spec: &SweepSpec, problem: &Problem) -> Vec<Misfit> {
    let Some(members) = searchers::members(spec) else { return Vec::new() };
    let algorithm = spec.search.algorithm.as_str();
    let mut misfits = Vec::new();
    let mut must_not = |is_so: bool, path: &[&str], message: String, hint: &str| {
        if is_so {
            misfits.push(Misfit::new(path, message, hint));
        }
    };
    let EarlyStop { algorithm: rule, resource: _, audit: _, params: _ } = &spec.early_stop;
    must_not(
        *rule != stoppers::none::ENTRY.name,
        &["early_stop", "algorithm"],
        format!("`{algorithm}` decides itself which trials end early, and `{rule}` would as well"),
        "remove `early_stop`, or keep no more of it than `algorithm: none` and `resource`",
    );
    must_not(
        spec.objective().is_some_and(|objective| objective.confirm.is_some()),
        &["objective", "confirm"],
        format!("what a trial of `{algorithm}` comes to is not its configuration's alone, so it cannot be run again"),
        "remove `confirm`",
    );
    for (key, is_given) in [("plateau", spec.budget.plateau.is_some()), ("regret", spec.budget.regret.is_some())] {
        let message = format!("`{key}` ends a search, and a population of `{algorithm}` is there from the beginning");
        must_not(is_given, &["budget", key], message, "remove it");
    }
    let trials = spec.budget.trials.filter(|trials| *trials < members);
    must_not(
        trials.is_some(),
        &["budget", "trials"],
        format!("a population of {members} is more than the {} trials of the budget", trials.unwrap_or(0)),
        "trials that replace members count as well: allow a few times as many as there are members",
    );
    let points = problem.space.cardinality().filter(|points| *points < u64::from(members));
    must_not(
        points.is_some() && !problem.space.parameters.is_empty(),
        &["search", "population"],
        format!("a population of {members} is more than the {} configurations of the space", points.unwrap_or(0)),
        "make it smaller",
    );
    misfits
}

/// Rules that end a sweep by the values of its trials, where there is no one value.
fn enough_misfits(spec: &SweepSpec) -> Vec<Misfit> {
    let rules = [("plateau", spec.budget.plateau.is_some()), ("regret", spec.budget.regret.is_some())];
    let why = match spec.objectives().len() {
        0 => "there is no objective",
        1 => return Vec::new(),
        _ => "there are several objectives",
    };
    let misfit = |(rule, _): (&str, bool)| {
        let message = format!("`{rule}` ends a sweep by its best values, and {why}");
        Misfit::new(&["budget", rule], message, "remove it, or have one objective")
    };
    rules.into_iter().filter(|(_, is_given)| *is_given).map(misfit).collect()
}

fn searcher_misfits(spec: &SweepSpec, problem: &Problem, sound: bool) -> Vec<Misfit> {
    let algorithm = spec.search.algorithm.as_str();
    let mut misfits = Vec::new();
    if let Err(error) = searchers::build_searcher(problem, algorithm, &spec.search.params) {
        misfits.extend(error.complaints.into_iter().map(|c| Misfit::from_complaint("search", c)));
    }
    let Some(entry) = searchers::find(algorithm) else { return misfits };
    if entry.needs_objective && spec.objective().is_none() {
        misfits.push(Misfit::new(
            &["search", "algorithm"],
            format!("`{algorithm}` learns from an objective, and this sweep has none"),
            "add `objective: { minimize: METRIC }`, or search with `random`",
        ));
    }
    if spec.objectives().len() > 1 && !entry.several_objectives {
        let able = searchers::ALL.iter().filter(|entry| entry.several_objectives).map(|entry| entry.name);
        misfits.push(Misfit::new(
            &["search", "algorithm"],
            format!(
                "`{algorithm}` looks for the best of one objective, and this sweep has {}",
                spec.objectives().len()
            ),
            &format!("for several, search with {}", alternatives(able)),
        ));
    }
    if !entry.is_warm && !spec.search.from.is_empty() {
        misfits.push(Misfit::new(
            &["search", "from"],
            format!("`{algorithm}` learns from no trial, an earlier sweep's neither"),
            "search with `auto` or `tpe`, or remove `from`",
        ));
    }
    if sound && spec.budget.trials.is_none() && (entry.population.is_some() || !(entry.ends)(&problem.space)) {
        misfits.push(Misfit::new(
            &["budget", "trials"],
            format!("`budget.trials` is missing: `{algorithm}` never comes to an end in this space"),
            "add `budget: { trials: 100 }`",
        ));
    }
    misfits
}

fn stopper_misfits(spec: &SweepSpec) -> Vec<Misfit> {
    let algorithm = spec.early_stop.algorithm.as_str();
    let setting = Setting { direction: Direction::Minimize, trials: spec.budget.trials, seed: 0 };
    let mut misfits = Vec::new();
    if let Err(error) = stoppers::build_stopper(&setting, algorithm, &spec.early_stop.params) {
        misfits.extend(error.complaints.into_iter().map(|c| Misfit::from_complaint("early_stop", c)));
    }
    let Some(entry) = stoppers::find(algorithm) else { return misfits };
    if spec.objectives().len() > 1 && !entry.several_objectives {
        let able = stoppers::ALL.iter().filter(|entry| entry.several_objectives).map(|entry| entry.name);
        misfits.push(Misfit::new(
            &["early_stop", "algorithm"],
            format!("`{algorithm}` judges by one objective, and this sweep has {}", spec.objectives().len()),
            &format!("for several, stop with {}", alternatives(able)),
        ));
    }
    if entry.needs_objective && spec.objective().is_none() {
        misfits.push(Misfit::new(
            &["early_stop", "algorithm"],
            format!("`{algorithm}` judges an objective, and this sweep has none"),
            "add `objective: { minimize: METRIC }`, or remove `early_stop`",
        ));
    }
    if let Some(share) = spec.early_stop.audit {
        if algorithm == stoppers::none::ENTRY.name {
            misfits.push(Misfit::new(
                &["early_stop", "audit"],
                "`none` stops nothing, so there is nobody to spare".to_owned(),
                "remove `audit`, or choose an `algorithm`",
            ));
        }
        if spec.objectives().len() > 1 {
            misfits.push(Misfit::new(
                &["early_stop", "audit"],
                "a control group is compared by the objective, and there are several".to_owned(),
                "remove `audit`, or keep one objective",
            ));
        }
        if stoppers::pauses(algorithm) {
            misfits.push(Misfit::new(
                &["early_stop", "audit"],
                format!("`{algorithm}` has trials hold at a rung, and any of them may go on: none is doomed"),
                "remove `audit`, or stop with `asha`, `hyperband` or another rule that ends trials",
            ));
        }
        if !(share > 0.0 && share < 1.0) {
            misfits.push(Misfit::new(
                &["early_stop", "audit"],
                format!("`audit` is a share above 0 and below 1, not {share}"),
                "write for example 0.05: one doomed trial in twenty runs on",
            ));
        }
    }
    misfits
}

/// `a`, `b` or `c`
fn alternatives<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        Some(_) | None => names.concat(),
    }
}

/// What is no error and yet worth saying: a grid that the budget cuts short, and rungs that hardly compare anybody.
pub fn notes(spec: &SweepSpec) -> Vec<Misfit> {
    let mut notes = grid_notes(spec);
    notes.extend(ladder_notes(spec));
    notes.extend(audit_notes(spec));
    notes.extend(enough_notes(spec));
    notes
}

/// Rules that the budget of trials leaves no room for.
fn enough_notes(spec: &SweepSpec) -> Vec<Misfit> {
    let plateau = spec.budget.plateau.as_ref().map(|plateau| ("plateau", plateau.top));
    let regret = spec.budget.regret.map(|_| ("regret", around::regret::TRIALS_MIN as u32));
    let Some(trials) = spec.budget.trials else { return Vec::new() };
    let never = |(rule, least): (&str, u32)| {
        let message =
            format!("`{rule}` looks at no fewer than {least} trials, and the budget ends the sweep after {trials}");
        Misfit::new(&["budget", rule], message, "allow more trials, or remove it")
    };
    plateau.into_iter().chain(regret).filter(|(_, least)| *least >= trials).map(never).collect()
}

/// A control group that is likely to stay empty tells nothing.
fn audit_notes(spec: &SweepSpec) -> Option<Misfit> {
    let EarlyStop { algorithm, resource: _, audit, params: _ } = &spec.early_stop;
    let (share, trials) = (audit.filter(|share| *share > 0.0)?, f64::from(spec.budget.trials?));
    // A ladder stops all but one in `eta`; of the other rules nothing is known beforehand.
    let stops = stoppers::plan(&spec.early_stop).map_or(trials, |plan| trials * (1.0 - 1.0 / plan.eta));
    (share * stops < 1.0).then(|| {
        Misfit::new(
            &["early_stop", "audit"],
            format!("of about {stops:.0} trials that `{algorithm}` stops, a share of {share} is less than one"),
            &format!("write {} or more, or remove `audit`", tidy_share(5.0 / stops)),
        )
    })
}

/// A share that is easy to write, and no smaller.
fn tidy_share(share: f64) -> f64 {
    (share * 100.0).ceil().clamp(1.0, 50.0) / 100.0
}

fn grid_notes(spec: &SweepSpec) -> Vec<Misfit> {
    let space = spec.space();
    if spec.search.algorithm != searchers::grid::ENTRY.name || !space.parameters.iter().all(|p| is_sound(&p.domain)) {
        return Vec::new();
    }
    match (space.cardinality(), spec.budget.trials) {
        (Some(points), Some(trials)) if points > u64::from(trials) => vec![Misfit::new(
            &["budget", "trials"],
            format!("the grid has up to {points} points, and the budget ends it after {trials}"),
            "remove `trials` to run all of them, or make steps larger",
        )],
        (Some(_) | None, Some(_) | None) => Vec::new(),
    }
}

fn ladder_notes(spec: &SweepSpec) -> Vec<Misfit> {
    // A plan that cannot be made is an error, and `check` says it.
    let Some(Plan { steps, eta, max: _, shares }) = stoppers::plan(&spec.early_stop) else { return Vec::new() };
    let algorithm = &spec.early_stop.algorithm;
    let mut notes = Vec::new();
    if let [only] = *steps {
        notes.push(Misfit::new(
            &["early_stop", "max"],
            format!("`{algorithm}` compares trials once only, at step {only}: no second rung lies below `max`"),
            "make `max` larger, or `min` or `eta` smaller",
        ));
    }
    let Some(trials) = spec.budget.trials else { return notes };
    if f64::from(trials) < eta {
        notes.push(Misfit::new(
            &["budget", "trials"],
            format!("`{algorithm}` lets one trial in {eta} go on, and the budget ends the sweep after {trials}"),
            "run more trials, or remove `early_stop`",
        ));
    }
    let brackets = shares.len();
    if brackets > trials as usize {
        notes.push(Misfit::new(
            &["early_stop", "brackets"],
            format!("{brackets} brackets are more than the {trials} trials that are divided over them"),
            "run more trials, or set `brackets` to 1",
        ));
    }
    notes
}

/// Whether values can be drawn from `domain` at all.
fn is_sound(domain: &Domain) -> bool {
    match domain {
        Domain::Float { low, high, log, step } => {
            let ordered = low <= high && (high - low).is_finite();
            ordered && (!log || *low > 0.0) && step.is_none_or(|step| step > 0.0 && step.is_finite())
        }
        Domain::Int { low, high, log, step } => low <= high && *step >= 1 && (!log || *low >= 1),
        Domain::Choice(values) => !values.is_empty(),
        Domain::Const(_) => true,
    }
}

/// The JSON schemas of every plug's parameters, by section and algorithm.
pub fn schemas() -> Vec<(&'static str, &'static str, schemars::Schema)> {
    let searchers = searchers::ALL.iter().map(|entry| ("search", entry.name, (entry.schema)()));
    let stoppers = stoppers::ALL.iter().map(|entry| ("early_stop", entry.name, (entry.schema)()));
    searchers.chain(stoppers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> SweepSpec {
        let mut whole = serde_json::json!({
            "command": ["true"],
            "space": {"x": {"float": [0.0, 1.0]}, "k": {"int": [1, 3]}},
            "objective": {"minimize": "loss"},
            "budget": {"trials": 10}
        });
        for (key, value) in json.as_object().expect("a map") {
            whole[key] = value.clone();
        }
        serde_json::from_value(whole).expect("a spec")
    }

    fn found(json: serde_json::Value) -> Vec<(String, String)> {
        check(&spec(json)).into_iter().map(|m| (m.path.join("."), m.hint.unwrap_or_default())).collect()
    }

    fn paths(json: serde_json::Value) -> Vec<String> {
        found(json).into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn a_plain_sweep_fits() {
        assert_eq!(paths(serde_json::json!({})), [""; 0]);
        assert_eq!(
            paths(
                serde_json::json!({"early_stop": {"algorithm": "asha", "resource": "epoch", "min": 1, "max": 27, "eta": 3}})
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_grid_over_an_unstepped_float_is_refused_at_that_float() {
        let grid = serde_json::json!({"search": {"algorithm": "grid"}});
        assert_eq!(found(grid), [("space.x".into(), "add a `step`, or search with `sobol`".into())]);
        let stepped = serde_json::json!({
            "search": {"algorithm": "grid"}, "space": {"x": {"float": [0.0, 1.0], "step": 0.25}}, "budget": {}
        });
        assert_eq!(paths(stepped), [""; 0]);
    }

    #[test]
    fn a_grid_larger_than_its_budget_is_a_note() {
        let large = spec(serde_json::json!({"search": {"algorithm": "grid"}, "space": {"k": {"int": [1, 11]}}}));
        assert_eq!(check(&large), []);
        assert_eq!(notes(&large)[0].message, "the grid has up to 11 points, and the budget ends it after 10");
        let small = spec(serde_json::json!({"search": {"algorithm": "grid"}, "space": {"k": {"int": [1, 10]}}}));
        assert_eq!(notes(&small), []);
    }

    #[test]
    fn rungs_at_which_hardly_anybody_is_compared_are_a_note() {
        let noted = |json: serde_json::Value| -> Vec<(String, String)> {
            let spec = spec(json);
            assert_eq!(check(&spec), []);
            notes(&spec).into_iter().map(|note| (note.path.join("."), note.message)).collect()
        };
        let of = |early_stop: serde_json::Value, trials: u32| {
            noted(serde_json::json!({"early_stop": early_stop, "budget": {"trials": trials}}))
        };
        let note = |path: &str, message: &str| (path.to_owned(), message.to_owned());
        let asha = |max: u64| serde_json::json!({"algorithm": "asha", "max": max, "eta": 4});
        assert_eq!(of(asha(5), 4), []);
        assert_eq!(of(serde_json::json!({"algorithm": "asha"}), 4), []);
        let once = "`asha` compares trials once only, at step 1: no second rung lies below `max`";
        assert_eq!(of(asha(4), 4), [note("early_stop.max", once)]);
        let few = "`asha` lets one trial in 4 go on, and the budget ends the sweep after 3";
        assert_eq!(of(asha(5), 3), [note("budget.trials", few)]);

        let hyperband = || serde_json::json!({"algorithm": "hyperband", "max": 81});
        assert_eq!(of(hyperband(), 5), []);
        let many = "5 brackets are more than the 4 trials that are divided over them";
        assert_eq!(of(hyperband(), 4), [note("early_stop.brackets", many)]);
        let once = "`hyperband` compares trials once only, at step 2: no second rung lies below `max`";
        let short = serde_json::json!({"algorithm": "hyperband", "min": 2, "max": 6});
        assert_eq!(of(short, 9), [note("early_stop.max", once)]);

        assert_eq!(of(serde_json::json!({"algorithm": "median"}), 1), []);
        let refused = spec(serde_json::json!({"early_stop": {"algorithm": "asha", "max": 1}}));
        assert_eq!(notes(&refused), [], "what is an error is no note");
    }

    #[test]
    fn rules_that_end_a_sweep_by_its_values_need_one_objective_and_room() {
        let budget = serde_json::json!({"trials": 30, "plateau": {}, "regret": 0.1});
        let objectives = serde_json::json!([{"minimize": "loss"}, {"minimize": "cost"}]);
        assert_eq!(paths(serde_json::json!({"budget": budget})), [""; 0]);
        let several =
            paths(serde_json::json!({"budget": budget, "objective": objectives, "search": {"algorithm": "tpe"}}));
        assert_eq!(several, ["budget.plateau", "budget.regret"]);
        let noted = |trials: u32| {
            let budget = serde_json::json!({"trials": trials, "plateau": {}, "regret": 0.1});
            notes(&spec(serde_json::json!({"budget": budget})))
                .into_iter()
                .map(|n| n.path.join("."))
                .collect::<Vec<_>>()
        };
        assert_eq!(noted(21), [""; 0]);
        assert_eq!(noted(20), ["budget.regret"]);
        assert_eq!(noted(10), ["budget.plateau", "budget.regret"]);
    }

    #[test]
    fn a_control_group_is_a_share_of_those_that_a_rule_stops() {
        let audit = |algorithm: &str, share: f64| {
            paths(serde_json::json!({"early_stop": {"algorithm": algorithm, "audit": share}}))
        };
        assert_eq!(audit("asha", 0.5), [""; 0]);
        for share in [0.0, 1.0, -0.1] {
            assert_eq!(audit("asha", share), ["early_stop.audit"], "{share}");
        }
        for algorithm in ["none", "asha_promotion"] {
            assert_eq!(audit(algorithm, 0.5), ["early_stop.audit"], "{algorithm}");
        }
        let several = serde_json::json!({
            "early_stop": {"algorithm": "asha", "audit": 0.5},
            "objective": [{"minimize": "loss"}, {"maximize": "speed"}]
        });
        assert!(paths(several).contains(&"early_stop.audit".to_owned()));
    }

    #[test]
    fn a_control_group_that_is_likely_to_stay_empty_is_a_note() {
        let noted = |trials: u32, share: f64| {
            let early_stop = serde_json::json!({"algorithm": "asha", "eta": 4, "max": 16, "audit": share});
            let notes = notes(&spec(serde_json::json!({"early_stop": early_stop, "budget": {"trials": trials}})));
            notes.into_iter().map(|note| (note.path.join("."), note.message, note.hint)).collect::<Vec<_>>()
        };
        let message = "of about 30 trials that `asha` stops, a share of 0.03 is less than one".to_owned();
        let hint = Some("write 0.17 or more, or remove `audit`".to_owned());
        assert_eq!(noted(40, 0.03), [("early_stop.audit".to_owned(), message, hint)]);
        assert_eq!(noted(40, 0.034), []);
    }

    #[test]
    fn a_ladder_without_a_rung_is_refused() {
        let asha = |params: serde_json::Value| {
            let mut early_stop = serde_json::json!({"algorithm": "asha"});
            for (key, value) in params.as_object().expect("a map") {
                early_stop[key] = value.clone();
            }
            paths(serde_json::json!({ "early_stop": early_stop }))
        };
        assert_eq!(asha(serde_json::json!({"min": 5, "max": 3})), ["early_stop.max"]);
        assert_eq!(asha(serde_json::json!({"min": 5, "max": 5})), ["early_stop.max"]);
        assert_eq!(asha(serde_json::json!({"eta": 1, "min": 0})), ["early_stop.min", "early_stop.eta"]);
        assert_eq!(asha(serde_json::json!({"eta": 1.000_001})), ["early_stop.eta"]);
        assert_eq!(asha(serde_json::json!({"brackets": 4, "max": 27})), ["early_stop.brackets"]);
        assert_eq!(asha(serde_json::json!({"brackets": 2})), ["early_stop.brackets"]);
        assert_eq!(asha(serde_json::json!({"brackets": 3, "max": 27})), [""; 0]);
        assert_eq!(asha(serde_json::json!({"etta": 3})), ["early_stop.etta"]);
    }

    #[test]
    fn what_learns_or_judges_needs_an_objective() {
        let without = |search: &str, stop: &str| {
            paths(serde_json::json!({
                "objective": null, "search": {"algorithm": search}, "early_stop": {"algorithm": stop}
            }))
        };
        assert_eq!(without("random", "none"), [""; 0]);
        assert_eq!(without("tpe", "median"), ["search.algorithm", "early_stop.algorithm"]);
        assert_eq!(without("sobol", "asha"), ["early_stop.algorithm"]);
    }

    #[test]
    fn several_objectives_are_for_those_that_know_what_to_do_with_them() {
        let several = |search: &str, stop: &str| {
            found(serde_json::json!({
                "objective": [{"minimize": "loss"}, {"maximize": "speed"}],
                "search": {"algorithm": search}, "early_stop": {"algorithm": stop}
            }))
        };
        let refused = [
            ("search.algorithm", "for several, search with `auto`, `random`, `grid`, `sobol`, `tpe` or `nsga2`"),
            ("early_stop.algorithm", "for several, stop with `none` or `asha`"),
        ];
        assert_eq!(several("gp", "median"), refused.map(|(path, hint)| (path.to_owned(), hint.to_owned())));
        for (search, stop) in [("random", "none"), ("sobol", "asha"), ("tpe", "asha"), ("nsga2", "none")] {
            assert_eq!(several(search, stop), []);
        }
        let one = serde_json::json!({"objective": [{"minimize": "loss"}], "search": {"algorithm": "gp"}});
        assert_eq!(found(one), [], "a list of one is one");
    }

    #[test]
    fn only_what_learns_begins_with_earlier_sweeps() {
        let from = |algorithm: &str| paths(serde_json::json!({"search": {"algorithm": algorithm, "from": ["last"]}}));
        for algorithm in ["auto", "tpe", "gp", "cmaes", "bohb"] {
            assert_eq!(from(algorithm), [""; 0], "{algorithm}");
        }
        for algorithm in ["random", "sobol"] {
            assert_eq!(from(algorithm), ["search.from"], "{algorithm}");
        }
    }

    #[test]
    fn a_sweep_without_a_number_of_trials_needs_an_end() {
        let endless = serde_json::json!({"budget": {}, "search": {"algorithm": "random"}});
        assert_eq!(paths(endless), ["budget.trials"]);
        let nothing = serde_json::json!({"budget": {}, "search": {"algorithm": "random"}, "space": {"k": 3}});
        assert_eq!(paths(nothing), ["budget.trials"], "repeating the only configuration has no end");
        let finite = serde_json::json!({"budget": {}, "search": {"algorithm": "tpe"}, "space": {"k": {"int": [1, 9]}}});
        assert_eq!(paths(finite), [""; 0]);
    }

    #[test]
    fn a_malformed_domain_never_reaches_a_searcher() {
        for domain in [
            serde_json::json!({"choice": []}),
            serde_json::json!({"int": [1, 9], "step": 0}),
            serde_json::json!({"int": [9, 1]}),
            serde_json::json!({"int": [0, 9], "log": true}),
            serde_json::json!({"float": [0.0, 1.0], "step": 0.0}),
            serde_json::json!({"float": [-1.0, 1.0], "log": true}),
            serde_json::json!({"float": [-1.7e308, 1.7e308]}),
        ] {
            for algorithm in ["random", "grid", "sobol", "tpe"] {
                let json = serde_json::json!({"space": {"x": domain}, "search": {"algorithm": algorithm}});
                assert_eq!(paths(json), [""; 0], "{domain}");
            }
        }
    }

    #[test]
    fn a_population_takes_no_rule_beside_its_own_and_fits_its_budget_and_space() {
        let sweep = |json: serde_json::Value| {
            let mut whole = serde_json::json!({
                "search": {"algorithm": "pbt", "population": 4, "perturbation_interval": 5, "max": 50},
                "early_stop": {"algorithm": "none", "resource": "epoch"}
            });
            for (key, value) in json.as_object().expect("a map") {
                whole[key] = value.clone();
            }
            paths(whole)
        };
        assert_eq!(sweep(serde_json::json!({})), [""; 0]);
        for (json, path) in [
            (serde_json::json!({"early_stop": {"algorithm": "asha"}}), "early_stop.algorithm"),
            (
                serde_json::json!({"objective": {"minimize": "loss", "confirm": {"top": 2, "seeds": 2}}}),
                "objective.confirm",
            ),
            (serde_json::json!({"budget": {"trials": 9, "regret": 0.1}}), "budget.regret"),
            (serde_json::json!({"budget": {"trials": 3}}), "budget.trials"),
            (serde_json::json!({"budget": {}, "space": {"k": {"int": [1, 5]}}}), "budget.trials"),
            (serde_json::json!({"space": {"k": {"int": [1, 3]}}}), "search.population"),
            (serde_json::json!({"objective": null}), "search.algorithm"),
        ] {
            assert_eq!(sweep(json.clone()), [path], "{json}");
        }
    }

    #[test]
    fn unknown_names_are_all_found_at_once() {
        let json = serde_json::json!({
            "search": {"algorithm": "tpe", "n_startup": 3}, "early_stop": {"algorithm": "meridian"}
        });
        assert_eq!(
            found(json),
            [
                ("search.n_startup".into(), "did you mean `n_startup_trials`?".into()),
                ("early_stop.algorithm".into(), "did you mean `median`?".into())
            ]
        );
    }
}
