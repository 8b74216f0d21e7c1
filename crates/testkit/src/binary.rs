//! Where the command under test is, and where the repository is. Builds nothing.

use std::path::{Path, PathBuf};

/// Names another binary than the one beside the test, for example of a release build.
const OVERRIDE: &str = "TESTKIT_HEATS";

/// The command `heats`: the one that was built beside this test.
///
/// # Panics
/// Where it was not built.
pub fn heats_binary() -> PathBuf {
    if let Some(path) = std::env::var_os(OVERRIDE) {
        return PathBuf::from(path);
    }
    // target/debug/deps/e2e-0123 -> target/debug/heats
    let test = std::env::current_exe().expect("a process knows its program");
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join("heats")).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("there is no `heats` near {}: run `cargo build -p heats` first, or set {OVERRIDE}", test.display())
    })
}

/// The repository's root: where `examples/` is.
///
/// # Panics
/// Where the tests run without their sources.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the crate lies in crates/testkit").to_owned()
}
