//! How an operator names a bucket: `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`.

use std::str::FromStr;

/// The longest name, in bytes: what coordinators take.
const NAME_MAX: usize = 512;

/// Where in which bucket checkpoints are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The bucket. It has to be there.
    pub bucket: String,
    /// What all names begin with: without a slash at either end, and empty for the whole bucket.
    pub prefix: String,
    /// The server, for one that is not Amazon's: `https://minio.lan:9000`. The bucket is then part of the path.
    pub endpoint: Option<String>,
    /// The region; without it what the environment says, or `us-east-1`.
    pub region: Option<String>,
}

impl Target {
    /// The storage's name in the catalogue: two agents that name the same bucket, prefix and server reach the same one.
    pub fn place(&self) -> String {
        let Self { bucket, prefix, endpoint, region: _ } = self;
        let slash = if prefix.is_empty() { "" } else { "/" };
        let server = endpoint.as_ref().map_or_else(String::new, |endpoint| format!("?endpoint={endpoint}"));
        format!("s3:{bucket}{slash}{prefix}{server}")
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("`{text}` names no bucket: {what}; write `s3://BUCKET/PREFIX`");
        let rest = text.strip_prefix("s3://").ok_or_else(|| wrong("it does not begin with `s3://`"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_matches('/');
        if bucket.is_empty() || !bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
            return Err(wrong("a bucket's name has letters, digits, dots and hyphens"));
        }
        if text.len() > NAME_MAX {
            return Err(wrong("it is too long for a name"));
        }
        if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.chars().any(char::is_control) {
            return Err(wrong("its prefix is no plain path"));
        }
        let mut target = Self { bucket: bucket.to_owned(), prefix: prefix.to_owned(), endpoint: None, region: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("endpoint", url)) if url.starts_with("http://") || url.starts_with("https://") => {
                    target.endpoint = Some(url.trim_end_matches('/').to_owned());
                }
                Some(("endpoint", _)) => return Err(wrong("its `endpoint` begins with `http://` or `https://`")),
                Some(("region", region)) if !region.is_empty() => target.region = Some(region.to_owned()),
                _ => return Err(wrong("after the question mark come `endpoint=URL` and `region=NAME`")),
            }
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_with_its_prefix_and_server_and_the_region_is_no_part_of_the_name() {
        let target: Target = "s3://ckpt/team/a/?endpoint=http://minio.lan:9000/&region=eu-1".parse().expect("parses");
        assert_eq!(target.place(), "s3:ckpt/team/a?endpoint=http://minio.lan:9000");
        assert_eq!((target.prefix.as_str(), target.region.as_deref()), ("team/a", Some("eu-1")));
        assert_eq!("s3://ckpt".parse::<Target>().map(|target| target.place()), Ok("s3:ckpt".to_owned()));
        for bad in
            ["s3:ckpt", "s3://", "s3://a b", "s3://a/../b", "s3://a?endpoint=minio", "s3://a?region=", "s3://a?x=y"]
        {
            assert!(bad.parse::<Target>().is_err_and(|why| why.contains("write `s3://BUCKET/PREFIX`")), "{bad}");
        }
    }
}
