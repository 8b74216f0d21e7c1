//! The name of an attempt, in the three forms that the agent needs: in memory, on the wire, as a folder.

use std::fmt;
use std::str::FromStr;

use heats_domain::{Object, SweepId, TrialId};
use heats_wire::v1;

/// One attempt at one trial: the fencing token of everything that is said about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// The sweep and the trial's number within it.
    pub trial: TrialId,
    /// Which attempt at the trial, from 1.
    pub attempt: u32,
}

/// A message named no sweep, or a folder's name is not an attempt's.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` does not name an attempt")]
pub struct KeyError {
    text: String,
}

impl Key {
    /// What the attempt keeps: a checkpoint of `step`, or an artifact. A storage fills in what it does not know yet.
    pub fn object(self, step: u64, artifact: String) -> Object {
        let (sweep, trial, attempt) = (self.trial.sweep, self.trial.number, self.attempt);
        Object { sweep, trial, attempt, step, hash: Vec::new(), bytes: 0, place: String::new(), artifact }
    }

    /// The key as the protocol has it.
    pub const fn to_wire(self) -> v1::AttemptKey {
        v1::AttemptKey { sweep: Some(self.trial.sweep), trial: self.trial.number, attempt: self.attempt }
    }

    /// The key that a message carries.
    ///
    /// # Errors
    /// Where the message has no key, or the key no sweep.
    pub fn from_wire(key: Option<v1::AttemptKey>) -> Result<Self, KeyError> {
        let v1::AttemptKey { sweep, trial, attempt } = key.unwrap_or_default();
        let sweep = sweep.ok_or_else(|| KeyError { text: format!("/{trial}@{attempt}") })?;
        Ok(Self { trial: TrialId { sweep, number: trial }, attempt })
    }
}

/// `swp_…-12@2`: what an address says, with a character that a folder's name may have.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.trial.sweep, self.trial.number, self.attempt)
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let error = || KeyError { text: text.to_owned() };
        let (sweep, rest) = text.split_once('-').ok_or_else(error)?;
        let (number, attempt) = rest.split_once('@').ok_or_else(error)?;
        let sweep: SweepId = sweep.parse().map_err(|_| error())?;
        let number = number.parse().map_err(|_| error())?;
        let attempt = attempt.parse().map_err(|_| error())?;
        Ok(Self { trial: TrialId { sweep, number }, attempt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_the_folder_and_the_wire() {
        let key = Key { trial: TrialId { sweep: SweepId::mint(1_795_000_000_000, 7), number: 12 }, attempt: 2 };
        assert_eq!(key.to_string().parse::<Key>().expect("parses"), key);
        assert_eq!(Key::from_wire(Some(key.to_wire())).expect("parses"), key);
        assert!(Key::from_wire(None).is_err());
        assert!("swp_0-1".parse::<Key>().is_err());
    }
}
