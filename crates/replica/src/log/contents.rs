//! What the log holds now, in memory: the fold of its records. Reading a directory and writing to a running
//! log go through the same fold. The entries stay in memory until they are purged: snapshots bound how many
//! there are, and the state holds every fact anyway.

use std::collections::VecDeque;

use openraft::entry::RaftEntry;

use crate::codec;
use crate::pb::{self, Record};
use crate::types::{LogEntry, LogId, Vote};

/// The contents of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Contents {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    /// The last entry that is no longer here.
    pub(crate) purged: Option<LogId>,
    /// The last entry, or `purged` where there is none.
    pub(crate) last: Option<LogId>,
    /// The entries, without gaps.
    pub(crate) entries: VecDeque<LogEntry>,
}

impl Contents {
    /// What the files before one that begins so amount to.
    pub(crate) fn begin(begin: pb::Begin) -> Self {
        Self {
            vote: begin.vote.map(codec::to_vote),
            committed: begin.committed.map(codec::to_log_id),
            purged: begin.purged.map(codec::to_log_id),
            last: begin.last.map(codec::to_log_id),
            entries: VecDeque::new(),
        }
    }

    /// Folds one record in.
    pub(crate) fn record(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Append(entry) => self.append(codec::to_entry(entry).map_err(|error| error.to_string())?),
            Record::Vote(vote) => {
                self.vote = Some(codec::to_vote(vote));
                Ok(())
            }
            Record::Committed(id) => {
                self.committed = Some(codec::to_log_id(id));
                Ok(())
            }
            Record::Truncate(cut) => {
                self.truncate(cut.after.map(codec::to_log_id));
                Ok(())
            }
            Record::Purge(id) => {
                self.purge(codec::to_log_id(id));
                Ok(())
            }
            Record::Begin(_) => Err("a file begins in its middle".to_owned()),
        }
    }

    pub(crate) fn append(&mut self, entry: LogEntry) -> Result<(), String> {
        let (next, index) = (next(self.last), entry.index());
        // The engine begins at 0; its own suite begins an empty log elsewhere.
        if index != next && self.last.is_some() {
            return Err(format!("entry {index} was appended where entry {next} was due"));
        }
        self.last = Some(entry.log_id());
        self.entries.push_back(entry);
        Ok(())
    }

    pub(crate) fn truncate(&mut self, after: Option<LogId>) {
        let end = next(after);
        while self.entries.back().is_some_and(|entry| entry.index() >= end) {
            self.entries.pop_back();
        }
        if end < next(self.last) {
            self.last = after;
        }
    }

    /// Drops what is covered by a snapshot, and hands it out: it may be so much that to free it takes time.
    pub(crate) fn purge(&mut self, upto: LogId) -> VecDeque<LogEntry> {
        let covered = self.entries.partition_point(|entry| entry.index() <= upto.index);
        let kept = self.entries.split_off(covered);
        let dropped = std::mem::replace(&mut self.entries, kept);
        self.purged = self.purged.max(Some(upto));
        if next(self.last) <= upto.index {
            self.last = Some(upto);
        }
        dropped
    }

    /// The entries with indexes in `start..end` that are here.
    pub(crate) fn range(&self, start: u64, end: u64) -> impl Iterator<Item = &LogEntry> {
        let first = self.entries.front().map_or(start, LogEntry::index);
        let place = |index: u64| (index.max(first) - first).min(self.entries.len() as u64) as usize;
        self.entries.range(place(start)..place(end.max(start)))
    }

    /// Says what is missing, if anything between `purged` and `last` is.
    pub(crate) fn missing(&self) -> Option<String> {
        let (from, to) = (next(self.purged), next(self.last));
        let have = self.entries.front().map_or(to, LogEntry::index);
        (from < have).then(|| format!("entries {from} to {} are missing", have - 1))
    }
}

/// The index after `id`.
pub(crate) fn next(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        codec::to_log_id(pb::LogId { term, index })
    }

    fn filled(range: std::ops::Range<u64>) -> Contents {
        let mut contents = Contents::default();
        range.for_each(|index| contents.append(LogEntry::new_blank(id(1, index))).unwrap());
        contents
    }

    #[test]
    fn an_entry_that_leaves_a_gap_is_refused() {
        let mut contents = filled(0..3);
        assert!(contents.append(LogEntry::new_blank(id(1, 4))).is_err());
        assert_eq!(contents.last, Some(id(1, 2)));
    }

    #[test]
    fn purging_beyond_the_end_moves_the_end() {
        let mut contents = filled(0..3);
        contents.purge(id(2, 9));
        assert_eq!((contents.last, contents.entries.len(), contents.missing()), (Some(id(2, 9)), 0, None));
        contents.append(LogEntry::new_blank(id(2, 10))).unwrap();
    }

    #[test]
    fn a_hole_behind_the_purged_entries_is_noticed() {
        let mut contents = filled(0..9);
        contents.purge(id(1, 4));
        assert_eq!(contents.missing(), None);
        contents.entries.pop_front();
        assert_eq!(contents.missing().as_deref(), Some("entries 5 to 5 are missing"));
    }
}
