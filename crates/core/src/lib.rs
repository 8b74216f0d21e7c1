//! heats-core
