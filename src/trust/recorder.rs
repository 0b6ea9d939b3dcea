//! Takes down what a source gives, so that verified bytes can be stored without being kept in memory for ever. Judges
//! nothing: whoever uses the record looks in it for the hashes that were verified.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{FetchError, MetadataName, MetadataSource};
use crate::image::Sha256;
use crate::metrics::{Metrics, Phase};

/// A source, and what it gave.
pub(super) struct Recorder<'a> {
    source: Box<dyn MetadataSource + 'a>,
    keeps: bool,
    record: Record,
    began: Instant,
    /// How long the source took, all in all.
    waited: Duration,
    gave: bool,
    metrics: Option<&'a Metrics>,
}

/// Files by the hash that was asked for. Only those are here that are asked for by hash: the others stay in the
/// verified repository itself.
pub(super) type Record = BTreeMap<Sha256, Vec<u8>>;

impl<'a> Recorder<'a> {
    /// `keeps`: is there any use for the bytes?
    pub(super) fn new(source: Box<dyn MetadataSource + 'a>, keeps: bool) -> Self {
        let (record, began, waited) = (Record::new(), Instant::now(), Duration::ZERO);
        Self { source, keeps, record, began, waited, gave: false, metrics: None }
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
        match name {
            MetadataName::Targets(hash) | MetadataName::Delegation(_, hash) if self.keeps => {
                self.record.insert(*hash, bytes.clone());
            }
            _ => {}
        }
        Ok(bytes)
    }
}

impl Drop for Recorder<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics.filter(|_| self.gave) {
            metrics.phase(Phase::Verify, self.began.elapsed().saturating_sub(self.waited));
        }
    }
}
