//! The sweep file as the command reads it: from a path, from standard input, from options; with what `--set`
//! changes, and with the checks that need the machine (does the script exist). The file's own sense is checked
//! in the crates `domain` and `search`.

mod fingerprint;
mod inline;
mod load;
mod places;
mod set;

pub use fingerprint::fingerprint;
pub use inline::Inline;
pub use load::{Invalid, Loaded, Overrides, load, of_inline};
