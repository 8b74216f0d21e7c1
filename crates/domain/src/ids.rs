//! Identities that print their kind: `swp_01j9z…`, `agt_01j9z…`, `swp_01j9z…/12@2`.
//!
//! Ids are parsed here and minted only at the coordinator's and the agent's edge, from a clock and
//! an entropy source that are passed in. A sweep or an agent id is 64 bits: 42 bits of milliseconds
//! since the epoch, then 22 random bits, so that ids sort by age and stay short enough to type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Crockford's base 32: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_BITS: u32 = 22;
/// 13 digits of 5 bits hold 64 bits.
const DIGITS: usize = 13;

/// Why a text is not an id or an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text lacks the kind's prefix.
    #[error("`{text}` does not start with `{prefix}`")]
    Prefix {
        /// What was given.
        text: String,
        /// What was expected, for example `swp_`.
        prefix: &'static str,
    },
    /// The digits are not 13 characters of Crockford's base 32 below 2^64.
    #[error("`{text}` is not an id: 13 characters of 0-9 and a-z without i, l, o, u are expected after the prefix")]
    Digits {
        /// What was given.
        text: String,
    },
}

fn encode(mut bits: u64) -> String {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    digits.iter().map(|&b| char::from(b)).collect()
}

fn decode(text: &str, prefix: &'static str) -> Result<u64, IdError> {
    let digits = text.strip_prefix(prefix).ok_or_else(|| IdError::Prefix { text: text.to_owned(), prefix })?;
    let bad = || IdError::Digits { text: text.to_owned() };
    if digits.len() != DIGITS {
        return Err(bad());
    }
    digits.bytes().try_fold(0u64, |bits, byte| {
        let value = ALPHABET.iter().position(|&a| a == byte.to_ascii_lowercase()).ok_or_else(bad)?;
        bits.checked_mul(32).and_then(|b| b.checked_add(value as u64)).ok_or_else(bad)
    })
}

macro_rules! id {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
        #[prost(skip_debug)]
        pub struct $name {
            /// The 64 bits of the id.
            #[prost(fixed64, tag = "1")]
            pub bits: u64,
        }

        impl $name {
            /// The prefix that says the kind of the id.
            pub const PREFIX: &'static str = $prefix;

            /// An id for something that came to be at `at_ms` (milliseconds since the Unix epoch).
            pub const fn mint(at_ms: u64, random: u64) -> Self {
                Self { bits: (at_ms << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, encode(self.bits))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                decode(text, $prefix).map(|bits| Self { bits })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(SweepId, "swp_", "A sweep, for ever: ids are never used again.");
id!(AgentId, "agt_", "An agent, kept on its disk, so that it is the same agent after a restart.");

id!(TokenId, "tok_", "A token: what it is named by, and the part of it that is no secret.");

/// A trial: its sweep and its number within it, counted from 0 without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TrialId {
    /// The sweep that created the trial.
    pub sweep: SweepId,
    /// The trial's number within the sweep.
    pub number: u32,
}

impl fmt::Display for TrialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.sweep, self.number)
    }
}

/// What a user types to name something: `SWEEP[/TRIAL[@ATTEMPT]]`, the sweep by name or by id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// The sweep's name, its id, or `last`.
    pub sweep: String,
    /// The trial's number, where one is named.
    pub trial: Option<u32>,
    /// The attempt (counted from 1), where one is named.
    pub attempt: Option<u32>,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an address: {why}; write SWEEP, SWEEP/TRIAL or SWEEP/TRIAL@ATTEMPT, for example `digits-mlp/12@2`"
)]
pub struct AddressError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |why| AddressError { text: text.to_owned(), why };
        let (sweep, rest) = match text.split_once('/') {
            Some((sweep, rest)) => (sweep, Some(rest)),
            None => (text, None),
        };
        if sweep.is_empty() {
            return Err(error("the sweep is empty"));
        }
        let Some(rest) = rest else {
            return Ok(Self { sweep: sweep.to_owned(), trial: None, attempt: None });
        };
        let (trial, attempt) = match rest.split_once('@') {
            Some((trial, attempt)) => (trial, Some(attempt)),
            None => (rest, None),
        };
        let trial = trial.parse().map_err(|_| error("the trial is not a number"))?;
        let attempt = match attempt.map(str::parse).transpose() {
            Ok(Some(0)) | Err(_) => return Err(error("the attempt is not a number from 1")),
            Ok(attempt) => attempt,
        };
        Ok(Self { sweep: sweep.to_owned(), trial: Some(trial), attempt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_its_kind_and_parses_back() {
        let id = SweepId::mint(1_795_000_000_000, 0x2a_1234);
        assert!(id.to_string().starts_with("swp_"), "{id}");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(SweepId { bits: u64::MAX }.to_string().parse(), Ok(SweepId { bits: u64::MAX }));
        assert!(id.to_string().parse::<AgentId>().is_err());
        assert!("swp_zzzzzzzzzzzzz".parse::<SweepId>().is_err(), "more than 64 bits");
        assert!("swp_é".parse::<SweepId>().is_err());
    }

    #[test]
    fn a_later_id_sorts_after_an_earlier_one() {
        assert!(SweepId::mint(1_000, u64::MAX) < SweepId::mint(1_001, 0));
    }

    #[test]
    fn an_address_names_a_sweep_a_trial_or_an_attempt() {
        let address = |text: &str| text.parse::<Address>();
        assert_eq!(address("digits"), Ok(Address { sweep: "digits".into(), trial: None, attempt: None }));
        assert_eq!(address("digits/12@2"), Ok(Address { sweep: "digits".into(), trial: Some(12), attempt: Some(2) }));
        for bad in ["", "/3", "digits/", "digits/x", "digits/1@", "digits/1@0", "digits/-1"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
