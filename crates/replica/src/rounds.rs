//! Rounds in which a majority is asked whether this node still leads, shared by all who want to know.
//!
//! What a round finds holds for everybody who asked before it began. So those who ask while one is on its way wait for the next
//! together, and a leader with many readers asks its peers no oftener than they answer.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::error::ProposeError;

/// What a round finds: the index up to which the state holds everything, or why there is none.
type Found = Result<u64, ProposeError>;

/// The round that is to begin next, and the turn of the one that is on its way.
#[derive(Default)]
pub struct Rounds {
    next: Mutex<Option<Shared<BoxFuture<'static, Found>>>>,
    turn: tokio::sync::Mutex<()>,
}

impl Rounds {
    /// What the next round to begin finds. Where nobody waits for one, it is `ask`.
    ///
    /// # Errors
    /// What the round meets.
    pub async fn join(self: &Arc<Self>, ask: impl Future<Output = Found> + Send + 'static) -> Found {
        let round = {
            // No code that holds the lock can panic halfway through a change.
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let this = Arc::clone(self);
            let round = next.get_or_insert_with(|| this.round(ask).boxed().shared());
            round.clone()
        };
        round.await
    }

    async fn round(self: Arc<Self>, ask: impl Future<Output = Found>) -> Found {
        let _turn = self.turn.lock().await;
        // Whoever comes from here on came after its begin.
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        ask.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Poll;

    use tokio::sync::Semaphore;

    use super::*;

    /// Rounds that are numbered, and end when they may.
    #[derive(Default)]
    struct Majority {
        rounds: Arc<Rounds>,
        begun: Arc<AtomicU64>,
        ends: Arc<Ends>,
    }

    struct Ends(Semaphore);

    impl Default for Ends {
        fn default() -> Self {
            Self(Semaphore::new(0))
        }
    }

    impl Majority {
        fn ask(&self) -> BoxFuture<'static, Found> {
            let (rounds, begun, ends) = (self.rounds.clone(), self.begun.clone(), self.ends.clone());
            let ask = async move {
                let number = begun.fetch_add(1, Ordering::Relaxed) + 1;
                ends.0.acquire().await.expect("is never closed").forget();
                Ok(number)
            };
            async move { rounds.join(ask).await }.boxed()
        }
    }

    #[tokio::test]
    async fn those_who_ask_while_a_round_is_on_its_way_share_the_next_one() {
        let majority = Majority::default();
        let mut first = majority.ask();
        assert_eq!(futures::poll!(&mut first), Poll::Pending);
        let mut later: Vec<_> = (0..5).map(|_| majority.ask()).collect();
        for question in &mut later {
            assert_eq!(futures::poll!(question), Poll::Pending);
        }
        majority.ends.0.add_permits(9);
        assert_eq!(first.await, Ok(1));
        assert_eq!(futures::future::join_all(later).await, vec![Ok(2); 5]);
        assert_eq!(majority.ask().await, Ok(3));
    }

    #[tokio::test]
    async fn a_round_whose_askers_have_gone_hinders_nobody() {
        let majority = Majority::default();
        let (mut begun, mut waits) = (majority.ask(), majority.ask());
        assert_eq!((futures::poll!(&mut begun), futures::poll!(&mut waits)), (Poll::Pending, Poll::Pending));
        drop((begun, waits));
        majority.ends.0.add_permits(9);
        assert_eq!(majority.ask().await, Ok(2));
    }
}
