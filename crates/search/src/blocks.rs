//! A sorted list that may be long: blocks of bounded length, so that an insertion moves one block, and a place is found by
//! bisection.

/// The longest that a block may grow before it is cut in two.
const BLOCK_MAX: usize = 512;

/// Things in an order that whoever inserts them keeps.
#[derive(Clone, Debug)]
pub struct Blocks<T> {
    /// Never an empty one.
    blocks: Vec<Vec<T>>,
    /// The place of each block's first thing in the list.
    starts: Vec<usize>,
    len: usize,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), starts: Vec::new(), len: 0 }
    }
}

impl<T> Blocks<T> {
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
        let at = self.blocks.partition_point(|block| block.last().is_some_and(&before));
        self.blocks.get(at).map_or(self.len, |block| self.starts[at] + block.partition_point(before))
    }

    /// What is at `place`, from 0.
    pub fn get(&self, place: usize) -> Option<&T> {
        let at = self.starts.partition_point(|start| *start <= place).checked_sub(1)?;
        self.blocks[at].get(place - self.starts[at])
    }

    /// Puts `thing` at `place`, before what is there; at the end, where nothing is.
    pub fn insert(&mut self, place: usize, thing: T) {
        let at = self.starts.partition_point(|start| *start <= place).saturating_sub(1);
        self.len += 1;
        let Some(block) = self.blocks.get_mut(at) else {
            (self.blocks, self.starts) = (vec![vec![thing]], vec![0]);
            return;
        };
        block.insert((place - self.starts[at]).min(block.len()), thing);
        self.starts[at + 1..].iter_mut().for_each(|start| *start += 1);
        if block.len() > BLOCK_MAX {
            let upper = block.split_off(BLOCK_MAX / 2);
            self.blocks.insert(at + 1, upper);
            self.starts.insert(at + 1, self.starts[at] + BLOCK_MAX / 2);
        }
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
            let place = blocks.place(|other: &(u32, u32)| other.0 <= thing.0);
            assert_eq!(place, plain.partition_point(|other: &(u32, u32)| other.0 <= thing.0));
            blocks.insert(place, thing);
            plain.insert(place, thing);
        }
        assert!(blocks.blocks.len() > 5, "the blocks were cut");
        assert_eq!(blocks.len(), plain.len());
        assert!(blocks.iter().eq(&plain));
        assert!((0..5_001).all(|place| blocks.get(place) == plain.get(place)));
    }
}
