//! Compares a tree with a JSON schema: unknown keys, missing keys, wrong types, all at once.
//! Knows nothing of what values mean together: see `crate::check`.
//!
//! The schema is the one that the types give, so that a new field of the sweep file, or of a plug, needs
//! nothing here. Of JSON schema it understands what `schemars` writes for types with named fields,
//! lists, maps, scalars and enums.

mod alternatives;
mod repair;
mod walk;
mod wording;
mod written;

pub use walk::{check, check_params};
