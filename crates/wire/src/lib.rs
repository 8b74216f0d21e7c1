//! heats-wire
