//! heats-testkit
