//! What goes to standard output, in the form that the user asked for. Hints and progress go to standard error:
//! see `hints` and `live`.

mod csv;
mod format;
mod item;
mod listing;
mod long;
mod printer;
mod table;
mod yaml;

pub use csv::Lines as CsvLines;
pub use format::Format;
pub use item::{Fields, Item, number};
pub use listing::{Column, Kind, Listing};
pub use long::Long;
pub use printer::{Printer, is_coloured};
