//! heats-replica
