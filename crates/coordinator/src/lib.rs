//! heats-coordinator
