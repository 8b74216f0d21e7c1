//! `heats artifacts`

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use heats_client::Client;
use heats_domain::{Artifact, NotKept, is_artifact_name};
use heats_wire::v1;

use super::best::sweep_id;
use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Column, Fields, Item, Kind, Listing};
use crate::select::Selector;
use crate::{hints, view, words};

/// See [`run`].
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A trial, or a sweep: its best trial
    #[arg(value_name = "SWEEP[/TRIAL]")]
    target: Selector,
    /// Only these; all without any
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Fetch them into this folder, which is made where it is not there; without it they are listed
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArg,
}

/// Lists the files that a trial keeps for people, or fetches them.
pub async fn run(context: &Context, args: &Args) -> Outcome {
    let Args { target, names, into, output } = args;
    let printer = context.printer(output)?;
    let client = context.client()?;
    let sweep = client.get(&target.sweep).await?.sweep.unwrap_or_default();
    let number = match super::named::one(&client, target).await? {
        Some(number) => number,
        None => best(&client, &sweep).await?,
    };
    let v1::TrialResponse { log_index, trial, .. } = client.trial(sweep_id(&sweep), number).await?;
    let address = format!("{}/{number}", sweep.name);
    let v1::TrialSummary { artifacts, not_kept, .. } = trial.unwrap_or_default();
    let chosen = choose(&address, artifacts, &not_kept, names)?;
    for file in &not_kept {
        hints::warn(&format!("{address}: {}", words::not_kept(file)));
    }
    let Some(into) = into else {
        let listing = Listing {
            of: "artifacts",
            meta: Fields::new()
                .with("log_index", log_index)
                .with("trial", address.as_str())
                .with("not_kept", view::not_kept(&not_kept))
                .done(),
            items: chosen.iter().map(item).collect(),
            columns: vec![
                Column::new("NAME", "name", Kind::Text),
                Column::new("BYTES", "bytes", Kind::Number),
                Column::new("ATTEMPT", "attempt", Kind::Number),
                Column::wide("PLACE", "place", Kind::Text),
            ],
            now_ms: 0,
        };
        printer.list(&listing, &format!("{address} keeps nothing: see `heats trial artifact`"))?;
        return Ok(Exit::Ok);
    };
    let id = sweep_id(&sweep);
    std::fs::create_dir_all(into).map_err(|error| unwritable(into, &error))?;
    for artifact in &chosen {
        let path = into.join(&artifact.name);
        let fetching = fetch(&client, &id, artifact, &path);
        tokio::select! {
            fetched = fetching => fetched?,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        }
        hints::note(&format!("{} of {address}: {}", path.display(), words::bytes(artifact.bytes)));
    }
    Ok(Exit::Ok)
}

/// The number of the best trial.
async fn best(client: &Client, sweep: &v1::Sweep) -> Result<u32, Failure> {
    let request = v1::TrialsRequest { sweep: sweep_id(sweep), best_first: true, limit: 1, ..Default::default() };
    let v1::TrialsResponse { trials, .. } = client.trials(request).await?;
    let none = || Failure::new(Exit::NoBest, format!("no trial of `{}` has a finite value yet", sweep.name));
    Ok(trials.first().ok_or_else(none)?.number)
}

/// Those of these names; all where there are none.
fn choose(
    address: &str,
    kept: Vec<Artifact>,
    not_kept: &[NotKept],
    names: &[String],
) -> Result<Vec<Artifact>, Failure> {
    for name in names {
        if !kept.iter().any(|artifact| artifact.name == *name) {
            if let Some(file) = not_kept.iter().find(|file| file.name == *name) {
                return Err(Failure::new(Exit::NotFound, format!("{address}: {}", words::not_kept(file))));
            }
            let failure = Failure::new(Exit::NotFound, format!("{address} keeps nothing under the name `{name}`"));
            let nearest = words::nearest(name, kept.iter().map(|artifact| artifact.name.as_str()));
            let hint =
                nearest.map_or_else(|| format!("heats artifacts {address}"), |near| format!("did you mean `{near}`?"));
            return Err(failure.hint(hint));
        }
    }
    let is_chosen = |artifact: &Artifact| names.is_empty() || names.contains(&artifact.name);
    // What a coordinator says becomes a path here.
    let chosen = kept.into_iter().filter(|artifact| is_chosen(artifact) && is_artifact_name(&artifact.name));
    let mut chosen: Vec<Artifact> = chosen.collect();
    chosen.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(chosen)
}

fn item(artifact: &Artifact) -> Item {
    Item { name: artifact.name.clone(), json: view::artifact(artifact).done() }
}

/// Fetches one to `path`, whole or not at all.
async fn fetch(client: &Client, sweep: &str, artifact: &Artifact, path: &Path) -> Result<(), Failure> {
    let aside = path.with_file_name(format!(".heats-{}", std::process::id()));
    let fetched = fetch_aside(client, sweep, artifact, &aside).await;
    let fetched = fetched.and_then(|()| std::fs::rename(&aside, path).map_err(|error| unwritable(path, &error)));
    fetched.inspect_err(|_| {
        // There may be nothing to remove.
        let _left = std::fs::remove_file(&aside);
    })
}

async fn fetch_aside(client: &Client, sweep: &str, artifact: &Artifact, aside: &Path) -> Result<(), Failure> {
    let (trial, name) = (artifact.trial, artifact.name.clone());
    let mut file = File::create(aside).map_err(|error| unwritable(aside, &error))?;
    let mut pieces = client.artifact(v1::ArtifactRequest { sweep: sweep.to_owned(), trial, name, offset: 0 });
    let (mut bytes, mut hash) = (0, blake3::Hasher::new());
    while let Some(piece) = pieces.next().await {
        let v1::ArtifactPiece { data, length: _ } = piece?;
        file.write_all(&data).map_err(|error| unwritable(aside, &error))?;
        bytes += data.len() as u64;
        hash.update(&data);
    }
    file.sync_all().map_err(|error| unwritable(aside, &error))?;
    if heats_agent::hash_of_one(&artifact.name, bytes, hash.finalize()).as_bytes().as_slice() != artifact.hash {
        let why = format!("what was received of `{}` is not what was kept", artifact.name);
        return Err(Failure::failed(why).hint("ask again; if it comes again, its storage is damaged"));
    }
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use heats_domain::SweepId;

    use super::*;

    fn kept(name: &str) -> Artifact {
        let (sweep, name, place) = (SweepId { bits: 1 }, name.to_owned(), "local:1".to_owned());
        Artifact { sweep, trial: 3, attempt: 1, hash: vec![1; 32], bytes: 7, place, name }
    }

    #[test]
    fn those_that_are_named_are_chosen_and_what_is_not_there_is_said_with_the_nearest() {
        let all = || vec![kept("plot.png"), kept("model.pt"), kept("../escape")];
        let names = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|name| (*name).to_owned()).collect();
            let big = NotKept { name: "big".to_owned(), why: "over the limit".to_owned(), ..NotKept::default() };
            let chosen = choose("digits/3", all(), &[big], &given)?;
            Ok::<_, Failure>(chosen.into_iter().map(|artifact| artifact.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).expect("all"), ["model.pt", "plot.png"], "and none that leads elsewhere");
        assert_eq!(names(&["plot.png"]).expect("is there"), ["plot.png"]);
        let failure = names(&["modl.pt"]).expect_err("is not there");
        assert_eq!(failure.exit, Exit::NotFound);
        assert_eq!(failure.hint.as_deref(), Some("did you mean `model.pt`?"));
        let failure = names(&["big"]).expect_err("was not kept");
        assert_eq!(failure.message, "digits/3: big (0 B, attempt 0) is not kept: over the limit");
    }
}
