//! The agent with real processes, driven by a coordinator that only does what a test wants.

mod doors;
mod fake;
mod given_back;
mod gpus;
mod house;
mod keeping;
mod lineage;
mod restarts;
mod slots;
mod trials;
mod warm;
