//! A trial as a shell script: for machines without an agent, and for people who want to see what happens.

use std::path::Path;

use heats_agent::solo::{Launched, Solo};
use heats_domain::spec::Env;

use super::recorded::Recorded;
use crate::exit::Failure;
use crate::words::quoted;

/// Variables that name places of this machine: the script has its own.
const PLACES: [&str; 9] = [
    "HEATS_ARTIFACT_DIR",
    "HEATS_BIN",
    "HEATS_CHECKPOINT_DIR",
    "HEATS_METRICS_FILE",
    "HEATS_OUTPUT_DIR",
    "HEATS_PARAMS_FILE",
    "PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
];

/// The script that runs what is recorded.
pub(super) fn of(recorded: &Recorded, data_dir: &Path) -> Result<String, Failure> {
    let fail = |error: heats_agent::solo::SoloError| Failure::failed(error.to_string());
    let solo = Solo::new(recorded.order(), data_dir, None, None).map_err(fail)?;
    let Launched { argv, variables, .. } = solo.launched().map_err(fail)?;
    let (address, base) = (recorded.address(), quoted(&recorded.sweep.base_dir));
    let mut lines = vec![
        "#!/bin/sh".to_owned(),
        format!(
            "# {address}, as it was recorded: sh SCRIPT [FOLDER]. Reports are in FOLDER/metrics.jsonl, or in the output."
        ),
        "set -eu".to_owned(),
        "here=${1:-$(mktemp -d)}".to_owned(),
        "mkdir -p \"$here\"".to_owned(),
        "here=$(cd \"$here\" && pwd)".to_owned(),
    ];
    if recorded.sweep.code.is_empty() {
        lines.push(format!("cd {base}   # the sweep brought no code along: this folder has to be as it was"));
    } else {
        lines.push(format!("heats reproduce {} --code \"$here/work\"", quoted(&address)));
        lines.push("cd \"$here/work\"".to_owned());
    }
    match &recorded.spec.env {
        Some(Env::Python(file)) => lines.extend([
            format!("# the environment was: {}", recorded.attempt.environment),
            "python3 -m venv \"$here/env\"".to_owned(),
            format!("\"$here/env/bin/python\" -m pip install -q -r {}", quoted(file)),
            "export PATH=\"$here/env/bin:$PATH\"".to_owned(),
        ]),
        Some(Env::Prefix(prefix)) => {
            let prefix = Path::new(&recorded.sweep.base_dir).join(prefix).join("bin");
            lines.push(format!("export PATH={}:\"$PATH\"", quoted(&prefix.display().to_string())));
        }
        Some(Env::Container(image)) => {
            lines.push(format!("# it ran in the image {image}: run this in a container of it that sees $here"));
        }
        None => {}
    }
    if let Some(python) = variables.get("PYTHONPATH") {
        lines.push(format!("export PYTHONPATH={}", quoted(python)));
    }
    lines.push("mkdir \"$here/checkpoints\" \"$here/output\"".to_owned());
    for (name, place) in [
        ("HEATS_CHECKPOINT_DIR", "checkpoints"),
        ("HEATS_ARTIFACT_DIR", "checkpoints/artifacts"),
        ("HEATS_OUTPUT_DIR", "output"),
        ("HEATS_METRICS_FILE", "metrics.jsonl"),
        ("HEATS_PARAMS_FILE", "params.json"),
    ] {
        lines.push(format!("export {name}=\"$here/{place}\""));
    }
    let params = serde_json::to_string(&recorded.trial.params.clone().unwrap_or_default()).unwrap_or_default();
    lines.push(format!("printf '%s\\n' {} > \"$HEATS_PARAMS_FILE\"", quoted(&params)));
    for (name, value) in variables.iter().filter(|(name, _)| !PLACES.contains(&name.as_str())) {
        lines.push(format!("export {name}={}", quoted(value)));
    }
    // A command that was given its parameters in a file finds that of the script.
    let file = variables.get("HEATS_PARAMS_FILE").cloned().unwrap_or_default();
    let word = |word: &String| if *word == file { "\"$HEATS_PARAMS_FILE\"".to_owned() } else { quoted(word) };
    lines.push(format!("exec {}", argv.iter().map(word).collect::<Vec<_>>().join(" ")));
    Ok(lines.join("\n") + "\n")
}
