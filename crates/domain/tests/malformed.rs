//! Every malformed file beside its rendered faults: what a user sees is what a reviewer reads.
//! `UPDATE_GOLDEN=1 cargo test -p heats-domain --test malformed` writes them anew; read the difference.

#![expect(clippy::disallowed_methods, reason = "tests read their own files; the crate does not")]

use std::fs;
use std::path::{Path, PathBuf};

use heats_domain::document::{Colour, Format, open, read};

fn malformed() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/malformed");
    let entries = fs::read_dir(&folder).expect("the folder is there").map(|entry| entry.expect("can be read").path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e != "txt")).collect();
    files.sort();
    files
}

fn rendered(name: &str, bytes: &[u8]) -> String {
    match read(bytes, Format::of(name)) {
        Ok(_) => "no error\n".into(),
        Err(faults) => faults.render(name, Colour::Never),
    }
}

#[test]
fn every_malformed_file_is_refused_with_its_golden_faults() {
    let files = malformed();
    assert!(files.len() >= 45, "{} files", files.len());
    let mut different = Vec::new();
    for file in files {
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        let found = rendered(&name, &fs::read(&file).expect("can be read"));
        assert_ne!(found, "no error\n", "{name} is malformed");
        let golden = file.with_extension(format!("{}.txt", file.extension().expect("has one").to_string_lossy()));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).expect("can be written");
        } else if fs::read_to_string(&golden).unwrap_or_default() != found {
            different.push(format!("{name} gives now\n{found}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn a_file_over_ten_megabytes_is_refused_unread() {
    let bytes = vec![b'#'; 10_000_001];
    assert_eq!(
        rendered("sweep.yaml", &bytes),
        "sweep.yaml: error: the file has 10000001 bytes, and a sweep file may have 10000000\n   \
         hint: is this the right file? Data goes into files of its own\n\n1 error\n"
    );
}

#[test]
fn a_bomb_of_aliases_is_refused_before_it_grows() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let references = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{references}]\n"));
    }
    let text = rendered("sweep.yaml", bomb.as_bytes());
    assert!(text.contains("the aliases of this file stand for more than 10000 values"), "{text}");
    assert!(text.starts_with("sweep.yaml:4:"), "{text}");
}

#[test]
fn a_bomb_of_one_long_text_is_refused_too() {
    let bomb = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 1000].join(", "));
    assert!(rendered("sweep.yaml", bomb.as_bytes()).contains("the aliases of this file stand for more than"));
}

#[test]
fn deep_nesting_is_refused_in_every_language() {
    for (name, text) in [
        ("a.yaml", format!("a: {}", "[".repeat(100_000))),
        ("b.yaml", (0..200).map(|level| format!("{}a:\n", " ".repeat(level))).collect()),
        ("a.json", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
        ("a.toml", format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000))),
    ] {
        assert!(rendered(name, text.as_bytes()).contains("error:"), "{name}");
    }
}

#[test]
fn what_is_not_utf_8_is_refused_with_its_byte() {
    let text = rendered("sweep.yaml", b"command: [python]\nname: gr\xf6\xdfe\n");
    assert_eq!(
        text,
        "sweep.yaml:2:9: error: the file is not UTF-8: byte 26 is 0xf6\n  2 | name: gr\u{fffd}\u{fffd}e\n    |         ^\n    \
         hint: save it as UTF-8\n\n1 error\n"
    );
    let utf16: Vec<u8> = "\u{feff}command: [a]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(rendered("sweep.yaml", &utf16).contains("the file is UTF-16"));
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    assert!(read("\u{feff}command: [a]\nbudget: { trials: 1 }\n".as_bytes(), Format::Yaml).is_ok());
}

#[test]
fn upper_layers_add_faults_that_are_placed_and_shown_with_the_others() {
    let mut draft = open(b"command: [./train.sh, \"${lr}\"]\nbudget: { trials: 1 }\n", Format::Yaml);
    draft.faults.add(
        "command[0]",
        "there is no program `./train.sh`",
        Some("write its path relative to the sweep file"),
    );
    draft.faults.add("search.gamma", "not a parameter of `tpe`", None);
    let text = draft.finish().expect_err("has faults").render("sweep.yaml", Colour::Never);
    assert_eq!(
        text,
        "sweep.yaml:1:11: error: there is no program `./train.sh`\n  1 | command: [./train.sh, \"${lr}\"]\n    |           \
         ^^^^^^^^^^\n    hint: write its path relative to the sweep file\n\nsweep.yaml:1:24: error: `${lr}` names no parameter\n  \
         1 | command: [./train.sh, \"${lr}\"]\n    |                        ^^^^^\n    hint: there are `args`, `args_json_file`, \
         `trial.number`, `seed` and `sweep`\n\nsweep.yaml: error: not a parameter of `tpe`\n\n3 errors\n"
    );
}

#[test]
fn what_could_not_be_read_is_not_blamed_again() {
    let mut draft = open(b"command: train.py\nbudget: { trials: 1 }\n", Format::Yaml);
    assert!(draft.spec.is_some(), "the rest is there for further checks");
    draft.faults.add("command[0]", "there is no program `true`", None);
    assert_eq!(draft.faults.len(), 1);
}
