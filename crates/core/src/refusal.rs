//! Why an operation is not carried out. Each refusal has a stable code with a page in `docs/errors/`.

use heats_domain::space::ParamError;
use heats_domain::{AgentId, ArchiveName, SweepId, TokenId};

/// A refused operation: nothing was recorded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No sweep has this name or id.
    #[error("there is no sweep `{0}`")]
    NoSuchSweep(String),
    /// The sweep has no trial of this number.
    #[error("sweep `{sweep}` has no trial {trial}")]
    NoSuchTrial {
        /// The sweep's name.
        sweep: String,
        /// The trial.
        trial: u32,
    },
    /// A live sweep has the name.
    #[error("a sweep named `{name}` is running: `{sweep}`")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        sweep: SweepId,
    },
    /// The sweep is over.
    #[error("sweep `{0}` has ended")]
    Ended(String),
    /// The sweep is still going.
    #[error("sweep `{0}` has not ended")]
    NotEnded(String),
    /// The caller does not hold the trial.
    #[error("attempt {attempt} of trial {sweep}/{trial} is not live")]
    Stale {
        /// The sweep.
        sweep: SweepId,
        /// The trial.
        trial: u32,
        /// What the caller named.
        attempt: u32,
    },
    /// The new budget is below what exists.
    #[error("sweep `{name}` has {created} trials: its budget cannot become {asked}")]
    BelowCreated {
        /// The sweep's name.
        name: String,
        /// Its trials.
        created: u32,
        /// What was asked for.
        asked: u32,
    },
    /// A point does not fit the space.
    #[error("the point does not fit the space: {0}")]
    Point(#[from] ParamError),
    /// As many points wait as may.
    #[error("{0} points are enqueued already, which is the limit")]
    QueueFull(usize),
    /// A population has all the members that it begins with.
    #[error("the population of sweep `{name}` has all of its {members} members")]
    PopulationFull {
        /// The sweep.
        name: String,
        /// How many there are.
        members: u32,
    },
    /// The budget leaves no trial for the point.
    #[error("sweep `{name}` has created all of its {max} trials")]
    BudgetUsed {
        /// The sweep's name.
        name: String,
        /// Its budget.
        max: u32,
    },
    /// There is nothing to try again.
    #[error("sweep `{0}` has no failed trial among those named")]
    NothingFailed(String),
    /// A report is larger than a report may be.
    #[error("a report holds at most {limit} metrics with names of at most {name_limit} bytes")]
    ReportTooLarge {
        /// The most metrics.
        limit: usize,
        /// The longest name.
        name_limit: usize,
    },
    /// A text is larger than the log takes.
    #[error("{what} is {bytes} bytes long: at most {limit} are kept")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The specification is not a valid one.
    #[error("the specification is not valid: {0}")]
    Spec(String),
    /// There is no such token, or it was revoked.
    #[error("there is no token `{0}`")]
    NoSuchToken(String),
    /// The token lets nobody join any more.
    #[error("the join token `{token}` {why}")]
    TokenSpent {
        /// The token.
        token: TokenId,
        /// It has expired, or was used as often as it may be, or is none.
        why: &'static str,
    },
    /// As many tokens exist as may.
    #[error("there are {0} tokens already, which is the limit")]
    TokensFull(usize),
    /// Another key has joined as this agent.
    #[error("agent `{0}` has joined with another key")]
    OtherKey(AgentId),
    /// A sweep that is to be learned from teaches nothing.
    #[error("nothing can be learned from sweep `{name}`: {why}")]
    NothingToLearn {
        /// The earlier sweep's name.
        name: String,
        /// Why.
        why: String,
    },
    /// No study or trial has this number.
    #[error("there is no {what} with the id {id}")]
    NoSuchId {
        /// A study, or a trial.
        what: &'static str,
        /// The number.
        id: u64,
    },
    /// A finished trial of a study is to be changed.
    #[error("trial {0} is finished, and does not change any more")]
    TrialFinished(u64),
    /// What a client wants to write to a study is not what its place takes.
    #[error("{0}")]
    StudyInput(String),
    /// There are as many as there may be.
    #[error("there are {limit} of {what} already, which is the limit")]
    StudyFull {
        /// What.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// No agent has this name or id.
    #[error("there is no agent `{0}`")]
    NoSuchAgent(String),
    /// Several agents have the name.
    #[error("agents {} are all named `{name}`", ids(agents))]
    AmbiguousAgent {
        /// The name.
        name: String,
        /// Who has it; the first of them, where they are many.
        agents: Vec<AgentId>,
    },
    /// The agent comes from another cluster.
    #[error("this cluster was made from a backup, and what the agent holds is another cluster's")]
    OtherLineage {
        /// This cluster's lineage.
        lineage: u64,
    },
    /// No coordinator has the archive of the code.
    #[error("no coordinator has the archive `{0}`")]
    NoArchive(ArchiveName),
    /// The coordinators do not take the archive of the code.
    #[error("the code cannot be stored: {0}")]
    ArchivesFull(String),
}

fn ids(agents: &[AgentId]) -> String {
    agents.iter().map(|agent| format!("`{agent}`")).collect::<Vec<_>>().join(", ")
}

impl Refusal {
    /// The stable code, the name of its page in `docs/errors/`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchSweep(_) => "H0001",
            Self::NoSuchTrial { .. } => "H0002",
            Self::NameTaken { .. } => "H0003",
            Self::Ended(_) => "H0004",
            Self::NotEnded(_) => "H0005",
            Self::Stale { .. } => "H0006",
            Self::BelowCreated { .. } => "H0007",
            Self::Point(_) => "H0008",
            Self::QueueFull(_) => "H0009",
            Self::BudgetUsed { .. } => "H0010",
            Self::PopulationFull { .. } => "H0040",
            Self::NothingFailed(_) => "H0011",
            Self::ReportTooLarge { .. } => "H0012",
            Self::TooLarge { .. } => "H0013",
            Self::Spec(_) => "H0014",
            Self::NoSuchToken(_) => "H0016",
            Self::TokenSpent { .. } => "H0017",
            Self::TokensFull(_) => "H0018",
            Self::OtherKey(_) => "H0019",
            Self::NoSuchAgent(_) => "H0020",
            Self::AmbiguousAgent { .. } => "H0021",
            Self::OtherLineage { .. } => "H0022",
            Self::NothingToLearn { .. } => "H0023",
            Self::NoArchive(_) => "H0024",
            Self::ArchivesFull(_) => "H0025",
            Self::NoSuchId { .. } => "H0060",
            Self::TrialFinished(_) => "H0061",
            Self::StudyInput(_) => "H0062",
            Self::StudyFull { .. } => "H0063",
        }
    }

    /// What the caller can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoSuchSweep(_) => "`heats ls --all` lists every sweep",
            Self::NoSuchTrial { .. } => "`heats trials SWEEP` lists its trials",
            Self::NameTaken { .. } => {
                "choose another with --name, or end that sweep with `heats stop` or `heats cancel`"
            }
            Self::Ended(_) => "raise its budget with `heats edit SWEEP --trials +N`, or submit it again",
            Self::NotEnded(_) => "end it first with `heats stop` or `heats cancel`",
            Self::Stale { .. } => "the lease is over: stop this process",
            Self::BelowCreated { .. } => "trials that exist are never taken back; `heats stop` ends the sweep early",
            Self::Point(_) => "`heats show SWEEP` prints the space",
            Self::QueueFull(_) => "wait until some have become trials",
            Self::PopulationFull { .. } => "submit another sweep, with the point in its `search.enqueue`",
            Self::BudgetUsed { .. } => "raise it with `heats edit SWEEP --trials +N` first",
            Self::NothingFailed(_) => "`heats trials SWEEP --where 'state == \"failed\"'` lists them",
            Self::ReportTooLarge { .. } => "report fewer metrics, or write them to a file",
            Self::TooLarge { .. } => "make it smaller",
            Self::Spec(_) => "`heats check FILE` shows every error with its line",
            Self::NoSuchToken(_) => "`heats token ls` lists them; a revoked one does not come back: make another",
            Self::TokenSpent { .. } => "ask an admin for another: `heats token create --role agent`",
            Self::TokensFull(_) => "revoke some with `heats token revoke`; expired ones make room by themselves",
            Self::OtherKey(_) => {
                "its data directory lost its key, or was copied: start the agent with an empty data directory"
            }
            Self::NoSuchAgent(_) => "`heats agent ls -o wide` lists every agent with its id",
            Self::OtherLineage { .. } => {
                "an agent of this version ends what it holds and comes again by itself; upgrade it"
            }
            Self::NothingToLearn { .. } => "remove it from `search.from`, or name another sweep there",
            Self::AmbiguousAgent { .. } => "name it by its id: `heats agent ls -o wide`",
            Self::NoArchive(_) => "submit the sweep again: `heats submit` sends its code along",
            Self::NoSuchId { .. } => "`heats ls` lists the studies; what was removed does not come back",
            Self::TrialFinished(_) => "ask for a new trial: `study.ask()`",
            Self::StudyInput(_) => "Optuna's own clients write nothing of the kind: look at what does",
            Self::StudyFull { .. } => "remove what is not needed, or make another study",
            Self::ArchivesFull(_) => "leave files out with `code.exclude`, or have an operator make room",
        }
    }
}
