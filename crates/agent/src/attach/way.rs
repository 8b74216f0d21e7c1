//! Which coordinator is asked, when, and for how long it may be silent.

use std::time::Duration;

use heats_tls::Security;
use rand::RngExt;

const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_LAST: Duration = Duration::from_secs(2);
/// More coordinators than any cluster has.
const COORDINATORS_MAX: usize = 32;
/// After a connection was silent for so long its peer is asked for a sign of life, which it has to give within as long.
/// Where there is another coordinator to go to, a leader that stands still is left soon: it is replaced after about a
/// second. Where there is none, nothing is won by leaving it.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
const SIGN_OF_LIFE_ALONE: Duration = Duration::from_secs(5);

/// Where coordinators are, and how they are reached.
#[derive(Clone, Debug)]
pub struct Way {
    /// Their addresses, as far as they are known.
    pub coordinators: Vec<String>,
    /// Plain text or TLS.
    pub security: Security,
}

/// Takes note of the coordinators that a leader names, in place of those that the one before it named.
pub(super) fn learn(coordinators: &mut Vec<String>, told_at_start: usize, named: &[String]) {
    coordinators.truncate(told_at_start);
    for address in named.iter().take(COORDINATORS_MAX) {
        if !coordinators.contains(address) {
            coordinators.push(address.clone());
        }
    }
}

/// After how long a silence a connection's peer is asked for a sign of life.
pub(super) const fn sign_of_life(coordinators: &[String]) -> Duration {
    if coordinators.len() > 1 { SIGN_OF_LIFE } else { SIGN_OF_LIFE_ALONE }
}

/// Which of `coordinators` is asked after the one at `turn`. Not the one that has just failed, where there is another: it
/// may stand still, and whoever asks it waits.
pub(super) fn next_turn(coordinators: &[String], turn: usize, failed: Option<&str>) -> usize {
    let after = |turn: usize| (turn + 1) % coordinators.len().max(1);
    let next = after(turn);
    if coordinators.get(next).map(String::as_str) == failed { after(next) } else { next }
}

/// Anything from nothing to the cap, which doubles with every try: agents that lost the same leader come back spread out.
pub(super) fn back_off(tries: u32) -> Duration {
    let cap = BACK_OFF_FIRST.saturating_mul(2_u32.saturating_pow(tries.min(16))).min(BACK_OFF_LAST);
    cap.mul_f64(rand::rng().random_range(0.0..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coordinators(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn coordinators_that_joined_are_known_and_those_that_were_told_at_the_start_stay_so() {
        let mut known = coordinators(&["a", "b"]);
        learn(&mut known, 2, &coordinators(&["b", "c"]));
        assert_eq!(known, ["a", "b", "c"]);
        learn(&mut known, 2, &coordinators(&["d"]));
        assert_eq!(known, ["a", "b", "d"]);
        learn(&mut known, 2, &(0..1_000).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(known.len(), 2 + COORDINATORS_MAX);
    }

    #[test]
    fn a_coordinator_that_failed_is_asked_again_only_after_another() {
        let (one, three) = (coordinators(&["a"]), coordinators(&["a", "b", "c"]));
        assert_eq!([next_turn(&three, 0, None), next_turn(&three, 2, None)], [1, 0]);
        assert_eq!([next_turn(&three, 0, Some("b")), next_turn(&three, 1, Some("c"))], [2, 0]);
        assert_eq!(next_turn(&three, 0, Some("x")), 1, "one that was named by another");
        assert_eq!([next_turn(&one, 0, Some("a")), next_turn(&[], 0, None)], [0, 0]);
    }

    #[test]
    fn a_leader_that_stands_still_is_left_soon_where_there_is_somebody_else_to_ask() {
        assert!(sign_of_life(&coordinators(&["a", "b"])) < sign_of_life(&coordinators(&["a"])));
        // A leader is replaced after one second: to be there much earlier is of no use, much later is a loss.
        assert_eq!(sign_of_life(&coordinators(&["a", "b"])), Duration::from_secs(1));
    }

    #[test]
    fn the_back_off_grows_to_its_cap_and_is_spread() {
        for tries in 0..100 {
            assert!(back_off(tries) <= BACK_OFF_LAST);
        }
        let longest = (0..200).map(|_| back_off(3)).max().unwrap_or_default();
        assert!(longest > BACK_OFF_FIRST * 4 && longest <= BACK_OFF_FIRST * 8, "{longest:?}");
    }
}
