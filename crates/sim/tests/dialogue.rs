//! What another program is asked, against what a simulated sweep of the same file tries.

use heats_core::testing::SweepBuilder;
use heats_domain::{Params, SweepSpec};
use heats_sim::dialogue::{Dialogue, DialogueError, Question};
use heats_sim::{Running, SimConfig, SimReport, Step, simulate};
use serde_json::json;

fn loss(params: &Params) -> f64 {
    let x = params.get("x").and_then(|x| x.as_f64()).expect("every configuration has x");
    (x - 0.3).powi(2)
}

fn sweep(algorithm: &str) -> SweepBuilder {
    SweepBuilder::minimize("loss").trials(40).top("search", json!({"algorithm": algorithm, "seed": 11}))
}

fn open(spec: &SweepSpec, places: u32) -> Dialogue {
    Dialogue::open(spec, places).expect("opens")
}

fn one(dialogue: &mut Dialogue) -> Question {
    let mut questions = dialogue.ask().expect("asks");
    assert_eq!(questions.len(), 1);
    questions.remove(0)
}

/// Every configuration of a simulated sweep on one agent, each evaluated in one step.
fn simulated(spec: &SweepSpec) -> SimReport {
    let mut evaluate = |running: &Running<'_>, step: u64| match step {
        1 => {
            let metrics = [("loss", loss(running.params))].into_iter().collect();
            Step::Trained { at: 1, took_ms: 1, metrics }
        }
        _ => Step::Done,
    };
    let config = SimConfig { agents: 1, ..SimConfig::default() };
    simulate(spec, &mut evaluate, config).expect("comes to its end")
}

#[test]
fn the_questions_are_the_trials_of_a_simulated_sweep() {
    for algorithm in ["random", "tpe"] {
        let spec = sweep(algorithm).build();
        let report = simulated(&spec);
        let mut dialogue = open(&spec, 1);
        for trial in &report.sweep.trials {
            let question = one(&mut dialogue);
            assert_eq!(
                Some(&question.params),
                report.sweep.params(trial).as_ref(),
                "{algorithm}, trial {}",
                trial.number
            );
            assert!(!dialogue.is_over());
            dialogue.complete(question.trial, Some(loss(&question.params))).expect("is open");
        }
        assert!(dialogue.is_over());
        assert_eq!((dialogue.ask().expect("is over"), dialogue.best()), (Vec::new(), report.best()));
    }
}

#[test]
fn as_many_are_open_as_there_are_places_whatever_a_trial_needs() {
    let mut dialogue = open(&sweep("random").trials(4).set("resources", "gpus", 8).build(), 3);
    let first = dialogue.ask().expect("asks");
    assert_eq!(first.iter().map(|question| question.trial).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(dialogue.ask(), Ok(Vec::new()));
    dialogue.complete(1, Some(0.5)).expect("is open");
    assert_eq!(one(&mut dialogue).trial, 3);
    dialogue.tell(3, 7, 0.3).expect("is open");
    for trial in [3, 0, 2] {
        dialogue.complete(trial, Some(0.1)).expect("is open");
    }
    assert!(dialogue.is_over());
    assert_eq!(dialogue.best(), Some((0, 0.1)), "of equal ones the first trial");
}

#[test]
fn a_rule_stops_a_trial_at_a_step_and_another_one_is_asked_for() {
    let spec = sweep("random").top("early_stop", json!({"algorithm": "threshold", "upper": 1.0})).build();
    let mut dialogue = open(&spec, 1);
    let trial = one(&mut dialogue).trial;
    assert_eq!(dialogue.tell(trial, 3, 0.5), Ok(None));
    assert_eq!(dialogue.tell(trial, 3, 0.4), Err(DialogueError::Step { trial, step: 3, last: 3 }));
    let reason = dialogue.tell(trial, 4, 1.5).expect("is open").expect("is stopped");
    assert_eq!((reason.rule.as_str(), reason.step, reason.value), ("threshold", 4, 1.5));
    assert_eq!(dialogue.complete(trial, None), Err(DialogueError::NotOpen { trial }));
    assert_eq!(one(&mut dialogue).trial, 1);
    dialogue.complete(1, Some(2.0)).expect("a last value may be one that is stopped for");
    assert_eq!(one(&mut dialogue).trial, 2);
}

#[test]
fn a_failure_is_not_tried_again_and_what_was_not_told_is_no_value() {
    let mut dialogue = open(&sweep("random").trials(2).build(), 2);
    dialogue.ask().expect("asks");
    assert_eq!(dialogue.complete(0, None), Err(DialogueError::NoValue { trial: 0 }));
    dialogue.fail(0).expect("is open");
    assert_eq!(dialogue.ask(), Ok(Vec::new()));
    assert_eq!(dialogue.complete(7, Some(0.5)), Err(DialogueError::NotOpen { trial: 7 }));
    dialogue.tell(1, 1, f64::NAN).expect("is open");
    dialogue.complete(1, None).expect("has told something");
    assert!(dialogue.is_over());
    assert_eq!(dialogue.best(), None, "no value was a number");
}

#[test]
fn a_target_ends_the_sweep_with_everything_that_is_open() {
    let spec = sweep("random").top("objective", json!({"maximize": "loss", "stop_at": 0.9})).build();
    let mut dialogue = open(&spec, 4);
    dialogue.ask().expect("asks");
    dialogue.complete(2, Some(0.8)).expect("is open");
    assert_eq!(one(&mut dialogue).trial, 4);
    dialogue.complete(1, Some(0.95)).expect("is open");
    assert!(dialogue.is_over());
    assert_eq!(dialogue.best(), Some((1, 0.95)), "larger is better");
    assert_eq!(dialogue.complete(0, Some(0.5)), Err(DialogueError::NotOpen { trial: 0 }));
}

#[test]
fn a_sweep_that_fails_leaves_nothing_open() {
    let mut dialogue = open(&sweep("random").set("budget", "max_failures", 1).build(), 3);
    dialogue.ask().expect("asks");
    dialogue.fail(0).expect("is open");
    assert!(dialogue.is_over());
    assert_eq!(dialogue.complete(1, Some(0.5)), Err(DialogueError::NotOpen { trial: 1 }));
}

#[test]
fn what_cannot_be_asked_about_is_refused() {
    let unranked = SweepBuilder::unranked().top("search", json!({"algorithm": "random"})).build();
    assert_eq!(Dialogue::open(&unranked, 1).err(), Some(DialogueError::Unranked));
    assert!(matches!(Dialogue::open(&sweep("oracle").build(), 1).err(), Some(DialogueError::Sim(_))));
}

#[test]
fn a_trial_that_is_promoted_is_asked_for_again_and_goes_on_after_its_last_step() {
    let rule = json!({"algorithm": "asha_promotion", "min": 1, "max": 9, "eta": 3});
    let mut dialogue = Dialogue::open(&sweep("random").trials(3).top("early_stop", rule).build(), 1).expect("opens");
    for (trial, value) in [(0, 0.1), (1, 0.2), (2, 0.3)] {
        let asked = dialogue.ask().expect("asks");
        assert_eq!(asked.iter().map(|question| (question.trial, question.after)).collect::<Vec<_>>(), [(trial, None)]);
        assert!(dialogue.tell(trial, 1, value).expect("is open").is_some(), "it holds");
    }
    let asked = dialogue.ask().expect("asks");
    assert_eq!(asked.iter().map(|question| (question.trial, question.after)).collect::<Vec<_>>(), [(0, Some(1))]);
    assert!(dialogue.tell(0, 3, 0.05).expect("is open").is_some());
    assert_eq!((dialogue.ask().expect("asks"), dialogue.is_over(), dialogue.best()), (vec![], true, Some((0, 0.05))));
}
