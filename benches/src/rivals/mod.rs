//! What Heats is measured against, each in the way that suits it best.

pub(crate) mod postgres;
