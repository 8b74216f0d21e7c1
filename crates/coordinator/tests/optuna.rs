//! Optuna's storage protocol as hostile and broken clients speak it: every call is answered with a clear status, and nothing
//! that they send stops a coordinator. Longer: `PROPTEST_CASES=10000 cargo test -p heats-coordinator --test optuna`.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::OnceLock;

use futures::StreamExt;
use heats_coordinator::{Coordinator, CoordinatorConfig};
use heats_wire::optuna as pb;
use heats_wire::optuna::storage_service_client::StorageServiceClient;
use heats_wire::v1;
use heats_wire::v1::sweeps_client::SweepsClient;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Status};

const FLOAT: &str =
    r#"{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}"#;

struct House {
    coordinator: Coordinator,
    optuna: StorageServiceClient<Channel>,
    sweeps: SweepsClient<Channel>,
    _dir: TempDir,
}

impl House {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let config = CoordinatorConfig { optuna: Some(any), ..CoordinatorConfig::single(dir.path(), any) };
        let coordinator = Coordinator::start(config).await.unwrap();
        let channel = |address| Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let optuna = StorageServiceClient::new(channel(coordinator.optuna().unwrap()))
            .max_encoding_message_size(usize::MAX)
            .max_decoding_message_size(usize::MAX);
        let sweeps = SweepsClient::new(channel(coordinator.address()));
        Self { coordinator, optuna, sweeps, _dir: dir }
    }

    /// A study of one objective; a node that has just started leads after a moment, for which the call waits.
    async fn study(&mut self, name: &str) -> i64 {
        let request = pb::CreateNewStudyRequest { directions: vec![0], study_name: name.into() };
        self.optuna.create_new_study(request).await.unwrap().into_inner().study_id
    }

    async fn create(&mut self, study_id: i64, template_trial: Option<pb::Trial>) -> Result<i64, Status> {
        let template_trial_is_none = template_trial.is_none();
        let request = pb::CreateNewTrialRequest { study_id, template_trial, template_trial_is_none };
        self.optuna.create_new_trial(request).await.map(|reply| reply.into_inner().trial_id)
    }

    async fn set_param(&mut self, trial_id: i64, value: f64, distribution: &str) -> Result<(), Status> {
        let (param_name, distribution) = ("x".to_owned(), distribution.to_owned());
        let request = pb::SetTrialParameterRequest { trial_id, param_name, param_value_internal: value, distribution };
        self.optuna.set_trial_parameter(request).await.map(drop)
    }

    async fn set_attribute(&mut self, trial_id: i64, key: &str, value: &str) -> Result<(), Status> {
        let request = pb::SetTrialUserAttributeRequest { trial_id, key: key.into(), value: value.into() };
        self.optuna.set_trial_user_attribute(request).await.map(drop)
    }

    async fn set_state(&mut self, trial_id: i64, state: i32, values: Vec<f64>) -> Result<bool, Status> {
        let request = pb::SetTrialStateValuesRequest { trial_id, state, values };
        self.optuna.set_trial_state_values(request).await.map(|reply| reply.into_inner().trial_updated)
    }

    async fn trials(&mut self, study_id: i64, included: Vec<i64>, after: i64) -> Result<Vec<pb::Trial>, Status> {
        let request = pb::GetTrialsRequest { study_id, included_trial_ids: included, trial_id_greater_than: after };
        let reply = self.optuna.get_trials(request).await?.into_inner();
        Ok(reply.trials.iter().map(|trial| pb::Trial::decode(trial.clone()).unwrap()).collect())
    }
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test]
async fn ids_of_nothing_are_not_found() {
    let mut house = House::open().await;
    let study = house.study("s").await;
    for id in [0, -1, study + 1, i64::MAX, i64::MIN] {
        assert_eq!(code(house.create(id, None).await), Code::NotFound, "{id}");
        assert_eq!(code(house.trials(id, vec![], -1).await), Code::NotFound, "{id}");
        assert_eq!(code(house.set_attribute(id, "k", "1").await), Code::NotFound, "{id}");
        assert_eq!(code(house.optuna.get_trial(pb::GetTrialRequest { trial_id: id }).await), Code::NotFound, "{id}");
    }
    // Those of another study are left out.
    let (own, foreign) = (house.create(study, None).await.unwrap(), house.study("other").await);
    let foreign = house.create(foreign, None).await.unwrap();
    let trials = house.trials(study, vec![own, foreign, -7, 99], i64::MAX).await.unwrap();
    assert_eq!(trials.iter().map(|trial| trial.trial_id).collect::<Vec<_>>(), [own]);
}

#[tokio::test]
async fn what_no_client_could_read_again_is_refused_and_changes_nothing() {
    let mut house = House::open().await;
    let study = house.study("s").await;
    let trial = house.create(study, None).await.unwrap();
    for (value, distribution) in [
        (f64::NAN, FLOAT),
        (0.5, "{}"),
        (0.5, r#"{"name": "FloatDistribution", "attributes": {"low": 2, "high": 1}}"#),
        (9.0, r#"{"name": "CategoricalDistribution", "attributes": {"choices": ["a"]}}"#),
    ] {
        assert_eq!(code(house.set_param(trial, value, distribution).await), Code::InvalidArgument, "{distribution}");
    }
    for (key, value) in [("k", "{"), ("k", ""), ("a\u{1b}[2J", "1"), (&"k".repeat(2_000), "1")] {
        assert_eq!(code(house.set_attribute(trial, key, value).await), Code::InvalidArgument, "{key} {value}");
    }
    let large = format!("\"{}\"", "x".repeat(2 << 20));
    assert_eq!(code(house.set_attribute(trial, "k", &large).await), Code::InvalidArgument);
    let larger = format!("\"{}\"", "x".repeat(5 << 20));
    assert_eq!(code(house.set_attribute(trial, "k", &larger).await), Code::ResourceExhausted);
    for (state, values) in [(1, vec![]), (1, vec![f64::NAN]), (1, vec![1.0, 2.0]), (9, vec![]), (-1, vec![1.0])] {
        assert_eq!(
            code(house.set_state(trial, state, values.clone()).await),
            Code::InvalidArgument,
            "{state} {values:?}"
        );
    }
    let nameless = pb::Trial { params: vec![pb::NumberEntry { key: "x".into(), value: 0.5 }], ..Default::default() };
    let timeless = pb::Trial { datetime_start: "yesterday".into(), ..Default::default() };
    for template in [nameless, timeless] {
        assert_eq!(code(house.create(study, Some(template)).await), Code::InvalidArgument);
    }
    let trials = house.trials(study, vec![], -1).await.unwrap();
    let [only] = trials.as_slice() else { panic!("no trial was made: {trials:?}") };
    assert_eq!((only.params.len(), only.user_attributes.len(), only.state), (0, 0, 0));
}

#[tokio::test]
async fn of_those_who_claim_a_trial_one_gets_it() {
    let mut house = House::open().await;
    let study = house.study("s").await;
    let waiting = pb::Trial { state: pb::TrialState::Waiting.into(), ..Default::default() };
    let trial = house.create(study, Some(waiting)).await.unwrap();
    let claims = (0..16).map(|_| {
        let mut client = house.optuna.clone();
        tokio::spawn(async move {
            let request = pb::SetTrialStateValuesRequest { trial_id: trial, state: 0, values: Vec::new() };
            client.set_trial_state_values(request).await.unwrap().into_inner().trial_updated
        })
    });
    let mut won = 0;
    for claim in claims.collect::<Vec<_>>() {
        won += usize::from(claim.await.unwrap());
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_request_that_is_sent_again_under_its_number_is_carried_out_once() {
    let mut house = House::open().await;
    let study = house.study("s").await;
    let numbered = |number: u64| {
        let request = pb::CreateNewTrialRequest { study_id: study, template_trial: None, template_trial_is_none: true };
        let mut request = tonic::Request::new(request);
        let number = tonic::metadata::MetadataValue::from_bytes(&number.to_be_bytes());
        request.metadata_mut().insert_bin("heats-request-bin", number);
        request
    };
    let first = house.optuna.create_new_trial(numbered(7)).await.unwrap().into_inner().trial_id;
    let again = house.optuna.create_new_trial(numbered(7)).await.unwrap().into_inner().trial_id;
    let other = house.optuna.create_new_trial(numbered(8)).await.unwrap().into_inner().trial_id;
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(house.trials(study, vec![], -1).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_client_is_sent_what_is_new_to_it() {
    let mut house = House::open().await;
    let study = house.study("s").await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(house.create(study, None).await.unwrap());
    }
    for finished in [0, 2] {
        house.set_state(ids[finished], 1, vec![0.5]).await.unwrap();
    }
    // As a client asks that has seen all four: the finished ones are not sent again.
    let sent = house.trials(study, vec![ids[1], ids[3]], ids[2]).await.unwrap();
    assert_eq!(sent.iter().map(|trial| trial.trial_id).collect::<Vec<_>>(), [ids[1], ids[3]]);
    assert_eq!(code(house.set_state(ids[0], 3, vec![]).await), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_removal_that_is_asked_for_again_has_been_done() {
    let mut house = House::open().await;
    let study = house.study("s").await;
    let numbered = |number: u64| {
        let mut request = tonic::Request::new(pb::DeleteStudyRequest { study_id: study });
        let number = tonic::metadata::MetadataValue::from_bytes(&number.to_be_bytes());
        request.metadata_mut().insert_bin("heats-request-bin", number);
        request
    };
    house.optuna.delete_study(numbered(7)).await.unwrap();
    house.optuna.delete_study(numbered(7)).await.unwrap();
    assert_eq!(code(house.optuna.delete_study(numbered(8)).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_leave_room_for_one_more() {
    // Both ends of all of them are in this process.
    let all = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: all.maximum, maximum: all.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let mut house = House::open().await;
    let study = house.study("s").await;
    let address = house.coordinator.optuna().unwrap();
    let connections = (0..1_000).map(|_| async move {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let mut client = StorageServiceClient::new(channel);
        let request = pb::GetTrialsRequest { study_id: study, included_trial_ids: vec![], trial_id_greater_than: -1 };
        client.get_trials(request).await.unwrap();
        client
    });
    let connections: Vec<_> = futures::stream::iter(connections).buffer_unordered(1_000).collect().await;
    house.create(study, None).await.unwrap();
    assert_eq!(house.trials(study, vec![], -1).await.unwrap().len(), 1);
    assert_eq!(connections.len(), 1_000);
}

/// One call of a client that knows nothing of the rules.
#[derive(Clone, Debug)]
enum Call {
    CreateStudy { name: String, directions: Vec<i32> },
    DeleteStudy { study: i64 },
    StudyAttribute { study: i64, owner: Owner, key: String, value: String },
    OfStudy { study: i64, question: Question },
    StudyNamed { name: String },
    CreateTrial { study: i64, state: i32, param: u8, time: u8, values: Vec<f64> },
    Param { trial: i64, value: f64, distribution: String },
    Attribute { trial: i64, owner: Owner, key: String, value: String },
    Report { trial: i64, step: i64, value: f64 },
    State { trial: i64, state: i32, values: Vec<f64> },
    Numbered { study: i64, number: i64 },
    Trial { trial: i64 },
    Trials { study: i64, included: Vec<i64>, after: i64 },
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    User,
    System,
}

#[derive(Clone, Copy, Debug)]
enum Question {
    Name,
    Directions,
    UserAttributes,
    SystemAttributes,
}

/// Those of the first things, those of nothing, and those that sweeps and their trials have.
fn id() -> impl Strategy<Value = i64> {
    let sweep = (0..3i64).prop_map(|id| (1 << 51) + id);
    let trial = (0..3i64).prop_map(|id| (1 << 62) + id);
    prop_oneof![12 => 0..14i64, 1 => any::<i64>(), 1 => sweep, 1 => trial]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(0.0)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => Just("1".to_owned()),
        4 => Just("NaN".to_owned()),
        4 => Just("{\"a\": [1".to_owned()),
        4 => ".{0,12}",
        1 => Just(format!("\"{}\"", "x".repeat(1 << 20))),
        1 => Just("9".repeat(4_301)),
    ]
}

fn distribution() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(FLOAT.to_owned()),
        Just(FLOAT.replace("false", "true")),
        Just(FLOAT.replace("1.0", "-1.0")),
        Just(r#"{"name": "CategoricalDistribution", "attributes": {"choices": [null, NaN, "\ud800"]}}"#.to_owned()),
        text(),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let state = || -1..6i32;
    let owner = || prop_oneof![Just(Owner::User), Just(Owner::System)];
    let question = prop_oneof![
        Just(Question::Name),
        Just(Question::Directions),
        Just(Question::UserAttributes),
        Just(Question::SystemAttributes)
    ];
    prop_oneof![
        (".{0,4}", vec(-1..3i32, 0..3)).prop_map(|(name, directions)| Call::CreateStudy { name, directions }),
        id().prop_map(|study| Call::DeleteStudy { study }),
        (id(), owner(), ".{0,4}", text()).prop_map(|(study, owner, key, value)| Call::StudyAttribute {
            study,
            owner,
            key,
            value
        }),
        (id(), question).prop_map(|(study, question)| Call::OfStudy { study, question }),
        prop_oneof![Just("first".to_owned()), ".{0,4}"].prop_map(|name| Call::StudyNamed { name }),
        (id(), state(), 0..3u8, 0..4u8, vec(number(), 0..3))
            .prop_map(|(study, state, param, time, values)| Call::CreateTrial { study, state, param, time, values }),
        (id(), number(), distribution()).prop_map(|(trial, value, distribution)| Call::Param {
            trial,
            value,
            distribution
        }),
        (id(), owner(), ".{0,4}", text()).prop_map(|(trial, owner, key, value)| Call::Attribute {
            trial,
            owner,
            key,
            value
        }),
        (id(), any::<i64>(), number()).prop_map(|(trial, step, value)| Call::Report { trial, step, value }),
        (id(), state(), vec(number(), 0..3)).prop_map(|(trial, state, values)| Call::State { trial, state, values }),
        (id(), prop_oneof![0..9i64, any::<i64>()]).prop_map(|(study, number)| Call::Numbered { study, number }),
        id().prop_map(|trial| Call::Trial { trial }),
        (id(), vec(id(), 0..4), id()).prop_map(|(study, included, after)| Call::Trials { study, included, after }),
    ]
}

impl House {
    async fn make(&mut self, call: Call) -> Result<(), Status> {
        match call {
            Call::CreateStudy { name, directions } => {
                let request = pb::CreateNewStudyRequest { directions, study_name: name };
                self.optuna.create_new_study(request).await.map(drop)
            }
            Call::DeleteStudy { study } => {
                self.optuna.delete_study(pb::DeleteStudyRequest { study_id: study }).await.map(drop)
            }
            Call::StudyAttribute { study: study_id, owner: Owner::User, key, value } => {
                let request = pb::SetStudyUserAttributeRequest { study_id, key, value };
                self.optuna.set_study_user_attribute(request).await.map(drop)
            }
            Call::StudyAttribute { study: study_id, owner: Owner::System, key, value } => {
                let request = pb::SetStudySystemAttributeRequest { study_id, key, value };
                self.optuna.set_study_system_attribute(request).await.map(drop)
            }
            Call::OfStudy { study, question } => self.ask(study, question).await,
            Call::StudyNamed { name: study_name } => {
                self.optuna.get_study_id_from_name(pb::GetStudyIdFromNameRequest { study_name }).await.map(drop)
            }
            Call::CreateTrial { study, state, param, time, values } => {
                let entry = |value: &str| pb::TextEntry { key: "x".into(), value: value.to_owned() };
                let times = ["", "2026-11-28 08:00:00.5", "0000-01-01 00:00:00.0", "x"];
                let template = pb::Trial {
                    state,
                    values,
                    datetime_start: times[usize::from(time)].to_owned(),
                    params: vec![pb::NumberEntry { key: "x".into(), value: 0.0 }; usize::from(param)],
                    distributions: vec![entry(FLOAT); usize::from(param)],
                    user_attributes: vec![entry("1")],
                    ..Default::default()
                };
                self.create(study, Some(template)).await.map(drop)
            }
            Call::Param { trial, value, distribution } => self.set_param(trial, value, &distribution).await,
            Call::Attribute { trial, owner: Owner::User, key, value } => self.set_attribute(trial, &key, &value).await,
            Call::Attribute { trial: trial_id, owner: Owner::System, key, value } => {
                let request = pb::SetTrialSystemAttributeRequest { trial_id, key, value };
                self.optuna.set_trial_system_attribute(request).await.map(drop)
            }
            Call::Report { trial: trial_id, step, value } => {
                let request = pb::SetTrialIntermediateValueRequest { trial_id, step, intermediate_value: value };
                self.optuna.set_trial_intermediate_value(request).await.map(drop)
            }
            Call::State { trial, state, values } => self.set_state(trial, state, values).await.map(drop),
            Call::Numbered { study: study_id, number: trial_number } => {
                let request = pb::GetTrialIdFromStudyIdTrialNumberRequest { study_id, trial_number };
                self.optuna.get_trial_id_from_study_id_trial_number(request).await.map(drop)
            }
            Call::Trial { trial: trial_id } => self.optuna.get_trial(pb::GetTrialRequest { trial_id }).await.map(drop),
            Call::Trials { study, included, after } => self.trials(study, included, after).await.map(drop),
        }
    }

    async fn ask(&mut self, study_id: i64, question: Question) -> Result<(), Status> {
        let optuna = &mut self.optuna;
        match question {
            Question::Name => optuna.get_study_name_from_id(pb::GetStudyNameFromIdRequest { study_id }).await.map(drop),
            Question::Directions => {
                optuna.get_study_directions(pb::GetStudyDirectionsRequest { study_id }).await.map(drop)
            }
            Question::UserAttributes => {
                optuna.get_study_user_attributes(pb::GetStudyUserAttributesRequest { study_id }).await.map(drop)
            }
            Question::SystemAttributes => {
                optuna.get_study_system_attributes(pb::GetStudySystemAttributesRequest { study_id }).await.map(drop)
            }
        }
    }

    /// What every client sees of the studies is in order.
    async fn look(&mut self) {
        let studies = self.optuna.get_all_studies(pb::GetAllStudiesRequest {}).await.unwrap().into_inner().studies;
        for pb::Study { study_id, .. } in studies {
            let trials = self.trials(study_id, vec![], -1).await.unwrap();
            assert!(trials.iter().enumerate().all(|(number, trial)| trial.number == number as i64));
            assert!(trials.is_sorted_by(|a, b| a.trial_id < b.trial_id));
            for trial in trials {
                assert_eq!(trial.params.len(), trial.distributions.len());
                let is_complete = trial.state == i32::from(pb::TrialState::Complete);
                assert!(!is_complete || trial.values.iter().all(|value| !value.is_nan()) && !trial.values.is_empty());
            }
        }
        let list = v1::ListRequest { all: true, limit: 0 };
        for sweep in self.sweeps.list(list).await.unwrap().into_inner().sweeps {
            let sweep = sweep.id.unwrap().to_string();
            let request = v1::TrialsRequest { sweep: sweep.clone(), best_first: true, ..Default::default() };
            self.sweeps.trials(request).await.unwrap();
            self.sweeps.trials(v1::TrialsRequest { sweep, ..Default::default() }).await.unwrap();
        }
    }
}

/// Few, unless more are asked for: each has a coordinator of its own.
fn cases() -> u32 {
    if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 24 }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sent_is_answered_with_a_clear_status(calls in vec(call(), 1..60)) {
        runtime().block_on(async {
            let mut house = House::open().await;
            house.study("first").await;
            for call in calls {
                let said: String = format!("{call:?}").chars().take(500).collect();
                let told = house.make(call).await;
                let is_clear = matches!(
                    code(told.clone()),
                    Code::Ok
                        | Code::NotFound
                        | Code::AlreadyExists
                        | Code::InvalidArgument
                        | Code::FailedPrecondition
                        | Code::ResourceExhausted
                );
                assert!(is_clear, "{said}: {told:?}");
            }
            house.look().await;
            house.coordinator.shutdown().await;
        });
    }
}
