//! The logs of a sweep's attempts: relayed from the agents while those have them, and from the bundles that coordinators keep
//! afterwards. Whoever reads them does not notice which.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use heats_core::ops::attempts::Key;
use heats_core::trial::Attempt;
use heats_core::{Fact, Refusal, State, Sweep, Trial};
use heats_domain::{AgentId, ArchiveName, SweepId};
use heats_wire::bundle::Piece;
use heats_wire::excerpt::Excerpt;
use heats_wire::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::bundles;
use super::lookup::{Answers, find, sweep_ended};
use crate::node::Node;
use crate::relays::{Ask, RelayError, Want};
use crate::status::refused;

/// Attempts that one request follows at once.
const FOLLOWED: usize = 64;
/// How long one request waits for agents that are not attached: longer than an agent that lives needs to find
/// a coordinator that has just started or has just come to lead.
const AGENT_WAIT: Duration = Duration::from_secs(5);

type Lines = mpsc::Sender<Result<v1::LogLine, Status>>;

/// The logs of one process of an attempt.
#[derive(Clone, Copy)]
struct Source {
    key: Key,
    /// Who ran it.
    agent: AgentId,
    /// Which member of the attempt it is, where that spans machines.
    rank: Option<u32>,
}

impl Source {
    /// Those of an attempt, by rank.
    fn all(key: Key, attempt: &Attempt) -> impl Iterator<Item = Self> {
        let spans = attempt.gang.is_some();
        (0..).zip(attempt.agents()).map(move |(rank, agent)| Self { key, agent, rank: spans.then_some(rank) })
    }

    /// An error or a piece of them.
    fn line(self) -> v1::LogLine {
        let Self { key: Key { sweep: _, trial, attempt }, agent: _, rank } = self;
        v1::LogLine { trial, attempt, rank, ..Default::default() }
    }
}

/// Serves one request: one attempt, or every trial's last one; with `follow`, every attempt that runs or will.
pub fn logs(node: &Node, request: v1::LogsRequest) -> Result<Answers<v1::LogLine>, Status> {
    let v1::LogsRequest { sweep, trial, attempt, follow, stdout_only, stderr_only, grep, tail, rank } = request;
    Excerpt::of(&grep, tail).map_err(|error| Status::invalid_argument(format!("`{grep}`: {error}")))?;
    let state = node.replica.state();
    let sweep = find(&state, &sweep)?;
    let until = Instant::now() + AGENT_WAIT;
    let want = move |key| Want { key, follow, stdout_only, stderr_only, grep: grep.clone(), tail };
    let (sender, lines) = mpsc::channel(64);
    let node = node.clone();
    match trial {
        Some(number) => {
            let missing = || refused(&Refusal::NoSuchTrial { sweep: sweep.name.clone(), trial: number });
            let found = sweep.trial(number).ok_or_else(missing)?;
            let attempt = attempt.unwrap_or(found.attempt());
            let Some(holder) = found.attempts.get((attempt as usize).wrapping_sub(1)) else {
                return Err(Status::not_found(format!(
                    "trial {number} has no attempt {attempt}: it has {}",
                    found.attempt()
                )));
            };
            let mut sources: Vec<Source> =
                Source::all(Key { sweep: sweep.id, trial: number, attempt }, holder).collect();
            if let Some(rank) = rank {
                let nodes = sources.len();
                let missing =
                    || Status::not_found(format!("trial {number} spans {nodes} machines: there is no rank {rank}"));
                sources = vec![*sources.get(rank as usize).ok_or_else(missing)?];
            }
            tokio::spawn(async move {
                if follow {
                    let each = sources.into_iter().map(async |source| {
                        started(&node, source, &sender).await;
                        send(&node, source, want(source.key), until, &sender).await;
                    });
                    futures::future::join_all(each).await;
                } else {
                    for source in sources {
                        send(&node, source, want(source.key), until, &sender).await;
                    }
                }
            });
        }
        None if follow => {
            let id = sweep.id;
            tokio::spawn(async move { follow_all(&node, id, want, until, &sender).await });
        }
        None => {
            let sources: Vec<Source> = last_attempts(sweep).collect();
            tokio::spawn(async move {
                for source in sources {
                    if sender.is_closed() {
                        return;
                    }
                    send(&node, source, want(source.key), until, &sender).await;
                }
            });
        }
    }
    Ok(Box::pin(ReceiverStream::new(lines)))
}

fn last_attempts(sweep: &Sweep) -> impl Iterator<Item = Source> + '_ {
    let of = |trial: &Arc<Trial>| {
        let key = Key { sweep: sweep.id, trial: trial.number, attempt: trial.attempt() };
        Some(Source::all(key, trial.attempts.last()?).collect::<Vec<_>>())
    };
    sweep.trials.iter().filter_map(of).flatten()
}

/// The processes that run.
fn live(sweep: &Sweep) -> impl Iterator<Item = Source> + '_ {
    let of = |number: &u32| {
        let (attempt, live) = sweep.trial(*number)?.live()?;
        let runs = |source: &Source| live.holders().any(|h| h.agent == source.agent && h.started_ms.is_some());
        let key = Key { sweep: sweep.id, trial: *number, attempt };
        Some(Source::all(key, live).filter(runs).collect::<Vec<_>>())
    };
    sweep.live.iter().filter_map(of).flatten()
}

/// The processes that began since the journal had `seen` records, and how many it has now. One that began and ended in between
/// is among them.
fn begun(sweep: &Sweep, seen: usize) -> (Vec<Source>, usize) {
    let length = sweep.journal.len();
    let started = sweep.journal.iter_from(seen).filter_map(|record| match record.cell.fact.as_ref()? {
        Fact::TrialStarted(fact) => {
            let attempt = sweep.trial(fact.trial)?.attempts.get((fact.attempt as usize).wrapping_sub(1))?;
            let key = Key { sweep: fact.sweep, trial: fact.trial, attempt: fact.attempt };
            Source::all(key, attempt).nth(fact.rank as usize)
        }
        _ => None,
    });
    (started.collect(), length)
}

/// Waits until the process has started, or never will: before that, its agent may not know of it.
async fn started(node: &Node, Source { key, agent, rank: _ }: Source, lines: &Lines) {
    let mut states = node.replica.watch_state();
    let is_awaited = |state: &State| {
        let trial = state.sweeps.get(&key.sweep).and_then(|sweep| sweep.trial(key.trial));
        let live = trial.and_then(|trial| trial.live()).filter(|(attempt, _)| *attempt == key.attempt);
        let mut held = live.into_iter().flat_map(|(_, attempt)| attempt.holders());
        held.any(|holder| holder.agent == agent && holder.started_ms.is_none())
    };
    tokio::select! {
        // An error means that the node stops.
        _ = states.wait_for(|state| !is_awaited(state)) => {}
        () = lines.closed() => {}
    }
}

/// Follows every attempt that runs now or will, a limited number at once, until the sweep has ended and all was sent.
async fn follow_all(node: &Node, id: SweepId, want: impl Fn(Key) -> Want, until: Instant, lines: &Lines) {
    let mut states = node.replica.watch_state();
    let first = states.borrow_and_update().clone();
    let Some(sweep) = first.sweeps.get(&id) else { return };
    let mut waiting: VecDeque<Source> = live(sweep).collect();
    let mut seen = sweep.journal.len();
    drop(first);
    let mut sending = FuturesUnordered::new();
    loop {
        let state = states.borrow_and_update().clone();
        if let Some(sweep) = state.sweeps.get(&id) {
            let (new, length) = begun(sweep, seen);
            waiting.extend(new);
            seen = length;
        }
        while sending.len() < FOLLOWED
            && let Some(source) = waiting.pop_front()
        {
            sending.push(send(node, source, want(source.key), until, lines));
        }
        if sending.is_empty() && sweep_ended(&state, id) {
            return;
        }
        drop(state);
        tokio::select! {
            _ = sending.next(), if !sending.is_empty() => {}
            changed = states.changed() => if changed.is_err() { return },
            () = lines.closed() => return,
        }
    }
}

/// What the state says of an attempt's logs.
enum Kept {
    /// Coordinators have taken them over.
    In(ArchiveName),
    /// They had, and keep them no longer.
    Dropped(String),
    /// Only the agent has them.
    No,
}

fn kept(state: &Arc<State>, Source { key, agent, rank: _ }: Source) -> Kept {
    let sweep = state.sweeps.get(&key.sweep);
    match sweep.and_then(|sweep| sweep.logs.of(key.trial, key.attempt, agent)) {
        Some((_, bundle)) if bundle.dropped.is_some() => Kept::Dropped(bundle.dropped.clone().unwrap_or_default()),
        Some((name, _)) => name.parse().map_or(Kept::No, Kept::In),
        None => Kept::No,
    }
}

/// Sends one process's logs to their end, or until nobody reads them. Waits for its agent no longer than `until`.
async fn send(node: &Node, source: Source, want: Want, until: Instant, lines: &Lines) {
    let key = source.key;
    let cannot = async |error: String| {
        let line = v1::LogLine { error, ..source.line() };
        // Nobody reads any more where a line cannot be sent: nothing to tell.
        let _reader_gone = lines.send(Ok(line)).await;
    };
    let state = node.replica.state();
    match kept(&state, source) {
        Kept::In(bundle) => match bundles::open(node, &bundle, key.trial, key.attempt).await {
            Ok(pieces) => {
                if let Err(error) = send_kept(pieces, source, &want, lines).await {
                    cannot(format!("what coordinators kept of them cannot be read: {error}")).await;
                }
            }
            // Its agent may have them yet.
            Err(error) => {
                if let Err(gone) = relay(node, source, want, until, lines).await {
                    cannot(format!("{error}; and {gone}")).await;
                }
            }
        },
        Kept::Dropped(why) => {
            // For a while its agent has them still.
            if relay(node, source, want, Instant::now(), lines).await.is_err() {
                cannot(format!("they are no longer kept: {why}")).await;
            }
        }
        Kept::No => {
            if let Err(error) = relay(node, source, want, until, lines).await {
                cannot(format!("{error}; what it has not handed over yet it will when it is back")).await;
            }
        }
    }
}

/// Sends what is in a bundle.
async fn send_kept(
    mut pieces: mpsc::Receiver<std::io::Result<Piece>>,
    source: Source,
    want: &Want,
    lines: &Lines,
) -> std::io::Result<()> {
    let excerpt = || Excerpt::of(&want.grep, want.tail).ok().flatten();
    let mut chosen = [excerpt(), excerpt()];
    let line = |stderr| v1::LogLine { stderr, ..source.line() };
    while let Some(piece) = pieces.recv().await {
        let Piece { stderr, at, data, left_out } = piece?;
        if (stderr && want.stdout_only) || (!stderr && want.stderr_only) {
            continue;
        }
        let data = match &mut chosen[usize::from(stderr)] {
            Some(excerpt) => excerpt.feed(&data),
            None => data,
        };
        // Whoever wants the last lines does not care what is missing before them.
        let is_news = !data.is_empty() || (left_out > 0 && want.tail.is_none());
        if is_news && lines.send(Ok(v1::LogLine { at, data, left_out, ..line(stderr) })).await.is_err() {
            return Ok(());
        }
    }
    for (stderr, excerpt) in [false, true].into_iter().zip(chosen) {
        let data = excerpt.map(Excerpt::finish).unwrap_or_default();
        if !data.is_empty() && lines.send(Ok(v1::LogLine { data, ..line(stderr) })).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Passes what the agent sends on.
///
/// # Errors
/// Where it does not send, or not to the end.
async fn relay(node: &Node, source: Source, want: Want, until: Instant, lines: &Lines) -> Result<(), RelayError> {
    let agent = source.agent;
    let stream = tokio::select! {
        attached = tokio::time::timeout_at(until, node.streams.attached(agent)) => attached,
        () = lines.closed() => return Ok(()),
    };
    let stream = stream.map_err(|_late| RelayError::Away)?;
    let mut relay = node.relays.open(&node.streams, agent, stream, Ask::Log(want))?;
    loop {
        let chunk = tokio::select! {
            chunk = relay.next() => chunk?,
            () = lines.closed() => return Ok(()),
        };
        let Some(v1::LogChunk { id: _, data, stderr, end, error, at, left_out }) = chunk else { return Ok(()) };
        let is_news = !data.is_empty() || left_out > 0 || !error.is_empty();
        let line = v1::LogLine { stderr, data, error, at, left_out, ..source.line() };
        if (is_news && lines.send(Ok(line)).await.is_err()) || end {
            return Ok(());
        }
    }
}
