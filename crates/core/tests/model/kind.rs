//! What the sweeps of the test are like.

/// What a sweep of the test asks for.
#[derive(Clone, Debug)]
pub struct Kind {
    pub maximize: Option<bool>,
    pub upper: bool,
    pub stop_at: bool,
    pub trials: u32,
    pub parallel: Option<u32>,
    pub retries: u32,
    pub max_failures: Option<u32>,
    pub wall_ms: Option<u64>,
    pub gpus: u32,
    /// How many machines a trial spans.
    pub nodes: u32,
    /// After how many trials the searcher has nothing more.
    pub space: Option<u32>,
    /// Half of those that the rule of `upper` would stop run on.
    pub audit: bool,
    /// How many leaders run again, and how often each.
    pub confirm: Option<(u32, u32)>,
}

/// Values above this are stopped by the rule of [`Kind::upper`].
pub const UPPER: f64 = 5.0;
/// The seed of every sweep: see `SweepBuilder`.
pub const SEED: u64 = 7;
/// The target of [`Kind::stop_at`].
pub const TARGET: f64 = -4.0;
