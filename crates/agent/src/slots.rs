//! How many processors the running trials may use together: a counted room, first come, first served.
//!
//! A coordinator leases trials ahead, so that the next one is ready the moment another ends: what waits here is
//! prepared in everything but its process. Counts only. Which trials come, and in which order, is the
//! coordinator's business; memory and GPUs are not counted.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

/// The processors of one agent.
#[derive(Clone, Debug)]
pub struct Slots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    free: Semaphore,
    total: u32,
    /// Processors that are used beyond the total: paid back before anybody gets a free one.
    debt: Mutex<u32>,
}

/// Processors that one attempt uses, given back when this is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    cpus: u32,
}

impl Slots {
    /// `cpus` free processors, at least one.
    pub fn new(cpus: u32) -> Self {
        let total = cpus.max(1);
        let free = Semaphore::new(total as usize);
        Self { inner: Arc::new(Inner { free, total, debt: Mutex::new(0) }) }
    }

    /// Takes `cpus` processors once they are free and everybody who came before has theirs. One at least, so
    /// that nothing runs uncounted, and at most all, so that nothing waits for ever.
    pub async fn take(&self, cpus: u32) -> Slot {
        let cpus = self.counted(cpus);
        match self.inner.free.acquire_many(cpus).await {
            // The slot gives them back in the permit's place: the debt comes first.
            Ok(permit) => permit.forget(),
            // Closed: nothing starts any more.
            Err(_) => std::future::pending().await,
        }
        Slot { slots: self.clone(), cpus }
    }

    /// Takes `cpus` processors at once, free or not: their process runs already. What is missing is owed, and
    /// whoever gives back pays that first.
    pub fn seize(&self, cpus: u32) -> Slot {
        let cpus = self.counted(cpus);
        let mut debt = self.inner.debt.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.inner.free.forget_permits(cpus as usize) as u32;
        *debt = debt.saturating_add(cpus - taken);
        drop(debt);
        Slot { slots: self.clone(), cpus }
    }

    /// Whoever waits, or comes later, waits for ever: an agent that goes down starts nothing more, though slots
    /// are given back when it lets go of trials that run on.
    pub fn close(&self) {
        self.inner.free.close();
    }

    fn counted(&self, cpus: u32) -> u32 {
        cpus.clamp(1, self.inner.total)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Inner { free, debt, .. } = &*self.slots.inner;
        let mut debt = debt.lock().unwrap_or_else(PoisonError::into_inner);
        let paid = self.cpus.min(*debt);
        *debt -= paid;
        free.add_permits((self.cpus - paid) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn is_free(slots: &Slots, cpus: u32) -> bool {
        slots.take(cpus).now_or_never().is_some()
    }

    #[test]
    fn whoever_came_first_is_served_first_however_much_it_needs() {
        let slots = Slots::new(2);
        let first = slots.take(1).now_or_never().expect("two are free");
        let mut large = Box::pin(slots.take(2));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(!is_free(&slots, 1), "a small one does not overtake");
        drop(first);
        let large = large.now_or_never().expect("all are free");
        assert!(!is_free(&slots, 1));
        drop(large);
        assert!(is_free(&slots, 2));
    }

    #[test]
    fn a_wait_that_is_given_up_keeps_nothing() {
        let slots = Slots::new(2);
        let first = slots.take(1).now_or_never().expect("two are free");
        assert!(!is_free(&slots, 2));
        assert!(is_free(&slots, 1));
        drop(first);
        assert!(is_free(&slots, 2));
    }

    #[test]
    fn no_grant_is_smaller_than_one_or_larger_than_all() {
        let slots = Slots::new(0);
        let none = slots.take(0).now_or_never().expect("one is free");
        assert!(!is_free(&slots, 0));
        drop(none);
        assert!(is_free(&slots, 99));
    }

    #[test]
    fn what_is_seized_beyond_the_total_is_paid_back_first() {
        let slots = Slots::new(2);
        let (first, second, third) = (slots.seize(1), slots.seize(2), slots.seize(1));
        drop(first);
        drop(third);
        assert!(!is_free(&slots, 1), "two are used by the second");
        drop(second);
        assert!(is_free(&slots, 2));
        let again = slots.take(2).now_or_never().expect("both are free");
        assert!(!is_free(&slots, 1), "and not more than both");
        drop(again);
    }

    #[test]
    fn nobody_is_served_after_the_close() {
        let slots = Slots::new(1);
        let first = slots.take(1).now_or_never().expect("one is free");
        let mut waits = Box::pin(slots.take(1));
        assert!(waits.as_mut().now_or_never().is_none());
        slots.close();
        drop(first);
        assert!(waits.now_or_never().is_none());
    }
}
