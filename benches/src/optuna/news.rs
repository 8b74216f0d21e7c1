//! What `GetTrials` costs the server for a client that has seen all trials of a study but the last ten: processor time, which
//! is to follow from what is new to the client and not from the study.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use heats_wire::optuna as pb;
use heats_wire::optuna::storage_service_client::StorageServiceClient;
use tonic::transport::Channel;

use super::address;
use crate::report::{Report, Target};
use crate::three::{self, Process};

/// Finished trials of a study.
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
/// Trials that the client has not seen.
const NEW: usize = 10;
/// Questions: enough for a hundred ticks of the kernel's clock.
const QUESTIONS: usize = 10_000;
/// Trials that are sent to clients which have seen none, for the same reason.
const SENT: usize = 1_000_000;
/// Calls on their way at once.
const AT_ONCE: usize = 64;
/// Reports of a trial.
const REPORTS: i64 = 10;
const FLOAT: &str =
    r#"{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}"#;

type Client = StorageServiceClient<Channel>;

/// Fills a study of each size, and asks.
pub(super) fn run(report: &mut Report, coordinators: &[Process]) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut costs = Vec::new();
    for size in SIZES {
        let (study, trials) = runtime.block_on(filled(size))?;
        let seen = trials.get(size - NEW - 1).copied().context("enough trials")?;
        let cost = |after: i64, count: usize, questions: usize| -> Result<f64> {
            let before = three::used(coordinators)?;
            runtime.block_on(ask(study, after, count, questions))?;
            Ok((three::used(coordinators)? - before) * 1e6 / questions as f64)
        };
        let news = cost(seen, NEW, QUESTIONS)?;
        report.figure(&format!("GetTrials with {NEW} new of {size} trials, processor time"), "µs", vec![news], None);
        let whole = cost(-1, size, SENT / size)? / size as f64;
        report.figure(&format!("the same of a client that has seen none of {size}, for each"), "µs", vec![whole], None);
        costs.push(news);
    }
    let ratio = costs[costs.len() - 1] / costs[0];
    report.figure("GetTrials of the largest study, of the smallest", "", vec![ratio], Some(Target::AtMost(1.5)));
    Ok(())
}

async fn client() -> Result<Client> {
    let channel = Channel::from_shared(format!("http://{}", address(0)))?.connect().await?;
    Ok(Client::new(channel).max_decoding_message_size(usize::MAX))
}

/// A study of so many complete trials; its id and theirs.
async fn filled(size: usize) -> Result<(i64, Vec<i64>)> {
    let mut client = client().await?;
    let request = pb::CreateNewStudyRequest { directions: vec![0], study_name: format!("news-{size}") };
    let study_id = client.create_new_study(request).await?.into_inner().study_id;
    let made = (0..size).map(|number| {
        let mut client = client.clone();
        async move {
            let template_trial = Some(trial(number));
            let request = pb::CreateNewTrialRequest { study_id, template_trial, template_trial_is_none: false };
            anyhow::Ok(client.create_new_trial(request).await?.into_inner().trial_id)
        }
    });
    let mut trials: Vec<i64> = stream::iter(made).buffer_unordered(AT_ONCE).try_collect().await?;
    trials.sort_unstable();
    Ok((study_id, trials))
}

fn trial(number: usize) -> pb::Trial {
    let value = number as f64 / 1e6;
    let time = "2026-11-28 08:07:53.000001".to_owned();
    pb::Trial {
        state: pb::TrialState::Complete.into(),
        values: vec![value],
        datetime_start: time.clone(),
        datetime_complete: time,
        params: vec![pb::NumberEntry { key: "x".to_owned(), value }],
        distributions: vec![pb::TextEntry { key: "x".to_owned(), value: FLOAT.to_owned() }],
        intermediate_values: (0..REPORTS).map(|key| pb::StepEntry { key, value }).collect(),
        ..Default::default()
    }
}

/// Asks for what is after `after`, which is so many trials.
async fn ask(study_id: i64, after: i64, count: usize, questions: usize) -> Result<()> {
    let mut client = client().await?;
    for _ in 0..questions {
        let request = pb::GetTrialsRequest { study_id, included_trial_ids: Vec::new(), trial_id_greater_than: after };
        let trials = client.get_trials(request).await?.into_inner().trials;
        ensure!(trials.len() == count, "{} trials are new, not {count}", trials.len());
    }
    Ok(())
}
