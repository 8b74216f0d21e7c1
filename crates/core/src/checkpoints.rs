//! The catalogue of checkpoints: what the facts about them mean, and which one an attempt goes on from. Which of them are kept
//! is decided in `retention`; where the bytes are and how they get there is the agents' business.

use std::sync::Arc;

use heats_domain::{AgentId, Checkpoint, Object, TrialState};

use crate::fact::{CheckpointDropped, CheckpointSaved, Fact, Record};
use crate::state::{State, live_attempt};
use crate::sweep::Sweep;
use crate::trial::Trial;

/// The newest checkpoint of an attempt: what the same attempt says of this step or an earlier one is a repetition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Saved {
    /// The attempt.
    pub attempt: u32,
    /// The step.
    pub step: u64,
}

impl Trial {
    /// The checkpoint that an attempt goes on from, of those for which `reaches` is true: the latest of a step that was
    /// reported, so that no report is missing; without one, the latest. A fork has the one that it comes from as well, until it
    /// has its own.
    pub fn resumable(&self, reaches: impl Fn(&Checkpoint) -> bool) -> Option<&Checkpoint> {
        let order = |checkpoint: &&Checkpoint| (self.has_reported(checkpoint), checkpoint.step, checkpoint.attempt);
        self.checkpoints.iter().chain(self.origin()).filter(|checkpoint| reaches(checkpoint)).max_by_key(order)
    }

    /// The latest checkpoint of its own of a step that it reported.
    pub fn reported_checkpoint(&self) -> Option<&Checkpoint> {
        let reported = self.checkpoints.iter().filter(|checkpoint| self.has_reported(checkpoint));
        reported.max_by_key(|checkpoint| (checkpoint.step, checkpoint.attempt))
    }

    fn has_reported(&self, checkpoint: &Checkpoint) -> bool {
        self.last_step.is_some_and(|last| checkpoint.step <= last)
    }

    /// The checkpoint of another trial that this one was forked from, as long as an attempt may have to go on from there: it
    /// has not ended for good, and has no checkpoint of its own of a step that it reported.
    pub fn origin(&self) -> Option<&Checkpoint> {
        let is_over = self.state.is_terminal() && self.state != TrialState::Failed;
        let forked = self.forked.as_ref().filter(|_| !is_over && self.reported_checkpoint().is_none())?;
        Some(&forked.from)
    }

    /// Whether the attempt has said this before, or something later.
    pub fn has_saved(&self, attempt: u32, step: u64) -> bool {
        self.saved.is_some_and(|saved| saved.attempt == attempt && step <= saved.step)
    }
}

impl Sweep {
    pub(crate) fn checkpoint_saved(&mut self, fact: &CheckpointSaved) -> Result<(), &'static str> {
        let checkpoint = &fact.checkpoint;
        let (attempt, step) = (checkpoint.attempt, checkpoint.step);
        // Not among the trial's records: there may be one for each report.
        let trial = self.touched(checkpoint.trial)?;
        live_attempt(trial, attempt)?;
        if trial.has_saved(attempt, step) {
            return Err("the attempt has saved a checkpoint of this step, or of a later one");
        }
        trial.saved = Some(Saved { attempt, step });
        trial.checkpoints.push(checkpoint.clone());
        self.sort_stored(checkpoint.trial);
        Ok(())
    }

    pub(crate) fn checkpoint_dropped(&mut self, fact: &CheckpointDropped) -> Result<(), &'static str> {
        let number = fact.checkpoint.trial;
        let trial = self.touched(number)?;
        let place = trial.checkpoints.iter().position(|checkpoint| *checkpoint == fact.checkpoint);
        trial.checkpoints.remove(place.ok_or("the trial has no such checkpoint")?);
        self.sort_stored(number);
        Ok(())
    }

    /// Puts a trial among those with checkpoints, and among those of them whose checkpoints are kept only while they lead.
    pub(crate) fn sort_stored(&mut self, number: u32) {
        let Some(trial) = self.trials.get(number as usize) else { return };
        let has_any = !trial.checkpoints.is_empty();
        let is_final = has_any && trial.state.is_terminal() && trial.state != TrialState::Failed;
        for (set, is_in) in [(&mut self.stored, has_any), (&mut self.finals, is_final)] {
            if is_in {
                set.insert(number);
            } else {
                set.remove(&number);
            }
        }
        self.sort_heir(number);
    }

    /// Puts a fork among those that may have to go on from another trial's checkpoint, or takes it out.
    pub(crate) fn sort_heir(&mut self, number: u32) {
        let Some(forked) = self.trial(number).and_then(|trial| trial.forked.as_ref()) else { return };
        let (parent, needs_it) = (forked.from.trial, self.trial(number).and_then(Trial::origin).is_some());
        let heirs = self.heirs.entry(parent).or_default();
        if needs_it {
            heirs.insert(number);
        } else {
            heirs.remove(&number);
        }
        if heirs.is_empty() {
            self.heirs.remove(&parent);
        }
    }
}

impl State {
    /// The storages that an agent reaches, as it said when it attached last.
    pub fn places(&self, agent: AgentId) -> &[String] {
        self.agent(agent).map_or(&[], |attached| attached.places.as_slice())
    }

    /// Folds in what a fact about a checkpoint or an artifact means beyond its sweep; whether that is all, for the sweep is gone.
    pub(crate) fn note_dropped(&mut self, fact: &Fact, record: impl FnOnce() -> Arc<Record>) -> bool {
        let sweep = match fact {
            Fact::CheckpointDropped(fact) => {
                self.dropped.insert(fact.checkpoint.clone().into(), record());
                fact.checkpoint.sweep
            }
            Fact::ArtifactDropped(fact) => {
                self.dropped.insert(fact.artifact.clone().into(), record());
                fact.artifact.sweep
            }
            Fact::CheckpointErased(fact) => {
                self.dropped.remove(&fact.object);
                fact.object.sweep
            }
            _ => return false,
        };
        !self.sweeps.contains_key(&sweep)
    }

    /// The drops whose sweep is gone: nothing else remembers them.
    pub(crate) fn orphaned_drops(&self) -> impl Iterator<Item = &Arc<Record>> {
        let orphaned = self.dropped.iter().filter(|(object, _)| !self.sweeps.contains_key(&object.sweep));
        orphaned.map(|(_, record)| record)
    }

    /// What an agent is to remove from the storages that it reaches.
    pub fn to_erase(&self, agent: AgentId) -> impl Iterator<Item = &Object> {
        let places = self.places(agent);
        self.dropped.keys().filter(move |object| places.contains(&object.place))
    }
}
