//! `heats init`

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure, Outcome};
use crate::{hints, import, words};

/// A template's name, and its files by path.
type Template = (&'static str, &'static [(&'static str, &'static [u8])]);

include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// The name of the file that is written.
const FILE: &str = "sweep.yaml";

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A training script with its sweep file
    #[arg(long, value_name = "NAME", value_parser = template_names(), conflicts_with = "from")]
    template: Option<String>,
    /// Another tool's file, made into a sweep file: wandb, katib or determined
    #[arg(long, value_names = ["TOOL", "FILE"], num_args = 2)]
    from: Vec<String>,
    /// The folder to write to
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

fn template_names() -> Vec<&'static str> {
    TEMPLATES.iter().map(|(name, _)| *name).collect()
}

/// Writes a sweep file to begin with, from a template or from another tool's file.
pub fn run(args: &Args) -> Outcome {
    let Args { template, from, folder, force } = args;
    match (template, from.as_slice()) {
        (_, [tool, file]) => convert(tool, Path::new(file), folder, *force),
        (Some(name), _) => write_template(name, folder, *force),
        (None, _) => write_template("sklearn", folder, *force),
    }
}

fn write_template(name: &str, folder: &Path, force: bool) -> Outcome {
    let files = TEMPLATES.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, files)| *files);
    let paths: Vec<PathBuf> = files.iter().map(|(path, _)| folder.join(path)).collect();
    refuse_existing(&paths, force)?;
    for (path, (_, content)) in paths.iter().zip(files) {
        write(path, content)?;
    }
    let sweep = words::quoted(&folder.join(FILE).display().to_string());
    hints::next(&[
        (format!("heats check {sweep} --show-trials 3"), "see what it would run"),
        (format!("heats run {sweep}"), "run it"),
    ]);
    Ok(Exit::Ok)
}

fn convert(tool: &str, file: &Path, folder: &Path, force: bool) -> Outcome {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::new(Exit::NotFound, format!("cannot read {}: {error}", file.display())))?;
    let import::Imported { yaml, warnings } = import::import(tool, file, &bytes)?;
    let path = folder.join(FILE);
    refuse_existing(std::slice::from_ref(&path), force)?;
    write(&path, yaml.as_bytes())?;
    for warning in &warnings {
        hints::warn(warning);
    }
    let sweep = words::quoted(&path.display().to_string());
    hints::next(&[
        (format!("heats check {sweep} --show-trials 3"), "look for what is left to do"),
        (format!("heats run {sweep}"), "run it"),
    ]);
    Ok(Exit::Ok)
}

/// All or nothing: a template half of which is the user's own file would be neither.
fn refuse_existing(paths: &[PathBuf], force: bool) -> Result<(), Failure> {
    let there: Vec<String> = paths.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
    if force || there.is_empty() {
        return Ok(());
    }
    let are = if there.len() == 1 { "is" } else { "are" };
    Err(Failure::new(Exit::Conflict, format!("{} {are} there already; nothing was written", words::list(&there)))
        .hint("give another folder, or --force to replace"))
}

fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    std::fs::write(path, content).map_err(fail)?;
    if content.starts_with(b"#!") {
        let mut permissions = path.metadata().map_err(fail)?.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
        std::fs::set_permissions(path, permissions).map_err(fail)?;
    }
    hints::note(&format!("wrote {}", path.display()));
    Ok(())
}
