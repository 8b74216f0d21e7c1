//! What a sweep file names on this machine: scripts, programs, requirements, folders. Looks whether they are
//! there; opens none of them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use heats_domain::SweepSpec;
use heats_domain::document::Fault;
use heats_domain::spec::Env;

use crate::code;

/// Programs whose first argument is a script.
const INTERPRETERS: [&str; 13] =
    ["python", "python2", "python3", "pypy3", "sh", "bash", "zsh", "dash", "Rscript", "julia", "node", "perl", "ruby"];
/// What scripts are called.
const SCRIPTS: [&str; 8] = [".py", ".sh", ".R", ".r", ".jl", ".js", ".pl", ".rb"];
/// Python's own options that take a value of their own.
const WITH_VALUE: [&str; 3] = ["-W", "-X", "--check-hash-based-pycs"];

/// What `spec` names and this machine does not have; paths are relative to `base_dir`.
pub(super) fn check(spec: &SweepSpec, base_dir: &Path) -> Vec<Fault> {
    let mut faults = Vec::new();
    // What is in a repository elsewhere is nowhere here.
    let is_fetched = spec.code.as_ref().is_some_and(code::is_elsewhere);
    let code = spec.code.as_ref().filter(|_| !is_fetched).and_then(|code| code.path.as_deref());
    if let Some(path) = code.filter(|path| !base_dir.join(path).is_dir()) {
        let what = if base_dir.join(path).exists() { "is not a folder" } else { "is not there" };
        faults.push(missing("code.path", &format!("the folder `{path}` {what}"), base_dir, path));
    }
    for (i, data) in spec.data.iter().enumerate() {
        if !base_dir.join(&data.path).exists() {
            let place = format!("data[{i}].path");
            faults.push(missing(&place, &format!("`{}` is not there", data.path), base_dir, &data.path));
        }
    }
    match &spec.env {
        Some(Env::Python(file)) if !is_fetched && !base_dir.join(file).is_file() => {
            let message = format!("the requirements file `{file}` is not there");
            faults.push(missing("env.python", &message, base_dir, file));
        }
        Some(Env::Prefix(prefix)) if !base_dir.join(prefix).join("bin").is_dir() => {
            faults.push(
                Fault::new("env.prefix", format!("`{prefix}` is not an environment: it has no folder `bin`"))
                    .hint("name the folder that holds `bin/python`"),
            );
        }
        Some(Env::Python(_) | Env::Prefix(_) | Env::Container(_)) | None => {}
    }
    // Neither a container nor another revision can be looked at from here.
    let is_elsewhere = spec.code.as_ref().is_some_and(|code| code.git.is_some());
    if !is_elsewhere && !matches!(spec.env, Some(Env::Container(_))) {
        let folder = code.map_or_else(|| base_dir.to_owned(), |code| base_dir.join(code));
        faults.extend(program(spec, &folder, base_dir));
        faults.extend(script(&spec.command, &folder));
    }
    faults
}

fn program(spec: &SweepSpec, folder: &Path, base_dir: &Path) -> Option<Fault> {
    let name = spec.command.first().filter(|name| !name.is_empty() && !name.contains("${"))?;
    if name.contains('/') {
        let path = folder.join(name);
        if !path.is_file() {
            let what = if path.is_dir() { "is a folder" } else { "is not there" };
            return Some(missing("command[0]", &format!("`{name}` {what}"), folder, name));
        }
        return (!is_executable(&path)).then(|| {
            let interpreter = SCRIPTS.iter().position(|end| name.ends_with(end)).map(|i| match i {
                0 => "python3",
                _ => "sh",
            });
            let fault = Fault::new("command[0]", format!("`{name}` has no run permission"));
            match interpreter {
                Some(interpreter) => {
                    fault.hint(format!("`chmod +x {name}`, or name its interpreter: [{interpreter}, {name}, ...]"))
                }
                None => fault.hint(format!("`chmod +x {name}`")),
            }
        });
    }
    let found = match &spec.env {
        // What the packages install cannot be known before they are installed.
        Some(Env::Python(_) | Env::Container(_)) => true,
        Some(Env::Prefix(prefix)) => is_executable(&base_dir.join(prefix).join("bin").join(name)) || on_path(name),
        None => on_path(name),
    };
    if found {
        return None;
    }
    let fault = Fault::new("command[0]", format!("there is no program `{name}` on the path"));
    let hint = if folder.join(name).is_file() {
        format!("there is one in the sweep's folder: write `./{name}`")
    } else if name == "python" && on_path("python3") {
        "there is a `python3`; or ask for an environment: env: { python: requirements.txt }".to_owned()
    } else {
        "is it installed, and spelt so?".to_owned()
    };
    Some(fault.hint(hint))
}

/// The script that the program is told to run.
fn script(command: &[String], folder: &Path) -> Option<Fault> {
    let (program, arguments) = command.split_first()?;
    let base = program.rsplit('/').next().unwrap_or(program);
    let is_interpreter =
        INTERPRETERS.contains(&base) || base.strip_prefix("python3.").is_some_and(|minor| minor.parse::<u8>().is_ok());
    let at = if is_interpreter { first_positional(arguments)? } else { arguments.iter().position(|a| is_script(a))? };
    let name = &arguments[at];
    if name.is_empty() || name == "-" || name.contains("${") || folder.join(name).exists() {
        return None;
    }
    Some(missing(&format!("command[{}]", at + 1), &format!("the script `{name}` is not there"), folder, name))
}

/// The place of the script among an interpreter's arguments; `None` where it runs something else than a file.
fn first_positional(arguments: &[String]) -> Option<usize> {
    let mut skip = false;
    for (i, argument) in arguments.iter().enumerate() {
        if std::mem::take(&mut skip) {
            continue;
        }
        if !argument.starts_with('-') || argument == "-" {
            return Some(i);
        }
        let takes_code = |c| !argument.starts_with("--") && argument.contains(c);
        if takes_code('c') || takes_code('m') || argument == "-e" || argument == "-E" || argument == "-s" {
            return None;
        }
        skip = WITH_VALUE.contains(&argument.as_str());
    }
    None
}

fn is_script(argument: &str) -> bool {
    !argument.starts_with('-') && !argument.contains('=') && SCRIPTS.iter().any(|end| argument.ends_with(end))
}

fn missing(place: &str, message: &str, folder: &Path, name: &str) -> Fault {
    let fault = Fault::new(place, message);
    let path = Path::new(name);
    let beside = path.parent().map_or_else(|| folder.to_owned(), |parent| folder.join(parent));
    let nearest = path.file_name().and_then(|file| nearest_file(&beside, &file.to_string_lossy()));
    match nearest {
        Some(nearest) => {
            let meant = path.parent().map_or_else(|| PathBuf::from(&nearest), |parent| parent.join(&nearest));
            fault.hint(format!("did you mean `{}`?", meant.display()))
        }
        None => fault.hint(format!("paths are relative to {}", folder.display())),
    }
}

/// The file of `folder` whose name is nearest to `name`.
pub(super) fn nearest_file(folder: &Path, name: &str) -> Option<String> {
    let names: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .take(1000)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|candidate| candidate != name)
        .collect();
    crate::words::nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

fn on_path(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| is_executable(&folder.join(name))))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(folder: &Path, json: serde_json::Value) -> Vec<String> {
        let spec: SweepSpec = serde_json::from_value(json).expect("a spec");
        check(&spec, folder).iter().map(ToString::to_string).collect()
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("train.py"), "").expect("writes");
        std::fs::write(folder.path().join("requirements.txt"), "").expect("writes");
        folder
    }

    #[test]
    fn a_script_that_is_not_there_is_found_wherever_it_stands() {
        let folder = folder();
        let wrong = |command: serde_json::Value| faults(folder.path(), serde_json::json!({ "command": command }));
        for command in [
            serde_json::json!(["sh", "trian.py"]),
            serde_json::json!(["sh", "-x", "trian.py", "${args}"]),
            serde_json::json!(["env", "A=1", "sh", "trian.py"]),
        ] {
            let faults = wrong(command);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].contains("`trian.py` is not there (did you mean `train.py`?)"), "{faults:?}");
        }
        for command in [
            serde_json::json!(["sh", "train.py"]),
            serde_json::json!(["sh", "-c", "echo ${lr}"]),
            serde_json::json!(["sh", "${script}"]),
            serde_json::json!(["env", "--file=none.py", "sh"]),
        ] {
            assert_eq!(wrong(command), [""; 0]);
        }
    }

    #[test]
    fn a_script_without_run_permission_is_named_with_two_ways_out() {
        let folder = folder();
        let faults = faults(folder.path(), serde_json::json!({ "command": ["./train.py"] }));
        assert!(faults[0].contains("has no run permission"), "{faults:?}");
        assert!(faults[0].contains("chmod +x") && faults[0].contains("[python3, ./train.py, ...]"), "{faults:?}");
    }

    #[test]
    fn a_program_that_is_in_no_place_is_found_out_unless_an_environment_may_bring_it() {
        let folder = folder();
        let absent = faults(folder.path(), serde_json::json!({ "command": ["no-such-program"] }));
        assert!(absent[0].contains("no program `no-such-program` on the path"), "{absent:?}");
        let brought = serde_json::json!({ "command": ["no-such-program"], "env": { "python": "requirements.txt" } });
        assert_eq!(faults(folder.path(), brought), [""; 0]);
    }

    #[test]
    fn requirements_code_and_data_must_be_there() {
        let folder = folder();
        let faults = faults(
            folder.path(),
            serde_json::json!({
                "command": ["true"], "env": { "python": "requirement.txt" },
                "code": { "path": "src" }, "data": [{ "name": "d", "path": "data/" }]
            }),
        );
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults.iter().any(|fault| fault.contains("did you mean `requirements.txt`?")), "{faults:?}");
    }
}
