//! Gaussian processes: a smooth guess at the loss of every configuration, with how sure it is.

pub mod acquire;
pub mod descent;
pub mod factor;
pub mod fit;
pub mod ground;
pub mod kernel;
pub mod ladder;
pub mod plane;
pub mod process;
pub mod searcher;
