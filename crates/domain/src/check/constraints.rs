//! Constraints: they mention parameters that exist, and their types fit. Whether configurations satisfy
//! them is found by drawing some: see `draws`.

use super::types::Names;
use super::{Context, conditions, types};
use crate::document::{Fault, Path};

/// Constraints that cannot be what they are meant to be.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (i, constraint) in context.spec.constraints.iter().enumerate() {
        let at = Path::from("constraints").index(i);
        faults.extend(conditions::strangers(context, constraint, &at));
        faults.extend(types::check(constraint, Names::Parameters(&context.space), &at));
    }
    faults
}
