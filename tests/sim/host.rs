//! A machine of the simulation: a scheduler with a clock of its own, which runs only when it is told to and for as long as
//! it is told to. Dropped, everything on it is gone in that instant, as by SIGKILL.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

#[derive(Debug)]
pub struct Host {
    runtime: Runtime,
    /// How much faster its clock goes than the simulation's, in millionths.
    drift_ppm: i64,
}

impl Host {
    pub fn new(drift_ppm: i64) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        Self { runtime: runtime.expect("a runtime without a driver needs nothing of the system"), drift_ppm }
    }

    /// Starts a task. It runs when the host runs.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Lets everything on the host run for this long.
    pub fn run(&self, time: Duration) {
        let nanos = time.as_nanos() as i64;
        let time = Duration::from_nanos((nanos + nanos * self.drift_ppm / 1_000_000).max(0) as u64);
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// The host stood still for this long: its clock went on, and nothing on it ran.
    pub fn wake_after(&self, gap: Duration) {
        self.runtime.block_on(async { tokio::time::advance(gap).await });
    }
}
