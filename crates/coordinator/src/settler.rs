//! What comes after a decision: its entry is waited for, then whoever asked is answered and agents are told.

use std::pin::Pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use heats_core::{Entry, Refusal, Reply, State};
use heats_replica::{ProposeError, Proposed};
use tokio::sync::mpsc;

use crate::decider::{Answer, Answered, AskError};
use crate::streams::Streams;

/// What became of a proposal, once it is known.
pub type Outcome = Pin<Box<dyn Future<Output = Result<Proposed, ProposeError>> + Send>>;

/// An entry that is on its way, with those who wait for it.
pub struct Turn {
    /// What was decided; `None` where nothing is to be recorded.
    pub entry: Option<Entry>,
    /// What becomes of the entry.
    pub outcome: Option<Outcome>,
    /// The last entry that was committed when this was decided: what was decided rests on it and all before.
    pub seen: u64,
    /// What each is told once it is recorded.
    pub waiting: Vec<(Result<Reply, Refusal>, Answered)>,
}

/// Waits for the entries in their order, answers those who asked, and tells the agents, each by the `state` that is applied
/// by then. Ends at the first entry that was not recorded. An answer that records nothing, such as a refusal, rests on this
/// node's state alone: it is given once a majority has confirmed that this node `leads`, for one that does not know yet that
/// another does would refuse what was made there.
pub async fn settle(
    state: impl Fn() -> Arc<State> + Send,
    leads: impl Fn() -> BoxFuture<'static, bool> + Send,
    streams: Streams,
    reign: u64,
    mut turns: mpsc::Receiver<Turn>,
) {
    let mut log_index = state().applied;
    while let Some(Turn { entry, outcome, seen, waiting }) = turns.recv().await {
        // Where nothing is to be recorded, the answer still holds at all that others may have been answered by then: entries that
        // are none of this task's, such as a change of members, have indices, too.
        log_index = log_index.max(seen);
        if let Some(outcome) = outcome {
            match outcome.await {
                Ok(Proposed { index, recorded: true }) => log_index = index,
                Ok(Proposed { recorded: false, .. }) => return not_leader(waiting, None),
                Err(ProposeError::NotLeader { leader }) => {
                    return not_leader(waiting, leader.map(|(_, address)| address));
                }
                Err(ProposeError::Stopped) => {
                    for (_, answered) in waiting {
                        let _ = answered.send(Err(AskError::Stopped));
                    }
                    return;
                }
            }
        } else if !leads().await {
            // Nothing that was decided depends on it.
            not_leader(waiting, None);
            continue;
        }
        if let Some(entry) = &entry {
            streams.route(&state(), entry);
        }
        for (reply, answered) in waiting {
            // A caller that went away needs no answer.
            let _ = answered.send(reply.map(|reply| Answer { reply, log_index, reign }).map_err(AskError::Refused));
        }
    }
}

fn not_leader(waiting: Vec<(Result<Reply, Refusal>, Answered)>, leader: Option<String>) {
    for (_, answered) in waiting {
        let _ = answered.send(Err(AskError::NotLeader { leader: leader.clone() }));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    /// What a majority says of this node.
    fn leading(leads: bool) -> impl Fn() -> BoxFuture<'static, bool> {
        move || std::future::ready(leads).boxed()
    }

    type Told = oneshot::Receiver<Result<Answer, AskError>>;

    /// A turn whose entry came to this, and what the one who waits for it is told.
    fn turn(outcome: Result<Proposed, ProposeError>) -> (Turn, Told) {
        let (answered, told) = oneshot::channel();
        let outcome: Outcome = Box::pin(std::future::ready(outcome));
        let waiting = vec![(Ok(Reply::Done), answered)];
        (Turn { entry: Some(Entry::default()), outcome: Some(outcome), seen: 4, waiting }, told)
    }

    /// What those are told who wait for three entries, of which the second came to `outcome` and the others were recorded.
    async fn told(outcome: Result<Proposed, ProposeError>) -> Vec<Option<Result<u64, AskError>>> {
        let recorded = |index| Ok(Proposed { index, recorded: true });
        let (sender, turns) = mpsc::channel(3);
        let mut waiting = Vec::new();
        for outcome in [recorded(5), outcome, recorded(7)] {
            let (turn, told) = turn(outcome);
            assert!(sender.send(turn).await.is_ok(), "there is room");
            waiting.push(told);
        }
        drop(sender);
        settle(|| Arc::new(State::default()), leading(true), Streams::default(), 1, turns).await;
        let mut answers = Vec::new();
        for told in waiting {
            answers.push(told.await.ok().map(|answer| answer.map(|answer| answer.log_index)));
        }
        answers
    }

    #[tokio::test]
    async fn nobody_is_told_that_something_was_done_which_was_not_recorded() {
        // The log has the entry, and it changed nothing there: it was decided in a term that was over.
        let answers = told(Ok(Proposed { index: 6, recorded: false })).await;
        assert_eq!(answers, [Some(Ok(5)), Some(Err(AskError::NotLeader { leader: None })), None]);
    }

    #[tokio::test]
    async fn an_answer_that_records_nothing_is_not_older_than_what_others_were_told_before_it_was_asked_for() {
        let (sender, turns) = mpsc::channel(3);
        let (recorded, first) = turn(Ok(Proposed { index: 5, recorded: true }));
        let (answered, second) = oneshot::channel();
        // Two changes of members came between.
        let nothing = Turn { entry: None, outcome: None, seen: 7, waiting: vec![(Ok(Reply::Done), answered)] };
        for turn in [recorded, nothing] {
            assert!(sender.send(turn).await.is_ok(), "there is room");
        }
        drop(sender);
        settle(|| Arc::new(State::default()), leading(true), Streams::default(), 1, turns).await;
        let index =
            |told: Result<Result<Answer, AskError>, _>| told.ok().and_then(Result::ok).map(|answer| answer.log_index);
        assert_eq!((index(first.await), index(second.await)), (Some(5), Some(7)));
    }

    #[tokio::test]
    async fn a_refusal_is_told_by_nobody_who_leads_no_more() {
        let refusal = Refusal::NoSuchSweep("a".to_owned());
        for (leads, expected) in
            [(true, AskError::Refused(refusal.clone())), (false, AskError::NotLeader { leader: None })]
        {
            let (sender, turns) = mpsc::channel(2);
            let (answered, told) = oneshot::channel();
            let refused = Turn { entry: None, outcome: None, seen: 4, waiting: vec![(Err(refusal.clone()), answered)] };
            // What is recorded after it is answered all the same.
            let (recorded, next) = turn(Ok(Proposed { index: 5, recorded: true }));
            for turn in [refused, recorded] {
                assert!(sender.send(turn).await.is_ok(), "there is room");
            }
            drop(sender);
            settle(|| Arc::new(State::default()), leading(leads), Streams::default(), 1, turns).await;
            assert_eq!(told.await.expect("is answered"), Err(expected));
            assert_eq!(next.await.expect("is answered").map(|answer| answer.log_index), Ok(5));
        }
    }

    #[tokio::test]
    async fn what_follows_an_entry_that_was_refused_is_not_answered_either() {
        let leader = Some((2, "b:1".to_owned()));
        let answers = told(Err(ProposeError::NotLeader { leader })).await;
        assert_eq!(answers, [Some(Ok(5)), Some(Err(AskError::NotLeader { leader: Some("b:1".into()) })), None]);
        assert_eq!(told(Err(ProposeError::Stopped)).await, [Some(Ok(5)), Some(Err(AskError::Stopped)), None]);
    }
}
