//! Follows a sweep until it ends. Leaves Ctrl-C to the caller: it means something else in `run` than in `watch`.

use std::io::IsTerminal;
use std::time::Instant;

use futures::StreamExt;
use heats_agent::AgentEvent;
use heats_client::Client;
use heats_wire::v1;
use tokio::sync::mpsc;

use super::plain::Plain;
use super::screen::Screen;
use crate::exit::Failure;
use crate::{hints, view, words};

/// How often a view changes at most.
const SCREEN_MS: u32 = 200;
const PLAIN_MS: u32 = 500;

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
    let mut last = None;
    loop {
        tokio::select! {
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

async fn next(agents: Option<&mut mpsc::UnboundedReceiver<AgentEvent>>) -> Option<AgentEvent> {
    match agents {
        Some(agents) => agents.recv().await,
        None => None,
    }
}
