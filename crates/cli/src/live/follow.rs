//! Follows a sweep until it ends. Leaves Ctrl-C to the caller: it means something else in `run` than in `watch`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use futures::StreamExt;
use heats_agent::AgentEvent;
use heats_client::Client;
use heats_wire::v1;
use tokio::sync::mpsc;

use super::plain::Plain;
use super::screen::Screen;
use crate::exit::Failure;
use crate::{hints, room, view, words};

/// How often a view changes at most.
const SCREEN_MS: u32 = 200;
const PLAIN_MS: u32 = 500;
/// How often a sweep that says nothing is looked at, for what it waits for.
const IDLE: Duration = Duration::from_secs(2);

/// A sweep at its end.
#[derive(Clone, PartialEq, Debug)]
pub struct Followed {
    /// The sweep.
    pub sweep: v1::Sweep,
    /// The coordinator's clock then.
    pub now_ms: u64,
}

enum View {
    Screen(Screen),
    Plain(Plain),
}

impl View {
    fn new() -> Self {
        if std::io::stderr().is_terminal() && hints::are_wanted() {
            Self::Screen(Screen::new())
        } else {
            Self::Plain(Plain::new())
        }
    }

    fn update(&mut self, sweep: &v1::Sweep) {
        match self {
            Self::Screen(screen) => screen.update(sweep, Instant::now()),
            Self::Plain(plain) => plain.update(sweep, Instant::now()),
        }
    }

    fn say(&self, line: &str) {
        match self {
            Self::Screen(screen) => screen.say(line),
            Self::Plain(plain) => plain.say(line),
        }
    }

    fn agent(&mut self, event: &AgentEvent) {
        let lasting = said_by_agent(event);
        match self {
            Self::Screen(screen) => match (lasting, event) {
                (Some(line), _) => {
                    screen.note("");
                    screen.say(&line);
                }
                (None, AgentEvent::EnvProgress { line }) => screen.note(line),
                (None, _) => {}
            },
            Self::Plain(plain) => {
                if let Some(line) = lasting {
                    plain.say(&line);
                }
            }
        }
    }
}

/// What people are told about what happened to an agent; `None` for what is worth no line of its own.
pub fn said_by_agent(event: &AgentEvent) -> Option<String> {
    match event {
        AgentEvent::EnvBuilding { requirements, tool } => {
            Some(format!("making the environment of {requirements} with {tool}; it is kept for the next time"))
        }
        AgentEvent::EnvReady { took } => {
            Some(format!("the environment is ready after {}", words::duration(took.as_millis() as u64)))
        }
        AgentEvent::EnvFailed { why } => Some(format!("the environment could not be made: {why}")),
        AgentEvent::RunsCold { script, why } => Some(format!("the trials of {script} start cold: {why}")),
        AgentEvent::DiskFull { folder, free, room } => Some(format!(
            "the disk of {} is full, no trial starts: {} are free and {} must be; free some space, and they go on",
            folder.display(),
            words::bytes(*free),
            words::bytes(*room),
        )),
        AgentEvent::DiskHasRoom => Some("there is room on the disk again, and trials start".to_owned()),
        AgentEvent::Refused { why } => Some(format!("the cluster does not take this agent: {why}")),
        AgentEvent::OtherCluster { ended: 0 } => None,
        AgentEvent::OtherCluster { ended } => Some(format!(
            "the cluster was made from a backup, and knows nothing of what ran here: {} ended",
            words::count(*ended as u64, "attempt")
        )),
        AgentEvent::NotLetIn { why } => Some(format!("the agent is not let in: {why}")),
        AgentEvent::Detached { why } => Some(format!("the agent has lost its coordinator: {why}")),
        AgentEvent::EnvProgress { .. } | AgentEvent::Attached { .. } => None,
    }
}

/// Shows `sweep` (an id) until it has ended. `agents` is what the agents of this process tell.
///
/// # Errors
/// The coordinator is gone for longer than the client is patient, or the sweep was removed.
pub async fn follow(
    client: &Client,
    sweep: &str,
    mut agents: Option<mpsc::UnboundedReceiver<AgentEvent>>,
) -> Result<Followed, Failure> {
    let mut view = View::new();
    let min_interval_ms = match &view {
        View::Screen(_) => SCREEN_MS,
        View::Plain(_) => PLAIN_MS,
    };
    let mut summaries = client.watch(v1::WatchRequest { sweep: sweep.to_owned(), min_interval_ms });
    let mut last: Option<Followed> = None;
    let mut look = tokio::time::interval_at(tokio::time::Instant::now() + IDLE, IDLE);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = None;
    loop {
        tokio::select! {
            _ = look.tick() => {
                let Some(Followed { sweep, .. }) = &last else { continue };
                // What came too soon after the summary before it may be the last for long.
                view.update(sweep);
                if let Some(why) = waits_for(client, sweep).await && said.as_ref() != Some(&why) {
                    view.say(&format!("no trial runs: {why}"));
                    said = Some(why);
                }
            }
            summary = summaries.next() => match summary {
                Some(Ok(summary)) => {
                    let now_ms = summary.now_ms;
                    let Some(sweep) = summary.sweep else { continue };
                    view.update(&sweep);
                    last = Some(Followed { sweep, now_ms });
                }
                Some(Err(error)) => return Err(error.into()),
                None => break,
            },
            Some(event) = next(agents.as_mut()) => view.agent(&event),
        }
    }
    match last {
        Some(followed) if view::is_over(followed.sweep.status()) => Ok(followed),
        // The stream ended a moment before the end reached it.
        Some(_) | None => {
            let answer = client.get(sweep).await?;
            Ok(Followed { now_ms: answer.now_ms, sweep: answer.sweep.unwrap_or_default() })
        }
    }
}

/// What a sweep of which nothing runs waits for, as far as it is known; `None` where it does not wait.
async fn waits_for(client: &Client, sweep: &v1::Sweep) -> Option<String> {
    let counts = sweep.counts.unwrap_or_default();
    if sweep.status() != v1::SweepStatus::Running || counts.leased + counts.running > 0 {
        return None;
    }
    // Where the coordinator is away, the stream of summaries tells.
    let agents = client.status().await.ok()?.agents;
    let held = room::what_holds(&view::spec(sweep)?, None, 0, &agents);
    held.or_else(|| Some(sweep.why.clone()).filter(|why| !why.is_empty()))
}

async fn next(agents: Option<&mut mpsc::UnboundedReceiver<AgentEvent>>) -> Option<AgentEvent> {
    match agents {
        Some(agents) => agents.recv().await,
        None => None,
    }
}
