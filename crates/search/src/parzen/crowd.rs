//! Who speaks for trials that are many: the newest and those that run each for itself, and of the others a sample, each for
//! several. So what an estimator of them costs does not grow with their number.
//!
//! Whether one of the others is of the sample follows from its slot alone, by a lot that as many as needed of them lose: when the
//! sample has grown beyond its limit, half of it leaves. Nothing is drawn, and whoever takes in the same trials has the same sample.
//! With `m` of it, what is said about the share of the others that lies in any region has a standard error of at most
//! `1 / (2 sqrt(m))`: 2.2 % where there are 512.

use std::collections::BTreeSet;

/// So many of the newest trials speak for themselves.
pub const RECENT: usize = 512;

/// A trial's part in the crowd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It teaches nothing.
    Silent,
    /// It speaks for itself.
    Itself,
    /// It is one of the older ones.
    Older,
}

/// Trials by slot, which ascend as they are created.
#[derive(Debug)]
pub struct Crowd {
    /// The most older trials that speak.
    sample_max: usize,
    /// How many zeros a lot ends in at least that is of the sample.
    level: u32,
    roles: Vec<Role>,
    speakers: BTreeSet<u32>,
    older: usize,
    /// How many of the older ones speak.
    sampled: usize,
}

/// Observations of an estimator, the oldest first.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Members {
    /// Their slots.
    pub slots: Vec<u32>,
    /// How many each of them stands for, itself counted.
    pub stands_for: Vec<f64>,
}

impl Members {
    /// Each for itself.
    pub fn each(slots: impl IntoIterator<Item = u32>) -> Self {
        let slots: Vec<u32> = slots.into_iter().collect();
        Self { stands_for: vec![1.0; slots.len()], slots }
    }
}

impl Crowd {
    /// Nobody yet; of the older ones between half of `sample_max` and that many are to speak, where there are so many.
    pub const fn new(sample_max: usize) -> Self {
        Self { sample_max, level: 0, roles: Vec::new(), speakers: BTreeSet::new(), older: 0, sampled: 0 }
    }

    /// How many trials there are, whatever their roles.
    pub fn len(&self) -> usize {
        self.roles.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }

    /// The next slot's trial comes, and speaks for itself.
    pub fn enter(&mut self) {
        self.speakers.insert(self.roles.len() as u32);
        self.roles.push(Role::Itself);
    }

    /// The trial of `slot` gets another role, or keeps it.
    pub fn set(&mut self, slot: u32, role: Role) {
        let Some(held) = self.roles.get_mut(slot as usize) else { return };
        if std::mem::replace(held, role) == Role::Older {
            self.older -= 1;
            self.sampled -= usize::from(self.speakers.contains(&slot));
        }
        self.speakers.remove(&slot);
        match role {
            Role::Silent => {}
            Role::Itself => {
                self.speakers.insert(slot);
            }
            Role::Older => {
                self.older += 1;
                if self.is_drawn(slot) {
                    self.sampled += 1;
                    self.speakers.insert(slot);
                }
            }
        }
        while self.sampled > self.sample_max {
            self.level += 1;
            let leave = |slot: &u32| self.roles[*slot as usize] == Role::Older && !self.is_drawn(*slot);
            let leaving: Vec<u32> = self.speakers.iter().copied().filter(leave).collect();
            self.sampled -= leaving.len();
            leaving.iter().for_each(|slot| {
                self.speakers.remove(slot);
            });
        }
    }

    fn is_drawn(&self, slot: u32) -> bool {
        lot(slot).trailing_zeros() >= self.level
    }

    /// Those who speak and are not in `out`, nor named by `is_silent` of those who speak for themselves.
    pub fn members(&self, out: &BTreeSet<u32>, is_silent: impl Fn(u32) -> bool) -> Members {
        let is_older = |slot: &u32| self.roles.get(*slot as usize) == Some(&Role::Older);
        let slots: Vec<u32> =
            self.speakers.iter().copied().filter(|slot| !out.contains(slot) && !is_silent(*slot)).collect();
        let left = self.older - out.iter().filter(|slot| is_older(slot)).count();
        // Where all speak, this is 1 to the last digit.
        let share = left as f64 / slots.iter().filter(|slot| is_older(slot)).count() as f64;
        let stands_for = slots.iter().map(|slot| if is_older(slot) { share } else { 1.0 }).collect();
        Members { slots, stands_for }
    }
}

/// A number whose last bits are as good as drawn: SplitMix64's output function (Steele, Lea and Flood 2014).
const fn lot(slot: u32) -> u64 {
    let mut z = (slot as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many trials, all of which are older.
    fn crowd(trials: u32, sample_max: usize) -> Crowd {
        let mut crowd = Crowd::new(sample_max);
        for slot in 0..trials {
            crowd.enter();
            crowd.set(slot, Role::Older);
        }
        crowd
    }

    fn everybody(crowd: &Crowd) -> Members {
        crowd.members(&BTreeSet::new(), |_| false)
    }

    #[test]
    fn all_speak_while_they_are_few_and_then_half_the_limit_at_least() {
        assert_eq!(everybody(&crowd(64, 64)), Members::each(0..64));
        for trials in [65, 200, 1_000, 30_000] {
            let members = everybody(&crowd(trials, 64));
            assert!((20..=64).contains(&members.slots.len()), "{} of {trials}", members.slots.len());
            let total: f64 = members.stands_for.iter().sum();
            assert!((total - f64::from(trials)).abs() < 1e-6, "they stand for {total}");
            let early = members.slots.iter().filter(|slot| **slot < trials / 2).count();
            assert!((0.25..0.75).contains(&(early as f64 / members.slots.len() as f64)), "{early} of {members:?}");
        }
    }

    #[test]
    fn the_sample_is_the_same_in_whatever_order_trials_come_to_it() {
        let mut backwards = Crowd::new(64);
        (0..1_000).for_each(|_| backwards.enter());
        (0..1_000).rev().for_each(|slot| backwards.set(slot, Role::Older));
        assert_eq!(everybody(&backwards), everybody(&crowd(1_000, 64)));
    }

    #[test]
    fn who_speaks_for_itself_is_never_left_out_and_who_is_out_is_stood_for_by_nobody() {
        let mut crowd = crowd(1_000, 64);
        (0..1_000).step_by(10).for_each(|slot| crowd.set(slot, Role::Itself));
        crowd.set(7, Role::Silent);
        let out: BTreeSet<u32> = (11..19).collect();
        let members = crowd.members(&out, |slot| slot == 500);
        let each = members.stands_for.iter().filter(|count| **count == 1.0).count();
        assert_eq!(each, 99, "a hundred without the one that is silent");
        let total: f64 = members.stands_for.iter().sum();
        assert!((total - (1_000.0 - 1.0 - 8.0 - 1.0)).abs() < 1e-6, "they stand for {total}");
        assert!(members.slots.iter().all(|slot| !out.contains(slot) && ![7, 500].contains(slot)));
    }
}
