//! The calls, as the leader answers them: each is one change, or one question to the state that a majority has confirmed.

use std::collections::BTreeSet;
use std::sync::Arc;

use heats_core::fact::{Owner, StudyAttribute, StudyParam};
use heats_core::study::{Change, Done, Template};
use heats_core::{Op, Reply, State};
use heats_wire::encoded::{EncodedTrial, EncodedTrials};
use heats_wire::optuna as pb;
use heats_wire::optuna::storage_service_server::StorageService as Service;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::convert;
use super::relay::REQUEST_KEY;
use super::subject::{self, Subject, Subjected};
use crate::edge::entropy;
use crate::edge::zone::Zone;
use crate::node::Node;
use crate::rpc::reading::Reading;
use crate::status::{refused, unanswered};

/// The most trials that a caller may name in one question.
const INCLUDED_MAX: usize = 100_000;

/// The service.
pub struct StorageService {
    node: Node,
    zone: Zone,
}

impl StorageService {
    /// The service of this node.
    pub fn new(node: Node) -> Self {
        Self { node, zone: Zone::system() }
    }

    async fn change(&self, change: Change) -> Result<Done, Status> {
        change.check().map_err(|refusal| refused(&refusal))?;
        let answer = self.node.decider.ask(Op::Study(change)).await.map_err(|error| unanswered(&error))?;
        match answer.reply {
            Reply::Study(done) => Ok(done),
            Reply::Done
            | Reply::Submitted(_)
            | Reply::Enqueued(_)
            | Reply::Retried(_)
            | Reply::Attached(_)
            | Reply::Token(_) => Err(Status::internal("not the reply to a change of a study")),
        }
    }

    /// The id of what a change has made.
    async fn make(&self, change: Change) -> Result<i64, Status> {
        match self.change(change).await? {
            Done::Made(id) => Ok(convert::id(id)),
            Done::Done | Done::Moved(_) => Err(Status::internal("not the reply to making something")),
        }
    }

    /// The number of a study that can be changed. What is a sweep stays one, so that what this node has of them will do.
    fn study(&self, id: i64) -> Result<u64, Status> {
        subject::study(&self.node.replica.state(), id)
    }

    /// Likewise of a trial.
    fn trial(&self, id: i64) -> Result<u64, Status> {
        subject::trial(&self.node.replica.state(), id)
    }

    async fn state(&self) -> Result<Arc<State>, Status> {
        Reading::Fresh.state(&self.node).await
    }

    async fn set_study_attribute(&self, study: i64, owner: Owner, key: String, value: String) -> Result<(), Status> {
        let attribute = StudyAttribute { owner: owner.into(), key, value };
        self.change(Change::SetAttribute { study: self.study(study)?, attribute }).await.map(drop)
    }

    async fn set_trial_attribute(&self, trial: i64, owner: Owner, key: String, value: String) -> Result<(), Status> {
        let attribute = StudyAttribute { owner: owner.into(), key, value };
        self.change(Change::SetTrialAttribute { trial: self.trial(trial)?, attribute }).await.map(drop)
    }
}

/// The number under which the caller may send the request again; 0 for none.
fn request(metadata: &MetadataMap) -> u64 {
    let bytes = metadata.get_bin(REQUEST_KEY).and_then(|value| value.to_bytes().ok());
    bytes.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?))).unwrap_or_default()
}

#[tonic::async_trait]
impl Service for StorageService {
    async fn create_new_study(
        &self,
        call: Request<pb::CreateNewStudyRequest>,
    ) -> Result<Response<pb::CreateNewStudyReply>, Status> {
        let request = request(call.metadata());
        let pb::CreateNewStudyRequest { directions, study_name: name } = call.into_inner();
        let (sweep, goals) = (entropy::sweep_id(self.node.clock.as_ref()), convert::goals(&directions)?);
        let study_id = self.make(Change::Create { sweep, name, goals, request }).await?;
        Ok(Response::new(pb::CreateNewStudyReply { study_id }))
    }

    async fn delete_study(
        &self,
        call: Request<pb::DeleteStudyRequest>,
    ) -> Result<Response<pb::DeleteStudyReply>, Status> {
        let request = request(call.metadata());
        let pb::DeleteStudyRequest { study_id } = call.into_inner();
        self.change(Change::Remove { study: self.study(study_id)?, request }).await?;
        Ok(Response::new(pb::DeleteStudyReply {}))
    }

    async fn set_study_user_attribute(
        &self,
        call: Request<pb::SetStudyUserAttributeRequest>,
    ) -> Result<Response<pb::SetStudyUserAttributeReply>, Status> {
        let pb::SetStudyUserAttributeRequest { study_id, key, value } = call.into_inner();
        self.set_study_attribute(study_id, Owner::User, key, value).await?;
        Ok(Response::new(pb::SetStudyUserAttributeReply {}))
    }

    async fn set_study_system_attribute(
        &self,
        call: Request<pb::SetStudySystemAttributeRequest>,
    ) -> Result<Response<pb::SetStudySystemAttributeReply>, Status> {
        let pb::SetStudySystemAttributeRequest { study_id, key, value } = call.into_inner();
        self.set_study_attribute(study_id, Owner::System, key, value).await?;
        Ok(Response::new(pb::SetStudySystemAttributeReply {}))
    }

    async fn get_study_id_from_name(
        &self,
        call: Request<pb::GetStudyIdFromNameRequest>,
    ) -> Result<Response<pb::GetStudyIdFromNameReply>, Status> {
        let pb::GetStudyIdFromNameRequest { study_name: name } = call.into_inner();
        let state = self.state().await?;
        let study_id = Subject::named(&state, &name)?.study().study_id;
        Ok(Response::new(pb::GetStudyIdFromNameReply { study_id }))
    }

    async fn get_study_name_from_id(
        &self,
        call: Request<pb::GetStudyNameFromIdRequest>,
    ) -> Result<Response<pb::GetStudyNameFromIdReply>, Status> {
        let pb::GetStudyNameFromIdRequest { study_id } = call.into_inner();
        let study_name = Subject::find(&*self.state().await?, study_id)?.study().study_name;
        Ok(Response::new(pb::GetStudyNameFromIdReply { study_name }))
    }

    async fn get_study_directions(
        &self,
        call: Request<pb::GetStudyDirectionsRequest>,
    ) -> Result<Response<pb::GetStudyDirectionsReply>, Status> {
        let pb::GetStudyDirectionsRequest { study_id } = call.into_inner();
        let directions = Subject::find(&*self.state().await?, study_id)?.study().directions;
        Ok(Response::new(pb::GetStudyDirectionsReply { directions }))
    }

    async fn get_study_user_attributes(
        &self,
        call: Request<pb::GetStudyUserAttributesRequest>,
    ) -> Result<Response<pb::GetStudyUserAttributesReply>, Status> {
        let pb::GetStudyUserAttributesRequest { study_id } = call.into_inner();
        let user_attributes = Subject::find(&*self.state().await?, study_id)?.attributes(Owner::User);
        Ok(Response::new(pb::GetStudyUserAttributesReply { user_attributes }))
    }

    async fn get_study_system_attributes(
        &self,
        call: Request<pb::GetStudySystemAttributesRequest>,
    ) -> Result<Response<pb::GetStudySystemAttributesReply>, Status> {
        let pb::GetStudySystemAttributesRequest { study_id } = call.into_inner();
        let system_attributes = Subject::find(&*self.state().await?, study_id)?.attributes(Owner::System);
        Ok(Response::new(pb::GetStudySystemAttributesReply { system_attributes }))
    }

    async fn get_all_studies(
        &self,
        call: Request<pb::GetAllStudiesRequest>,
    ) -> Result<Response<pb::GetAllStudiesReply>, Status> {
        let pb::GetAllStudiesRequest {} = call.into_inner();
        let studies = Subject::all(&*self.state().await?).map(Subject::study).collect();
        Ok(Response::new(pb::GetAllStudiesReply { studies }))
    }

    async fn create_new_trial(
        &self,
        call: Request<pb::CreateNewTrialRequest>,
    ) -> Result<Response<pb::CreateNewTrialReply>, Status> {
        let request = request(call.metadata());
        let pb::CreateNewTrialRequest { study_id, template_trial, template_trial_is_none } = call.into_inner();
        let template = template_trial.filter(|_| !template_trial_is_none);
        let template = template.map(|template| convert::body(template, &self.zone)).transpose()?;
        let template = template.map(|body| Template(Box::new(body)));
        let study = self.study(study_id)?;
        let trial_id = self.make(Change::CreateTrial { study, template, request }).await?;
        Ok(Response::new(pb::CreateNewTrialReply { trial_id }))
    }

    async fn set_trial_parameter(
        &self,
        call: Request<pb::SetTrialParameterRequest>,
    ) -> Result<Response<pb::SetTrialParameterReply>, Status> {
        let pb::SetTrialParameterRequest { trial_id, param_name: name, param_value_internal: value, distribution } =
            call.into_inner();
        let param = StudyParam { name, value, distribution };
        self.change(Change::SetParam { trial: self.trial(trial_id)?, param }).await?;
        Ok(Response::new(pb::SetTrialParameterReply {}))
    }

    async fn get_trial_id_from_study_id_trial_number(
        &self,
        call: Request<pb::GetTrialIdFromStudyIdTrialNumberRequest>,
    ) -> Result<Response<pb::GetTrialIdFromStudyIdTrialNumberReply>, Status> {
        let pb::GetTrialIdFromStudyIdTrialNumberRequest { study_id, trial_number } = call.into_inner();
        let state = self.state().await?;
        let trial = Subject::find(&state, study_id)?.trial_id(trial_number);
        let trial = trial.ok_or_else(|| Status::not_found(format!("the study has no trial {trial_number}")))?;
        Ok(Response::new(pb::GetTrialIdFromStudyIdTrialNumberReply { trial_id: convert::id(trial) }))
    }

    async fn set_trial_state_values(
        &self,
        call: Request<pb::SetTrialStateValuesRequest>,
    ) -> Result<Response<pb::SetTrialStateValuesReply>, Status> {
        let request = request(call.metadata());
        let pb::SetTrialStateValuesRequest { trial_id, state, values } = call.into_inner();
        let (trial, stage) = (self.trial(trial_id)?, convert::stage(state)?);
        let done = self.change(Change::Move { trial, stage, values, request }).await?;
        Ok(Response::new(pb::SetTrialStateValuesReply { trial_updated: done == Done::Moved(true) }))
    }

    async fn set_trial_intermediate_value(
        &self,
        call: Request<pb::SetTrialIntermediateValueRequest>,
    ) -> Result<Response<pb::SetTrialIntermediateValueReply>, Status> {
        let pb::SetTrialIntermediateValueRequest { trial_id, step, intermediate_value: value } = call.into_inner();
        self.change(Change::Report { trial: self.trial(trial_id)?, step, value }).await?;
        Ok(Response::new(pb::SetTrialIntermediateValueReply {}))
    }

    async fn set_trial_user_attribute(
        &self,
        call: Request<pb::SetTrialUserAttributeRequest>,
    ) -> Result<Response<pb::SetTrialUserAttributeReply>, Status> {
        let pb::SetTrialUserAttributeRequest { trial_id, key, value } = call.into_inner();
        self.set_trial_attribute(trial_id, Owner::User, key, value).await?;
        Ok(Response::new(pb::SetTrialUserAttributeReply {}))
    }

    async fn set_trial_system_attribute(
        &self,
        call: Request<pb::SetTrialSystemAttributeRequest>,
    ) -> Result<Response<pb::SetTrialSystemAttributeReply>, Status> {
        let pb::SetTrialSystemAttributeRequest { trial_id, key, value } = call.into_inner();
        self.set_trial_attribute(trial_id, Owner::System, key, value).await?;
        Ok(Response::new(pb::SetTrialSystemAttributeReply {}))
    }

    async fn get_trial(&self, call: Request<pb::GetTrialRequest>) -> Result<Response<EncodedTrial>, Status> {
        let pb::GetTrialRequest { trial_id } = call.into_inner();
        let trial = Subjected::find(&*self.state().await?, trial_id)?.encoded(&self.zone);
        Ok(Response::new(EncodedTrial { trial }))
    }

    async fn get_trials(&self, call: Request<pb::GetTrialsRequest>) -> Result<Response<EncodedTrials>, Status> {
        let pb::GetTrialsRequest { study_id, included_trial_ids, trial_id_greater_than } = call.into_inner();
        if included_trial_ids.len() > INCLUDED_MAX {
            return Err(Status::resource_exhausted(format!("at most {INCLUDED_MAX} trials can be named at once")));
        }
        let state = self.state().await?;
        // All are above -1, which is what a client begins with.
        let after = u64::try_from(trial_id_greater_than).unwrap_or_default();
        let named: BTreeSet<u64> = included_trial_ids.into_iter().filter_map(|id| u64::try_from(id).ok()).collect();
        let trials = Subject::find(&state, study_id)?.trials(&state, after, named.into_iter());
        Ok(Response::new(EncodedTrials { trials: trials.into_iter().map(|trial| trial.encoded(&self.zone)).collect() }))
    }
}
