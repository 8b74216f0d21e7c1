//! The catalogue: events by key, in sled. It is made from the state alone and thrown away on any doubt: losing
//! it loses nothing. Nothing that was committed depends on it. Trials' series are not in it: `docs/adr/0005`.

mod book;
mod worker;

pub use book::{Catalogue, CatalogueError};
pub(crate) use worker::open;
