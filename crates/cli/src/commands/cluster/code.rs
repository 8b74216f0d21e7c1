//! The code of a backup's sweeps: beside the backup, an archive in a file each, by its hash.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use futures::StreamExt;
use heats_client::Client;
use heats_coordinator::Summary;
use heats_wire::v1;

use crate::exit::Failure;
use crate::host::folder;
use crate::words;

/// Sweeps that are named where code is missing.
const NAMED: usize = 20;
/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// Where the code of the sweeps in the backup `file` is: `FILE.code`.
pub fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".code");
    name.into()
}

/// Writes the archives of `summary` beside `file`, those that are not there yet; how many bytes all of them have. What is there
/// under its name is whole.
///
/// # Errors
/// One cannot be had, or written.
pub async fn save(client: &Client, summary: &Summary, file: &Path) -> Result<u64, Failure> {
    let folder = beside(file);
    let failed = |error: io::Error| folder::refused(format!("cannot write to {}", folder.display()), &error);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let mut bytes = 0;
    for name in summary.code.keys() {
        let path = folder.join(name);
        if !path.is_file() {
            let aside = path.with_extension("part");
            let mut target = File::create(&aside).map_err(failed)?;
            let mut hasher = blake3::Hasher::new();
            let mut pieces = client.archive(name);
            while let Some(piece) = pieces.next().await {
                let v1::ArchivePiece { archive: _, length: _, offset, data, shelf: _ } = piece?;
                if offset == 0 {
                    target = File::create(&aside).map_err(failed)?;
                    hasher.reset();
                }
                hasher.update(&data);
                target.write_all(&data).map_err(failed)?;
            }
            if hasher.finalize().to_hex().as_str() != name {
                return Err(Failure::failed(format!("what came is not archive {name}: it was damaged on its way")));
            }
            target.sync_all().and_then(|()| std::fs::rename(&aside, &path)).map_err(failed)?;
        }
        bytes += path.metadata().map_err(failed)?.len();
    }
    File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(bytes)
}

/// Puts what lies beside the backup `file` into the coordinator's directory `dir`; the archives that are not there, or not
/// whole, each with the sweeps that name it.
///
/// # Errors
/// The directory cannot be written.
pub fn put_back(file: &Path, dir: &Path, summary: &Summary) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let (from, to) = (beside(file), dir.join("archives"));
    let failed = |error: io::Error| folder::refused(format!("cannot write to {}", to.display()), &error);
    let mut missing = BTreeMap::new();
    for (name, sweeps) in &summary.code {
        match File::open(from.join(name)) {
            Ok(source) => {
                std::fs::create_dir_all(&to).map_err(failed)?;
                if !copy(source, name, &to).map_err(failed)? {
                    missing.insert(name.clone(), sweeps.clone());
                }
            }
            Err(_not_there) => _ = missing.insert(name.clone(), sweeps.clone()),
        }
    }
    Ok(missing)
}

/// Copies an archive into the folder `to`; whether it is what its name says. One that is not is not left there.
fn copy(mut source: File, name: &str, to: &Path) -> io::Result<bool> {
    let aside = to.join(format!("{name}.new"));
    let mut target = File::create(&aside)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        match source.read(&mut piece)? {
            0 => break,
            read => {
                hasher.update(&piece[..read]);
                target.write_all(&piece[..read])?;
            }
        }
    }
    if hasher.finalize().to_hex().as_str() != name {
        std::fs::remove_file(&aside)?;
        return Ok(false);
    }
    target.sync_all()?;
    std::fs::rename(&aside, to.join(name))?;
    File::open(to)?.sync_all()?;
    Ok(true)
}

/// Whose code it is, in words: `a`, `b` and 3 more.
pub fn sweeps(code: &BTreeMap<String, Vec<String>>) -> String {
    let names: Vec<&String> = code.values().flatten().collect();
    let told: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", words::list(&told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_put_back_where_it_is_what_its_name_says_and_else_is_told_with_its_sweeps() {
        let root = tempfile::tempdir().expect("a folder");
        let (file, dir) = (root.path().join("backup"), root.path().join("new"));
        std::fs::create_dir_all(beside(&file)).expect("makes");
        let name = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
        std::fs::write(beside(&file).join(name("whole")), "whole").expect("writes");
        std::fs::write(beside(&file).join(name("broken")), "brokem").expect("writes");
        let code = ["whole", "broken", "lost"].map(|text| (name(text), vec![format!("of-{text}")]));
        let summary = Summary { code: code.into(), ..Summary::default() };
        let missing = put_back(&file, &dir, &summary).expect("writes");
        let names: Vec<&String> = missing.keys().collect();
        assert!(names.len() == 2 && !names.contains(&&name("whole")), "{missing:?}");
        assert_eq!(std::fs::read_to_string(dir.join("archives").join(name("whole"))).expect("is there"), "whole");
        assert_eq!(std::fs::read_dir(dir.join("archives")).expect("is there").count(), 1, "nothing half is left");
        assert!(sweeps(&missing).contains("`of-broken`") && sweeps(&missing).contains("`of-lost`"));
    }
}
