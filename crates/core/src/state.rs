//! The replicated state: a fold over the log. `apply` reads no clock, draws no number and knows no
//! algorithm, so that replicas that applied the same entries are equal.
//!
//! All maps are persistent: a clone costs the same at any size, which gives the leader its draft, readers
//! their view and snapshots their source without a lock.

mod fold;

use std::iter;
use std::sync::Arc;

use heats_domain::{AgentId, Grant, Object, SweepId, SweepSpec, TokenId};
use imbl::{OrdMap, OrdSet};
use prost::Message;

use crate::fact::{
    AgentAttached, AgentDrained, AgentQuarantined, AgentReleased, Entry, Fact, GpuQuarantined, GpuReleased, Record,
    SweepSubmitted, TokenCreated, TokenRole,
};
use crate::health::Part;
use crate::journal::{Journal, Page, Piece, Run};
use crate::logs::Shelf;
use crate::provenance::Surroundings;
use crate::study::{Studies, Study};
use crate::sweep::Sweep;
use crate::token::Token;
use crate::trial::Attempt;

pub(crate) use fold::live_attempt;

/// Why an entry cannot be applied. None of these can come from a leader of this version: the node stops,
/// and says so, rather than go on with a state that differs from its peers'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A newer version wrote the entry.
    #[error("entry {index} holds a fact that this version does not know: upgrade this node")]
    UnknownFact {
        /// The log index.
        index: u64,
    },
    /// A specification does not read.
    #[error("entry {index} submits sweep `{sweep}` with a specification that this version does not read: {why}")]
    Spec {
        /// The log index.
        index: u64,
        /// The sweep.
        sweep: SweepId,
        /// Why.
        why: String,
    },
    /// A fact contradicts the state.
    #[error("entry {index} says `{fact}`, which contradicts the state: {why}; the log or the snapshot is damaged")]
    Contradiction {
        /// The log index.
        index: u64,
        /// The fact's name.
        fact: &'static str,
        /// Why.
        why: &'static str,
    },
}

/// What one agent holds: a grant for each trial that is leased to it.
pub type Held = OrdMap<(SweepId, u32), Lease>;

/// A live lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The attempt: the fencing token.
    pub attempt: u32,
    /// Which of its members it is of; 0 where the attempt is on one machine.
    pub rank: u32,
    /// What it holds.
    pub grant: Grant,
    /// It takes nothing yet: it waits at the agent for the place of an attempt that runs there.
    pub ahead: bool,
    /// The sweep of higher priority that its place is for: it is being ended.
    pub recalled: Option<SweepId>,
}

/// The last entry that recorded something: a leader's next one follows on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Turn {
    /// The term that it was decided in.
    pub term: u64,
    /// Its number among the entries of that term; 0 where they were not counted yet.
    pub number: u64,
}

impl Turn {
    /// The number of the last entry of `term` that recorded something; 0 where none did.
    pub const fn number_in(self, term: u64) -> u64 {
        if self.term == term { self.number } else { 0 }
    }
}

/// Everything that the cluster knows.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The index of the last entry that was applied.
    pub applied: u64,
    /// The leader's clock in the last entry that recorded something.
    pub at_ms: u64,
    /// The last entry that recorded something.
    pub turn: Turn,
    /// The sweeps, oldest first.
    pub sweeps: OrdMap<SweepId, Arc<Sweep>>,
    /// The agents that ever attached: the record of each one's last inventory.
    pub agents: OrdMap<AgentId, Arc<Record>>,
    /// The agents that are drained: the record of each one's drain.
    pub drains: OrdMap<AgentId, Arc<Record>>,
    /// The machines and GPUs that are or were quarantined: the record of each one's last quarantine or release.
    pub quarantines: OrdMap<Part, Arc<Record>>,
    /// The record of the last restore, where the cluster was made from a backup.
    pub restored: Option<Arc<Record>>,
    /// The live leases, by agent.
    pub leases: OrdMap<AgentId, Held>,
    /// How much projects and users may have: the record of each one's quota, by its scope and name.
    pub quotas: OrdMap<(i32, String), Arc<Record>>,
    /// The tokens that nobody has revoked.
    pub tokens: OrdMap<TokenId, Arc<Token>>,
    /// The checkpoints that are to be removed from their storages: the record of each one's drop.
    pub dropped: OrdMap<Object, Arc<Record>>,
    /// What trials ran in.
    pub surroundings: Surroundings,
    /// The bundles of logs that are kept.
    pub shelf: Shelf,
    /// The sweeps that are driven from outside.
    pub studies: Studies,
    hooked: OrdSet<SweepId>,
    joined: OrdMap<AgentId, Arc<Record>>,
    /// By name. The names are shared: nodes of the map are copied when one is added.
    names: OrdSet<(Arc<str>, SweepId)>,
    requests: OrdMap<u64, SweepId>,
}

impl State {
    /// Records the facts of the log entry at `index`, which was proposed in `log_term`; whether it did. It does not where
    /// they were decided on a state that is not this one.
    ///
    /// # Errors
    /// See [`ApplyError`]; the state is then half changed and must not be used any more.
    pub fn apply(&mut self, index: u64, log_term: u64, entry: Entry) -> Result<bool, ApplyError> {
        self.applied = index;
        // A leader that was deposed between deciding and proposing did not know what came to be in between. One whose
        // proposal was refused (it had not heard from a majority for a while) and whose next was not, either.
        let Entry { term, at_ms, facts, number, after } = entry;
        let follows = number == 0 || after == self.turn.number_in(term);
        if term != log_term || !follows {
            return Ok(false);
        }
        self.turn = Turn { term, number };
        self.at_ms = self.at_ms.max(at_ms);
        for cell in facts {
            self.record(Arc::new(Record { log_index: index, at_ms, cell }))?;
        }
        Ok(true)
    }

    /// Records one fact at its place in the log.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub fn record(&mut self, record: Arc<Record>) -> Result<(), ApplyError> {
        let index = record.log_index;
        self.at_ms = self.at_ms.max(record.at_ms);
        let Some(fact) = record.cell.fact.as_ref() else {
            return Err(ApplyError::UnknownFact { index });
        };
        if self.note_dropped(fact, || Arc::clone(&record)) {
            return Ok(());
        }
        match fact {
            Fact::SweepSubmitted(fact) => self.submitted(fact, &record)?,
            Fact::SweepRemoved(fact) => {
                if let Some(sweep) = self.sweeps.remove(&fact.sweep) {
                    self.shelf.forget(&sweep);
                    self.hooked.remove(&fact.sweep);
                    self.names.remove(&(sweep.name.as_str().into(), sweep.id));
                    if let Some((submitted, _)) = sweep.submitted() {
                        self.requests.remove(&submitted.request);
                    }
                    self.forget_surroundings(&sweep);
                }
            }
            Fact::AgentAttached(fact) => {
                self.agents.insert(fact.agent, Arc::clone(&record));
            }
            Fact::TokenCreated(fact) => self.token_created(fact, &record)?,
            Fact::TokenUsed(fact) => {
                // One that was revoked meanwhile is not there any more.
                if let Some(token) = self.tokens.get_mut(&fact.token) {
                    Arc::make_mut(token).used(fact.agent, Arc::clone(&record));
                }
            }
            Fact::TokenRevoked(fact) => {
                self.tokens.remove(&fact.token);
            }
            Fact::AgentJoined(fact) => {
                self.joined.insert(fact.agent, Arc::clone(&record));
            }
            Fact::AgentDrained(fact) => {
                self.drains.insert(fact.agent, Arc::clone(&record));
            }
            Fact::AgentUndrained(fact) => {
                self.drains.remove(&fact.agent);
            }
            Fact::AgentQuarantined(AgentQuarantined { agent, .. })
            | Fact::AgentReleased(AgentReleased { agent, .. }) => {
                self.quarantines.insert(Part::machine(*agent), Arc::clone(&record));
            }
            Fact::GpuQuarantined(GpuQuarantined { gpu, quarantine: AgentQuarantined { agent, .. } })
            | Fact::GpuReleased(GpuReleased { gpu, release: AgentReleased { agent, .. } }) => {
                self.quarantines.insert(Part::gpu(*agent, *gpu), Arc::clone(&record));
            }
            Fact::QuotaSet(fact) => {
                self.quotas.insert((fact.scope, fact.name.clone()), Arc::clone(&record));
            }
            Fact::QuotaRemoved(fact) => {
                self.quotas.remove(&(fact.scope, fact.name.clone()));
            }
            Fact::EnvironmentRecorded(_) | Fact::HardwareRecorded(_) => self.keep_surroundings(fact, &record),
            Fact::Study(fact) => {
                let event = fact.event.as_ref().ok_or(ApplyError::UnknownFact { index })?;
                let contradiction = |why| ApplyError::Contradiction { index, fact: event.name(), why };
                self.studies.record(event, &record).map_err(contradiction)?;
            }
            Fact::ClusterRestored(_) => self.restored = Some(Arc::clone(&record)),
            Fact::SweepPaused(_)
            | Fact::SweepResumed(_)
            | Fact::SweepDrained(_)
            | Fact::SweepEdited(_)
            | Fact::SweepEnded(_)
            | Fact::SweepReopened(_)
            | Fact::PointEnqueued(_)
            | Fact::TrialCreated(_)
            | Fact::TrialLeased(_)
            | Fact::TrialStarted(_)
            | Fact::TrialReported(_)
            | Fact::TrialSettled(_)
            | Fact::TrialResumed(_)
            | Fact::TrialSpared(_)
            | Fact::AttemptEnded(_)
            | Fact::AttemptExcused(_)
            | Fact::MemberEnded(_)
            | Fact::TrialRecalled(_)
            | Fact::CheckpointSaved(_)
            | Fact::CheckpointDropped(_)
            | Fact::CheckpointErased(_)
            | Fact::ArtifactKept(_)
            | Fact::ArtifactDropped(_)
            | Fact::ArtifactNotKept(_)
            | Fact::LogsKept(_)
            | Fact::LogsDropped(_)
            | Fact::NoticeDelivered(_)
            | Fact::HookGivenUp(_)
            | Fact::NoticeRead(_)
            | Fact::TrialPlaced(_) => {
                self.fold(fact, &record, |journal| journal.push(Arc::clone(&record)))?;
            }
        }
        #[cfg(debug_assertions)]
        if let Some(sweep) = record.cell.fact.as_ref().and_then(Fact::sweep).and_then(|id| self.sweeps.get(&id)) {
            crate::invariants::assert_touched(self, sweep, fact);
        }
        Ok(())
    }

    /// Folds in a fact about a sweep or its trials; `keep` has its journal take the record.
    fn fold(&mut self, fact: &Fact, record: &Record, keep: impl FnOnce(&mut Journal)) -> Result<(), ApplyError> {
        let contradiction = |why| ApplyError::Contradiction { index: record.log_index, fact: fact.name(), why };
        if let Fact::TrialStarted(fact) = fact
            && !self.knows(fact)
        {
            return Err(contradiction("what it ran in was not recorded"));
        }
        let id = fact.sweep().ok_or_else(|| contradiction("it names no sweep"))?;
        let sweep = self.sweeps.get_mut(&id).ok_or_else(|| contradiction("there is no such sweep"))?;
        let sweep = Arc::make_mut(sweep);
        keep(&mut sweep.journal);
        sweep.record(fact, record).map_err(contradiction)?;
        match fact {
            Fact::TrialLeased(fact) => {
                let (attempt, ahead) = (fact.attempt, fact.ahead);
                let others = fact.members.iter().map(|member| (member.agent, &member.grant));
                for (rank, (agent, grant)) in (0..).zip(iter::once((fact.agent, &fact.grant)).chain(others)) {
                    let lease = Lease { attempt, rank, grant: grant.clone(), ahead, recalled: None };
                    self.leases.entry(agent).or_default().insert((fact.sweep, fact.trial), lease);
                }
            }
            // Of a gang, every member's lease is over already.
            Fact::AttemptEnded(fact) => {
                let agent = last_attempt(sweep, fact.trial).map(|attempt| attempt.agent);
                release(&mut self.leases, agent, (fact.sweep, fact.trial));
            }
            Fact::MemberEnded(fact) => {
                let attempt = last_attempt(sweep, fact.trial);
                let agent = attempt.and_then(|attempt| attempt.member(fact.rank)).map(|member| member.agent);
                release(&mut self.leases, agent, (fact.sweep, fact.trial));
            }
            Fact::TrialPlaced(fact) => {
                change(sweep, &mut self.leases, fact.trial, |lease| lease.ahead = false);
            }
            Fact::TrialRecalled(fact) => {
                change(sweep, &mut self.leases, fact.trial, |lease| lease.recalled = Some(fact.by));
            }
            Fact::LogsKept(_) | Fact::LogsDropped(_) => self.shelve(fact, record),
            _ => {}
        }
        Ok(())
    }

    fn token_created(&mut self, fact: &TokenCreated, record: &Arc<Record>) -> Result<(), ApplyError> {
        let contradiction = |why| ApplyError::Contradiction { index: record.log_index, fact: "token_created", why };
        if TokenRole::try_from(fact.role).is_err() {
            return Err(contradiction("this version does not know the token's role"));
        }
        if self.tokens.contains_key(&fact.token) {
            return Err(contradiction("the token exists"));
        }
        self.tokens.insert(fact.token, Arc::new(Token::new(Arc::clone(record))));
        Ok(())
    }

    fn submitted(&mut self, fact: &SweepSubmitted, record: &Arc<Record>) -> Result<(), ApplyError> {
        let index = record.log_index;
        if self.sweeps.contains_key(&fact.sweep) {
            return Err(ApplyError::Contradiction { index, fact: "sweep_submitted", why: "the sweep exists" });
        }
        let spec: SweepSpec = serde_json::from_str(&fact.spec).map_err(|error| ApplyError::Spec {
            index,
            sweep: fact.sweep,
            why: error.to_string(),
        })?;
        self.names.insert((fact.name.as_str().into(), fact.sweep));
        self.requests.insert(fact.request, fact.sweep);
        if !spec.notify.is_empty() {
            self.hooked.insert(fact.sweep);
        }
        self.sweeps.insert(fact.sweep, Arc::new(Sweep::new(fact, spec, Arc::clone(record))));
        Ok(())
    }

    /// The sweep that a user means by a name, an id, or `last`.
    pub fn find(&self, text: &str) -> Option<&Arc<Sweep>> {
        if let Ok(id) = text.parse::<SweepId>() {
            return self.sweeps.get(&id);
        }
        match self.newest_named(text) {
            None if text == "last" => self.sweeps.get_max().map(|(_, sweep)| sweep),
            named => named,
        }
    }

    /// The study that a user means, in the same words; where a name is that of a sweep as well, the study.
    pub fn find_study(&self, text: &str) -> Option<&Arc<Study>> {
        if let Ok(id) = text.parse::<SweepId>() {
            return self.studies.of_sweep(id);
        }
        let newest = self.sweeps.get_max().map(|(id, _)| *id);
        let is_last = |study: &&Arc<Study>| newest.is_none_or(|newest| study.sweep > newest);
        match self.studies.named(text) {
            None if text == "last" && self.newest_named(text).is_none() => self.studies.newest().filter(is_last),
            named => named,
        }
    }

    /// The newest sweep of this name.
    pub fn newest_named(&self, name: &str) -> Option<&Arc<Sweep>> {
        self.named(name).next_back()
    }

    /// The sweep of this name that has not ended. There is at most one.
    pub fn live_named(&self, name: &str) -> Option<&Arc<Sweep>> {
        self.named(name).find(|sweep| !sweep.is_ended())
    }

    /// The sweeps of this name, the oldest first.
    fn named(&self, name: &str) -> impl DoubleEndedIterator<Item = &Arc<Sweep>> {
        let name: Arc<str> = name.into();
        let named = (Arc::clone(&name), SweepId { bits: 0 })..=(name, SweepId { bits: u64::MAX });
        self.names.range(named).filter_map(|(_, id)| self.sweeps.get(id))
    }

    /// The first id from this one on that neither a sweep nor a study has: two that are submitted in one millisecond may have drawn
    /// the same.
    pub fn free_id(&self, drawn: SweepId) -> SweepId {
        let is_taken = |id: &SweepId| self.sweeps.contains_key(id) || self.studies.of_sweep(*id).is_some();
        let mut id = drawn;
        while is_taken(&id) {
            id = SweepId { bits: id.bits.wrapping_add(1) };
        }
        id
    }

    /// The sweeps with webhooks.
    pub fn hooked(&self) -> impl Iterator<Item = (SweepId, &Arc<Sweep>)> {
        self.hooked.iter().filter_map(|id| Some((*id, self.sweeps.get(id)?)))
    }

    /// The sweep that a submit request made, where it was carried out before.
    pub fn by_request(&self, request: u64) -> Option<&Arc<Sweep>> {
        self.requests.get(&request).and_then(|id| self.sweeps.get(id))
    }

    /// An agent's last attachment.
    pub fn agent(&self, agent: AgentId) -> Option<&AgentAttached> {
        match self.agents.get(&agent)?.cell.fact.as_ref()? {
            Fact::AgentAttached(fact) => Some(fact),
            _ => None,
        }
    }

    /// An agent's drain and when it was, milliseconds since the Unix epoch; `None` where it is not drained.
    pub fn drain(&self, agent: AgentId) -> Option<(&AgentDrained, u64)> {
        let record = self.drains.get(&agent)?;
        match record.cell.fact.as_ref()? {
            Fact::AgentDrained(fact) => Some((fact, record.at_ms)),
            _ => None,
        }
    }

    /// The quarantine of a machine or a GPU and when it was last said, milliseconds since the Unix epoch; `None` where it is in none.
    pub fn quarantine(&self, part: Part) -> Option<(&AgentQuarantined, u64)> {
        let record = self.quarantines.get(&part)?;
        match record.cell.fact.as_ref()? {
            Fact::AgentQuarantined(quarantine) | Fact::GpuQuarantined(GpuQuarantined { quarantine, .. }) => {
                Some((quarantine, record.at_ms))
            }
            _ => None,
        }
    }

    /// An agent's machine and its GPUs, as far as they are quarantined.
    pub fn quarantined(&self, agent: AgentId) -> impl Iterator<Item = (Part, &AgentQuarantined)> {
        let own = self.quarantines.range(Part::machine(agent)..=Part::gpu(agent, u32::MAX));
        own.filter_map(|(part, _)| Some((*part, self.quarantine(*part)?.0)))
    }

    /// The log index at which a machine or a GPU was last released from a quarantine; 0 where it never was.
    pub fn released_at(&self, part: Part) -> u64 {
        let is_released =
            |record: &&Arc<Record>| matches!(record.cell.fact, Some(Fact::AgentReleased(_) | Fact::GpuReleased(_)));
        self.quarantines.get(&part).filter(is_released).map_or(0, |record| record.log_index)
    }

    /// Which cluster this is, among those that were made from each other's backups; 0 where it was made from none.
    pub fn lineage(&self) -> u64 {
        match self.restored.as_ref().and_then(|record| record.cell.fact.as_ref()) {
            Some(Fact::ClusterRestored(fact)) => fact.lineage,
            _ => 0,
        }
    }

    /// The hash of the key by which an agent joined, where it did.
    pub fn agent_key(&self, agent: AgentId) -> Option<&[u8]> {
        match self.joined.get(&agent)?.cell.fact.as_ref()? {
            Fact::AgentJoined(fact) => Some(&fact.key),
            _ => None,
        }
    }

    /// Everything that the state follows from, in an order that depends on nothing but its content:
    /// what trials ran in, then sweeps with their journals, then agents, their drains and their quarantines, then quotas, then
    /// tokens, then the last restore, then drops of checkpoints whose sweep is gone, then studies.
    ///
    /// Agents come after sweeps: while one journal after the other is replayed, leases overlap that never did, and
    /// there is no inventory yet that they could exceed.
    pub fn records(&self) -> impl Iterator<Item = Arc<Record>> {
        self.listed(|journal| journal.iter(), |record| record)
    }

    /// As [`State::records`], with what journals have packed as it is. A snapshot is this list.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.listed(Journal::pieces, Piece::Record)
    }

    fn listed<'a, T: 'a, J: Iterator<Item = T> + 'a>(
        &'a self,
        journal: impl Fn(&'a Journal) -> J + 'a,
        one: impl Fn(Arc<Record>) -> T + Copy + 'a,
    ) -> impl Iterator<Item = T> + 'a {
        let journals = self.sweeps.values().flat_map(move |sweep| journal(&sweep.journal));
        let tokens = self.tokens.values().flat_map(|token| token.records()).chain(self.joined.values());
        let others = self.agents.values();
        let others = others.chain(self.drains.values()).chain(self.quarantines.values()).chain(self.quotas.values());
        let others = others.chain(tokens).chain(&self.restored).chain(self.orphaned_drops());
        let others = others.cloned().chain(self.studies.records());
        self.surroundings.records().cloned().map(one).chain(journals).chain(others.map(one))
    }

    /// The state that these records make, as it was after the entry at `applied`, when `turn` was the last that had recorded
    /// something.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub fn from_records(
        applied: u64,
        turn: Turn,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Self, ApplyError> {
        let runs = records.into_iter().map(|record| Run { records: vec![record], page: None });
        Self::from_runs(applied, turn, runs)
    }

    /// As [`State::from_records`], of what [`State::pieces`] had unpacked.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub fn from_runs(applied: u64, turn: Turn, runs: impl IntoIterator<Item = Run>) -> Result<Self, ApplyError> {
        let mut state = Self { turn, ..Self::default() };
        for Run { records, page } in runs {
            let sweep = records.first().and_then(|record| record.cell.fact.as_ref()?.sweep());
            let records = match (&page, sweep) {
                (Some(page), Some(sweep)) => match state.fold_page(sweep, page, records)? {
                    Some(records) => records,
                    None => continue,
                },
                _ => records,
            };
            for record in records {
                state.record(Arc::new(record))?;
            }
            if let Some(page) = page
                && let Some(sweep) = sweep.and_then(|sweep| state.sweeps.get_mut(&sweep))
            {
                Arc::make_mut(sweep).journal.adopt_pushed(page);
            }
        }
        state.applied = applied;
        Ok(state)
    }

    /// Folds in the records of a page, which the sweep's journal then has as it is; the records, where it cannot be so.
    fn fold_page(
        &mut self,
        id: SweepId,
        page: &Arc<Page>,
        mut records: Vec<Record>,
    ) -> Result<Option<Vec<Record>>, ApplyError> {
        let is_own = |record: &Record| record.cell.fact.as_ref().is_some_and(|fact| fact.sweep() == Some(id));
        let takes = self.sweeps.get(&id).is_some_and(|sweep| sweep.journal.takes(page));
        if !takes || !records.iter().all(is_own) {
            return Ok(Some(records));
        }
        for record in &records {
            let Some(fact) = &record.cell.fact else { continue };
            self.at_ms = self.at_ms.max(record.at_ms);
            self.note_dropped(fact, || Arc::new(record.clone()));
            self.fold(fact, record, |journal| journal.read(record.log_index))?;
        }
        if let Some((sweep, last)) = self.sweeps.get_mut(&id).zip(records.pop()) {
            Arc::make_mut(sweep).journal.adopt(Arc::clone(page), last);
        }
        Ok(None)
    }

    /// Equal for states that applied the same entries (invariant R1).
    pub fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.applied.to_le_bytes());
        if self.turn.number > 0 {
            hasher.update(&self.turn.term.to_le_bytes());
            hasher.update(&self.turn.number.to_le_bytes());
        }
        for record in self.records() {
            hasher.update(&record.encode_length_delimited_to_vec());
        }
        hasher.finalize()
    }
}

fn last_attempt(sweep: &Sweep, trial: u32) -> Option<&Attempt> {
    sweep.trial(trial)?.attempts.last().map(Arc::as_ref)
}

/// The agent holds nothing of the trial any more.
fn release(leases: &mut OrdMap<AgentId, Held>, agent: Option<AgentId>, trial: (SweepId, u32)) {
    if let Some(held) = agent.and_then(|agent| leases.get_mut(&agent)) {
        held.remove(&trial);
    }
}

/// Changes the leases of a trial's last attempt.
fn change(sweep: &Sweep, leases: &mut OrdMap<AgentId, Held>, trial: u32, how: impl Fn(&mut Lease)) {
    let agents = last_attempt(sweep, trial).into_iter().flat_map(Attempt::holders).map(|holder| holder.agent);
    for agent in agents {
        leases.get_mut(&agent).and_then(|held| held.get_mut(&(sweep.id, trial))).into_iter().for_each(&how);
    }
}
