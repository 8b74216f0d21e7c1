//! Runs tests that mount file systems, make networks or limit memory: each in a process with mounts or a network of its own, which are gone
//! with its last process, however that ends. Where the machine does not allow it, the tests are listed as ignored, so that runners count
//! them as not run; none of them passes without having run.
//!
//! Speaks as much of the standard harness's language as `cargo test` and `cargo nextest` use; filters and
//! options beyond it are ignored.

use std::process::{Command, ExitCode};

/// Set in the process that has something of its own.
const INSIDE: &str = "TESTKIT_APART";

/// Makes a control group with a limit of memory and removes it again, in version 2 or else in version 1.
const MEMORY: &str = r#"
group=/sys/fs/cgroup/heats-probe-$$
if mkdir "$group" 2>/dev/null; then
  [ ! -e "$group/memory.max" ] || { rmdir "$group"; exit 0; }
  rmdir "$group"
fi
mount -t cgroup -o memory memory /tmp && mkdir "/tmp/heats-probe-$$" && rmdir "/tmp/heats-probe-$$"
"#;

/// A test and its name, a sentence.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// Its name.
    pub name: &'static str,
    /// Panics where it fails.
    pub run: fn(),
}

/// What each test has for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Own {
    /// Mounts.
    Mounts,
    /// A network, on which nobody else is.
    Network,
    /// Groups of processes that the kernel holds to an amount of memory.
    Memory,
}

impl Own {
    /// The option of `unshare`.
    const fn option(self) -> &'static str {
        match self {
            // Groups of version 1 have to be mounted first.
            Self::Mounts | Self::Memory => "--mount",
            Self::Network => "--net",
        }
    }

    /// What can only be done with it.
    const fn probe(self) -> &'static [&'static str] {
        match self {
            // Mounted over a folder that is there, for itself alone.
            Self::Mounts => &["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/tmp"],
            Self::Network => &["unshare", "--net", "ip", "link", "add", "probe", "type", "bridge"],
            Self::Memory => &["sh", "-c", MEMORY],
        }
    }

    const fn lack(self) -> &'static str {
        match self {
            Self::Mounts => "no file system may be mounted here",
            Self::Network => "no network may be made here",
            Self::Memory => "no control group with a limit of memory may be made here",
        }
    }
}

/// A list of functions as [`Test`]s with the functions' names.
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        [$($crate::Test { name: stringify!($name), run: $name }),+]
    };
}

/// The `main` of a test target with `harness = false`.
pub fn main(own: Own, tests: &[Test]) -> ExitCode {
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
    let apart = Apart::find(own);
    if has("--list") {
        // Those that are ignored are asked for apart.
        for test in chosen.iter().filter(|_| !has("--ignored") || apart.is_err()) {
            println!("{}: test", test.name);
        }
        return ExitCode::SUCCESS;
    }
    run(&chosen, &apart, has("--ignored") || has("--include-ignored"))
}

/// Runs the tests; where they cannot be run they are ignored, or, where they are wanted all the same, fail.
fn run(tests: &[&Test], apart: &Result<Apart, String>, wanted: bool) -> ExitCode {
    println!("\nrunning {} tests", tests.len());
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    for Test { name, .. } in tests {
        let verdict = match apart {
            Ok(apart) if apart.passes(name) => {
                passed += 1;
                "ok".to_owned()
            }
            Err(why) if !wanted => {
                ignored += 1;
                format!("ignored, {why}")
            }
            Ok(_) | Err(_) => {
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

/// How to get something of one's own here.
struct Apart {
    options: Vec<&'static str>,
}

impl Apart {
    /// The way that works: as root, or as root of a user namespace. An error says why there is none.
    fn find(own: Own) -> Result<Self, String> {
        let mut why = String::new();
        for more in [&[][..], &["--user", "--map-root-user"]] {
            let options = [&[own.option()], more].concat();
            match Command::new("unshare").args(&options).args(own.probe()).output() {
                Ok(output) if output.status.success() => return Ok(Self { options }),
                Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(error) => why = format!("`unshare` cannot be run: {error}"),
            }
        }
        Err(format!("{} ({why})", own.lack()))
    }

    /// Runs this program's test `name` apart.
    fn passes(&self, name: &str) -> bool {
        let program = std::env::current_exe().expect("a process knows its program");
        let mut command = Command::new("unshare");
        command.args(&self.options).arg(program).args([name, "--exact"]).env(INSIDE, "1");
        command.status().is_ok_and(|status| status.success())
    }
}
