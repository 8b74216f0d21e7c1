//! Hands the logs of attempts that are over to the coordinators, which keep them when the agent is gone. Many attempts at once,
//! and some time after their end: a sweep of thousands of short trials must not wait for it, nor a disk be made to write for each.
//! Those that failed are apart from the others: they are kept longer.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heats_client::{ClientError, Options};
use heats_wire::bundle::Writer;
use heats_wire::v1;

use crate::attempt::{AttemptDir, Cause, Ending};
use crate::context::Context;
use crate::key::Key;
use crate::logfile::{LogFile, Piece};

/// The file, in the agent's folder, that names the attempts whose logs coordinators have.
pub const FILE: &str = "handed-over";
/// Attempts in one bundle.
const ATTEMPTS: usize = 2_000;
/// A bundle that is this large is complete, in bytes.
const BUNDLE: u64 = 16 << 20;
/// How long the agent waits for more before it makes a bundle.
const LAZY: Duration = Duration::from_secs(2);
/// How long it waits after a bundle was not taken, at first and at most.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// How long one try takes at most: a bundle goes to several disks.
const OPTIONS: Options = Options { patience: Duration::from_secs(30), deadline: Duration::from_secs(60), stale: false };

/// Why logs were not handed over.
#[derive(Debug, thiserror::Error)]
enum HandOverError {
    #[error("the bundle cannot be made: {0}")]
    Pack(#[from] io::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Hands over what there is and will be, for ever.
pub async fn run(context: Arc<Context>) {
    let mut again = AGAIN;
    loop {
        let Some(whole) = hand_over_next(&context).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "logs were not handed over; they stay here until they are");
            None
        }) else {
            if context.to_hand_over(1).is_some() {
                tokio::time::sleep(again).await;
                again = (again * 2).min(AGAIN_MAX);
            } else {
                again = AGAIN;
                context.ended.notified().await;
                tokio::time::sleep(LAZY).await;
            }
            continue;
        };
        again = AGAIN;
        if !whole {
            tokio::time::sleep(LAZY).await;
        }
    }
}

/// Hands over all that there is.
pub async fn all(context: &Context) {
    while context.to_hand_over(1).is_some() {
        if let Err(error) = hand_over_next(context).await {
            tracing::warn!(%error, "logs were not handed over");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Hands over one bundle; whether it was as large as one may be, or `None` where there is nothing.
async fn hand_over_next(context: &Context) -> Result<Option<bool>, HandOverError> {
    let Some((sweep, keys)) = context.to_hand_over(ATTEMPTS) else { return Ok(None) };
    let (paths, file) = (context.paths.clone(), context.paths.own("bundle"));
    let packed = tokio::task::spawn_blocking(move || {
        let dirs = keys.iter().map(|key| (*key, AttemptDir::at(paths.attempt(*key))));
        pack(&file, alike(dirs))
    });
    let Packed { file, name, length, keys } = packed.await.map_err(io::Error::from)??;
    let attempts = keys.iter().map(|key| v1::LoggedAttempt { trial: key.trial.number, attempt: key.attempt }).collect();
    let bundle = v1::LogBundle { agent: Some(context.id), sweep: Some(sweep), bundle: name, length, attempts };
    match context.reach.client(OPTIONS)?.keep_logs(bundle, &Arc::new(file)).await {
        Ok(v1::KeepLogsResponse {}) => tracing::debug!(attempts = keys.len(), length, "logs handed over"),
        // Nobody will ever want them: the sweep was removed, or the bundle is larger than coordinators keep.
        Err(error @ (ClientError::NotFound(_) | ClientError::Invalid(_))) => {
            tracing::info!(%error, attempts = keys.len(), "logs stay with this agent");
        }
        Err(error) => return Err(error.into()),
    }
    let whole = length >= BUNDLE || keys.len() >= ATTEMPTS;
    let handed_over = context.handed_over(&keys);
    if let Err(error) = write(&context.paths.own(FILE), &handed_over) {
        // They are handed over a second time after a restart, which changes nothing.
        tracing::warn!(%error, "that logs were handed over could not be noted");
    }
    Ok(Some(whole))
}

/// A bundle, and whose logs are in it.
struct Packed {
    file: File,
    name: String,
    length: u64,
    keys: Vec<Key>,
}

/// The first, and those of the others that failed as it did, or did not.
fn alike(dirs: impl Iterator<Item = (Key, AttemptDir)>) -> impl Iterator<Item = (Key, AttemptDir)> {
    let mut first = None;
    dirs.filter(move |(_, dir)| {
        let failed = has_failed(dir);
        *first.get_or_insert(failed) == failed
    })
}

/// Whether an attempt failed, as far as its agent can tell.
fn has_failed(dir: &AttemptDir) -> bool {
    match dir.ending() {
        Some(Ending { cause, why: _ }) => cause == Cause::TimedOut,
        None => dir.infeasible().is_none() && dir.end().is_none_or(|end| end.code != Some(0)),
    }
}

/// Makes a bundle of as many as it takes, of one at least, in a file that has no name any more.
fn pack(path: &Path, dirs: impl Iterator<Item = (Key, AttemptDir)>) -> io::Result<Packed> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    std::fs::remove_file(path)?;
    let mut writer = Writer::new(BufWriter::new(file));
    let mut keys = Vec::new();
    for (key, dir) in dirs {
        let mut files = [LogFile::of(&dir, false), LogFile::of(&dir, true)].into_iter();
        let mut reading = files.next();
        writer.add(key.trial.number, key.attempt, || {
            while let Some(file) = &mut reading {
                match file.next_piece() {
                    Ok(Some(Piece { left_out: 1.., .. })) => {}
                    Ok(Some(Piece { at, data, left_out: 0 })) => return Ok(Some((file.stderr, at, data))),
                    Ok(None) => reading = files.next(),
                    Err(error) => {
                        tracing::warn!(attempt = %key, %error, "a log cannot be read to its end");
                        reading = files.next();
                    }
                }
            }
            Ok(None)
        })?;
        keys.push(key);
        if writer.written() >= BUNDLE {
            break;
        }
    }
    let (file, written) = writer.finish()?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(Packed { file, name: written.name, length: written.length, keys })
}

/// The attempts that the file names; none where it cannot be read.
pub fn read(path: &Path) -> BTreeSet<Key> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn write(path: &Path, keys: &BTreeSet<Key>) -> io::Result<()> {
    let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
    let aside = path.with_extension("new");
    std::fs::write(&aside, text)?;
    std::fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use heats_domain::{SweepId, TrialId};
    use heats_wire::bundle::Logs;

    use super::*;

    #[test]
    fn a_bundle_has_what_each_attempt_wrote_and_the_note_names_them_after_a_restart() {
        let root = tempfile::tempdir().expect("a folder");
        let key = |number| Key { trial: TrialId { sweep: SweepId::mint(1, 1), number }, attempt: 2 };
        let dir = |number: u32| AttemptDir::at(root.path().join(number.to_string()));
        for number in [0, 1] {
            std::fs::create_dir(dir(number).path()).expect("creates");
        }
        std::fs::write(dir(1).stdout(), "out\n").expect("writes");
        std::fs::write(dir(1).stderr(), "err\n").expect("writes");
        let path = root.path().join("bundle");
        // Trial 2's folder is gone.
        let Packed { file, length, keys, .. } =
            pack(&path, (0..3).map(|number| (key(number), dir(number)))).expect("packs");
        assert_eq!(keys, [key(0), key(1), key(2)]);
        assert!(!path.exists(), "nothing is left behind");
        let text = |trial| {
            let mut logs = Logs::open(&file, length, trial, 2).expect("reads").expect("is there");
            let mut text = Vec::new();
            while let Some(piece) = logs.next_piece().expect("reads") {
                text.push((piece.stderr, String::from_utf8(piece.data).expect("is text")));
            }
            text
        };
        assert_eq!(text(1), [(false, "out\n".to_owned()), (true, "err\n".to_owned())]);
        assert!(text(0).is_empty() && text(2).is_empty());
        let noted = root.path().join(FILE);
        write(&noted, &keys.iter().copied().collect()).expect("writes");
        assert_eq!(read(&noted), keys.into_iter().collect());
        assert!(read(&root.path().join("none")).is_empty());
    }
}
