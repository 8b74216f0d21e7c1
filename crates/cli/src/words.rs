//! Numbers, durations and times as people read them. What machines read is in `output`.

use std::fmt::Write as _;

use heats_domain::NotKept;
use heats_domain::units::Bytes;
use heats_wire::v1;

/// Six significant digits, without trailing zeros: for tables. JSON and summaries keep every digit.
pub fn short(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf".into() } else { "-inf".into() };
    }
    if number == 0.0 {
        return "0".into();
    }
    let magnitude = number.abs().log10().floor() as i32;
    if (-5..15).contains(&magnitude) {
        let decimals = (5 - magnitude).max(0) as usize;
        let text = format!("{number:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        let text = format!("{number:.5e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// `850 ms`, `12.3 s`, `4m 05s`, `2h 03m`, `3d 4h`.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{:.1} s", ms as f64 / 1000.0),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// `3m ago`; of a time that lies ahead (clocks differ), `now`.
pub fn ago(at_ms: u64, now_ms: u64) -> String {
    match now_ms.saturating_sub(at_ms) / 1000 {
        0 => "now".into(),
        seconds @ 1..60 => format!("{seconds}s ago"),
        seconds @ 60..3600 => format!("{}m ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h ago", seconds / 3600),
        seconds => format!("{}d ago", seconds / 86_400),
    }
}

/// RFC 3339, UTC, to the millisecond.
pub fn timestamp(at_ms: u64) -> String {
    i64::try_from(at_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{at_ms} ms"), |time| format!("{time:.3}"))
}

/// `512 MiB`
pub fn bytes(count: u64) -> String {
    Bytes { count }.rounded()
}

/// That a file is not kept: ``big.bin (65.0 GiB, attempt 1) is not kept: over the limit of …``
pub fn not_kept(NotKept { sweep: _, trial: _, attempt, name, bytes, why, limit: _ }: &NotKept) -> String {
    format!("{name} ({}, attempt {attempt}) is not kept: {why}", self::bytes(*bytes))
}

/// What the end of an attempt waits for: `waits for its checkpoint of step 7: 3.1 GiB of 8.0 GiB kept, for 40s by now …`
pub fn waits_for(
    v1::Keeping { key: _, step, artifact, bytes, total, waited_ms, limit_ms, why }: &v1::Keeping,
) -> String {
    let what = step.map_or_else(|| format!("`{artifact}`"), |step| format!("its checkpoint of step {step}"));
    let size = total.map_or_else(|| "its size".to_owned(), self::bytes);
    let how = if why.is_empty() { String::new() } else { format!("; not yet, because {why}") };
    let (waited, limit) = (duration(*waited_ms), duration(*limit_ms));
    format!(
        "waits for {what}: {} of {size} kept{how}; for {waited} by now, and for {limit} at most",
        self::bytes(*bytes)
    )
}

/// `1 trial`, `3 trials`
pub fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// What a sweep took over from an earlier one: ``40 trials of `digits`, 3 more do not fit its space``
pub fn learned(one: &v1::Learned) -> String {
    let mut words = format!("{} of `{}`", count(u64::from(one.trials), "trial"), one.name);
    for (number, what) in [(one.unfit, "are none of this space"), (one.left_out, "were left out: there is a limit")] {
        if number > 0 {
            words.push_str(&format!("; {number} more {what}"));
        }
    }
    words
}

/// `a, b and c`
pub fn list(words: &[String]) -> String {
    let mut out = String::new();
    for (i, word) in words.iter().enumerate() {
        let between = match (i, i + 1 == words.len()) {
            (0, _) => "",
            (_, true) => " and ",
            (_, false) => ", ",
        };
        // Writing to a string cannot fail.
        let _ = write!(out, "{between}{word}");
    }
    out
}

/// The known word that `given` was probably meant to be.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(&given.to_lowercase(), &word.to_lowercase()), word))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// A word of a command line that can be pasted into a shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_durations_readable() {
        let shortened: Vec<String> =
            [0.973_611_111, 1e-5, 1.0, -0.5, 123_456_789.0, 1e300, f64::NAN, f64::NEG_INFINITY, 0.0].map(short).into();
        assert_eq!(shortened, ["0.973611", "0.00001", "1", "-0.5", "123456789", "1e300", "nan", "-inf", "0"]);
        assert_eq!(
            [5, 12_340, 245_000, 7_400_000, 273_600_000].map(duration),
            ["5 ms", "12.3 s", "4m 05s", "2h 03m", "3d 4h"]
        );
        assert_eq!(timestamp(1_795_000_000_123), "2026-11-18T11:06:40.123Z");
        assert_eq!([512, 1536, 300 << 20].map(bytes), ["512 B", "1.5 KiB", "300 MiB"]);
    }

    #[test]
    fn a_quoted_word_survives_a_shell() {
        assert_eq!(quoted("--lr=0.1"), "--lr=0.1");
        assert_eq!(quoted("it's a; b"), r"'it'\''s a; b'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_list_reads_as_a_sentence() {
        let words = |words: &[&str]| list(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert_eq!([words(&["a"]), words(&["a", "b"]), words(&["a", "b", "c"])], ["a", "a and b", "a, b and c"]);
    }
}
