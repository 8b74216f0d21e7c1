//! A file's text becomes a tree with source spans, then a [`SweepSpec`], and every error of the file is
//! reported at once. Reads bytes that are handed in; opens nothing.
//!
//! Text -> [`Node`] (`yaml`, `toml`, `json`) -> shape against the schema (`shape`) -> the types (`draft`)
//! -> sense (`crate::check`) -> [`Faults`], which `render` shows under the lines that they are about.
//!
//! [`SweepSpec`]: crate::SweepSpec

mod draft;
mod fault;
mod format;
mod hints;
mod json;
mod node;
mod path;
mod render;
mod scalar;
mod schema;
pub mod shape;
mod source;
mod toml;
mod yaml;

pub use draft::{Document, Draft, MAX_BYTES, open, read};
pub use fault::{Fault, Faults, Part};
pub use format::Format;
pub use node::{Entry, Kind, Node};
pub use path::{Path, Segment};
pub use render::{Colour, render};
pub use schema::schema;
pub use source::SourceSpan;

pub(crate) use hints::{did_you_mean, one_of};
