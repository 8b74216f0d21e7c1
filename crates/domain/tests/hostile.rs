//! Whatever the bytes are, reading them ends, without a panic, with a sweep or with faults that can be shown.

#![expect(clippy::disallowed_methods, reason = "tests read their own files; the crate does not")]

use std::fs;
use std::path::Path;

use heats_domain::document::{Colour, Format, open, read};
use heats_domain::{Expr, SweepSpec};
use proptest::prelude::*;

fn samples() -> Vec<Vec<u8>> {
    ["tests/good", "tests/malformed"]
        .iter()
        .flat_map(|folder| fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("is there"))
        .map(|entry| entry.expect("can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension != "txt"))
        .map(|path| fs::read(path).expect("can be read"))
        .collect()
}

/// A sample with some stretches replaced by bytes that matter to the languages.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop_oneof![
        proptest::sample::select(b"[]{}:,-#&*!|>'\"%@`$\\\n\t 0e._<~?=".to_vec()).prop_map(|byte| vec![byte]),
        proptest::collection::vec(any::<u8>(), 0..4),
        Just("\u{feff}ü\u{2028}".as_bytes().to_vec()),
        Just(b"\n---\n".to_vec()),
    ];
    let edits = proptest::collection::vec((any::<proptest::sample::Index>(), 0..6_usize, noise), 1..6);
    (proptest::sample::select(samples()), edits).prop_map(|(mut bytes, edits)| {
        for (at, removed, noise) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, noise);
        }
        bytes
    })
}

fn format() -> impl Strategy<Value = Format> {
    proptest::sample::select(vec![Format::Yaml, Format::Toml, Format::Json])
}

fn ends_well(bytes: &[u8], format: Format) {
    let draft = open(bytes, format);
    let is_whole = draft.spec.is_some() && draft.faults.is_empty();
    match draft.finish() {
        Ok((spec, _)) => {
            assert!(is_whole);
            let json = serde_json::to_vec(&spec).expect("a good sweep serialises");
            assert_eq!(serde_json::from_slice::<SweepSpec>(&json).expect("and reads"), spec);
            assert_eq!(read(&json, Format::Json).map(|(spec, _)| spec).map_err(|f| f.to_string()), Ok(spec));
        }
        Err(faults) => {
            assert!(!faults.is_empty(), "a refusal says why");
            let text = faults.render("sweep", Colour::Never);
            assert!(text.ends_with("error\n") || text.ends_with("errors\n"), "{text}");
            for fault in faults.list() {
                assert!(!fault.message.is_empty());
                if let Some(span) = &fault.span {
                    assert!(faults.source().get(span.start..span.end).is_some(), "{fault}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_arbitrary_bytes_ends_well(bytes in proptest::collection::vec(any::<u8>(), 0..200), format in format()) {
        ends_well(&bytes, format);
    }

    #[test]
    fn reading_a_damaged_file_ends_well(bytes in mutated(), format in format()) {
        ends_well(&bytes, format);
    }

    #[test]
    fn an_arbitrary_text_is_an_expression_or_not(text in "[a-z0-9 .,()\\[\\]{}?:<>=!&|+*/%\"'\\\\-]{0,60}|.{0,40}") {
        if let Err(error) = Expr::parse(&text) {
            prop_assert!(!error.why().is_empty());
        }
    }
}
