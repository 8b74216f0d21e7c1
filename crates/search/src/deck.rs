//! Deals the configurations of a finite space, each once, in an order that is fixed from the start.
//!
//! Trial `n` gets the `n`-th configuration of the order, so that it does not matter who asks, when, or how
//! far ahead. Only a trial that came from elsewhere (the user enqueued it) changes anything: its
//! configuration is not dealt again, and the place that it did not use goes to the next trial.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use heats_domain::{Domain, Params, Space};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::lattice::{Lattice, Point};
use crate::rng::{Purpose, sweep_stream};
use crate::searchers::sobol::Points;
use crate::{Problem, Suggestion};

/// Up to this many points, a finite space is dealt without a repetition by every searcher, to its last
/// configuration. Larger ones count as endless, except for a grid.
pub const EXACT_POINTS_MAX: u64 = 1 << 20;

/// How many points without a configuration may lie between two that have one.
const GAP_MAX: u32 = 1 << 20;

/// In which order configurations are dealt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// By rank: the last parameter changes fastest.
    Counted,
    /// Drawn uniformly without replacement. A point whose configuration was met already, because they
    /// differ in inactive parameters only, is passed over.
    Shuffled,
    /// As a scrambled Sobol sequence meets them; those that it has not met after four points per
    /// configuration follow by rank.
    Sobol,
}

/// A finite space that is dealt in an [`Order`].
#[derive(Debug)]
pub struct Deck {
    lattice: Lattice,
    space: Space,
    /// Trials so far, with the rank of their configuration, by number.
    created: Vec<(u32, Option<u64>)>,
    /// The first trial that has each rank.
    taken: BTreeMap<u64, u32>,
    /// How far the order has been laid out. It depends on the space and the seed only: a memo, not a state.
    table: RefCell<Table>,
}

#[derive(Debug)]
struct Table {
    /// Ranks in the order in which they are dealt.
    ranks: Vec<u64>,
    met: BTreeSet<u64>,
    source: Source,
    /// Points looked at since the last rank was found.
    gap: u32,
    /// Points looked at in all.
    looked: u64,
    ended: bool,
    /// All ranks before the first were taken by trials before the second.
    open_from: (usize, u32),
    /// That many trials were compared with the order, and all had their own place in it.
    plain: usize,
}

#[derive(Debug)]
enum Source {
    Counted { next: u64 },
    Shuffled { next: u64, moved: BTreeMap<u64, u64>, rng: Box<ChaCha8Rng> },
    Sobol { next: u64, points: Points, then: u64 },
}

impl Deck {
    /// The deck of a space that is finite; `None` where it is not.
    pub fn new(problem: &Problem, order: Order) -> Option<Self> {
        let lattice = Lattice::new(&problem.space)?;
        let source = match order {
            Order::Counted => Source::Counted { next: 0 },
            Order::Shuffled => Source::Shuffled {
                next: 0,
                moved: BTreeMap::new(),
                rng: Box::new(sweep_stream(problem.seed, Purpose::Shuffle)),
            },
            Order::Sobol => Source::Sobol { next: 0, points: Points::new(&problem.space, problem.seed), then: 0 },
        };
        let table = Table {
            ranks: Vec::new(),
            met: BTreeSet::new(),
            source,
            gap: 0,
            looked: 0,
            ended: false,
            open_from: (0, 0),
            plain: 0,
        };
        Some(Self {
            lattice,
            space: problem.space.clone(),
            created: Vec::new(),
            taken: BTreeMap::new(),
            table: RefCell::new(table),
        })
    }

    /// The deck of a space that has more than one point and at most [`EXACT_POINTS_MAX`]; `None` for others.
    /// With one point there is nothing to search: repeating it is all that a budget can mean.
    pub fn exact(problem: &Problem, order: Order) -> Option<Self> {
        let points = problem.space.cardinality()?;
        if (2..=EXACT_POINTS_MAX).contains(&points) { Self::new(problem, order) } else { None }
    }

    /// Takes in that `trial` came to be.
    pub fn note(&mut self, trial: u32, params: &Params) {
        let rank = self.lattice.rank(params);
        let place = self.created.partition_point(|(other, _)| *other < trial);
        self.created.insert(place, (trial, rank));
        if let Some(rank) = rank {
            let first = self.taken.entry(rank).or_insert(trial);
            *first = (*first).min(trial);
        }
    }

    /// Whether a trial before `trial` has this configuration.
    pub fn knows(&self, params: &Params, trial: u32) -> bool {
        self.lattice.rank(params).is_some_and(|rank| self.is_taken(rank, trial))
    }

    fn is_taken(&self, rank: u64, trial: u32) -> bool {
        self.taken.get(&rank).is_some_and(|first| *first < trial)
    }

    /// The configuration of `trial`: of those that no trial before it has, the first that is not for one
    /// of the trials before it that are still to come.
    pub fn deal(&self, trial: u32) -> Suggestion {
        let before = self.created.partition_point(|(other, _)| *other < trial);
        let mut ahead = (trial as usize).saturating_sub(before);
        let mut table = self.table.borrow_mut();
        let (open, since) = table.open_from;
        let mut place = if trial >= since { open } else { 0 };
        let mut all_taken = true;
        loop {
            let Some(rank) = table.rank(place, &self.lattice, &self.space) else {
                let draws = u32::try_from(table.looked).unwrap_or(u32::MAX);
                let gave_up = table.gap > GAP_MAX;
                return if table.ranks.is_empty() || gave_up {
                    Suggestion::Infeasible { draws }
                } else {
                    Suggestion::Exhausted
                };
            };
            if !self.is_taken(rank, trial) {
                if all_taken && trial >= since {
                    table.open_from = (place, trial);
                }
                all_taken = false;
                if ahead == 0 {
                    return match self.lattice.visit(rank) {
                        Point::Feasible(params) => Suggestion::Try(params),
                        Point::Nothing { .. } => Suggestion::Exhausted,
                    };
                }
                ahead -= 1;
            }
            place += 1;
        }
    }

    /// Whether every trial so far has the place in the order that its number gives it.
    pub fn is_plain(&self) -> bool {
        let mut table = self.table.borrow_mut();
        while let Some((trial, rank)) = self.created.get(table.plain) {
            let place = table.plain;
            let own = table.rank(place, &self.lattice, &self.space);
            if *trial as usize != place || own.is_none() || own != *rank {
                return false;
            }
            table.plain += 1;
        }
        true
    }
}

impl Table {
    /// The rank that is dealt at `place`, laying the order out as far as needed.
    fn rank(&mut self, place: usize, lattice: &Lattice, space: &Space) -> Option<u64> {
        while self.ranks.len() <= place && !self.ended {
            match self.source.step(lattice, space) {
                Step::Here(rank) if self.met.insert(rank) => {
                    self.gap = 0;
                    self.ranks.push(rank);
                }
                Step::Here(_) | Step::Nothing => self.gap += 1,
                Step::End => {
                    self.ended = true;
                    break;
                }
            }
            self.looked += 1;
            // The spaces that are dealt exactly have fewer points than this; only a vast grid gives up.
            self.ended |= self.gap > GAP_MAX && lattice.points() > EXACT_POINTS_MAX;
        }
        self.ranks.get(place).copied()
    }
}

enum Step {
    Here(u64),
    Nothing,
    End,
}

impl Source {
    fn step(&mut self, lattice: &Lattice, space: &Space) -> Step {
        match self {
            Self::Counted { next } => count(next, lattice),
            Self::Shuffled { next, moved, rng } => {
                if *next >= lattice.points() {
                    return Step::End;
                }
                // One step of a Fisher-Yates shuffle; `moved` holds what is no longer at its own place.
                let swap = rng.random_range(*next..lattice.points());
                let rank = moved.get(&swap).copied().unwrap_or(swap);
                let here = moved.remove(next).unwrap_or(*next);
                if swap != *next {
                    moved.insert(swap, here);
                }
                *next += 1;
                feasible(lattice.settle(rank), lattice)
            }
            Self::Sobol { next, points, then } => {
                if *next >= lattice.points().saturating_mul(4) {
                    return count(then, lattice);
                }
                let params = points.at(space, *next);
                *next += 1;
                lattice.rank(&params).map_or(Step::Nothing, |rank| feasible(rank, lattice))
            }
        }
    }
}

fn count(next: &mut u64, lattice: &Lattice) -> Step {
    if *next >= lattice.points() {
        return Step::End;
    }
    let rank = *next;
    match lattice.visit(rank) {
        Point::Feasible(_) => {
            *next = rank + 1;
            Step::Here(rank)
        }
        Point::Nothing { next: after } => {
            *next = after;
            Step::Nothing
        }
    }
}

fn feasible(rank: u64, lattice: &Lattice) -> Step {
    match lattice.visit(rank) {
        Point::Feasible(_) => Step::Here(rank),
        Point::Nothing { .. } => Step::Nothing,
    }
}

/// Whether a searcher that deals from a deck ends by itself in `space`.
pub fn ends(space: &Space) -> bool {
    space.cardinality().is_some_and(|points| (2..=EXACT_POINTS_MAX).contains(&points))
        && space.parameters.iter().any(|p| !matches!(p.domain, Domain::Const(_)))
}
