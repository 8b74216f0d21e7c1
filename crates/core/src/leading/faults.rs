//! For tests: whether what the leader keeps of the sweeps is what a walk over all of them finds.

use super::Leading;
use super::roster::Roster;
use crate::dispatch::Next;
use crate::placement::{Line, quota};
use crate::sweep::Sweep;

impl Leading {
    /// What of it is not so, for people.
    pub fn faults(&mut self) -> Vec<String> {
        self.catch_up();
        let (mut line, mut roster) = (Line::default(), Roster::default());
        for sweep in self.active() {
            roster.put(sweep);
            if let Some((is_apart, is_brisk)) = self.asks(sweep) {
                line.put(sweep, is_apart, is_brisk);
            }
        }
        let mut faults = Vec::new();
        let (kept, walked) = (self.line.standings().collect::<Vec<_>>(), line.standings().collect::<Vec<_>>());
        if kept != walked {
            faults.push(format!("these stand in line: {walked:?}, and not {kept:?}"));
        }
        if self.roster != roster {
            faults.push(format!("what else is known of sweeps is {roster:?}, and not {:?}", self.roster));
        }
        let growths = self.places.growths();
        for queue in self.line.queues().filter(|queue| !self.line.is_open(queue, growths)) {
            let (members, wait) = self.line.members(queue);
            let could = |sweep: &&Sweep| self.could_be_placed(sweep);
            let placed: Vec<_> = members.iter().filter_map(|id| self.sweep(*id)).filter(could).map(|s| s.id).collect();
            if !placed.is_empty() || !wait {
                faults.push(format!("{queue:?} is closed; there are places for {placed:?}; they wait: {wait}"));
            }
        }
        faults
    }

    /// Whether there is a place for a trial of the sweep, looked for everywhere.
    fn could_be_placed(&self, sweep: &Sweep) -> bool {
        let Ok(room) = quota::room(&self.draft, &self.usage, sweep, self.now_ms) else { return false };
        let mut places = self.places.clone();
        places.search_again(sweep.id);
        let there = Next::there(sweep, self.promotion(sweep));
        let mut of_those = there.iter().map(|next| (next.wish(sweep, self.now_ms), next.bound_to(sweep)));
        of_those.any(|(wish, homes)| match homes {
            Some(homes) => homes.iter().any(|home| places.find_at(home, &self.draft, sweep, &wish, room).is_some()),
            None => places.find(&self.draft, sweep, &wish, room).is_some(),
        }) || there.is_empty() && places.find(&self.draft, sweep, &Default::default(), room).is_some()
    }
}
