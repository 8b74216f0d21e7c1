//! Draws configurations until one is acceptable. The one place where a configuration is drawn at random.

use std::cell::Cell;

use heats_domain::{Params, Space};
use rand::{Rng, RngExt};

use crate::Suggestion;

/// How many configurations are drawn before a searcher says that it found none.
pub const DRAWS_MAX: u32 = 10_000;

/// How many feasible configurations are passed over because `avoid` knows them, before one is repeated.
const REPEATS_MAX: u32 = 100;

/// Draws uniformly, `fixed` values kept, until a configuration holds all of them and satisfies every
/// constraint. One that `avoid` knows is taken only when nothing else comes up.
pub fn configuration(
    space: &Space,
    fixed: &Params,
    rng: &mut (impl Rng + ?Sized),
    avoid: impl Fn(&Params) -> bool,
) -> Suggestion {
    if space.check_partial(fixed).is_err() {
        return Suggestion::Infeasible { draws: 0 };
    }
    let mut known = None;
    let mut repeats = 0;
    for draws in 1..=DRAWS_MAX {
        let chose = Cell::new(false);
        let params = space.assemble(|parameter, _| match fixed.get(&parameter.name) {
            Some(value) => value.clone(),
            None => {
                chose.set(true);
                parameter.domain.at(rng.random())
            }
        });
        if keeps(&params, fixed) && space.is_feasible(&params) {
            if !avoid(&params) {
                return Suggestion::Try(params);
            }
            repeats += 1;
            known.get_or_insert(params);
        }
        if !chose.get() || repeats >= REPEATS_MAX {
            return known.map_or(Suggestion::Infeasible { draws }, Suggestion::Try);
        }
    }
    known.map_or(Suggestion::Infeasible { draws: DRAWS_MAX }, Suggestion::Try)
}

/// Whether `params` has every value of `fixed`: one whose parameter is inactive has none.
pub fn keeps(params: &Params, fixed: &Params) -> bool {
    fixed.iter().all(|(name, value)| params.get(name) == Some(value))
}
