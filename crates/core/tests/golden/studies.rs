//! The facts of studies, as versions 20 and 21 of the log's format have them.

use heats_core::fact::{
    Entry, Fact, Goal, Owner, Stage, StudyAttribute, StudyAttributeSet, StudyCreated, StudyEvent, StudyFact,
    StudyParam, StudyParamSet, StudyRemoved, StudyReported, StudyTrialAttributeSet, StudyTrialBody, StudyTrialCreated,
    StudyTrialMoved,
};
use heats_core::{ApplyError, State};
use heats_domain::SweepId;
use prost::Message;

const V20: &[u8] = include_bytes!("entry-v20.bin");
/// Removals name their request.
const V21: &[u8] = include_bytes!("entry-v21.bin");

/// Every kind of event once, with every optional field set somewhere and left out somewhere.
pub fn studied() -> Vec<Fact> {
    let param = StudyParam {
        name: "lr".into(),
        value: 0.25,
        distribution: r#"{"name": "FloatDistribution", "attributes": {"low": 0.0, "high": 1.0}}"#.into(),
    };
    let attribute = StudyAttribute { owner: Owner::System.into(), key: "k".into(), value: "NaN".into() };
    let body = StudyTrialBody {
        stage: Stage::Pruned.into(),
        values: vec![0.5, f64::INFINITY],
        started_us: Some(-1),
        finished_us: Some(1_795_003_600_000_001),
        params: vec![param.clone()],
        attributes: vec![attribute.clone()],
        steps: vec![-1, 300],
        reports: vec![0.5, 0.25],
        moved_by: 9,
    };
    let goals = vec![Goal::Maximize.into(), Goal::Minimize.into()];
    let events = [
        StudyEvent::Created(StudyCreated { study: 3, sweep: SweepId { bits: 5 }, name: "s".into(), goals, request: 7 }),
        StudyEvent::AttributeSet(StudyAttributeSet {
            study: 3,
            owner: Owner::User.into(),
            key: "k".into(),
            value: "[1]".into(),
        }),
        StudyEvent::TrialCreated(StudyTrialCreated { study: 3, trial: 300, number: 0, body: None, request: 8 }),
        StudyEvent::TrialCreated(StudyTrialCreated { study: 3, trial: 301, number: 1, body: Some(body), request: 0 }),
        StudyEvent::ParamSet(StudyParamSet { trial: 300, param }),
        StudyEvent::TrialAttributeSet(StudyTrialAttributeSet { trial: 300, attribute }),
        StudyEvent::Reported(StudyReported { trial: 300, step: -7, value: 0.125 }),
        StudyEvent::TrialMoved(StudyTrialMoved {
            trial: 300,
            stage: Stage::Complete.into(),
            values: vec![1.0, 2.0],
            request: 11,
        }),
        StudyEvent::Removed(StudyRemoved { study: 3, last_study: 4, last_trial: 301, request: 0 }),
    ];
    events.into_iter().map(Fact::from).collect()
}

fn entry() -> Entry {
    let facts = studied().into_iter().map(Into::into).collect();
    Entry { term: 3, number: 20, after: 19, at_ms: 1_795_000_000_000, facts }
}

#[test]
fn the_facts_of_studies_are_read_and_written_as_version_20_did() {
    assert_eq!(entry().encode_to_vec(), V20);
    assert_eq!(Entry::decode(V20).expect("decodes"), entry());
}

#[test]
fn a_removal_that_names_its_request_is_read_and_written_as_version_21_did() {
    let removed = StudyRemoved { study: 3, last_study: 4, last_trial: 301, request: 12 };
    let facts = vec![Fact::from(StudyEvent::Removed(removed)).into()];
    let entry = Entry { number: 21, after: 20, facts, ..entry() };
    assert_eq!(entry.encode_to_vec(), V21);
    assert_eq!(Entry::decode(V21).expect("decodes"), entry);
}

#[test]
fn an_event_of_a_study_that_a_newer_version_wrote_stops_the_node() {
    let entry = Entry { facts: vec![Fact::Study(StudyFact { event: None }).into()], number: 0, after: 0, ..entry() };
    assert_eq!(State::default().apply(12, 3, entry), Err(ApplyError::UnknownFact { index: 12 }));
}
