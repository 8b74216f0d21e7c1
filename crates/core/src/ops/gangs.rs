//! How an attempt that spans machines ends: once, however many of its members fail.
//!
//! The first member that does not end well decides what becomes of the attempt; the others are told to stop, and the ends that
//! follow from that count for nothing. The attempt ends in the entry in which its last member does. One that exits with 0
//! has ended well, and gives its place back at once, whatever the others still do.

use heats_domain::FailureKind;

use super::attempts::clip;
use super::retries::{self, Meaning};
use crate::fact::{AttemptEnded, Decides, Fact, MemberEnded};
use crate::gang::Gang;
use crate::state::State;
use crate::sweep::Sweep;
use crate::trial::Trial;

/// The end of one member.
pub(super) struct MemberEnd {
    pub(super) rank: u32,
    /// What it would mean, if it were the whole attempt's.
    pub(super) meaning: Meaning,
    pub(super) ran_ms: u64,
    pub(super) cpu_ms: u64,
    pub(super) max_rss: u64,
    pub(super) detail: String,
}

/// These members of the trial's live `attempt` have ended, which have not before.
pub(super) fn ended(
    state: &State,
    sweep: &Sweep,
    trial: &Trial,
    attempt: u32,
    gang: &Gang,
    ends: impl IntoIterator<Item = MemberEnd>,
) -> Vec<Fact> {
    let mut all: Vec<MemberEnded> = earlier(sweep, trial, attempt).collect();
    let before = all.len();
    for end in ends {
        let MemberEnd { rank, meaning, ran_ms, cpu_ms, max_rss, detail } = end;
        let counts = !trial.state.is_at_rest() && all.iter().all(|other| other.decides.is_none());
        all.push(MemberEnded {
            sweep: sweep.id,
            trial: trial.number,
            attempt,
            rank,
            decides: decides(meaning).filter(|_| counts).map(i32::from),
            failure: meaning.failure().filter(|_| counts).map(i32::from),
            ran_ms,
            cpu_ms,
            max_rss,
            detail,
        });
    }
    let is_last = all.len() == gang.members.len();
    let whole = if is_last { whole(state, sweep, trial, attempt, &all) } else { Vec::new() };
    all.drain(before..).map(Fact::MemberEnded).chain(whole).collect()
}

/// The members of the attempt that have ended, the first of them first.
fn earlier(sweep: &Sweep, trial: &Trial, attempt: u32) -> impl Iterator<Item = MemberEnded> {
    sweep.records(trial).filter_map(move |record| match record.cell.fact.as_ref()? {
        Fact::MemberEnded(fact) if fact.attempt == attempt => Some(fact.clone()),
        _ => None,
    })
}

/// The attempt is over, for `all` its members are: it ran as long as the longest of them.
fn whole(state: &State, sweep: &Sweep, trial: &Trial, attempt: u32, all: &[MemberEnded]) -> Vec<Fact> {
    let cause = all.iter().find(|end| end.decides.is_some());
    let told = cause.or_else(|| all.iter().find(|end| end.rank == 0));
    let detail = told.filter(|end| !end.detail.is_empty()).map(|end| format!("rank {}: {}", end.rank, end.detail));
    let is_at_rest = trial.state.is_at_rest();
    let ended = Fact::AttemptEnded(AttemptEnded {
        sweep: sweep.id,
        trial: trial.number,
        attempt,
        failure: cause.and_then(|end| end.failure).filter(|_| !is_at_rest),
        ran_ms: all.iter().map(|end| end.ran_ms).max().unwrap_or(0),
        cpu_ms: all.iter().map(|end| end.cpu_ms).sum(),
        max_rss: all.iter().map(|end| end.max_rss).max().unwrap_or(0),
        detail: clip(detail.unwrap_or_default()),
        excused: false,
    });
    // A trial that was stopped, paused or cancelled stays so, whatever its processes made of it.
    let settled =
        (!is_at_rest).then(|| retries::settle(state, sweep, trial, cause.map_or(Meaning::Completed, meaning)));
    std::iter::once(ended).chain(settled).collect()
}

/// What a member's end says about the attempt; nothing where it is a good one.
const fn decides(meaning: Meaning) -> Option<Decides> {
    match meaning {
        Meaning::Completed => None,
        Meaning::Infeasible => Some(Decides::Infeasible),
        Meaning::Requeue(_) => Some(Decides::Requeue),
        Meaning::Final(_) => Some(Decides::Final),
        Meaning::Failed(_) => Some(Decides::Failed),
    }
}

/// What the end that decided means for the trial. A kind that is not known was refused when the fact was recorded.
fn meaning(cause: &MemberEnded) -> Meaning {
    let kind = cause.failure.and_then(|code| FailureKind::try_from(code).ok()).unwrap_or(FailureKind::Exit);
    match cause.decides() {
        Decides::Failed => Meaning::Failed(kind),
        Decides::Requeue => Meaning::Requeue(kind),
        Decides::Final => Meaning::Final(kind),
        Decides::Infeasible => Meaning::Infeasible,
    }
}
