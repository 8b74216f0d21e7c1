//! JSON into a tree. JSON is YAML, so the YAML reader finds the places, once serde_json has found it to be JSON.

use serde::de::IgnoredAny;

use super::source::Lines;
use super::{Fault, Node, Path, yaml};

/// Reads `text`; faults that come with a tree (such as duplicate keys) do not stand in its way.
pub fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let full = error.to_string();
        let message = full.split(" at line ").next().unwrap_or(&full).to_owned();
        let line_start = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
        // serde_json counts columns in bytes, from 1; 0 stands for the end of the line before.
        let at = line_start + error.column().saturating_sub(1);
        let end = at + text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        let span = Lines::of(text).span(text, at..end);
        let fault = Fault::new(Path::root(), format!("this is not JSON: {message}")).spanning(span);
        let trailing = text.get(..at).is_some_and(|before| before.trim_end().ends_with(','));
        let closing = text.get(at..).is_some_and(|rest| rest.starts_with([']', '}']));
        let hint = (trailing && closing).then(|| "remove the comma before this bracket".to_owned());
        return (None, vec![fault.maybe_hint(hint)]);
    }
    yaml::parse(text)
}
