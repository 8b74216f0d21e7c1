//! What an archive of a sweep's code is called: by its content.

use std::fmt;
use std::str::FromStr;

/// Hexadecimal digits of a BLAKE3 hash.
const DIGITS: usize = 64;

/// The name of an archive: the BLAKE3 hash of its bytes, so that two with one name are the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ArchiveName {
    hex: String,
}

impl ArchiveName {
    /// The name, in 64 lower-case hexadecimal digits: a file's name, too.
    pub fn as_str(&self) -> &str {
        &self.hex
    }

    /// As much of it as people read: 12 digits.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}

/// A text is no archive's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an archive's name is {DIGITS} hexadecimal digits in lower case")]
pub struct NotAName;

impl FromStr for ArchiveName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let is_digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == DIGITS && text.bytes().all(is_digit) {
            Ok(Self { hex: text.to_owned() })
        } else {
            Err(NotAName)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hash_is_a_name_so_that_a_name_is_never_a_path() {
        let name = "0123456789abcdef".repeat(4);
        assert_eq!(name.parse::<ArchiveName>().expect("is one").short(), "0123456789ab");
        for bad in [String::new(), name[1..].to_owned(), name.to_uppercase(), format!("../{}", &name[3..])] {
            assert_eq!(bad.parse::<ArchiveName>(), Err(NotAName), "{bad}");
        }
    }
}
