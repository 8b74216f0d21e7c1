//! `heats reproduce`

mod again;
mod recorded;
mod script;

use std::path::{Path, PathBuf};

use futures::StreamExt;
use heats_agent::containers::Runtime;
use heats_agent::solo::Solo;
use heats_client::Client;
use heats_wire::v1;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::hints;
use crate::host::{HardwareArgs, Offer, detect};
use crate::output::{Fields, Item};
use crate::select::Selector;
use recorded::Recorded;

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The trial; of several attempts at it the last, unless one is named
    #[arg(value_name = "SWEEP/TRIAL[@ATTEMPT]")]
    target: Selector,
    /// Run it again on this machine, outside of any cluster, and compare what it reports with what is recorded
    #[arg(long, conflicts_with_all = ["script", "code"])]
    run: bool,
    /// Print a shell script that runs it
    #[arg(long, conflicts_with = "code")]
    script: bool,
    /// Unpack its code into this folder, which must not be there yet
    #[arg(long, value_name = "FOLDER")]
    code: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArg,
}

/// Says exactly what a trial was, and what differs here; or runs it again.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { target, run, script, code, output } = args;
    let printer = context.printer(output)?;
    let client = context.client()?;
    let sweep = client.get(&target.sweep).await?.sweep.unwrap_or_default();
    let number = super::named::one(&client, target).await?;
    let number = number.ok_or_else(|| Failure::usage("a sweep is not reproduced, but one of its trials"))?;
    let recorded = Recorded::of(&client, sweep, number, target.attempt).await?;
    if let Some(folder) = code {
        return unpack(&client, &recorded, folder).await;
    }
    let data_dir = context.settings.data_dir();
    if let Some(failure) = recorded.cannot_be_run_here().filter(|_| *run || *script) {
        return Err(failure);
    }
    if *script {
        print!("{}", script::of(&recorded, &data_dir)?);
        return Ok(Exit::Ok);
    }
    let Offer { hardware, containers, .. } = detect(&context.settings, &HardwareArgs::default())?;
    let again = if *run { Some(again::run(&client, &recorded, &data_dir, containers.clone()).await?) } else { None };
    let machine = hardware.inventory;
    let mut differences = recorded.differences(&machine);
    if again.is_none() {
        differences.extend(environment_differences(&recorded, &data_dir, containers).await?);
    }
    let json = Fields::new()
        .with("recorded", recorded.fields())
        .with("differs_here", differences.clone())
        .with("again", again.as_ref().map(again::Again::fields))
        .done();
    let item = Item { name: recorded.address(), json };
    printer.one("reproduction", &Fields::new().done(), &item, |out| {
        match &again {
            None => recorded.write(out)?,
            Some(again) => again.write(out)?,
        }
        differences.iter().try_for_each(|one| writeln!(out, "  differs here: {one}"))
    })?;
    match again {
        None => {
            let address = recorded.address();
            if recorded.cannot_be_run_here().is_none() {
                hints::next(&[(format!("heats reproduce {address} --run"), "run it again, and compare")]);
            }
            Ok(Exit::Ok)
        }
        Some(again) if again.is_identical() => Ok(Exit::Ok),
        Some(_) => Ok(Exit::Failed),
    }
}

/// What of the environment is otherwise here, as far as that can be said without making it.
async fn environment_differences(
    recorded: &Recorded,
    data_dir: &Path,
    runtime: Option<Runtime>,
) -> Result<Vec<String>, Failure> {
    let solo =
        Solo::new(recorded.order(), data_dir, None, runtime).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(solo.environment().await.map_or_else(
        || vec!["its environment is not made here yet: `--run` makes it, and compares".to_owned()],
        |found| recorded.environment_changes(&found),
    ))
}

async fn unpack(client: &Client, recorded: &Recorded, folder: &Path) -> Outcome {
    let fail = |error: std::io::Error| Failure::failed(format!("cannot unpack into {}: {error}", folder.display()));
    let Some(packed) = archive(client, &recorded.sweep.code).await? else {
        return Err(Failure::new(
            Exit::NotFound,
            "the sweep brought no code along: its trials ran in its folder as it was",
        )
        .hint(format!("that is {} on the machine that submitted it", recorded.sweep.base_dir)));
    };
    std::fs::create_dir(folder).map_err(fail)?;
    let decoder = zstd::Decoder::new(packed).map_err(fail)?;
    tar::Archive::new(decoder).unpack(folder).map_err(fail)?;
    Ok(Exit::Ok)
}

/// The archive `name` in a temporary file, at its beginning; `None` where the name is empty.
async fn archive(client: &Client, name: &str) -> Result<Option<std::fs::File>, Failure> {
    use std::io::{Seek, Write};
    if name.is_empty() {
        return Ok(None);
    }
    let fail = |error: std::io::Error| Failure::failed(format!("cannot write a temporary file: {error}"));
    let mut file = tempfile::tempfile().map_err(fail)?;
    let mut hasher = blake3::Hasher::new();
    let mut pieces = client.archive(name);
    while let Some(v1::ArchivePiece { offset, data, .. }) = pieces.next().await.transpose()? {
        if offset == 0 {
            file.set_len(0).and_then(|()| file.rewind()).map_err(fail)?;
            hasher.reset();
        }
        hasher.update(&data);
        file.write_all(&data).map_err(fail)?;
    }
    if hasher.finalize().to_hex().as_str() != name {
        return Err(Failure::failed(format!("what came is not archive {name}: it was damaged on its way")));
    }
    file.rewind().map_err(fail)?;
    Ok(Some(file))
}
