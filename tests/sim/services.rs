//! Questions of users and operators, answered by the services that real ones call.

use heats_coordinator::Node;
use heats_domain::TrialState;
use heats_testkit::Seen;
use heats_wire::optuna as pb;
use heats_wire::optuna::storage_service_server::StorageService;
use heats_wire::v1;
use heats_wire::v1::change_request::Step;
use heats_wire::v1::cluster_server::Cluster;
use heats_wire::v1::sweeps_server::Sweeps;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::coordinator::{address, node_at};
use crate::net::{Reply, Request};
use crate::operator::Order;
use crate::program::Demand;

/// The leader that a status names.
pub fn leader_of(status: &Status) -> Option<u64> {
    node_at(status.metadata().get("heats-leader")?.to_str().ok()?)
}

/// Answers a question.
pub async fn answer(node: &Node, request: Request) -> Reply {
    serve(node, request).await.unwrap_or_else(|status| {
        let retry = [Code::FailedPrecondition, Code::Unavailable, Code::ResourceExhausted].contains(&status.code());
        Reply::No { leader: leader_of(&status), for_good: !retry }
    })
}

async fn serve(node: &Node, request: Request) -> Result<Reply, Status> {
    let sweeps = node.sweeps();
    let name = |bits| heats_domain::SweepId { bits }.to_string();
    match request {
        Request::Submit(request) => sweeps.submit(tonic::Request::new(request)).await.map(|reply| {
            let reply = reply.into_inner();
            Reply::Submitted { sweep: reply.sweep.map_or(0, |id| id.bits), existed: reply.existed }
        }),
        Request::Read(sweep) => {
            let request = v1::GetRequest { sweep: name(sweep), assess: false };
            sweeps.get(tonic::Request::new(request)).await.map(|reply| {
                let reply = reply.into_inner();
                let created = reply.sweep.as_ref().and_then(|sweep| sweep.counts).map_or(0, |counts| counts.created);
                let trials = reply.sweep.and_then(|sweep| sweep.trials_max).unwrap_or_default();
                Reply::Sweep { log_index: reply.log_index, created, trials }
            })
        }
        Request::Trials(sweep) => {
            let request = v1::TrialsRequest { sweep: name(sweep), limit: 8, ..v1::TrialsRequest::default() };
            sweeps.trials(tonic::Request::new(request)).await.map(|reply| {
                let v1::TrialsResponse { log_index, trials, .. } = reply.into_inner();
                Reply::Trials { log_index, trials: trials.iter().map(seen).collect() }
            })
        }
        Request::Control { sweep, pause } => {
            let verb = if pause { v1::Verb::Pause } else { v1::Verb::Resume };
            let request = v1::ControlRequest { sweep: name(sweep), trial: None, verb: verb.into() };
            sweeps
                .control(tonic::Request::new(request))
                .await
                .map(|reply| Reply::Done { log_index: reply.into_inner().log_index })
        }
        Request::Grow { sweep, trials } => {
            let request = v1::EditRequest { sweep: name(sweep), trials: Some(trials), ..Default::default() };
            sweeps
                .edit(tonic::Request::new(request))
                .await
                .map(|reply| Reply::Done { log_index: reply.into_inner().log_index })
        }
        Request::Study(demand) => study(node, demand).await,
        Request::Operate(order) => operate(node, order).await,
    }
}

async fn study(node: &Node, demand: Demand) -> Result<Reply, Status> {
    let studies = node.studies();
    match demand {
        Demand::Study { request } => {
            let message = pb::CreateNewStudyRequest { directions: vec![0], study_name: "study".to_owned() };
            let made = studies.create_new_study(numbered(request, message)).await?;
            Ok(Reply::Made(made.into_inner().study_id))
        }
        Demand::Trial { study: study_id, request } => {
            let message = pb::CreateNewTrialRequest { study_id, template_trial: None, template_trial_is_none: true };
            let made = studies.create_new_trial(numbered(request, message)).await?;
            Ok(Reply::Made(made.into_inner().trial_id))
        }
        Demand::Report { trial: trial_id, step, value: intermediate_value } => {
            let message = pb::SetTrialIntermediateValueRequest { trial_id, step, intermediate_value };
            studies.set_trial_intermediate_value(tonic::Request::new(message)).await?;
            Ok(Reply::Obeyed)
        }
        Demand::End { trial: trial_id, value, request } => {
            let state = pb::TrialState::Complete.into();
            let message = pb::SetTrialStateValuesRequest { trial_id, state, values: vec![value] };
            let moved = studies.set_trial_state_values(numbered(request, message)).await?;
            Ok(Reply::Moved(moved.into_inner().trial_updated))
        }
    }
}

/// A call that may be made again under the same number.
fn numbered<T>(number: u64, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert_bin("heats-request-bin", MetadataValue::from_bytes(&number.to_be_bytes()));
    request
}

fn seen(trial: &v1::TrialSummary) -> Seen {
    Seen {
        trial: trial.number,
        attempts: trial.attempts,
        last_step: trial.last_step.unwrap_or_default(),
        over: TrialState::try_from(trial.state).is_ok_and(TrialState::is_terminal),
    }
}

async fn operate(node: &Node, order: Order) -> Result<Reply, Status> {
    let cluster = node.cluster();
    let (step, member) = match order {
        Order::Learn(member) => (Step::Learn, member),
        Order::Vote(member) => (Step::Vote, member),
        Order::Leave(member) => (Step::Leave, member),
        Order::Transfer(to) => {
            let request = v1::TransferRequest { to };
            return cluster.transfer(tonic::Request::new(request)).await.map(|_| Reply::Obeyed);
        }
        Order::Snapshot => {
            let taken = cluster.snapshot(tonic::Request::new(v1::SnapshotRequest {})).await;
            return taken.map(|reply| Reply::Done { log_index: reply.into_inner().index });
        }
        Order::Drain { agent, now } => {
            let (agent, reason, by) = (agent.to_string(), String::new(), "operator".to_owned());
            let request = v1::DrainAgentRequest { agent, reason, by, now };
            let drained = cluster.drain_agent(tonic::Request::new(request)).await;
            return drained.map(|reply| Reply::Done { log_index: reply.into_inner().log_index });
        }
        Order::Undrain(agent) => {
            let request = v1::UndrainAgentRequest { agent: agent.to_string() };
            let undrained = cluster.undrain_agent(tonic::Request::new(request)).await;
            return undrained.map(|reply| Reply::Done { log_index: reply.into_inner().log_index });
        }
        Order::Release(agent) => {
            let request = v1::ReleaseAgentRequest { agent: agent.to_string(), by: "operator".to_owned() };
            let released = cluster.release_agent(tonic::Request::new(request)).await;
            return released.map(|reply| Reply::Done { log_index: reply.into_inner().log_index });
        }
    };
    let request = v1::ChangeRequest { step: step.into(), node: member, address: address(member) };
    let members = cluster.change(tonic::Request::new(request)).await?.into_inner().members;
    Ok(Reply::Members(members.into_iter().map(|member| (member.node, member.voter)).collect()))
}
