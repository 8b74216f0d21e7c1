//! The registry of searchers: one line each.
