//! Puts the files below `templates/` into the program: a template is its folder and nothing else to register.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(name.to_owned()));
    let root = variable("CARGO_MANIFEST_DIR")?.join("templates");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut source = String::from(
        "/// The templates by name: the files of each by path.\n\
         const TEMPLATES: &[Template] = &[\n",
    );
    for template in sorted(&root)? {
        let name = template.file_name().unwrap_or_default().to_string_lossy().into_owned();
        println!("cargo:rerun-if-changed={}", template.display());
        let _ = writeln!(source, "    ({name:?}, &[");
        for file in sorted(&template)? {
            let path = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            println!("cargo:rerun-if-changed={}", file.display());
            let _ =
                writeln!(source, "        ({path:?}, include_bytes!({:?}).as_slice()),", file.display().to_string());
        }
        source.push_str("    ]),\n");
    }
    source.push_str("];\n");
    fs::write(variable("OUT_DIR")?.join("templates.rs"), source)
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    // Byte code and other hidden things come from running a template in place.
    paths.retain(|path| !path.file_name().unwrap_or_default().to_string_lossy().starts_with(['.', '_']));
    paths.sort();
    Ok(paths)
}
