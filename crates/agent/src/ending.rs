//! What an attempt's end is called, and what people are told of it. Pure: the coordinator decides what follows.

use std::time::Duration;

use heats_domain::units::Span;
use heats_wire::v1;
use rustix::process::Signal;

use crate::attempt::{Cause, End, Ending};
use crate::collector::Summary;

/// At most so many bytes of detail go to the coordinator.
const DETAIL_MAX: usize = 8 * 1024;

/// What is known when an attempt's process is gone.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// What the shim noted, if it did.
    pub end: Option<&'a End>,
    /// Whether and why the agent ended it.
    pub ending: Option<&'a Ending>,
    /// Whether and why the trial called itself infeasible.
    pub infeasible: Option<&'a str>,
    /// What it reported.
    pub summary: &'a Summary,
    /// The metrics that the sweep ranks by.
    pub objectives: &'a [String],
    /// The last lines of its output.
    pub last_lines: &'a str,
    /// Whether the disk was full when it ended.
    pub disk_is_full: bool,
}

/// The end as the protocol has it, and the words for people.
///
/// The trial's own word that it is infeasible comes first; then what the agent did, whatever the exit code;
/// then what the process did.
pub fn conclude(evidence: &Evidence<'_>) -> (v1::End, String) {
    use v1::end::Kind;
    let end = |kind: Kind, code: i32, signal: i32| v1::End { kind: kind.into(), code, signal };
    let code = evidence.end.and_then(|end| end.code).unwrap_or_default();
    let signal = evidence.end.and_then(|end| end.signal).unwrap_or_default();
    if let Some(why) = evidence.infeasible {
        return (end(Kind::Infeasible, code, signal), clip(why.to_owned()));
    }
    if let Some(ending) = evidence.ending {
        let kind = match ending.cause {
            Cause::Stopped => Kind::Stopped,
            Cause::TimedOut => Kind::TimedOut,
            Cause::Preempted => Kind::Preempted,
            Cause::Shutdown | Cause::Orphaned | Cause::Fenced => Kind::Lost,
        };
        return (end(kind, code, signal), clip(ending.why.clone()));
    }
    let Some(noted) = evidence.end else {
        let why = "the process and its supervisor are gone without a trace of their end: \
                   the machine was restarted, or somebody killed them";
        return (end(Kind::Lost, 0, 0), why.to_owned());
    };
    if let Some(why) = &noted.not_started {
        return (end(Kind::StartFailed, 0, 0), clip(why.clone()));
    }
    let (end, what) = if noted.out_of_memory {
        let peak = noted.max_rss >> 20;
        let why = format!("the kernel killed it because memory ran out; its largest process had {peak} MiB");
        (end(Kind::OutOfMemory, 0, signal), why)
    } else if noted.signal.is_some() {
        (end(Kind::Signaled, 0, signal), format!("{} ended it", signal_name(signal)))
    } else {
        (end(Kind::Exited, code, 0), if code == 0 { String::new() } else { format!("it exited with code {code}") })
    };
    (end, clip(details(what, evidence, noted)))
}

fn details(what: String, evidence: &Evidence<'_>, noted: &End) -> String {
    let Evidence { summary, objectives, last_lines, .. } = evidence;
    let mut parts = vec![what];
    if evidence.disk_is_full {
        parts.push("the disk was full when it ended, and may lack what it wrote last: free some space".to_owned());
    }
    let good = noted.code == Some(0);
    let missing = !objectives.is_empty() && !summary.objective_seen;
    if good && missing {
        let each = |after: &str| objectives.iter().map(|name| format!("{name}{after}")).collect::<Vec<_>>();
        let together = if objectives.len() > 1 { " in one report" } else { "" };
        parts.push(format!(
            "it never reported `{}`{together}; print a line `::metric step=1 {}`, or call `t.report(step, {})`",
            objectives.join("` and `"),
            each("=0.5").join(" "),
            each("=...").join(", ")
        ));
        if !summary.nearly.is_empty() {
            parts.push(format!("lines that name it but are no reports: `{}`", summary.nearly.join("`, `")));
        }
    }
    if summary.unreadable > 0 {
        let examples = summary.unreadable_examples.join("; ");
        parts.push(format!("{} could not be read as reports: {examples}", lines(summary.unreadable)));
    }
    if summary.too_long > 0 {
        parts.push(format!("{} were longer than 64 KiB and were not looked at", lines(summary.too_long)));
    }
    if summary.repeated > 0 {
        let reports = summary.repeated;
        parts.push(format!("reports that were ignored, because their step had been reached before: {reports}"));
    }
    if let Some(why) = &summary.failed {
        parts.push(format!("its output could not be read to the end: {why}"));
    }
    if noted.left > 0 {
        parts.push(format!("processes that it left behind and that could not be killed: {}", noted.left));
    }
    if (!good || missing) && !last_lines.is_empty() {
        parts.push(format!("its last lines:\n{last_lines}"));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn lines(count: u64) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

fn clip(mut text: String) -> String {
    if text.len() > DETAIL_MAX {
        let end = (0..=DETAIL_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Why an attempt that ran too long is ended, for people.
pub fn timed_out(limit: Duration) -> String {
    format!("it ran longer than `run.timeout`, which is {}", Span { ms: limit.as_millis() as u64 })
}

fn signal_name(signal: i32) -> String {
    let name = match Signal::from_named_raw(signal) {
        Some(Signal::HUP) => "SIGHUP",
        Some(Signal::INT) => "SIGINT",
        Some(Signal::QUIT) => "SIGQUIT",
        Some(Signal::ILL) => "SIGILL",
        Some(Signal::ABORT) => "SIGABRT",
        Some(Signal::BUS) => "SIGBUS",
        Some(Signal::FPE) => "SIGFPE",
        Some(Signal::KILL) => "SIGKILL",
        Some(Signal::SEGV) => "SIGSEGV",
        Some(Signal::PIPE) => "SIGPIPE",
        Some(Signal::TERM) => "SIGTERM",
        Some(Signal::XCPU) => "SIGXCPU",
        Some(Signal::XFSZ) => "SIGXFSZ",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::end::Kind;

    fn ended(end: Option<End>, ending: Option<Cause>, infeasible: Option<&str>) -> (Kind, i32, i32, String) {
        let summary = Summary { nearly: vec!["loss: 1".into()], ..Summary::default() };
        let ending = ending.map(|cause| Ending { cause, why: "because".into() });
        let evidence = Evidence {
            end: end.as_ref(),
            ending: ending.as_ref(),
            infeasible,
            summary: &summary,
            objectives: &["loss".to_owned()],
            last_lines: "Traceback",
            disk_is_full: false,
        };
        let (end, detail) = conclude(&evidence);
        (end.kind(), end.code, end.signal, detail)
    }

    fn exited(code: i32) -> Option<End> {
        Some(End { code: Some(code), ..End::default() })
    }

    #[test]
    fn what_the_agent_did_comes_before_what_the_process_did() {
        assert_eq!(ended(exited(1), Some(Cause::Stopped), None), (Kind::Stopped, 1, 0, "because".into()));
        assert_eq!(ended(exited(0), Some(Cause::TimedOut), None).0, Kind::TimedOut);
        assert_eq!(ended(None, Some(Cause::Shutdown), None).0, Kind::Lost);
        assert_eq!(ended(exited(1), Some(Cause::Stopped), Some("odd")), (Kind::Infeasible, 1, 0, "odd".into()));
    }

    #[test]
    fn what_the_process_did_is_told_apart() {
        let signal = |out_of_memory| Some(End { signal: Some(9), out_of_memory, ..End::default() });
        assert_eq!(ended(signal(false), None, None).0, Kind::Signaled);
        assert_eq!(ended(signal(true), None, None).0, Kind::OutOfMemory);
        assert_eq!(ended(None, None, None).0, Kind::Lost);
        assert_eq!(ended(Some(End::not_started("no".into())), None, None), (Kind::StartFailed, 0, 0, "no".into()));
        let (kind, code, _, detail) = ended(exited(3), None, None);
        assert_eq!((kind, code), (Kind::Exited, 3));
        assert!(detail.contains("code 3") && detail.contains("Traceback"), "{detail}");
    }

    #[test]
    fn a_good_end_without_the_objective_says_how_to_report_it() {
        let (_, _, _, detail) = ended(exited(0), None, None);
        assert!(detail.contains("::metric step=1 loss=") && detail.contains("`loss: 1`"), "{detail}");
    }
}
