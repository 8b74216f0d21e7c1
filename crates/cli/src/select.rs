//! What a user types to name sweeps, trials and attempts: `digits`, `digits/12@2`, `digits/1,3,5-8`, `last`.
//! Asks nobody: whether there is such a thing the coordinator says.

use std::str::FromStr;

/// More trials than this are not named one by one.
const NAMED_MAX: usize = 100_000;

/// A sweep, and perhaps some of its trials, and perhaps one attempt of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector {
    /// The sweep's name, its id, or `last`.
    pub sweep: String,
    /// Which of its trials.
    pub trials: Trials,
    /// Which attempt; only where one trial is named.
    pub attempt: Option<u32>,
}

/// Which trials of a sweep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trials {
    /// None is named: the sweep is meant.
    Unnamed,
    /// The newest.
    Last,
    /// These, each once, in the order in which they were named; never empty.
    Numbers(Vec<u32>),
}

/// Why a text names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}`: {why}; write SWEEP, SWEEP/TRIAL or SWEEP/TRIAL@ATTEMPT, for example digits/12, digits/1,3,5-8 or last"
)]
pub struct SelectorError {
    text: String,
    why: &'static str,
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let error = |why| SelectorError { text: text.to_owned(), why };
        let (sweep, rest) = text.split_once('/').map_or((text, None), |(sweep, rest)| (sweep, Some(rest)));
        if sweep.is_empty() {
            return Err(error("the sweep is empty"));
        }
        let sweep = sweep.to_owned();
        let Some(rest) = rest else {
            return if sweep.contains('@') {
                Err(error("an attempt belongs to a trial"))
            } else {
                Ok(Self { sweep, trials: Trials::Unnamed, attempt: None })
            };
        };
        let (list, attempt) = rest.split_once('@').map_or((rest, None), |(list, attempt)| (list, Some(attempt)));
        let trials = if list == "last" { Trials::Last } else { Trials::Numbers(numbers(list).map_err(error)?) };
        let attempt = match attempt.map(str::parse).transpose() {
            Ok(Some(0)) | Err(_) => return Err(error("the attempt is not a number from 1")),
            Ok(attempt) => attempt,
        };
        if attempt.is_some() && matches!(&trials, Trials::Numbers(numbers) if numbers.len() > 1) {
            return Err(error("an attempt belongs to one trial"));
        }
        Ok(Self { sweep, trials, attempt })
    }
}

/// `1,3,5-8`
fn numbers(list: &str) -> Result<Vec<u32>, &'static str> {
    let mut numbers: Vec<u32> = Vec::new();
    for part in list.split(',') {
        let number = |text: &str| text.parse::<u32>().map_err(|_| "a trial is a number from 0");
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err("the range goes backwards");
        }
        if numbers.len() + (last - first) as usize >= NAMED_MAX {
            return Err("that names more than 100,000 trials");
        }
        numbers.extend(first..=last);
    }
    let mut seen = std::collections::BTreeSet::new();
    numbers.retain(|number| seen.insert(*number));
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(text: &str) -> Selector {
        text.parse().expect(text)
    }

    #[test]
    fn a_selector_names_a_sweep_trials_or_an_attempt() {
        assert_eq!(select("digits"), Selector { sweep: "digits".into(), trials: Trials::Unnamed, attempt: None });
        assert_eq!(select("digits/7@2").attempt, Some(2));
        assert_eq!(select("digits/1,3,5-8,3").trials, Trials::Numbers(vec![1, 3, 5, 6, 7, 8]));
        assert_eq!(select("last/last").trials, Trials::Last);
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for bad in
            ["", "/1", "a/", "a/x", "a/1@0", "a/1@x", "a/1,2@1", "a/5-3", "a/-1", "a/1,,2", "a/0-4294967295", "a@1"]
        {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }
}
