//! Where a trial's reports are in its sweep's journal: numbers that only grow, in about two bytes each. A cluster holds millions
//! of trials with some ten reports each, and now and then one with a million.

use std::sync::Arc;

use imbl::Vector;
use prost::encoding::{decode_varint, encode_varint};

/// How many places are in one block: so many are read to find one, and copied to add one.
const BLOCK: u32 = 64;

/// Ascending places in a journal.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Series {
    /// Whole blocks, where there are any. In a block the first place is itself, and each other one the distance from the one before.
    whole: Option<Arc<Vector<Arc<[u8]>>>>,
    /// The last block.
    last_block: Vec<u8>,
    len: u32,
    last: u32,
}

impl Series {
    /// Adds a place beyond all others.
    pub(crate) fn push(&mut self, place: u32) {
        let mut before = self.last;
        if self.len.is_multiple_of(BLOCK) {
            if !self.last_block.is_empty() {
                let block = std::mem::take(&mut self.last_block);
                Arc::make_mut(self.whole.get_or_insert_default()).push_back(block.into());
            }
            before = 0;
        }
        encode_varint(u64::from(place.saturating_sub(before)), &mut self.last_block);
        self.last = place;
        self.len += 1;
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The one at `at`, counted from 0.
    pub fn get(&self, at: usize) -> Option<u32> {
        if at >= self.len() {
            return None;
        }
        let (block, within) = (at / BLOCK as usize, at % BLOCK as usize);
        let whole = self.whole.as_ref().and_then(|whole| whole.get(block));
        let mut bytes = whole.map_or(self.last_block.as_slice(), |block| block);
        let mut place = 0;
        for _ in 0..=within {
            place += decode_varint(&mut bytes).ok()? as u32;
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_places_that_it_was_given() {
        // Neighbours, and distances of one to five bytes.
        let steps = [1, 1, 100, 127, 128, 20_000, 3_000_000, 1, 300_000_000];
        let mut places = vec![0];
        while places.len() < 5 * BLOCK as usize + 3 {
            let step = if places.len() < 100 { steps[places.len() % steps.len()] % 30_000_000 } else { 1_000 };
            places.push(places[places.len() - 1] + step);
        }
        let mut series = Series::default();
        assert!(series.is_empty() && series.get(0).is_none());
        for (count, place) in places.iter().enumerate() {
            series.push(*place);
            assert_eq!(series.len(), count + 1);
            assert_eq!(series.get(count), Some(*place));
            assert_eq!(series.get(count + 1), None);
        }
        assert!((0..places.len()).all(|at| series.get(at) == Some(places[at])));
        series.push(u32::MAX);
        assert_eq!(series.get(places.len()), Some(u32::MAX));
    }
}
