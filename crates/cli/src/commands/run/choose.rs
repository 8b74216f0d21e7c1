//! Whether `heats run FILE` goes on with a sweep that has not ended, or begins a new one.

use heats_domain::SweepSpec;
use heats_wire::v1;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::sweepfile::Loaded;
use crate::words;

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Choice {
    /// Go on with this sweep.
    Resume(Box<v1::Sweep>),
    /// Submit a new one, after these are cancelled.
    Submit {
        /// Sweeps of the same file that have not ended.
        cancel: Vec<v1::Sweep>,
    },
}

/// Chooses among the sweeps that have not ended, newest first.
///
/// # Errors
/// The file has changed since its sweep, which has not ended, was submitted.
pub(super) fn choose(live: &[v1::Sweep], loaded: &Loaded, new: bool) -> Result<Choice, Failure> {
    let of_this_file: Vec<&v1::Sweep> = live.iter().filter(|sweep| is_of(sweep, loaded)).collect();
    if new {
        return Ok(Choice::Submit { cancel: of_this_file.into_iter().cloned().collect() });
    }
    let same = of_this_file.iter().find(|sweep| crate::view::spec(sweep).as_ref() == Some(&loaded.spec));
    match (same, of_this_file.first()) {
        (Some(sweep), _) => Ok(Choice::Resume(Box::new((*sweep).clone()))),
        (None, None) => Ok(Choice::Submit { cancel: Vec::new() }),
        (None, Some(other)) => Err(changed(other, loaded)),
    }
}

/// Whether the sweep was submitted from the same file. One from standard input or options is recognised by
/// what it says alone.
fn is_of(sweep: &v1::Sweep, loaded: &Loaded) -> bool {
    if sweep.base_dir != loaded.base_dir.display().to_string() {
        return false;
    }
    let provenance: Value = serde_json::from_str(&sweep.provenance).unwrap_or(Value::Null);
    let file = provenance.get("file").and_then(Value::as_str);
    match &loaded.file {
        Some(path) => file == Some(&path.display().to_string()),
        None => file.is_none() && crate::view::spec(sweep).as_ref() == Some(&loaded.spec),
    }
}

fn changed(sweep: &v1::Sweep, loaded: &Loaded) -> Failure {
    let sections = crate::view::spec(sweep).map_or_else(Vec::new, |before| differing(&before, &loaded.spec));
    let what = if sections.is_empty() { String::new() } else { format!(" ({})", words::list(&sections)) };
    let name = &sweep.name;
    let message = format!("sweep `{name}` of this file has not ended, and the file has changed since{what}");
    Failure::new(Exit::Conflict, message).hint(format!(
        "`--new` cancels it and begins anew; with the file as it was, the same command goes on; \
         `heats dev` and `heats edit {name} --trials N` change its budget"
    ))
}

/// The sections of the file that say something else.
fn differing(before: &SweepSpec, now: &SweepSpec) -> Vec<String> {
    let object = |spec: &SweepSpec| match serde_json::to_value(spec) {
        Ok(Value::Object(map)) => map,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let (before, now) = (object(before), object(now));
    let mut keys: Vec<&String> = before.keys().chain(now.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter().filter(|key| before.get(*key) != now.get(*key)).map(|key| format!("`{key}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn loaded(file: &str, trials: u32) -> Loaded {
        let spec = serde_json::json!({"command": ["true"], "name": "digits", "budget": {"trials": trials}});
        Loaded {
            spec: serde_json::from_value(spec).expect("a spec"),
            file: Some(PathBuf::from(file)),
            base_dir: PathBuf::from("/project"),
        }
    }

    fn sweep(loaded: &Loaded) -> v1::Sweep {
        let v1::SubmitRequest { spec, base_dir, provenance, .. } = crate::commands::submit::request(loaded, None);
        v1::Sweep { name: "digits".into(), spec, base_dir, provenance, ..Default::default() }
    }

    #[test]
    fn the_same_file_goes_on_and_another_begins_anew() {
        let ours = loaded("/project/a.yaml", 60);
        let live = [sweep(&loaded("/project/b.yaml", 60)), sweep(&ours)];
        assert_eq!(choose(&live, &ours, false), Ok(Choice::Resume(Box::new(live[1].clone()))));
        assert_eq!(choose(&[], &ours, false), Ok(Choice::Submit { cancel: vec![] }));
        assert_eq!(choose(&live[..1], &ours, false), Ok(Choice::Submit { cancel: vec![] }));
    }

    #[test]
    fn a_changed_file_is_refused_with_what_changed_unless_it_begins_anew() {
        let live = [sweep(&loaded("/project/a.yaml", 60))];
        let now = loaded("/project/a.yaml", 50);
        let failure = choose(&live, &now, false).expect_err("is refused");
        assert_eq!(failure.exit, Exit::Conflict);
        assert!(failure.message.contains("(`budget`)"), "{}", failure.message);
        assert_eq!(choose(&live, &now, true), Ok(Choice::Submit { cancel: live.to_vec() }));
    }
}
