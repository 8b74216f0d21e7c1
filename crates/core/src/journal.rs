//! Everything that happened to one sweep, in log order. What came last is there as it came; what is older is packed, page by
//! page, to about a tenth of that: a cluster keeps millions of trials for long after they ended, and hardly ever looks at one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use imbl::Vector;
use prost::Message;

use crate::fact::Record;

/// How many records are packed together. More of them pack better, and one of them takes longer to read. Where assertions are
/// checked few are, so that every test reads what was packed.
const PAGE: usize = if cfg!(debug_assertions) { 8 } else { 128 };
/// zstd's fastest level that shrinks well: pages are packed while trials wait for their verdicts.
const LEVEL: i32 = 1;

/// The records of a sweep. A clone costs the same at any length, and shares what was there.
#[derive(Clone, Debug)]
pub struct Journal {
    first: Arc<Record>,
    last: Arc<Record>,
    /// Whole pages, oldest first.
    packed: Vector<Arc<Page>>,
    /// What came after them: less than two pages.
    recent: Vector<Arc<Record>>,
    /// Of a page that is read, the records that were folded in already, and the log index of the last of them.
    read: (usize, u64),
}

/// What a snapshot is a list of.
#[derive(Clone, Debug)]
pub enum Piece {
    /// One record.
    Record(Arc<Record>),
    /// Records that are packed together.
    Page(Arc<Page>),
}

/// Records that follow each other in a snapshot, unpacked.
#[derive(Debug)]
pub struct Run {
    /// The records.
    pub records: Vec<Record>,
    /// What they were packed in, where they were.
    pub page: Option<Arc<Page>>,
}

impl Journal {
    /// A journal that begins with this record.
    pub(crate) fn new(first: Arc<Record>) -> Self {
        let recent = Vector::unit(Arc::clone(&first));
        Self { recent, packed: Vector::new(), last: Arc::clone(&first), first, read: (0, 0) }
    }

    pub(crate) fn push(&mut self, record: Arc<Record>) {
        self.last = Arc::clone(&record);
        self.recent.push_back(record);
        if self.recent.len() == 2 * PAGE {
            let later = self.recent.split_off(PAGE);
            let page = std::mem::replace(&mut self.recent, later);
            self.packed.push_back(Arc::new(Page::pack(&page)));
        }
    }

    /// Whether the page can be taken in as it is: nothing is before it that would be packed with its records. One that another
    /// version made as long as pages are not here is of no use.
    pub(crate) fn takes(&self, page: &Page) -> bool {
        page.count as usize == PAGE && self.recent.is_empty()
    }

    /// Notes that the next record of a page that is read is folded in. The journal has it once the page is taken in.
    pub(crate) const fn read(&mut self, log_index: u64) {
        self.read = (self.read.0 + 1, log_index);
    }

    /// Takes the page in whose records were read: they need be neither kept nor packed again.
    pub(crate) fn adopt(&mut self, page: Arc<Page>, last: Record) {
        self.last = Arc::new(last);
        self.packed.push_back(page);
        self.read = (0, 0);
    }

    /// Takes the page in whose records were pushed last, so that they need not be packed again, where they are one.
    pub(crate) fn adopt_pushed(&mut self, page: Arc<Page>) {
        if page.count as usize == PAGE && self.recent.len() == PAGE {
            self.recent.clear();
            self.packed.push_back(page);
        }
    }

    /// Everything, whole pages as they are.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece> {
        let recent = self.recent.iter().cloned().map(Piece::Record);
        self.packed.iter().cloned().map(Piece::Page).chain(recent)
    }

    /// How many records it has; there is always one.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.packed.len() * PAGE + self.recent.len() + self.read.0
    }

    /// The log index of the last record.
    pub fn last_index(&self) -> u64 {
        if self.read.0 > 0 { self.read.1 } else { self.last.log_index }
    }

    /// The record that it began with.
    pub const fn first(&self) -> &Arc<Record> {
        &self.first
    }

    /// The last record.
    pub const fn last(&self) -> &Arc<Record> {
        &self.last
    }

    /// The record at `place`, counted from 0. An old one is unpacked, which takes some ten microseconds.
    pub fn get(&self, place: usize) -> Option<Arc<Record>> {
        match self.packed.get(place / PAGE) {
            Some(page) => Some(Arc::new(page.record(place % PAGE))),
            None => self.recent.get(place.checked_sub(self.packed.len() * PAGE)?).cloned(),
        }
    }

    /// All records, in order.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Record>> {
        self.iter_from(0)
    }

    /// The records from `place` on, in order; what lies before it costs nothing.
    pub fn iter_from(&self, place: usize) -> impl Iterator<Item = Arc<Record>> {
        let pages = (place / PAGE..self.packed.len()).filter_map(|page| self.packed.get(page));
        let packed = self.packed.len() * PAGE;
        let within = if place < packed { place % PAGE } else { 0 };
        let old = pages.flat_map(|page| page.records()).map(Arc::new).skip(within);
        let from = place.saturating_sub(packed).min(self.recent.len());
        old.chain(self.recent.focus().narrow(from..).into_iter().cloned())
    }

    /// The place of the first record of the log entry at `index` or a later one.
    pub fn place_of(&self, index: u64) -> usize {
        // The page that may hold it is the last one that begins before it.
        let (mut low, mut high) = (0, self.packed.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.packed.get(middle).is_some_and(|page| page.first_index < index) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let from = low.saturating_sub(1) * PAGE;
        from + self.iter_from(from).take_while(|record| record.log_index < index).count()
    }
}

/// Records that are packed together.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Page {
    /// The log index of its first record.
    #[prost(uint64, tag = "1")]
    first_index: u64,
    /// How many records it holds.
    #[prost(uint32, tag = "2")]
    count: u32,
    /// The length in bytes of what is packed.
    #[prost(uint32, tag = "3")]
    length: u32,
    /// The records, each after its length, compressed.
    #[prost(bytes = "vec", tag = "4")]
    packed: Vec<u8>,
}

/// More than any page's records are long together, in bytes: a page that says more is damaged.
const LENGTH_MAX: u32 = 1 << 30;

impl Piece {
    /// How many records it holds, by what it says itself.
    pub fn count(&self) -> u32 {
        match self {
            Self::Record(_) => 1,
            Self::Page(page) => page.count,
        }
    }

    /// Its records. A page is one from outside: it may be damaged.
    ///
    /// # Errors
    /// It does not hold what it says.
    pub fn unpack(self) -> io::Result<Run> {
        match self {
            Self::Record(record) => Ok(Run { records: vec![Arc::unwrap_or_clone(record)], page: None }),
            Self::Page(page) => Ok(Run { records: Tools::with(|tools| tools.read(&page))?, page: Some(page) }),
        }
    }
}

/// How many pages a thread keeps unpacked. Whoever looks at one trial after the other finds most of them on few pages.
const UNPACKED: usize = 16;

/// What a thread packs and unpacks with: making them anew for each page would take longer than to use them.
struct Tools {
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
    /// What is packed.
    bytes: Vec<u8>,
    /// What was unpacked last, the latest at the end.
    unpacked: VecDeque<(Arc<Page>, Vec<u8>)>,
}

thread_local! {
    static TOOLS: RefCell<Option<Tools>> = const { RefCell::new(None) };
}

impl Tools {
    fn new() -> io::Result<Self> {
        let (compressor, decompressor) = (zstd::bulk::Compressor::new(LEVEL)?, zstd::bulk::Decompressor::new()?);
        Ok(Self { compressor, decompressor, bytes: Vec::new(), unpacked: VecDeque::new() })
    }

    fn with<T>(work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        TOOLS.with_borrow_mut(|tools| match tools {
            Some(tools) => work(tools),
            None => work(tools.insert(Self::new()?)),
        })
    }

    /// All records of a page that is read once.
    fn read(&mut self, page: &Page) -> io::Result<Vec<Record>> {
        if page.length > LENGTH_MAX || page.count > page.length {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a page has an impossible length"));
        }
        self.bytes.resize(page.length as usize, 0);
        let length = self.decompressor.decompress_to_buffer(&page.packed, &mut self.bytes[..])?;
        let mut rest = self.bytes.get(..length).unwrap_or_default();
        let records = decoded(&mut rest, page.count)?;
        match rest.is_empty() && length == page.length as usize {
            true => Ok(records),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "a page is not as long as it says")),
        }
    }

    /// The records of a page, each after its length.
    fn unpacked(&mut self, page: &Arc<Page>) -> io::Result<&[u8]> {
        let known = self.unpacked.iter().position(|(other, _)| Arc::ptr_eq(other, page));
        let (page, bytes) = match known.and_then(|place| self.unpacked.remove(place)) {
            Some(found) => found,
            None => {
                let oldest = (self.unpacked.len() == UNPACKED).then(|| self.unpacked.pop_front()).flatten();
                let mut bytes = oldest.map(|(_, bytes)| bytes).unwrap_or_default();
                bytes.resize(page.length as usize, 0);
                self.decompressor.decompress_to_buffer(&page.packed, &mut bytes[..])?;
                (Arc::clone(page), bytes)
            }
        };
        self.unpacked.push_back((page, bytes));
        Ok(self.unpacked.back().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default())
    }
}

/// Memory is what it was, or nothing can go on.
const INTACT: &str = "a page that was packed or read in this process can be unpacked in it";

impl Page {
    fn pack(records: &Vector<Arc<Record>>) -> Self {
        let packed = Tools::with(|tools| {
            tools.bytes.clear();
            for record in records {
                // A vector of bytes grows as it must.
                record.encode_length_delimited(&mut tools.bytes).map_err(io::Error::other)?;
            }
            let mut packed = tools.compressor.compress(&tools.bytes)?;
            packed.shrink_to_fit();
            let first_index = records.front().map_or(0, |record| record.log_index);
            Ok(Self { first_index, count: records.len() as u32, length: tools.bytes.len() as u32, packed })
        });
        packed.expect("there is memory to pack a page")
    }

    fn record(self: &Arc<Self>, place: usize) -> Record {
        let record = Tools::with(|tools| {
            let mut bytes = tools.unpacked(self)?;
            for _ in 0..place {
                let length = prost::decode_length_delimiter(&mut bytes)?;
                bytes = bytes.get(length..).unwrap_or_default();
            }
            Ok(Record::decode_length_delimited(bytes)?)
        });
        record.expect(INTACT)
    }

    fn records(self: &Arc<Self>) -> Vec<Record> {
        Tools::with(|tools| decoded(&mut tools.unpacked(self)?, self.count)).expect(INTACT)
    }
}

/// So many records, each after its length.
fn decoded(bytes: &mut &[u8], count: u32) -> io::Result<Vec<Record>> {
    (0..count).map(|_| Ok(Record::decode_length_delimited(&mut *bytes)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::{Fact, SweepPaused};
    use heats_domain::SweepId;

    /// Two records for each log entry.
    fn record(place: usize) -> Arc<Record> {
        let fact = Fact::SweepPaused(SweepPaused { sweep: SweepId { bits: place as u64 } });
        Arc::new(Record { log_index: 10 + place as u64 / 2, at_ms: 1_000 + place as u64, cell: fact.into() })
    }

    #[test]
    fn it_has_what_it_was_given_wherever_a_page_ends() {
        let mut journal = Journal::new(record(0));
        for place in 1..5 * PAGE + 3 {
            journal.push(record(place));
            if place % PAGE > 2 && place % PAGE < PAGE - 2 {
                continue;
            }
            let all: Vec<_> = (0..=place).map(record).collect();
            assert!(journal.len() == all.len() && journal.iter().eq(all.iter().cloned()), "{place}");
            assert!(*journal.first() == all[0] && *journal.last() == all[place], "{place}");
            for from in [0, 1, PAGE - 1, PAGE, PAGE + 1, place, place + 1, place + 2] {
                assert_eq!(journal.get(from), all.get(from).cloned(), "{from} of {place}");
                assert!(journal.iter_from(from).eq(all.iter().skip(from).cloned()), "from {from} of {place}");
            }
        }
    }

    #[test]
    fn pages_that_are_read_again_are_not_packed_again() {
        let mut journal = Journal::new(record(0));
        (1..4 * PAGE + 3).for_each(|place| journal.push(record(place)));
        let (mut again, mut pages) = (None::<Journal>, 0);
        for piece in journal.pieces() {
            let Run { records, page } = piece.unpack().expect("it was packed here");
            for record in records.into_iter().map(Arc::new) {
                match &mut again {
                    Some(again) => again.push(record),
                    None => again = Some(Journal::new(record)),
                }
            }
            if let (Some(again), Some(page)) = (&mut again, page) {
                again.adopt_pushed(Arc::clone(&page));
                pages += 1;
                assert!(again.packed.last().is_some_and(|last| Arc::ptr_eq(last, &page)));
            }
        }
        let again = again.expect("there are records");
        assert!(pages == journal.packed.len() && pages > 1, "{pages} pages");
        assert!(again.iter().eq(journal.iter()) && again.packed.len() == pages);
    }

    #[test]
    fn a_page_that_is_not_what_it_says_is_refused() {
        let records: Vector<Arc<Record>> = (0..PAGE).map(record).collect();
        let whole = Page::pack(&records);
        let refused = |spoil: fn(&mut Page)| {
            let mut page = whole.clone();
            spoil(&mut page);
            Piece::Page(Arc::new(page)).unpack().is_err()
        };
        assert!(!refused(|_| {}));
        assert!(refused(|page| page.count += 1));
        assert!(refused(|page| page.count -= 1));
        assert!(refused(|page| page.length += 1));
        assert!(refused(|page| page.length = u32::MAX));
        assert!(refused(|page| page.length = 0));
        assert!(refused(|page| page.packed.truncate(9)));
    }

    #[test]
    fn a_log_index_is_found_wherever_its_entry_lies() {
        let mut journal = Journal::new(record(0));
        let count = 4 * PAGE + 5;
        (1..count).for_each(|place| journal.push(record(place)));
        for index in 0..=10 + count as u64 {
            let expected = (0..count).position(|place| record(place).log_index >= index).unwrap_or(count);
            assert_eq!(journal.place_of(index), expected, "{index}");
        }
    }
}
