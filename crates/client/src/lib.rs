//! heats-client
