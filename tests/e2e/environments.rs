//! Environments that `uv` makes, where it is on the PATH. The tool itself comes from the package index, once, and stays in
//! the target folder; what it installs here is a wheel that the test makes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use heats_testkit::{Expected, Finished, Workspace};

const UV: &str = "0.13.9";
/// Where it is kept between runs of the tests.
const KEPT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/uv");

const SWEEP: &str = "
version: 1
name: local
command: [python, train.py]
env: { python: requirements.txt }
space: { x: { int: [1, 3] } }
objective: { minimize: loss }
search: { algorithm: grid }
";

const SCRIPT: &str = "
import os, probe
print(probe.__file__)
print('::metric step=1 loss=' + os.environ['HEATS_PARAM_X'])
";

/// Makes a wheel of one module, without any tool but Python itself.
const WHEEL: &str = r"
import zipfile
info = 'probe-1.0.dist-info/'
files = {
    'probe.py': '',
    info + 'METADATA': 'Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n',
    info + 'WHEEL': 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
}
files[info + 'RECORD'] = ''.join(f'{name},,\n' for name in [*files, info + 'RECORD'])
with zipfile.ZipFile('probe-1.0-py3-none-any.whl', 'w') as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
";

/// A sweep that needs a package beside its file.
fn workspace() -> Workspace {
    let workspace = Workspace::with(SWEEP, "");
    workspace.write("train.py", SCRIPT);
    workspace.write("requirements.txt", "--no-index\n./probe-1.0-py3-none-any.whl\n");
    succeed(Command::new("python3").args(["-c", WHEEL]).current_dir(workspace.path()));
    workspace
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("starts");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

/// The program `uv`, from the package index where it is not there yet.
fn uv() -> PathBuf {
    let folder = Path::new(KEPT).join(UV);
    std::fs::create_dir_all(KEPT).expect("a folder");
    let lock = File::create(folder.with_extension("lock")).expect("creates");
    lock.lock().expect("locks");
    let (program, mark) = (folder.join("bin/uv"), folder.join("complete"));
    if !mark.exists() {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        let install = Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", &format!("uv=={UV}")])
            .output()
            .expect("starts");
        assert!(
            install.status.success(),
            "the package index cannot be reached, or has no uv {UV}: this test needs it once, and keeps it in {KEPT}\n{}",
            String::from_utf8_lossy(&install.stderr)
        );
        File::create(mark).expect("creates");
    }
    program
}

/// Runs the sweep with the folder `bin` of the workspace first on the PATH.
fn run(workspace: &Workspace, args: &[&str]) -> Finished {
    let mut command = workspace.command(&[&["run"], args].concat());
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", workspace.file("bin").display()));
    command.env("UV_CACHE_DIR", workspace.file("uv-cache")).env_remove("VIRTUAL_ENV");
    workspace.start_command(command).finish()
}

#[test]
fn uv_makes_the_environment_where_it_is_on_the_path() {
    let workspace = workspace();
    workspace.link("bin/uv", &uv());
    let first = run(&workspace, &["sweep.yaml"]).expect(0);
    assert!(first.stderr.contains("requirements.txt with uv;"), "{first}");
    assert!(first.stderr.contains("the environment is ready"), "{first}");
    let envs = std::fs::read_dir(workspace.file(".heats/envs")).expect("is there").flatten().map(|entry| entry.path());
    let made: Vec<PathBuf> = envs.filter(|path| path.is_dir()).collect();
    let [environment] = made.as_slice() else { panic!("{made:?}") };
    let settings = std::fs::read_to_string(environment.join("pyvenv.cfg")).expect("reads");
    assert!(settings.contains(&format!("uv = {UV}")), "{settings}");

    let again = run(&workspace, &["sweep.yaml", "--set", "name=again"]).expect(0);
    assert!(!again.stderr.contains("making the environment"), "it is there\n{again}");
    workspace.audit(&Expected::trials(3).without_side_file());
    let dev = workspace.dev(&[]);
    for sweep in ["local", "again"] {
        let logs = workspace.ok(&["logs", sweep, "--stdout"]).stdout;
        let places: Vec<&str> = logs.lines().filter(|line| line.ends_with("probe.py")).collect();
        let inside = format!("{}/lib/", environment.canonicalize().expect("is there").display());
        assert!(places.len() == 3 && places.iter().all(|line| line.contains(&inside)), "{inside} in\n{logs}");
    }
    dev.interrupt();
    dev.finish().expect(130);
}

#[test]
fn a_uv_that_does_not_work_is_blamed_and_not_the_requirements() {
    let workspace = workspace();
    std::fs::create_dir(workspace.file("bin")).expect("a folder");
    workspace.script("bin/uv", "[ \"$1\" = --version ] && exit 0\necho this uv is broken >&2\nexit 3");
    let failed = run(&workspace, &["sweep.yaml"]).expect(8);
    for words in ["this uv is broken", "take it off the PATH"] {
        assert!(failed.stderr.contains(words), "`{words}`\n{failed}");
    }
    let audit = workspace.audit(&Expected::trials(3).without_side_file());
    assert!(audit.trials.iter().all(|trial| trial.failure.as_deref() == Some("start_failed")), "{:?}", audit.trials);
}
