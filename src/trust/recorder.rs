//! Takes down what a source gives, so that verified bytes can be stored without being kept in memory for ever. Judges
//! nothing: whoever uses the record looks in it for the hashes that were verified.

use std::collections::BTreeMap;

use super::{FetchError, MetadataName, MetadataSource};
use crate::image::Sha256;

/// A source, and what it gave.
pub(super) struct Recorder<'a> {
    source: Box<dyn MetadataSource + 'a>,
    keeps: bool,
    record: Record,
}

/// Files by the hash that was asked for. Only those are here that are asked for by hash: the others stay in the
/// verified repository itself.
pub(super) type Record = BTreeMap<Sha256, Vec<u8>>;

impl<'a> Recorder<'a> {
    /// `keeps`: is there any use for the bytes?
    pub(super) fn new(source: Box<dyn MetadataSource + 'a>, keeps: bool) -> Self {
        Self { source, keeps, record: Record::new() }
    }

    pub(super) fn into_record(self) -> Record {
        self.record
    }
}

impl MetadataSource for Recorder<'_> {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        let bytes = self.source.fetch(name, cap)?;
        match name {
            MetadataName::Targets(hash) | MetadataName::Delegation(_, hash) if self.keeps => {
                self.record.insert(*hash, bytes.clone());
            }
            _ => {}
        }
        Ok(bytes)
    }
}
