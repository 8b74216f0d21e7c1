//! Texts that have to be written in some way: durations, sizes, expressions.

use super::wording::shortened;
use crate::document::{Fault, Path};
use crate::expr::{Expr, ParseError};
use crate::units::{Bytes, Span};

/// What is wrong with a text that has to be written in some way; `None` where nothing is.
pub(super) fn written_as(kind: &str, text: &str, path: &Path) -> Option<Fault> {
    let fault = |message: String| Fault::new(path.clone(), message);
    match kind {
        "duration" => {
            text.parse::<Span>().err()?;
            Some(
                fault(format!("`{}` is not a duration", shortened(text)))
                    .hint("write for example 250ms, 60s, 5m, 2h, 1d or 1h30m"),
            )
        }
        "size" => {
            text.parse::<Bytes>().err()?;
            Some(fault(format!("`{}` is not a size", shortened(text))).hint("write for example 512MiB, 16GiB or 2TB"))
        }
        "expression" => {
            let error: ParseError = Expr::parse(text).err()?;
            Some(expression(&error, path))
        }
        _ => None,
    }
}

/// A text that is not a CEL expression.
fn expression(error: &ParseError, path: &Path) -> Fault {
    let fault = Fault::new(path.clone(), format!("{} is not a CEL expression: {}", path.quoted(), error.why()));
    let fault = match error.range() {
        Some(range) => fault.within(range),
        None => fault,
    };
    fault.maybe_hint(error.hint().map(str::to_owned))
}
