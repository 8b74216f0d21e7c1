//! Runs tests that mount file systems: each in a process with mounts of its own, which are gone with its last process,
//! however that ends. Where the machine does not allow it, the tests are listed as ignored, so that runners count
//! them as not run; none of them passes without having run.
//!
//! Speaks as much of the standard harness's language as `cargo test` and `cargo nextest` use; filters and
//! options beyond it are ignored.

use std::process::{Command, ExitCode};

/// Set in the process that has mounts of its own.
const INSIDE: &str = "TESTKIT_APART";

/// A test and its name, a sentence.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// Its name.
    pub name: &'static str,
    /// Panics where it fails.
    pub run: fn(),
}

/// A list of functions as [`Test`]s with the functions' names.
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        [$($crate::Test { name: stringify!($name), run: $name }),+]
    };
}

/// The `main` of a test target with `harness = false`.
pub fn main(tests: &[Test]) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let names: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-') && *arg != "terse").collect();
    let is_chosen = |test: &&Test| {
        let is_named = |name: &&String| if has("--exact") { test.name == **name } else { test.name.contains(*name) };
        names.is_empty() || names.iter().any(is_named)
    };
    let chosen: Vec<&Test> = tests.iter().filter(is_chosen).collect();
    if std::env::var_os(INSIDE).is_some() {
        // A panic ends the process with a failure, and says why.
        chosen.iter().for_each(|test| (test.run)());
        return ExitCode::SUCCESS;
    }
    let unable = Apart::find().err();
    if has("--list") {
        // Those that are ignored are asked for apart.
        for test in chosen.iter().filter(|_| !has("--ignored") || unable.is_some()) {
            println!("{}: test", test.name);
        }
        return ExitCode::SUCCESS;
    }
    run(&chosen, unable.filter(|_| !has("--ignored") && !has("--include-ignored")))
}

fn run(tests: &[&Test], unable: Option<String>) -> ExitCode {
    println!("\nrunning {} tests", tests.len());
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    for Test { name, .. } in tests {
        let verdict = match &unable {
            Some(why) => {
                ignored += 1;
                format!("ignored, {why}")
            }
            None if Apart::find().is_ok_and(|apart| apart.passes(name)) => {
                passed += 1;
                "ok".to_owned()
            }
            None => {
                failed += 1;
                "FAILED".to_owned()
            }
        };
        println!("test {name} ... {verdict}");
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// How to get mounts of one's own here.
struct Apart {
    options: &'static [&'static str],
}

impl Apart {
    /// The way that works: as root, or as root of a user namespace. An error says why there is none.
    fn find() -> Result<Self, String> {
        let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--user", "--map-root-user"]];
        let mut why = String::new();
        for options in ways {
            // Mounted over a folder that is there, for itself alone.
            let probe = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/tmp"];
            match Command::new("unshare").args(options).args(probe).output() {
                Ok(output) if output.status.success() => return Ok(Self { options }),
                Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(error) => why = format!("`unshare` cannot be run: {error}"),
            }
        }
        Err(format!("no file system may be mounted here ({why})"))
    }

    /// Runs this program's test `name` with mounts of its own.
    fn passes(&self, name: &str) -> bool {
        let program = std::env::current_exe().expect("a process knows its program");
        let mut command = Command::new("unshare");
        command.args(self.options).arg(program).args([name, "--exact"]).env(INSIDE, "1");
        command.status().is_ok_and(|status| status.success())
    }
}
