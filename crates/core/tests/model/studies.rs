//! Random changes of studies, against a table that is kept by the rules of Optuna's storages: what is answered, what is read,
//! what a snapshot makes, and what a request that is sent twice does.

use std::collections::BTreeMap;

use heats_core::fact::{Entry, Goal, Owner, Stage, StudyAttribute, StudyParam, StudyTrialBody};
use heats_core::invariants::violations;
use heats_core::study::{Change, Done, Template};
use heats_core::{Leading, Op, Reply, State};
use heats_domain::SweepId;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

/// What happens; ids are picked from those that were ever given, and from the next, which was not.
#[derive(Clone, Debug)]
enum Happening {
    Create { name: u8, goals: usize, request: u64 },
    Remove { study: u8, request: u64 },
    SetAttribute { study: u8, key: u8, value: u8 },
    CreateTrial { study: u8, template: Option<(Stage, u8)>, request: u64 },
    SetParam { trial: u8, name: u8, kind: u8 },
    SetTrialAttribute { trial: u8, key: u8, value: u8 },
    Report { trial: u8, step: i64, value: u8 },
    Move { trial: u8, stage: Stage, request: u64 },
    Again,
    Restore,
    FailOver,
    EndTurn,
}

fn stage() -> impl Strategy<Value = Stage> {
    proptest::sample::select(Stage::ALL.to_vec())
}

fn happening() -> impl Strategy<Value = Happening> {
    let id = any::<u8>;
    prop_oneof![
        3 => (0..4u8, 1..3usize, 0..4u64).prop_map(|(name, goals, request)| Happening::Create { name, goals, request }),
        1 => (id(), 80..90u64).prop_map(|(study, request)| Happening::Remove { study, request }),
        2 => (id(), 0..3u8, 0..9u8).prop_map(|(study, key, value)| Happening::SetAttribute { study, key, value }),
        6 => (id(), proptest::option::weighted(0.3, (stage(), 0..3u8)), 0..40u64)
            .prop_map(|(study, template, request)| Happening::CreateTrial { study, template, request }),
        5 => (id(), 0..3u8, 0..3u8).prop_map(|(trial, name, kind)| Happening::SetParam { trial, name, kind }),
        3 => (id(), 0..3u8, 0..9u8).prop_map(|(trial, key, value)| Happening::SetTrialAttribute { trial, key, value }),
        6 => (id(), -2..4i64, 0..9u8).prop_map(|(trial, step, value)| Happening::Report { trial, step, value }),
        6 => (id(), stage(), 40..80u64).prop_map(|(trial, stage, request)| Happening::Move { trial, stage, request }),
        2 => Just(Happening::Again),
        1 => Just(Happening::Restore),
        1 => Just(Happening::FailOver),
        4 => Just(Happening::EndTurn),
    ]
}

/// Ids that a restored cluster does not give.
const SKIPPED: u64 = 1 << 24;

const FLOAT: &str =
    r#"{"name": "FloatDistribution", "attributes": {"low": 0.0, "high": 1.0, "step": null, "log": false}}"#;
const INT: &str = r#"{"name": "IntDistribution", "attributes": {"low": 0, "high": 9, "step": 1, "log": false}}"#;
const CHOICE: &str = r#"{"name": "CategoricalDistribution", "attributes": {"choices": ["a", null, NaN]}}"#;

fn param(name: u8, kind: u8) -> StudyParam {
    let distribution = [FLOAT, INT, CHOICE][usize::from(kind)].to_owned();
    StudyParam { name: format!("p{name}"), value: f64::from(kind), distribution }
}

fn attribute(key: u8, value: u8) -> StudyAttribute {
    StudyAttribute { owner: Owner::System.into(), key: format!("k{key}"), value: value.to_string() }
}

#[derive(Clone, PartialEq, Debug)]
struct TrialRow {
    id: u64,
    stage: Stage,
    params: Vec<(u8, u8)>,
    attributes: BTreeMap<u8, u8>,
    reports: BTreeMap<i64, u8>,
    moved_by: u64,
}

#[derive(Clone, Debug)]
struct StudyRow {
    name: u8,
    goals: usize,
    request: u64,
    attributes: BTreeMap<u8, u8>,
    kinds: BTreeMap<u8, u8>,
    trials: Vec<TrialRow>,
}

/// The table.
#[derive(Default)]
struct Table {
    studies: BTreeMap<u64, StudyRow>,
    requests: BTreeMap<(u64, u64), u64>,
    last_study: u64,
    last_trial: u64,
}

type Answer = Result<Done, &'static str>;

impl Table {
    fn trial(&mut self, id: u64) -> Option<(&mut BTreeMap<u8, u8>, &mut TrialRow)> {
        self.studies.values_mut().find_map(|study| {
            let StudyRow { kinds, trials, .. } = study;
            trials.iter_mut().find(|trial| trial.id == id).map(|trial| (kinds, trial))
        })
    }

    fn changes(&mut self, trial: u64, change: impl FnOnce(&mut BTreeMap<u8, u8>, &mut TrialRow) -> Answer) -> Answer {
        match self.trial(trial) {
            None => Err("H0060"),
            Some((_, trial)) if trial.stage.is_finished() => Err("H0061"),
            Some((kinds, trial)) => change(kinds, trial),
        }
    }

    fn create(&mut self, name: u8, goals: usize, request: u64) -> Answer {
        if let Some((id, study)) = self.studies.iter().find(|(_, study)| study.name == name) {
            return if request != 0 && study.request == request { Ok(Done::Made(*id)) } else { Err("H0003") };
        }
        self.last_study += 1;
        let (attributes, kinds, trials) = Default::default();
        self.studies.insert(self.last_study, StudyRow { name, goals, request, attributes, kinds, trials });
        Ok(Done::Made(self.last_study))
    }

    fn create_trial(&mut self, study: u64, template: Option<(Stage, u8)>, request: u64) -> Answer {
        let key = (study, request);
        let Some(study) = self.studies.get_mut(&study) else { return Err("H0060") };
        if let Some(trial) = self.requests.get(&key).filter(|_| request != 0) {
            return Ok(Done::Made(*trial));
        }
        let params = template.map(|(_, kind)| (0, kind)).into_iter().collect::<Vec<_>>();
        if params.iter().any(|(name, kind)| study.kinds.get(name).is_some_and(|known| known != kind)) {
            return Err("H0062");
        }
        study.kinds.extend(params.iter().copied());
        self.last_trial += 1;
        let stage = template.map_or(Stage::Running, |(stage, _)| stage);
        let (attributes, reports) = Default::default();
        study.trials.push(TrialRow { id: self.last_trial, stage, params, attributes, reports, moved_by: 0 });
        if request != 0 {
            self.requests.insert(key, self.last_trial);
        }
        Ok(Done::Made(self.last_trial))
    }

    fn move_trial(&mut self, trial: u64, stage: Stage, request: u64) -> Answer {
        if let Some((_, known)) = self.trial(trial)
            && known.moved_by == request
            && known.stage == stage
        {
            return Ok(Done::Moved(true));
        }
        self.changes(trial, |_, trial| {
            if stage == Stage::Running && trial.stage != Stage::Waiting {
                return Ok(Done::Moved(false));
            }
            (trial.stage, trial.moved_by) = (stage, request);
            Ok(Done::Moved(true))
        })
    }
}

struct Run {
    leading: Leading,
    applied: State,
    term: u64,
    now_ms: u64,
    table: Table,
    /// The last change that names its request, with what came of it.
    last: Option<(Change, Done)>,
}

impl Run {
    fn new() -> Self {
        let leading = Leading::new(1, 0, State::default());
        Self { leading, applied: State::default(), term: 1, now_ms: 1_000, table: Table::default(), last: None }
    }

    fn play(&mut self, happening: &Happening) {
        let studies: Vec<u64> = self.table.studies.keys().copied().collect();
        let trials: Vec<u64> =
            self.table.studies.values().flat_map(|study| &study.trials).map(|trial| trial.id).collect();
        let next = (self.table.last_study + 1, self.table.last_trial + 1);
        let study = |pick: u8| studies.get(usize::from(pick) % (studies.len() + 1)).copied().unwrap_or(next.0);
        let trial = |pick: u8| trials.get(usize::from(pick) % (trials.len() + 1)).copied().unwrap_or(next.1);
        match *happening {
            Happening::Create { name, goals, request } => {
                let sweep = SweepId { bits: 1_000 + self.table.last_study };
                let expected = self.table.create(name, goals, request);
                let (name, goals) = (format!("study-{name}"), vec![Goal::Maximize; goals]);
                self.expect(Change::Create { sweep, name, goals, request }, expected);
            }
            Happening::Remove { study: pick, request } => {
                let study = study(pick);
                let removed = self.table.studies.remove(&study);
                let gone: Vec<u64> = removed.iter().flat_map(|study| &study.trials).map(|trial| trial.id).collect();
                self.table.requests.retain(|_, trial| !gone.contains(trial));
                self.expect(Change::Remove { study, request }, removed.map(|_| Done::Done).ok_or("H0060"));
            }
            Happening::SetAttribute { study: pick, key, value } => {
                let study = study(pick);
                let row = self.table.studies.get_mut(&study);
                let expected = row.map(|row| row.attributes.insert(key, value)).map(|_| Done::Done).ok_or("H0060");
                self.expect(Change::SetAttribute { study, attribute: attribute(key, value) }, expected);
            }
            Happening::CreateTrial { study: pick, template, request } => {
                let study = study(pick);
                let goals = self.table.studies.get(&study).map_or(1, |row| row.goals);
                let expected = self.table.create_trial(study, template, request);
                let template = template.map(|(stage, kind)| {
                    let values = if stage == Stage::Complete { vec![0.5; goals] } else { Vec::new() };
                    let params = vec![param(0, kind)];
                    Template(Box::new(StudyTrialBody { stage: stage.into(), values, params, ..Default::default() }))
                });
                self.expect(Change::CreateTrial { study, template, request }, expected);
            }
            Happening::SetParam { trial: pick, name, kind } => {
                let trial = trial(pick);
                let expected = self.table.changes(trial, |kinds, row| {
                    if *kinds.entry(name).or_insert(kind) != kind {
                        return Err("H0062");
                    }
                    match row.params.iter_mut().find(|(known, _)| *known == name) {
                        Some(known) => known.1 = kind,
                        None => row.params.push((name, kind)),
                    }
                    Ok(Done::Done)
                });
                self.expect(Change::SetParam { trial, param: param(name, kind) }, expected);
            }
            Happening::SetTrialAttribute { trial: pick, key, value } => {
                let trial = trial(pick);
                let expected = self.table.changes(trial, |_, row| {
                    row.attributes.insert(key, value);
                    Ok(Done::Done)
                });
                self.expect(Change::SetTrialAttribute { trial, attribute: attribute(key, value) }, expected);
            }
            Happening::Report { trial: pick, step, value } => {
                let trial = trial(pick);
                let expected = self.table.changes(trial, |_, row| {
                    row.reports.insert(step, value);
                    Ok(Done::Done)
                });
                self.expect(Change::Report { trial, step, value: f64::from(value) }, expected);
            }
            Happening::Move { trial: pick, stage, request } => {
                let trial = trial(pick);
                let goals = self.table.studies.values().find(|row| row.trials.iter().any(|row| row.id == trial));
                let values = if stage == Stage::Complete { goals.map_or(1, |row| row.goals) } else { 0 };
                // Some are better than others in one objective, and worse in another.
                let values = (0..values).map(|goal| f64::from((request >> goal) as u32 % 3)).collect();
                let expected = self.table.move_trial(trial, stage, request);
                self.expect(Change::Move { trial, stage, values, request }, expected);
            }
            Happening::Again => {
                // Whatever happened since: what it made is still that, unless it is gone or went on.
                if let Some((change, done)) = self.last.take() {
                    let before = self.leading.draft().hash();
                    self.expect(change, Ok(done));
                    assert_eq!(self.leading.draft().hash(), before, "it is not carried out twice");
                }
            }
            Happening::Restore => {
                let restored = self.leading.decide(Op::Restore(7)).expect("no contradiction");
                restored.expect("is never refused");
                if self.table.last_study > 0 {
                    self.table.last_study += SKIPPED;
                    self.table.last_trial += SKIPPED;
                }
            }
            Happening::FailOver => {
                self.end_turn();
                self.term += 1;
                self.leading = Leading::new(self.term, 0, self.applied.clone());
            }
            Happening::EndTurn => self.end_turn(),
        }
    }

    fn expect(&mut self, change: Change, expected: Answer) {
        let said = format!("{change:?}");
        change.check().expect("is well-formed");
        self.now_ms += 7;
        self.leading.begin(self.now_ms);
        let answer = match self.leading.decide(Op::Study(change.clone())).expect("no contradiction") {
            Ok(Reply::Study(done)) => Ok(done),
            Ok(other) => panic!("{other:?} is no answer to {said}"),
            Err(refusal) => Err(refusal.code()),
        };
        assert_eq!(answer, expected, "the answer to {said}");
        self.last = match (&change, answer) {
            (Change::CreateTrial { request: 1.., .. }, Ok(done @ Done::Made(_)))
            | (Change::Remove { request: 1.., .. }, Ok(done @ Done::Done))
            | (Change::Move { request: 1.., .. }, Ok(done @ Done::Moved(true))) => Some((change, done)),
            _ => None,
        };
    }

    fn end_turn(&mut self) {
        let Some(entry) = self.leading.finish() else { return };
        let entry = Entry::decode(entry.encode_to_vec().as_slice()).expect("decodes");
        let before = self.applied.clone();
        self.applied.apply(self.applied.applied + 1, self.term, entry).expect("applies");
        assert_eq!(violations(&self.applied), []);
        assert_eq!(self.applied.hash(), self.leading.draft().hash());
        compare(&self.table, &self.applied);
        finished_stay(&before, &self.applied);
        let records = self.applied.records().map(|record| record.as_ref().clone());
        let restored = State::from_records(self.applied.applied, self.applied.turn, records).expect("restores");
        assert_eq!(restored.hash(), self.applied.hash());
        assert_eq!(restored.at_ms, self.applied.at_ms, "a restored clock does not go back");
        assert_eq!(violations(&restored), []);
        compare(&self.table, &restored);
        // It goes on as the others do: the next ids are the same.
        self.applied = restored;
    }
}

fn compare(table: &Table, state: &State) {
    let ids: Vec<u64> = state.studies.iter().map(|study| study.number).collect();
    assert_eq!(ids, table.studies.keys().copied().collect::<Vec<_>>());
    for (id, row) in &table.studies {
        let study = state.studies.get(*id).expect("is there");
        assert_eq!(study.name, format!("study-{}", row.name));
        assert_eq!(state.studies.named(&study.name).map(|study| study.number), Some(*id));
        assert_eq!(state.studies.of_sweep(study.sweep).map(|study| study.number), Some(*id));
        let attributes: Vec<(String, String)> =
            study.attributes(Owner::System).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        assert_eq!(attributes, written(&row.attributes));
        assert_eq!(study.attributes(Owner::User).count(), 0);
        assert_eq!(study.trials.len(), row.trials.len());
        for (number, (trial, row)) in study.trials.iter().zip(&row.trials).enumerate() {
            assert_eq!((trial.id, trial.number as usize, trial.stage), (row.id, number, row.stage));
            let params = row.params.iter().map(|(name, kind)| param(*name, *kind)).collect::<Vec<_>>();
            assert_eq!(trial.params.iter().cloned().collect::<Vec<_>>(), params, "in the order in which they were set");
            let attributes: Vec<(String, String)> =
                trial.attributes(Owner::System).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            assert_eq!(attributes, written(&row.attributes));
            let reports: Vec<(i64, f64)> = row.reports.iter().map(|(step, value)| (*step, f64::from(*value))).collect();
            assert_eq!(trial.reports.iter().map(|(step, value)| (*step, *value)).collect::<Vec<_>>(), reports);
            let after = study.trials_after(row.id).map(|trial| trial.number).next();
            assert_eq!(after.map_or(study.trials.len(), |next| next as usize), number + 1);
        }
    }
}

fn written(attributes: &BTreeMap<u8, u8>) -> Vec<(String, String)> {
    attributes.iter().map(|(key, value)| (format!("k{key}"), value.to_string())).collect()
}

/// A trial that was finished is what it was, to the last bit, unless its study is gone.
fn finished_stay(before: &State, after: &State) {
    for trial in before.studies.iter().flat_map(|study| &study.trials).filter(|trial| trial.stage.is_finished()) {
        if let Some((_, now)) = after.studies.trial(trial.id) {
            assert_eq!(format!("{now:?}"), format!("{trial:?}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn studies_are_what_their_clients_wrote_and_every_copy_agrees(happenings in vec(happening(), 1..120)) {
        let mut run = Run::new();
        happenings.iter().for_each(|happening| run.play(happening));
        run.end_turn();
    }
}
