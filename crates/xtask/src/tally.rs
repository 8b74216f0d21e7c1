//! Counting what passed and what failed, and reading the counts from what test runners print.

use std::fmt;
use std::ops::AddAssign;

/// How many checks or tests passed, failed, and were not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    pub passed: u32,
    pub failed: u32,
    pub ignored: u32,
}

impl Tally {
    pub const fn success() -> Self {
        Self { passed: 1, failed: 0, ignored: 0 }
    }

    pub const fn failure() -> Self {
        Self { passed: 0, failed: 1, ignored: 0 }
    }

    /// One check that held or did not.
    pub const fn of(holds: bool) -> Self {
        if holds { Self::success() } else { Self::failure() }
    }

    /// What a test runner said, held against how it exited: a runner that failed without naming a failed test
    /// (it did not compile, it was killed) is one failure, and one that ran nothing proved nothing.
    pub fn of_tests(counted: Self, succeeded: bool) -> Self {
        match (counted.failed, succeeded) {
            (0, false) => Self { failed: 1, ..counted },
            _ => counted,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, ", {} not run", self.ignored)?;
        }
        Ok(())
    }
}

/// The counts of a runner's summary line: numbers followed by one of the words that runners use.
///
/// nextest: `2 passed (1 slow), 1 failed, 1 timed out, 3 skipped`; cargo test: `5 passed; 0 failed; 1 ignored`;
/// pytest: `11 passed, 1 skipped, 2 errors in 0.5s`.
pub fn count(line: &str) -> Tally {
    let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut tally = Tally::default();
    for pair in words.windows(2) {
        let Ok(number) = pair[0].parse::<u32>() else { continue };
        match pair[1] {
            "passed" | "xfailed" => tally.passed += number,
            // `timed` out, `exec` failed and `leaky-failed` are nextest's; a flaky test has passed in the end.
            "failed" | "timed" | "exec" | "error" | "errors" | "xpassed" => tally.failed += number,
            "ignored" | "skipped" => tally.ignored += number,
            _ => {}
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn tally(passed: u32, failed: u32, ignored: u32) -> Tally {
        Tally { passed, failed, ignored }
    }

    #[test]
    fn the_summary_lines_of_all_three_runners_are_read() {
        let nextest =
            "     Summary [   1.2s] 9 tests run: 5 passed (1 slow, 1 flaky), 2 failed, 2 timed out, 3 skipped";
        assert_eq!(count(nextest), tally(5, 4, 3));
        let cargo = "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s";
        assert_eq!(count(cargo), tally(5, 0, 1));
        assert_eq!(count("2 failed, 11 passed, 1 skipped, 1 error in 0.52s"), tally(11, 3, 1));
    }

    #[test]
    fn a_runner_that_dies_without_a_failed_test_is_a_failure() {
        assert_eq!(Tally::of_tests(tally(3, 0, 0), false), tally(3, 1, 0));
        assert_eq!(Tally::of_tests(tally(3, 2, 0), false), tally(3, 2, 0));
        assert_eq!(Tally::of_tests(tally(3, 0, 0), true), tally(3, 0, 0));
    }
}
