//! The time zone of this machine: Optuna's times are those on the wall.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How Optuna writes a time: by the clock on the wall, without saying where that hangs.
const FORMAT: &str = "%Y-%m-%d %H:%M:%S%.6f";
/// The same to be read, where the digits behind the point may be fewer.
const READ: &str = "%Y-%m-%d %H:%M:%S%.f";

/// The machine's zone as it was when the process started.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// What the system says; UTC where it says nothing.
    pub fn system() -> Self {
        Self(TimeZone::system())
    }

    /// A time in microseconds since the Unix epoch, as text; empty for one beyond the calendar.
    pub fn write(&self, at_us: i64) -> String {
        let Ok(at) = Timestamp::from_microsecond(at_us) else { return String::new() };
        self.0.to_datetime(at).strftime(FORMAT).to_string()
    }

    /// Microseconds since the Unix epoch, of a text; of a time that the clock showed twice, the first. Python's calendar,
    /// which has to read it again, begins with the year 1.
    pub fn read(&self, text: &str) -> Option<i64> {
        let at = DateTime::strptime(READ, text).ok().filter(|at| at.year() >= 1)?;
        Some(self.0.to_ambiguous_timestamp(at).compatible().ok()?.as_microsecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_was_written() {
        for zone in [TimeZone::UTC, TimeZone::fixed(jiff::tz::offset(2))] {
            let zone = Zone(zone);
            for text in ["2026-11-28 08:07:53.000001", "1999-12-31 23:59:59.999999", "2024-02-29 00:00:00.000000"] {
                let at_us = zone.read(text).expect("is a time");
                assert_eq!(zone.write(at_us), text);
            }
            for bad in [
                "",
                "now",
                "2026-13-01 00:00:00.0",
                "2026-11-28T08:07:53.000001",
                "2026-11-28",
                "0000-06-01 00:00:00.0",
                "-001-06-01 00:00:00.0",
            ] {
                assert_eq!(zone.read(bad), None, "{bad}");
            }
        }
    }
}
