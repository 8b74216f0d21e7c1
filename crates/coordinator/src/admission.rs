//! What is checked before a sweep is submitted: the same as `heats check`, but for the file system, which
//! only the submitting machine can see.

use heats_domain::SweepSpec;
use heats_domain::document::{self, Format};
use tonic::Status;

/// Reads and checks a specification that arrived as JSON.
///
/// # Errors
/// `INVALID_ARGUMENT` with every fault, each with its place in the specification.
pub fn admit(json: &str) -> Result<SweepSpec, Status> {
    let invalid = |text: String| crate::status::refused(&heats_core::Refusal::Spec(text));
    let (spec, _) = document::read(json.as_bytes(), Format::Json).map_err(|faults| invalid(faults.to_string()))?;
    let complaints = heats_search::check(&spec);
    if complaints.is_empty() {
        return Ok(spec);
    }
    let lines: Vec<String> = complaints.iter().map(|c| format!("{}: {}", c.path.join("."), c.message)).collect();
    Err(invalid(lines.join("; ")))
}
