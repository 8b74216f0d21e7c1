//! A sorted list that may be long: blocks of bounded length, so that an insertion moves one block, and a place is found by
//! bisection.

/// The longest that a block may grow before it is cut in two: as long as it takes to keep what is moved, and what is counted anew, to
/// a few lines of the processor's cache, whatever the list's length.
const BLOCK_MAX: usize = 128;

/// Things in an order that whoever inserts them keeps.
#[derive(Clone, Debug)]
pub struct Blocks<T> {
    /// Never an empty one.
    blocks: Vec<Vec<T>>,
    /// The last thing of each: a block is found without a look at the others.
    lasts: Vec<T>,
    /// The place of each block's first thing in the list.
    starts: Vec<usize>,
    len: usize,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), lasts: Vec::new(), starts: Vec::new(), len: 0 }
    }
}

impl<T: Copy> Blocks<T> {
    /// How many things there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many things are before whatever is not `before`: the place where that is, or belongs.
    pub fn place(&self, before: impl Fn(&T) -> bool) -> usize {
        let at = self.lasts.partition_point(&before);
        self.blocks.get(at).map_or(self.len, |block| self.starts[at] + block.partition_point(before))
    }

    /// What is at `place`, from 0.
    pub fn get(&self, place: usize) -> Option<T> {
        let at = self.starts.partition_point(|start| *start <= place).checked_sub(1)?;
        self.blocks[at].get(place - self.starts[at]).copied()
    }

    /// Puts `thing` behind all that is `before` it; at which place that is.
    pub fn insert(&mut self, thing: T, before: impl Fn(&T) -> bool) -> usize {
        let at = self.lasts.partition_point(&before).min(self.blocks.len().saturating_sub(1));
        self.len += 1;
        let Some(block) = self.blocks.get_mut(at) else {
            (self.blocks, self.lasts, self.starts) = (vec![vec![thing]], vec![thing], vec![0]);
            return 0;
        };
        let within = block.partition_point(before);
        let place = self.starts[at] + within;
        block.insert(within, thing);
        if within + 1 == block.len() {
            self.lasts[at] = thing;
        }
        self.starts[at + 1..].iter_mut().for_each(|start| *start += 1);
        if block.len() > BLOCK_MAX {
            let upper = block.split_off(BLOCK_MAX / 2);
            self.lasts.insert(at, block[BLOCK_MAX / 2 - 1]);
            self.blocks.insert(at + 1, upper);
            self.starts.insert(at + 1, self.starts[at] + BLOCK_MAX / 2);
        }
        place
    }

    /// All things, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};
    use rand::RngExt;

    #[test]
    fn it_is_as_one_list() {
        let mut rng = stream(1, 0, Purpose::Configuration);
        let (mut blocks, mut plain) = (Blocks::default(), Vec::new());
        for number in 0..5_000_u32 {
            // Few distinct values, so that those that are alike cross the borders of blocks.
            let thing = (rng.random_range(0..300_u32), number);
            let is_before = |other: &(u32, u32)| other.0 <= thing.0;
            let place = plain.partition_point(is_before);
            assert_eq!(blocks.place(is_before), place);
            assert_eq!(blocks.insert(thing, is_before), place);
            plain.insert(place, thing);
        }
        assert!(blocks.blocks.len() > 5, "the blocks were cut");
        assert_eq!(blocks.len(), plain.len());
        assert!(blocks.iter().eq(&plain));
        assert!((0..5_001).all(|place| blocks.get(place) == plain.get(place).copied()));
    }
}
