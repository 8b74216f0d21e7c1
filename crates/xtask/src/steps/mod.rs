//! The steps, in the order in which they run: what is quick to look at comes first.

mod clippy;
mod deps;
mod docs;
mod doctests;
mod edges;
mod examples;
mod fmt;
mod manifests;
mod optuna;
mod python;
mod s3;
mod schema;
mod tests;
mod tidy;

use crate::step::Step;

/// Every step.
pub const ALL: &[&dyn Step] = &[
    &tidy::Tidy,
    &edges::Edges,
    &deps::Deps,
    &docs::Docs,
    &fmt::Fmt,
    &clippy::Clippy,
    &schema::Schema,
    &examples::Examples,
    &tests::Tests,
    &doctests::Doctests,
    &python::Python,
    &optuna::Optuna,
    &s3::S3,
    &manifests::Manifests,
];
