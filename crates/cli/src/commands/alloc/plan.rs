//! How many more jobs to submit. Pure.

use super::demand::Demand;

/// What a queue may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Jobs in all.
    pub agents: u32,
    /// Jobs that wait for a machine.
    pub backlog: u32,
}

/// What is known when it is looked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sight {
    /// What could run and has no place, now and the last time.
    pub waiting: Demand,
    /// Jobs of the queue that wait for a machine.
    pub pending: u32,
    /// Jobs of the queue.
    pub jobs: u32,
    /// Its agents that are attached.
    pub attached: u32,
    /// Of these, those that hold nothing.
    pub idle: u32,
    /// How many trials one of its agents takes, as far as that was seen.
    pub per_agent: u32,
}

/// How many more jobs to submit: enough for what waits, with those that are on their way.
///
/// An agent that holds nothing while trials wait has no room for them, or gets them in a moment: another one like it is of no
/// use. Fewer of them than a trial spans wait for the others.
pub fn more(limits: &Limits, sight: &Sight) -> u32 {
    if sight.idle > 0 && sight.idle >= sight.waiting.at_once {
        return 0;
    }
    let coming = u64::from(sight.jobs.saturating_sub(sight.attached) + sight.idle);
    let needed = sight.waiting.places.div_ceil(u64::from(sight.per_agent.max(1))).saturating_sub(coming);
    let room = limits.agents.saturating_sub(sight.jobs).min(limits.backlog.saturating_sub(sight.pending));
    u32::try_from(needed).unwrap_or(u32::MAX).min(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { agents: 8, backlog: 3 };
    const NOTHING: Sight = Sight { waiting: alone(0), pending: 0, jobs: 0, attached: 0, idle: 0, per_agent: 1 };

    const fn alone(trials: u64) -> Demand {
        Demand { trials, places: trials, at_once: 1 }
    }

    #[test]
    fn as_many_are_submitted_as_what_waits_needs() {
        assert_eq!(more(&LIMITS, &NOTHING), 0);
        assert_eq!(more(&LIMITS, &Sight { waiting: alone(2), ..NOTHING }), 2);
        assert_eq!(more(&LIMITS, &Sight { waiting: alone(9), per_agent: 4, ..NOTHING }), 3);
        let coming = Sight { waiting: alone(9), per_agent: 4, jobs: 3, attached: 1, ..NOTHING };
        assert_eq!(more(&LIMITS, &coming), 1, "two are on their way");
    }

    #[test]
    fn neither_limit_is_exceeded() {
        assert_eq!(more(&LIMITS, &Sight { waiting: alone(99), ..NOTHING }), 3);
        assert_eq!(more(&LIMITS, &Sight { waiting: alone(99), pending: 2, jobs: 2, ..NOTHING }), 1);
        assert_eq!(more(&LIMITS, &Sight { waiting: alone(99), jobs: 7, attached: 7, ..NOTHING }), 1);
        assert_eq!(more(&LIMITS, &Sight { waiting: alone(99), pending: 4, jobs: 9, ..NOTHING }), 0);
    }

    #[test]
    fn agents_that_are_too_few_for_a_trial_that_spans_machines_get_company() {
        let waiting = Demand { trials: 1, places: 3, at_once: 3 };
        assert_eq!(more(&LIMITS, &Sight { waiting, ..NOTHING }), 3);
        assert_eq!(more(&LIMITS, &Sight { waiting, jobs: 2, attached: 1, idle: 1, ..NOTHING }), 1, "one is on its way");
        assert_eq!(
            more(&LIMITS, &Sight { waiting, jobs: 3, attached: 3, idle: 3, ..NOTHING }),
            0,
            "it has no use for them"
        );
    }

    #[test]
    fn where_an_agent_cannot_take_what_waits_another_one_could_not_either() {
        assert_eq!(more(&LIMITS, &Sight { waiting: alone(99), jobs: 2, attached: 2, idle: 1, ..NOTHING }), 0);
    }
}
