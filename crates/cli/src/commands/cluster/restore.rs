//! `heats cluster restore`

use std::path::PathBuf;

use heats_coordinator::{BackupError, FirstNode};

use super::backup::contents;
use super::code;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::settings::ADDRESS;
use crate::{hints, words};

/// `heats cluster restore`
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What `heats cluster backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The number of the new cluster's first coordinator [default: the first that the old cluster did not have]
    #[arg(long, alias = "node-id", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    id: Option<u64>,
    /// Where others will reach it
    #[arg(long, value_name = "HOST:PORT", default_value = ADDRESS)]
    advertise: String,
}

/// Makes the data directory of a new cluster's first coordinator. No coordinator is asked, and none runs in it yet.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let Args { file, id, advertise } = args;
    let dir = context.settings.data_dir();
    let summary = heats_coordinator::examine(file).map_err(failure)?;
    let first = FirstNode { node: *id, address: advertise.clone() };
    let node = heats_coordinator::restore(file, &dir, &first).map_err(failure)?;
    let missing = code::put_back(file, &dir, &summary)?;
    let dir = dir.display();
    hints::note(&format!("coordinator {node} of a new cluster in {dir}, with {}", contents(&summary)));
    if summary.live > 0 {
        let trials = words::count(summary.live, "trial");
        hints::note(&format!("{trials} that ran then count as lost, and are tried again without using up a retry"));
    }
    hints::note("its agents end what they run of the old cluster as soon as they reach it");
    if !missing.is_empty() {
        hints::warn(&format!(
            "the code of {} is not here, and their trials cannot start: copy the folder `archives` of an old coordinator's \
             data directory into this one, or restore a backup that was taken `--with-code`",
            code::sweeps(&missing)
        ));
    }
    hints::next(&[
        (format!("heats coordinator start --id {node} --listen {advertise} --data {dir}"), "the new cluster"),
        ("heats cluster add ADDRESS".to_owned(), "others, under numbers that the old cluster did not have"),
    ]);
    Ok(Exit::Ok)
}

fn failure(error: BackupError) -> Failure {
    let exit = match &error {
        BackupError::NotEmpty { .. } | BackupError::Unfinished { .. } | BackupError::WasMember { .. } => Exit::Conflict,
        BackupError::Damaged { .. }
        | BackupError::Format { .. }
        | BackupError::Facts { .. }
        | BackupError::Storage(_) => Exit::Failed,
    };
    let failure = Failure::new(exit, error.to_string());
    match error {
        BackupError::NotEmpty { .. } => failure.hint("`--data DIR` names one that is empty, or that is not there yet"),
        BackupError::WasMember { free, .. } => failure.hint(format!("leave `--id` out, or take {free}")),
        _ => failure,
    }
}
