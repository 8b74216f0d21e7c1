//! The published JSON schema of the sweep file, made from its types.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::SweepSpec;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<SweepSpec>().to_value();
    if let Value::Object(root) = &mut schema {
        root.insert("title".into(), "Heats sweep".into());
        // A name, not an address: nothing is fetched from anywhere.
        root.insert("$id".into(), "urn:heats:sweep:v1".into());
    }
    schema
});

/// The JSON schema of the sweep file, for editors and for the shape check.
pub fn schema() -> &'static Value {
    &SCHEMA
}
