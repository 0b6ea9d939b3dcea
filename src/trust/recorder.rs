//! Stands between a source and the verifier: keeps what was verified, so that it can be stored without being in memory
//! for ever, and looks at the clock. Judges nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{FetchError, MetadataName, MetadataSource};
use crate::deadline::Deadline;
use crate::image::Sha256;
use crate::metrics::{Metrics, Phase};

/// A source, and what it gave.
pub(super) struct Recorder<'a> {
    source: Box<dyn MetadataSource + 'a>,
    keeps: bool,
    record: Record,
    deadline: Deadline,
    began: Instant,
    /// How long the source took, all in all.
    waited: Duration,
    gave: bool,
    metrics: Option<&'a Metrics>,
}

/// Verified targets roles by their hash. The other files stay in the verified repository itself.
pub(super) type Record = BTreeMap<Sha256, Vec<u8>>;

impl<'a> Recorder<'a> {
    /// `keeps`: is there any use for the bytes? Verifying ends with the deadline.
    pub(super) fn new(source: Box<dyn MetadataSource + 'a>, keeps: bool, deadline: Deadline) -> Self {
        let (record, began, waited) = (Record::new(), Instant::now(), Duration::ZERO);
        Self { source, keeps, record, deadline, began, waited, gave: false, metrics: None }
    }

    /// Counts how long the use of what the source gave took, which is the verifier's time.
    pub(super) fn timed(mut self, metrics: &'a Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    pub(super) fn into_record(mut self) -> Record {
        std::mem::take(&mut self.record)
    }
}

impl MetadataSource for Recorder<'_> {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        let began = Instant::now();
        let fetched = self.source.fetch(name, cap);
        self.waited += began.elapsed();
        let bytes = fetched?;
        self.gave = true;
        Ok(bytes)
    }

    fn keep(&mut self, hash: Sha256, bytes: Vec<u8>) {
        if self.keeps {
            self.record.insert(hash, bytes);
        }
    }

    fn is_late(&self) -> bool {
        self.deadline.remaining().is_none()
    }
}

impl Drop for Recorder<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics.filter(|_| self.gave) {
            metrics.phase(Phase::Verify, self.began.elapsed().saturating_sub(self.waited));
        }
    }
}
