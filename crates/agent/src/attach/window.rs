//! What is not durable yet, kept to be sent again.

use std::collections::VecDeque;

use heats_wire::v1::from_agent::Message;

use crate::held::Outgoing;

/// How many messages may be on their way.
const WINDOW: usize = 4096;

/// Messages in order, from the first that is not durable: some sent on this stream, the rest not yet.
#[derive(Debug)]
pub(super) struct Window {
    messages: VecDeque<Outgoing>,
    /// The numbers under which the first of them were sent on this stream.
    sent: VecDeque<u64>,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { messages: VecDeque::new(), sent: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.messages.len() < WINDOW
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.sent.len() < self.messages.len()
    }

    pub(super) fn push(&mut self, outgoing: Outgoing) {
        self.messages.push_back(outgoing);
    }

    /// A new stream: nothing is sent on it yet.
    pub(super) fn rewind(&mut self) {
        self.sent.clear();
    }

    /// The first unsent message, which is sent as `seq`.
    pub(super) fn next(&mut self, seq: u64) -> Option<Message> {
        let message = self.messages.get(self.sent.len())?.message().clone();
        self.sent.push_back(seq);
        Some(message)
    }

    /// Everything up to `seq` is durable.
    pub(super) fn acknowledged(&mut self, seq: u64) {
        while self.sent.front().is_some_and(|&sent| sent <= seq) {
            self.sent.pop_front();
            if let Some(outgoing) = self.messages.pop_front() {
                outgoing.durable();
            }
        }
    }
}
