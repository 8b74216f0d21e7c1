//! The registry of stoppers: one line each.
