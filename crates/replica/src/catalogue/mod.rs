//! The catalogue: events and finished trials' series by key, in sled. It is made from the state alone and
//! thrown away on any doubt: losing it loses nothing. Nothing that was committed depends on it.

mod book;
mod series;
mod worker;

pub use book::{Catalogue, CatalogueError};
pub use series::Point;
pub(crate) use worker::open;
