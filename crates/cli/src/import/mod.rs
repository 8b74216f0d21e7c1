//! Other tools' sweep files, made into ours: `heats init --from wandb|katib|determined FILE`. What has no counterpart
//! becomes a comment in the file and a warning; nothing is dropped in silence.

mod determined;
mod draft;
mod katib;
mod read;
mod wandb;

use std::path::Path;

use heats_domain::document::{Format, open};
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::sweepfile::Invalid;

use draft::Draft;

/// A sweep file made from another tool's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// The file's text.
    pub yaml: String,
    /// What is worth a look, for people.
    pub warnings: Vec<String>,
}

type Import = fn(&Value, &mut Draft);

const TOOLS: [(&str, Import); 3] =
    [("wandb", wandb::import), ("katib", katib::import), ("determined", determined::import)];

/// Makes a sweep file from `bytes`, a file of `tool`.
///
/// # Errors
/// A tool that is not known, or a file that is not YAML or JSON.
pub fn import(tool: &str, file: &Path, bytes: &[u8]) -> Result<Imported, Failure> {
    let names = TOOLS.map(|(name, _)| name);
    let (_, import) = TOOLS.into_iter().find(|(name, _)| *name == tool).ok_or_else(|| {
        let nearest = crate::words::nearest(tool, names);
        let failure =
            Failure::usage(format!("`{tool}` is not a tool whose files can be read: one of {}", names.join(", ")));
        match nearest {
            Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
            None => failure.hint("heats init --from wandb sweep.yaml"),
        }
    })?;
    let name = file.display().to_string();
    let read = open(bytes, Format::of(&name));
    let tree = read.document().root().to_json();
    if !tree.is_object() {
        // What makes it no tree is among the faults; that it is no sweep file of ours is no fault here.
        if read.faults.is_empty() {
            return Err(Failure::new(Exit::InvalidFile, format!("{name} is not a mapping")));
        }
        return Err(Invalid::Faults(name, read.faults).say());
    }
    let mut draft = Draft::new(tool, &file.file_name().unwrap_or_default().to_string_lossy());
    import(&tree, &mut draft);
    Ok(draft.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use heats_domain::SweepSpec;

    /// The sweep that `text` becomes, and what is said about it.
    pub(super) fn imported(tool: &str, text: &str) -> (SweepSpec, Imported) {
        let imported = import(tool, Path::new("theirs.yaml"), text.as_bytes()).expect("imports");
        let mut draft = open(imported.yaml.as_bytes(), Format::Yaml);
        let faults: Vec<String> = heats_search::check(draft.spec.as_ref().expect("a spec"))
            .into_iter()
            .map(|misfit| format!("{}: {}", misfit.path.join("."), misfit.message))
            .collect();
        assert_eq!(faults, [""; 0], "{}", imported.yaml);
        let spec = draft.spec.take();
        assert!(draft.faults.is_empty(), "{}\n{}", draft.faults, imported.yaml);
        (spec.expect("a spec"), imported)
    }

    #[test]
    fn an_unknown_tool_and_a_file_that_is_no_mapping_are_refused() {
        assert_eq!(import("wand", Path::new("a"), b"a: 1").expect_err("is refused").exit, Exit::Usage);
        assert_eq!(import("wandb", Path::new("a"), b"- 1").expect_err("is refused").exit, Exit::InvalidFile);
        assert_eq!(import("wandb", Path::new("a"), b"a: [").expect_err("is refused").exit, Exit::InvalidFile);
    }
}
