//! The users' calls. Reads answer from what this node has applied; writes go to the decider.

use std::sync::Arc;
use std::time::Duration;

use heats_core::ops::attempts::Key;
use heats_core::ops::submit::Submit;
use heats_core::placement::Usage;
use heats_core::{Op, Refusal, Reply, State, Sweep};
use heats_replica::Leadership;
use heats_wire::v1::sweeps_server::Sweeps;
use heats_wire::{v1, views};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::lookup::{Answers, find, sweep_ended};
use super::reading::Reading;
use super::{archives, artifacts, events, fleet, logs, notices, placing, series, studies};
use crate::caller::Caller;
use crate::decider::Answer;
use crate::edge::entropy;
use crate::node::Node;
use crate::status::{refused, unanswered};

/// The most trials in one answer.
pub(super) const PAGE: usize = 10_000;
/// The most sweeps in one answer.
const SWEEPS: usize = 1_000;

/// The service.
pub struct SweepsService {
    node: Node,
}

impl SweepsService {
    /// The service of this node.
    pub const fn new(node: Node) -> Self {
        Self { node }
    }

    /// What a question with this metadata is answered from.
    async fn state(&self, metadata: &MetadataMap) -> Result<Arc<State>, Status> {
        Reading::of(metadata).state(&self.node).await
    }

    async fn ask(&self, op: Op) -> Result<Answer, Status> {
        self.node.decider.ask(op).await.map_err(|error| unanswered(&error))
    }

    /// Carries out an operation on a sweep that is named in a request; the sweep as it is afterwards.
    async fn change(&self, sweep: &str, op: impl FnOnce(&Sweep) -> Op) -> Result<(Answer, Option<v1::Sweep>), Status> {
        let id = {
            let state = Reading::Fresh.state(&self.node).await?;
            let sweep = find(&state, sweep)?;
            (sweep.id, op(sweep))
        };
        let answer = self.ask(id.1).await?;
        let after = self.node.replica.state().sweeps.get(&id.0).map(|sweep| views::sweep(sweep));
        Ok((answer, after))
    }
}

/// A sweep's summary, with what holds it back where something does.
fn standing(state: &State, usage: &Usage, sweep: &Sweep, now_ms: u64) -> v1::Sweep {
    let summary = views::sweep(sweep);
    match placing::held_back(state, usage, sweep, now_ms) {
        Some(why) => v1::Sweep { why, ..summary },
        None => summary,
    }
}

#[tonic::async_trait]
impl Sweeps for SweepsService {
    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let v1::SubmitRequest { request, spec, base_dir, name, provenance, code } = request.into_inner();
        let user = placing::user(caller.as_ref(), &provenance);
        let spec = crate::admission::admit(&spec)?;
        archives::settled(&self.node, &code).await?;
        let name = Some(name).filter(|name| !name.is_empty());
        let submit = Submit {
            sweep: entropy::sweep_id(self.node.clock.as_ref()),
            request,
            spec,
            name,
            seed: entropy::bits() >> 32,
            base_dir,
            provenance,
            code,
            user,
        };
        let answer = self.ask(Op::Submit(Box::new(submit))).await?;
        let Reply::Submitted(submitted) = answer.reply else {
            return Err(Status::internal("not the reply to a submit"));
        };
        let state = self.node.replica.state();
        let warning = state.sweeps.get(&submitted.sweep).and_then(|sweep| placing::warning(&state, sweep));
        Ok(Response::new(v1::SubmitResponse {
            sweep: Some(submitted.sweep),
            name: submitted.name,
            existed: submitted.existed,
            warning: warning.unwrap_or_default(),
        }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let state = self.state(request.metadata()).await?;
        let v1::ListRequest { all, limit } = request.into_inner();
        let limit = if limit == 0 { SWEEPS } else { (limit as usize).min(SWEEPS) };
        let sweeps = state.sweeps.values().rev().filter(|sweep| all || !sweep.is_ended()).take(limit);
        let (usage, now_ms) = (Usage::of(&state), self.node.clock.now_ms());
        let mut sweeps: Vec<v1::Sweep> = sweeps.map(|sweep| standing(&state, &usage, sweep, now_ms)).collect();
        sweeps.extend(state.studies.iter().rev().take(limit).map(|study| heats_wire::study::views::sweep(study)));
        sweeps.sort_by_key(|sweep| std::cmp::Reverse(sweep.id));
        sweeps.truncate(limit);
        Ok(Response::new(v1::ListResponse { log_index: state.applied, now_ms, sweeps }))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let state = self.state(request.metadata()).await?;
        let v1::GetRequest { sweep, assess } = request.into_inner();
        let now_ms = self.node.clock.now_ms();
        if let Some(study) = state.find_study(&sweep) {
            return Ok(Response::new(studies::get(&state, study, now_ms)));
        }
        let sweep = find(&state, &sweep)?;
        Ok(Response::new(v1::GetResponse {
            log_index: state.applied,
            now_ms,
            sweep: Some(standing(&state, &Usage::of(&state), sweep, now_ms)),
            early_stopping: assess.then(|| views::early_stopping(sweep)).flatten(),
            quarantines: views::quarantines(&state, sweep),
        }))
    }

    async fn trials(&self, request: Request<v1::TrialsRequest>) -> Result<Response<v1::TrialsResponse>, Status> {
        let state = self.state(request.metadata()).await?;
        let request = request.into_inner();
        if let Some(study) = state.find_study(&request.sweep) {
            return studies::trials(&state, study, request).map(Response::new);
        }
        let v1::TrialsRequest { sweep, best_first, limit, from, numbers } = request;
        let sweep = find(&state, &sweep)?;
        let limit = if limit == 0 { PAGE } else { (limit as usize).min(PAGE) };
        let mut next = None;
        let trials = if !numbers.is_empty() {
            let missing = |trial| refused(&Refusal::NoSuchTrial { sweep: sweep.name.clone(), trial });
            let found: Result<Vec<_>, _> =
                numbers.iter().take(limit).map(|&n| sweep.trial(n).ok_or_else(|| missing(n))).collect();
            found?
        } else if best_first && sweep.has_several() {
            sweep.front().into_iter().take(limit).collect()
        } else if best_first {
            sweep.leaderboard().take(limit).collect()
        } else {
            let count = sweep.trials.len();
            let from = (from as usize).min(count);
            let end = from.saturating_add(limit).min(count);
            next = (end < count).then_some(end as u32);
            sweep.trials.focus().narrow(from..end).into_iter().map(Arc::as_ref).collect()
        };
        let trials = trials.into_iter().map(|trial| views::summary(sweep, trial)).collect();
        Ok(Response::new(v1::TrialsResponse { log_index: state.applied, trials, next }))
    }

    async fn trial(&self, request: Request<v1::TrialRequest>) -> Result<Response<v1::TrialResponse>, Status> {
        let state = self.state(request.metadata()).await?;
        let v1::TrialRequest { sweep, trial, sample } = request.into_inner();
        if let Some(study) = state.find_study(&sweep) {
            return studies::trial(&state, study, trial, sample as usize).map(Response::new);
        }
        let sweep = find(&state, &sweep)?;
        let trial = series::trial(sweep, trial)?;
        let sample = series::sample(sweep, trial, sample as usize);
        let mut response = v1::TrialResponse { sample, ..views::trial(&state, sweep, trial) };
        if let (Some((attempt, live)), Some(last)) = (trial.live(), response.attempts.last_mut()) {
            let key = Key { sweep: sweep.id, trial: trial.number, attempt };
            last.waits_for = fleet::waits_for(&self.node, live.agent, key);
        }
        Ok(Response::new(response))
    }

    type SeriesStream = Answers<v1::SeriesChunk>;

    async fn series(&self, request: Request<v1::SeriesRequest>) -> Result<Response<Self::SeriesStream>, Status> {
        let state = self.state(request.metadata()).await?;
        let request = request.into_inner();
        if let Some(study) = state.find_study(&request.sweep) {
            return studies::series(&state, study, &request).map(Response::new);
        }
        series::series(&state, request)
    }

    type EventsStream = Answers<v1::EventBatch>;

    async fn events(&self, request: Request<v1::EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        let reading = Reading::of(request.metadata());
        let state = reading.state(&self.node).await?;
        let request = request.into_inner();
        let answers = match state.find_study(&request.sweep) {
            Some(study) => studies::events(&self.node, study.number, &request),
            None => events::events(&self.node, request)?,
        };
        Ok(Response::new(reading.while_fresh(&self.node, answers)))
    }

    type WatchStream = Answers<v1::GetResponse>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let reading = Reading::of(request.metadata());
        let state = reading.state(&self.node).await?;
        let v1::WatchRequest { sweep, min_interval_ms } = request.into_inner();
        let interval = Duration::from_millis(u64::from(min_interval_ms.clamp(20, 60_000)));
        if let Some(study) = state.find_study(&sweep) {
            let answers = studies::watch(&self.node, study.number, interval);
            return Ok(Response::new(reading.while_fresh(&self.node, answers)));
        }
        drop(state);
        let mut states = self.node.replica.watch_state();
        let id = find(&states.borrow_and_update().clone(), &sweep)?.id;
        let clock = self.node.clock.clone();
        let (sender, answers) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut seen = 0;
            loop {
                let state = states.borrow_and_update().clone();
                let Some(sweep) = state.sweeps.get(&id) else { return };
                let length = sweep.journal.len();
                if length != seen {
                    seen = length;
                    let sweep = Some(views::sweep(sweep));
                    let (log_index, now_ms) = (state.applied, clock.now_ms());
                    let quarantines = Vec::new();
                    let answer = v1::GetResponse { log_index, now_ms, sweep, early_stopping: None, quarantines };
                    if sender.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
                if sweep_ended(&state, id) {
                    return;
                }
                drop(state);
                tokio::select! {
                    changed = states.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
                // Whoever waits for the end waits no longer than that.
                tokio::select! {
                    () = tokio::time::sleep(interval) => {}
                    _ended = states.wait_for(|state| sweep_ended(state, id)) => {}
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Response::new(reading.while_fresh(&self.node, Box::pin(ReceiverStream::new(answers)))))
    }

    type LogsStream = Answers<v1::LogLine>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        // Agents are attached to the leader: nobody else can ask them.
        Reading::Fresh.state(&self.node).await?;
        let answers = logs::logs(&self.node, request.into_inner())?;
        Ok(Response::new(Reading::Fresh.while_fresh(&self.node, answers)))
    }

    type ArtifactStream = Answers<v1::ArtifactPiece>;

    async fn artifact(&self, request: Request<v1::ArtifactRequest>) -> Result<Response<Self::ArtifactStream>, Status> {
        Reading::Fresh.state(&self.node).await?;
        let answers = artifacts::artifact(&self.node, request.into_inner())?;
        Ok(Response::new(Reading::Fresh.while_fresh(&self.node, answers)))
    }

    async fn next_notice(
        &self,
        request: Request<v1::NextNoticeRequest>,
    ) -> Result<Response<v1::NextNoticeResponse>, Status> {
        notices::next(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn read_notice(
        &self,
        request: Request<v1::ReadNoticeRequest>,
    ) -> Result<Response<v1::ReadNoticeResponse>, Status> {
        let v1::ReadNoticeRequest { sweep, reader, place } = request.into_inner();
        let (answer, _) = self.change(&sweep, |sweep| Op::ReadNotice { sweep: sweep.id, reader, place }).await?;
        Ok(Response::new(v1::ReadNoticeResponse { log_index: answer.log_index }))
    }

    async fn control(&self, request: Request<v1::ControlRequest>) -> Result<Response<v1::ControlResponse>, Status> {
        let request = request.into_inner();
        let verb = request.verb();
        let v1::ControlRequest { sweep, trial, verb: _ } = request;
        let op = match (trial, verb) {
            (None, verb) => Ok((verb, None)),
            (Some(trial), v1::Verb::Cancel) => Ok((v1::Verb::Cancel, Some(trial))),
            (Some(_), _) => Err(Status::invalid_argument("a single trial can only be cancelled")),
        }?;
        let (answer, sweep) = self
            .change(&sweep, |sweep| match op {
                (_, Some(trial)) => Op::CancelTrial(sweep.id, trial),
                (verb, None) => Op::Control(sweep.id, verb.into()),
            })
            .await?;
        Ok(Response::new(v1::ControlResponse { log_index: answer.log_index, sweep }))
    }

    async fn edit(&self, request: Request<v1::EditRequest>) -> Result<Response<v1::EditResponse>, Status> {
        let request = request.into_inner();
        let edit = (&request).into();
        let (answer, sweep) = self.change(&request.sweep, |sweep| Op::Edit(sweep.id, edit)).await?;
        Ok(Response::new(v1::EditResponse { log_index: answer.log_index, sweep }))
    }

    async fn enqueue(&self, request: Request<v1::EnqueueRequest>) -> Result<Response<v1::EnqueueResponse>, Status> {
        let v1::EnqueueRequest { sweep, params } = request.into_inner();
        let params = params.unwrap_or_default();
        let (answer, _) = self.change(&sweep, |sweep| Op::Enqueue(sweep.id, params)).await?;
        let Reply::Enqueued(waiting) = answer.reply else {
            return Err(Status::internal("not the reply to an enqueue"));
        };
        Ok(Response::new(v1::EnqueueResponse { log_index: answer.log_index, waiting }))
    }

    async fn retry(&self, request: Request<v1::RetryRequest>) -> Result<Response<v1::RetryResponse>, Status> {
        let v1::RetryRequest { sweep, trials } = request.into_inner();
        let (answer, _) = self.change(&sweep, |sweep| Op::Retry(sweep.id, trials)).await?;
        let Reply::Retried(trials) = answer.reply else { return Err(Status::internal("not the reply to a retry")) };
        Ok(Response::new(v1::RetryResponse { log_index: answer.log_index, trials }))
    }

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Result<Response<v1::RemoveResponse>, Status> {
        let v1::RemoveRequest { sweep } = request.into_inner();
        let study = Reading::Fresh.state(&self.node).await?.find_study(&sweep).map(|study| study.sweep);
        let answer = match study {
            Some(study) => self.ask(Op::Remove(study)).await?,
            None => self.change(&sweep, |sweep| Op::Remove(sweep.id)).await?.0,
        };
        Ok(Response::new(v1::RemoveResponse { log_index: answer.log_index }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let node = &self.node;
        let status = node.replica.status();
        let state = node.replica.state();
        let (leader, leader_address) = match node.replica.leadership().borrow().clone() {
            Leadership::Leader { .. } => (Some(node.config.node_id), String::new()),
            Leadership::Follower { leader: Some((id, address)), .. } => (Some(id), address),
            Leadership::Follower { leader: None, .. } => (None, String::new()),
        };
        let agents = state.agents.keys().filter_map(|&agent| fleet::status(node, &state, agent));
        Ok(Response::new(v1::StatusResponse {
            node: node.config.node_id,
            term: status.term,
            leader,
            leader_address,
            log_index: status.last_log.unwrap_or(0),
            applied_index: state.applied,
            snapshot_index: status.snapshot.unwrap_or(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            agents: agents.collect(),
            data_dir: node.config.data_dir.display().to_string(),
        }))
    }
}
