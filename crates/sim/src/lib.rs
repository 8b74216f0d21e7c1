//! heats-sim
