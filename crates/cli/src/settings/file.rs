//! The files of settings: the folder's own, the user's contexts, the machine's.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{FOLDER, Key, Origin, World};
use crate::exit::Failure;

/// The settings of one file, or of one context of it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) origin: Origin,
    table: Table,
}

impl Layer {
    /// The value of `key`; a list's elements, or a table's pairs, with commas between.
    pub(super) fn get(&self, key: Key) -> Option<String> {
        match self.table.get(key.name())? {
            Value::String(text) if key.is_file() => Some(self.place(text)),
            Value::String(text) => Some(text.clone()),
            Value::Array(items) => Some(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")),
            Value::Table(table) => {
                let pair = |(key, value): (&String, &Value)| match value {
                    Value::String(text) => format!("{key}={text}"),
                    other => format!("{key}={other}"),
                };
                Some(table.iter().map(pair).collect::<Vec<_>>().join(","))
            }
            other => Some(other.to_string()),
        }
    }

    /// The file that this file means by `text`.
    fn place(&self, text: &str) -> String {
        let folder = match &self.origin {
            Origin::File(path) | Origin::System(path) | Origin::Context(_, path) | Origin::Live(path) => path.parent(),
            Origin::Flag(_) | Origin::Variable(_) | Origin::Default => None,
        };
        folder.map_or_else(|| text.to_owned(), |folder| folder.join(text).display().to_string())
    }

    /// Whether it is about the working directory.
    pub(super) const fn is_local(&self) -> bool {
        matches!(self.origin, Origin::File(_))
    }

    fn new(origin: Origin, table: Table, warnings: &mut Vec<String>) -> Self {
        for name in table.keys() {
            let known = Key::ALL.map(Key::name);
            if !known.contains(&name.as_str()) && !["context", "contexts"].contains(&name.as_str()) {
                let nearest = crate::words::nearest(name, known);
                let hint = nearest.map_or_else(
                    || format!("settings are {}", known.join(", ")),
                    |nearest| format!("did you mean `{nearest}`?"),
                );
                warnings.push(format!("{origin}: there is no setting `{name}` ({hint})"));
            }
        }
        Self { origin, table }
    }
}

/// All layers, the strongest first.
pub(super) fn layers(world: &World, warnings: &mut Vec<String>) -> Result<Vec<Layer>, Failure> {
    let mut layers = Vec::new();
    for folder in world.directory.ancestors() {
        let path = folder.join(FOLDER).join("config.toml");
        if let Some(table) = read(&path)? {
            layers.push(Layer::new(Origin::File(path), table, warnings));
        }
    }
    if let Some(layer) = context(&world.home_config, warnings)? {
        layers.push(layer);
    }
    for path in machine_files(&world.system) {
        if let Some(table) = read(&path)? {
            layers.push(Layer::new(Origin::System(path), table, warnings));
        }
    }
    Ok(layers)
}

/// The current context of the user's file.
fn context(path: &Path, warnings: &mut Vec<String>) -> Result<Option<Layer>, Failure> {
    let Some(table) = read(path)? else { return Ok(None) };
    let Some(name) = table.get("context").and_then(Value::as_str) else { return Ok(None) };
    let Some(context) = table.get("contexts").and_then(|contexts| contexts.get(name)).and_then(Value::as_table) else {
        warnings.push(format!("{}: the current context `{name}` is not among its contexts", path.display()));
        return Ok(None);
    };
    let origin = Origin::Context(name.to_owned(), path.to_owned());
    Ok(Some(Layer::new(origin, context.clone(), warnings)))
}

/// The machine's files: of two that say the same, the later name wins, as in other such folders.
fn machine_files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    paths.reverse();
    paths
}

fn read(path: &Path) -> Result<Option<Table>, Failure> {
    // A file that is not there, or not ours to read, says nothing.
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
    match text.parse::<Table>() {
        Ok(table) => Ok(Some(table)),
        Err(error) => Err(Failure::usage(format!("cannot read {}: {}", path.display(), error.message()))
            .hint(error.to_string().lines().take(3).collect::<Vec<_>>().join("\n  "))),
    }
}
