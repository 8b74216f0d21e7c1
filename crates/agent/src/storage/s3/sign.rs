//! How requests of S3 are signed: AWS Signature Version 4, in headers, with the hash of the body under the signature.

use std::fmt::Write;

use ring::{digest, hmac};

/// Whoever asks: from the agent's environment, and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
}

/// The secret stays out of what is printed.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Keys {
    /// Those of the AWS tools' variables; `None` where one of the two is missing.
    pub fn from_env() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
        Some(Self { id, secret, token: variable("AWS_SESSION_TOKEN") })
    }
}

/// What of a request is under its signature.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// `PUT`.
    pub method: &'a str,
    /// As the server is called: with its port, where that is not the usual one.
    pub host: &'a str,
    /// Encoded, from the first slash on.
    pub path: &'a str,
    /// Encoded, by name.
    pub query: &'a str,
    /// The hash of the body, see [`hash`].
    pub body: &'a str,
    /// The server's region.
    pub region: &'a str,
    /// When it is sent: seconds since the Unix epoch.
    pub at: u64,
}

/// The headers that a signed request has, by name.
pub fn headers(signed: &Signed<'_>, keys: &Keys) -> Vec<(&'static str, String)> {
    let Signed { method, host, path, query, body, region, at } = *signed;
    let time = timestamp(at);
    let day = &time[..8];
    let mut headers =
        vec![("host", host.to_owned()), ("x-amz-content-sha256", body.to_owned()), ("x-amz-date", time.clone())];
    headers.extend(keys.token.clone().map(|token| ("x-amz-security-token", token)));
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let request = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{body}");
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(request.as_bytes()));
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in [day, region, "s3", "aws4_request"] {
        key = mac(&key, part).as_ref().to_vec();
    }
    let signature = hex(mac(&key, &text).as_ref());
    let id = &keys.id;
    let by = format!("AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={names},Signature={signature}");
    headers.push(("authorization", by));
    headers
}

/// The SHA-256 of something, in hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A text takes everything.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// A text as signed paths and queries have it. Slashes stay where `keep_slashes`.
pub fn encoded(text: &str, keep_slashes: bool) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slashes && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            // A text takes everything.
            let _infallible = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// `20150830T123600Z`.
fn timestamp(at: u64) -> String {
    let (days, second) = (at / 86_400, at % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// The date of a day, counted from 1970-01-01: Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
const fn civil(days: u64) -> (u64, u64, u64) {
    // Years begin in March, so that the leap day is the last of one.
    let since = days + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_as_in_the_example_of_the_protocols_documentation() {
        // "Authenticating Requests: Using the Authorization Header", Amazon S3 API Reference: GET Bucket Lifecycle.
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let signed = Signed {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/",
            query: "lifecycle=",
            body: &hash(b""),
            region: "us-east-1",
            at: 1_369_353_600,
        };
        let headers = headers(&signed, &keys);
        let value = |name: &str| headers.iter().find(|(found, _)| *found == name).expect("is there").1.clone();
        assert_eq!(value("x-amz-date"), "20130524T000000Z");
        let by = value("authorization");
        assert!(by.ends_with("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"), "{by}");
        assert!(!format!("{keys:?}").contains("wJalr"));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (at, expected) in [
            (0, "19700101T000000Z"),
            (951_827_696, "20000229T123456Z"),
            (1_795_910_399, "20261128T235959Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(timestamp(at), expected);
        }
    }

    #[test]
    fn what_is_no_plain_letter_is_encoded() {
        assert_eq!(encoded("a b/ü+%~", true), "a%20b/%C3%BC%2B%25~");
        assert_eq!(encoded("a/b", false), "a%2Fb");
    }
}
