//! How far what an attempt keeps has come: for people who wait for its end. Nothing depends on it.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use heats_domain::Object;

/// How far an object has come to its storage. Its bytes pass several times: they are copied, hashed, sent.
#[derive(Debug)]
pub struct Progress {
    bytes: OnceLock<u64>,
    passed: AtomicU64,
    passes: u64,
}

impl Progress {
    /// Of an object whose bytes pass so many times; not of none.
    pub const fn of(passes: u64) -> Self {
        Self { bytes: OnceLock::new(), passed: AtomicU64::new(0), passes }
    }

    /// It is this large. The first word counts.
    pub fn size(&self, bytes: u64) {
        self.bytes.get_or_init(|| bytes);
    }

    /// So many bytes more have passed once.
    pub fn add(&self, bytes: u64) {
        self.passed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many bytes of it are there, in proportion, and how large it is, where that is known.
    pub fn kept(&self) -> (u64, Option<u64>) {
        let bytes = self.bytes.get().copied();
        let kept = self.passed.load(Ordering::Relaxed) / self.passes;
        (kept.min(bytes.unwrap_or(0)), bytes)
    }
}

/// A source whose bytes are counted as they are read.
pub struct Counted<'a, R> {
    /// The source.
    pub source: R,
    /// What counts.
    pub progress: &'a Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.progress.add(count as u64);
        Ok(count)
    }
}

/// Something that an attempt has made and that is not kept yet.
#[derive(Clone, Debug)]
pub struct OnItsWay {
    /// The step of a checkpoint; none of an artifact.
    pub step: Option<u64>,
    /// The name of an artifact.
    pub artifact: String,
    /// How far it is.
    pub progress: Arc<Progress>,
    /// What keeps it from getting there; empty where nothing does.
    pub why: String,
}

impl OnItsWay {
    /// The object that is to be kept as `named`.
    pub fn new(named: &Object, progress: Arc<Progress>) -> Self {
        let artifact = named.artifact.clone();
        Self { step: artifact.is_empty().then_some(named.step), artifact, progress, why: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_kept_in_proportion_to_what_has_passed_and_never_more_than_whole() {
        let progress = Progress::of(2);
        progress.add(10);
        assert_eq!(progress.kept(), (0, None), "nobody knows of how much");
        progress.size(100);
        let mut counted = Counted { source: [7; 50].as_slice(), progress: &progress };
        io::copy(&mut counted, &mut io::sink()).expect("reads");
        assert_eq!(progress.kept(), (30, Some(100)));
        progress.add(1_000);
        assert_eq!(progress.kept(), (100, Some(100)));
    }
}
