//! The outbox: what is to be told outside of the cluster, and who was told how far. It follows from the facts of a sweep, in
//! their order, so that whoever leads next goes on where the last one was.
//!
//! A notice is named by the place in the journal of the fact that it tells of. One of a new best takes the place of one before
//! it that nothing came after: only the latest best is news. So the outbox is short, however often that changes.

use heats_domain::spec::NotifyOn;
use imbl::{OrdMap, Vector};

use crate::fact::{HookGivenUp, NoticeDelivered, NoticeRead};
use crate::sweep::Sweep;

/// Readers whose positions are kept; beyond that, who is furthest behind begins anew.
pub const READERS_MAX: usize = 64;
/// How long a webhook may fail before it is given up, in milliseconds.
pub const GIVE_UP_MS: u64 = 24 * 3_600_000;
/// The first wait after a failure, and the longest, in milliseconds.
const BACKOFF_MS: u64 = 1_000;
const BACKOFF_MAX_MS: u64 = 300_000;

/// Something to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The place in the sweep's journal of the fact that it tells of.
    pub place: u32,
    /// What happened.
    pub event: NotifyOn,
}

/// How far one webhook was told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hook {
    /// The first place that it was not told of.
    pub next: u32,
    /// How many notices it has taken.
    pub delivered: u32,
    /// Why nothing more is sent there, where nothing is.
    pub given_up: Option<String>,
}

/// The outbox of one sweep.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    outbox: Vector<Notice>,
    /// By the order of the sweep file.
    pub hooks: Vector<Hook>,
    /// The first place that each reader has not read, by name.
    readers: OrdMap<String, u32>,
}

impl Notices {
    /// Of a sweep with so many webhooks.
    pub fn new(hooks: usize) -> Self {
        Self { hooks: std::iter::repeat_n(Hook::default(), hooks).collect(), ..Self::default() }
    }

    pub(crate) fn push(&mut self, event: NotifyOn, place: u32) {
        if event == NotifyOn::NewBest && self.outbox.last().is_some_and(|last| last.event == event) {
            self.outbox.pop_back();
        }
        self.outbox.push_back(Notice { place, event });
    }

    fn first(&self, from: u32, wanted: impl Fn(NotifyOn) -> bool) -> Option<Notice> {
        self.outbox.iter().find(|notice| notice.place >= from && wanted(notice.event)).copied()
    }
}

impl Sweep {
    /// What is to be sent to a webhook next, where there is anything.
    pub fn to_send(&self, hook: u32) -> Option<Notice> {
        let (told, asked) = (self.notices.hooks.get(hook as usize)?, self.spec.notify.get(hook as usize)?);
        if told.given_up.is_some() {
            return None;
        }
        self.notices.first(told.next, |event| asked.on.contains(&event))
    }

    /// The next new best that a reader has not read.
    pub fn to_read(&self, reader: &str) -> Option<Notice> {
        let from = self.notices.readers.get(reader).copied().unwrap_or(0);
        self.notices.first(from, |event| event == NotifyOn::NewBest)
    }

    /// Whether a reader has read as far as `place`.
    pub fn has_read(&self, reader: &str, place: u32) -> bool {
        self.notices.readers.get(reader).is_some_and(|next| place < *next)
    }

    pub(crate) fn notice_delivered(&mut self, fact: &NoticeDelivered) -> Result<(), &'static str> {
        let hook = self.notices.hooks.get_mut(fact.hook as usize).ok_or("there is no such webhook")?;
        if fact.place < hook.next {
            return Err("the webhook was told before");
        }
        hook.next = fact.place.saturating_add(1);
        hook.delivered += 1;
        Ok(())
    }

    pub(crate) fn hook_given_up(&mut self, fact: &HookGivenUp) -> Result<(), &'static str> {
        let hook = self.notices.hooks.get_mut(fact.hook as usize).ok_or("there is no such webhook")?;
        hook.given_up = Some(fact.why.clone());
        Ok(())
    }

    pub(crate) fn notice_read(&mut self, fact: &NoticeRead) {
        let readers = &mut self.notices.readers;
        readers.insert(fact.reader.clone(), fact.place.saturating_add(1));
        if readers.len() > READERS_MAX {
            let others = readers.iter().filter(|(name, _)| **name != fact.reader);
            let behind = others.min_by_key(|(_, next)| **next).map(|(name, _)| name.clone());
            behind.map(|name| readers.remove(&name));
        }
    }
}

/// How long to wait after `tries` failures in a row, in milliseconds, before chance has its part.
pub const fn backoff_ms(tries: u32) -> u64 {
    let doubled = BACKOFF_MS << if tries > 16 { 16 } else { tries.saturating_sub(1) };
    if doubled > BACKOFF_MAX_MS { BACKOFF_MAX_MS } else { doubled }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::attempts::{End, Key};
    use crate::ops::control::Verb;
    use crate::testing::{Cluster, SweepBuilder};
    use crate::{Op, Refusal, Reply};
    use heats_domain::SweepId;

    const HOOKS: &str = r#"[{"on": ["new_best", "finished", "failed"], "webhook": "https://a.example/x"},
                            {"on": ["failed"], "webhook": "https://b.example/x"}]"#;

    fn sweep(cluster: &mut Cluster) -> (SweepId, Vec<Key>) {
        let notify: serde_json::Value = serde_json::from_str(HOOKS).expect("is JSON");
        let id = cluster.submit(SweepBuilder::minimize("loss").trials(3).top("notify", notify));
        cluster.attach(1, 4);
        (id, cluster.dispatch())
    }

    fn next(cluster: &Cluster, id: SweepId, hook: u32) -> Option<NotifyOn> {
        cluster.sweep(id).to_send(hook).map(|notice| notice.event)
    }

    /// Tells a webhook what is next; the value that it was told of, where it is a best.
    fn tell(cluster: &mut Cluster, id: SweepId, hook: u32) -> Option<Result<Reply, Refusal>> {
        let place = cluster.sweep(id).to_send(hook)?.place;
        Some(cluster.op(Op::NoticeDelivered { sweep: id, hook, place }))
    }

    #[test]
    fn a_best_is_news_until_a_better_one_and_everything_comes_in_order() {
        let mut cluster = Cluster::default();
        let (id, keys) = sweep(&mut cluster);
        assert_eq!(next(&cluster, id, 0), None);
        cluster.report(keys[0], 1, 0.5).expect("is live");
        let first = cluster.sweep(id).to_send(0).expect("a best");
        cluster.report(keys[1], 1, 0.7).expect("is live");
        assert_eq!(cluster.sweep(id).to_send(0), Some(first), "no better than the best");
        cluster.report(keys[1], 2, 0.3).expect("is live");
        let second = cluster.sweep(id).to_send(0).expect("a best");
        assert!(second.place > first.place, "the first was overtaken before it was told");
        // It was on its way already: what follows is told all the same.
        cluster.op(Op::NoticeDelivered { sweep: id, hook: 0, place: first.place }).expect("is noted");
        assert_eq!(cluster.sweep(id).to_send(0), Some(second));
        for key in &keys {
            cluster.finish(*key, End::Exited(0));
        }
        assert_eq!((next(&cluster, id, 0), next(&cluster, id, 1)), (Some(NotifyOn::NewBest), None));
        tell(&mut cluster, id, 0).expect("a notice").expect("is noted");
        assert_eq!(next(&cluster, id, 0), Some(NotifyOn::Finished));
        tell(&mut cluster, id, 0).expect("a notice").expect("is noted");
        assert_eq!(next(&cluster, id, 0), None);
        assert_eq!(cluster.sweep(id).notices.hooks[0].delivered, 3);
    }

    #[test]
    fn what_was_delivered_survives_a_failover_and_a_snapshot_and_is_noted_once() {
        let mut cluster = Cluster::default();
        let (id, keys) = sweep(&mut cluster);
        cluster.report(keys[0], 1, 0.5).expect("is live");
        let place = cluster.sweep(id).to_send(0).expect("a best").place;
        let entries = cluster.entries.len();
        for _ in 0..2 {
            cluster.op(Op::NoticeDelivered { sweep: id, hook: 0, place }).expect("is noted");
        }
        assert_eq!(cluster.entries.len(), entries + 1);
        cluster.fail_over();
        cluster.control(id, Verb::Cancel).expect("lives");
        cluster.finish(keys[0], End::Stopped);
        cluster.finish(keys[1], End::Stopped);
        cluster.finish(keys[2], End::Stopped);
        assert_eq!((next(&cluster, id, 0), next(&cluster, id, 1)), (Some(NotifyOn::Failed), Some(NotifyOn::Failed)));
        let records: Vec<_> = cluster.applied.records().map(|record| record.as_ref().clone()).collect();
        let again = crate::State::from_records(cluster.applied.applied, cluster.applied.turn, records).expect("reads");
        assert_eq!(again.sweeps[&id].to_send(0), cluster.sweep(id).to_send(0));
        assert_eq!(again.sweeps[&id].notices.hooks, cluster.sweep(id).notices.hooks);
    }

    #[test]
    fn a_webhook_that_is_given_up_is_told_nothing_more_and_the_others_are() {
        let mut cluster = Cluster::default();
        let (id, keys) = sweep(&mut cluster);
        for _ in 0..2 {
            cluster.op(Op::GiveUpHook { sweep: id, hook: 0, why: "it is gone".into() }).expect("is noted");
        }
        for key in &keys {
            cluster.finish(*key, End::Exited(1));
        }
        cluster.control(id, Verb::Cancel).expect("lives");
        assert_eq!((next(&cluster, id, 0), next(&cluster, id, 1)), (None, Some(NotifyOn::Failed)));
        assert_eq!(cluster.sweep(id).notices.hooks[0].given_up.as_deref(), Some("it is gone"));
    }

    #[test]
    fn readers_go_on_where_they_were_and_there_is_a_limit_to_them() {
        let mut cluster = Cluster::default();
        let (id, keys) = sweep(&mut cluster);
        cluster.report(keys[0], 1, 0.5).expect("is live");
        let place = cluster.sweep(id).to_read("ann").expect("a best").place;
        let read = |reader: &str, place| Op::ReadNotice { sweep: id, reader: reader.into(), place };
        for number in 0..READERS_MAX + 5 {
            cluster.op(read(&format!("r{number}"), place)).expect("is noted");
        }
        cluster.op(read("ann", place)).expect("is noted");
        assert_eq!((cluster.sweep(id).to_read("ann"), cluster.sweep(id).notices.readers.len()), (None, READERS_MAX));
        cluster.report(keys[0], 2, 0.4).expect("is live");
        assert!(cluster.sweep(id).to_read("ann").is_some_and(|next| next.place > place));
        assert!(matches!(cluster.op(read(&"x".repeat(200), place)), Err(Refusal::TooLarge { .. })));
    }

    #[test]
    fn the_wait_grows_and_has_an_end() {
        assert_eq!([1, 2, 3, 9, 10, 99].map(backoff_ms), [1_000, 2_000, 4_000, 256_000, 300_000, 300_000]);
    }
}
