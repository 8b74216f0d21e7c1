//! What the leader and readers say about notices: delivered, given up, read.

use heats_domain::SweepId;

use super::{Decision, sweep};
use crate::fact::{Fact, HookGivenUp, NoticeDelivered, NoticeRead};
use crate::refusal::Refusal;
use crate::state::State;

/// The longest name of a reader, in bytes.
pub const READER_MAX: usize = 128;

/// A webhook has taken a notice. Twice changes nothing.
///
/// # Errors
/// There is no such sweep.
pub fn delivered(state: &State, id: SweepId, hook: u32, place: u32) -> Decision<()> {
    let told = sweep(state, id)?.notices.hooks.get(hook as usize);
    let is_news = told.is_some_and(|told| place >= told.next && told.given_up.is_none());
    let fact = is_news.then_some(Fact::NoticeDelivered(NoticeDelivered { sweep: id, hook, place }));
    Ok((fact.into_iter().collect(), ()))
}

/// Nothing more is sent to a webhook. Twice changes nothing.
///
/// # Errors
/// There is no such sweep.
pub fn give_up(state: &State, id: SweepId, hook: u32, why: String) -> Decision<()> {
    let told = sweep(state, id)?.notices.hooks.get(hook as usize);
    let is_news = told.is_some_and(|told| told.given_up.is_none());
    let fact = is_news.then_some(Fact::HookGivenUp(HookGivenUp { sweep: id, hook, why }));
    Ok((fact.into_iter().collect(), ()))
}

/// A reader has dealt with a notice. Twice changes nothing.
///
/// # Errors
/// There is no such sweep, or the reader's name is too long.
pub fn read(state: &State, id: SweepId, reader: String, place: u32) -> Decision<()> {
    if reader.len() > READER_MAX {
        return Err(Refusal::TooLarge { what: "the reader's name", bytes: reader.len(), limit: READER_MAX });
    }
    let sweep = sweep(state, id)?;
    let is_news = (place as usize) < sweep.journal.len() && !sweep.has_read(&reader, place);
    let fact = is_news.then_some(Fact::NoticeRead(NoticeRead { sweep: id, reader, place }));
    Ok((fact.into_iter().collect(), ()))
}
