//! What a step of the gate is.

use anyhow::Result;

use crate::repo::Repo;
use crate::tally::Tally;

/// One thing that `verify` looks at.
pub trait Step: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What it holds true, in one line.
    fn about(&self) -> &'static str;

    /// Looks, and prints what it finds. Must not write to tracked files.
    ///
    /// # Errors
    /// When it could not look at all; this counts as one failure.
    fn verify(&self, repo: &Repo) -> Result<Tally>;

    /// Mends what can be mended without thought; `None` where nothing can.
    fn fix(&self, _repo: &Repo) -> Option<Result<()>> {
        None
    }
}
