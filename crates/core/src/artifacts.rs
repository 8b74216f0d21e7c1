//! What trials keep for people: what the facts about artifacts mean. Where the bytes are is the agents' business, as with
//! checkpoints; nothing goes on from an artifact.

use heats_domain::Artifact;

use crate::fact::{ArtifactDropped, ArtifactKept, ArtifactNotKept};
use crate::state::live_attempt;
use crate::sweep::Sweep;
use crate::trial::Trial;

impl Trial {
    /// The artifact of this name.
    pub fn artifact(&self, name: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.name == name)
    }
}

impl Sweep {
    pub(crate) fn artifact_kept(&mut self, fact: &ArtifactKept) -> Result<(), &'static str> {
        let artifact = &fact.artifact;
        let trial = self.touched(artifact.trial)?;
        live_attempt(trial, artifact.attempt)?;
        if trial.artifact(&artifact.name).is_some() {
            return Err("the trial keeps something under this name already");
        }
        trial.artifacts.push(artifact.clone());
        trial.not_kept.retain(|other| other.name != artifact.name);
        Ok(())
    }

    pub(crate) fn artifact_dropped(&mut self, fact: &ArtifactDropped) -> Result<(), &'static str> {
        let trial = self.touched(fact.artifact.trial)?;
        let place = trial.artifacts.iter().position(|artifact| *artifact == fact.artifact);
        trial.artifacts.remove(place.ok_or("the trial has no such artifact")?);
        Ok(())
    }

    pub(crate) fn artifact_not_kept(&mut self, fact: &ArtifactNotKept) -> Result<(), &'static str> {
        let not_kept = &fact.not_kept;
        let trial = self.touched(not_kept.trial)?;
        live_attempt(trial, not_kept.attempt)?;
        trial.not_kept.retain(|other| other.name != not_kept.name);
        trial.not_kept.push(not_kept.clone());
        Ok(())
    }
}
