//! Pythons with packages, in a virtual environment of the benchmarks' own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::machine;

/// A package: what it is imported as, and what `pip` installs.
pub(crate) type Package = (&'static str, &'static str);

/// A Python that can import all of them; what it cannot is installed.
///
/// # Errors
/// Where there is no Python, or `pip` cannot install one.
pub(crate) fn with(packages: &[Package]) -> Result<PathBuf> {
    let venv = machine::repository().join("target/bench-venv");
    let python = venv.join("bin/python");
    if !python.is_file() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).status().context("python3 -m venv")?;
        ensure!(made.success(), "cannot make a virtual environment");
    }
    for (module, package) in packages {
        if has(&python, module) {
            continue;
        }
        println!("  installing {package}");
        let pip = Command::new(&python).args(["-m", "pip", "install", "--quiet", package]).status().context("pip")?;
        ensure!(pip.success() && has(&python, module), "cannot install {package}");
    }
    Ok(python)
}

fn has(python: &Path, module: &str) -> bool {
    let import = format!("import {module}");
    let found = Command::new(python).args(["-c", &import]).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}
