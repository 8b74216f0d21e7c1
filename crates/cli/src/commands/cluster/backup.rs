//! `heats cluster backup`

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use heats_client::Client;
use heats_coordinator::Summary;
use heats_wire::v1;

use super::code;
use crate::context::{Context, OutputArg};
use crate::exit::Exit;
use crate::exit::{Failure, Outcome};
use crate::host::folder;
use crate::output::{Fields, Item};
use crate::{hints, words};

/// `heats cluster backup`
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where to; what is there is replaced once the new one is whole
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the code of its sweeps too, into the folder FILE.code
    #[arg(long)]
    with_code: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// Takes a backup, and looks through it before it gets its name.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { file, with_code, output } = args;
    let printer = context.printer(output)?;
    let client = context.client()?;
    // Beside the file, so that it can be renamed; the number tells two that are taken at once apart.
    let mut name = file.file_name().ok_or_else(|| Failure::usage("the backup needs a file's name"))?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let aside = file.with_file_name(name);
    let taken = take(&client, &aside, file).await;
    if taken.is_err() {
        // There may be none; half a backup is of no use.
        let _none = std::fs::remove_file(&aside);
    }
    let summary = taken?;
    let code_bytes = if *with_code { Some(code::save(&client, &summary, file).await?) } else { None };
    let item = item(file, &summary, code_bytes);
    printer.one("backup", &Fields::new().done(), &item, |out| {
        writeln!(out, "{}: {}, {}", file.display(), words::bytes(summary.bytes), contents(&summary))
    })?;
    let archives = words::count(summary.code.len() as u64, "archive");
    match code_bytes {
        Some(bytes) => {
            let folder = code::beside(file);
            hints::note(&format!("{archives} of code, {}, in {}", words::bytes(bytes), folder.display()));
        }
        None if summary.code.is_empty() => {}
        None => hints::note(&format!(
            "it holds no code: {archives} of {} stay with the coordinators; `--with-code` writes them too",
            code::sweeps(&summary.code)
        )),
    }
    let path = file.display();
    hints::next(&[(format!("heats cluster restore {path} --data DIR"), "a new cluster's first coordinator of it")]);
    Ok(Exit::Ok)
}

async fn take(client: &Client, aside: &Path, file: &Path) -> Result<Summary, Failure> {
    let failed = |error: io::Error| folder::refused(format!("cannot write {}", aside.display()), &error);
    let target = File::create(aside).map_err(failed)?;
    let mut pieces = client.backup();
    while let Some(piece) = pieces.next().await {
        let v1::BackupChunk { log_index: _, length: _, offset, data } = piece?;
        if offset == 0 {
            target.set_len(0).map_err(failed)?;
        }
        target.write_all_at(&data, offset).map_err(failed)?;
    }
    target.sync_all().map_err(failed)?;
    let whole = aside.to_owned();
    let examined = tokio::task::spawn_blocking(move || heats_coordinator::examine(&whole)).await;
    let summary = examined.map_err(|error| Failure::failed(error.to_string()))?;
    let summary = summary.map_err(|error| Failure::failed(error.to_string()))?;
    std::fs::rename(aside, file).map_err(failed)?;
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(summary)
}

fn item(file: &Path, summary: &Summary, code_bytes: Option<u64>) -> Item {
    let Summary { index, at_ms, bytes, sweeps, trials, live, members, code } = summary;
    let name = file.display().to_string();
    let json = Fields::new()
        .with("file", name.as_str())
        .with("log_index", *index)
        .time("at", *at_ms)
        .with("bytes", *bytes)
        .with("sweeps", *sweeps)
        .with("trials", *trials)
        .with("leases", *live)
        .with("coordinators", members.iter().map(|(node, _)| *node).collect::<Vec<_>>())
        .with("archives", code.keys().cloned().collect::<Vec<_>>())
        .with("code_bytes", code_bytes)
        .done();
    Item { name, json }
}

/// What a backup holds, in words.
pub fn contents(summary: &Summary) -> String {
    let (sweeps, trials) = (words::count(summary.sweeps, "sweep"), words::count(summary.trials, "trial"));
    format!("everything up to log index {}: {sweeps} with {trials}", summary.index)
}
