//! heats-agent
