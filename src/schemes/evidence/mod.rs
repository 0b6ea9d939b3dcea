//! Evidence: the signatures that images were verified by, kept by digest in memory and under `trust.cache` (SCHEMES.md,
//! section 7).
//!
//! It is never a verdict: each use verifies it anew under the policy and the keys of that moment. It is never keyed by a tag: a
//! registry may move a tag, and a digest never changes. Which digest a tag had is remembered apart, with the time at which the
//! registry said so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::base::context::Deadline;
use crate::metrics::Metrics;
use portreeve_verify::image::Sha256;
use portreeve_verify::oci::Image;
use portreeve_verify::sigstore::Signature;

/// The store's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory that keeps evidence for the next start (`trust.cache`); `None`: memory alone.
    pub cache: Option<PathBuf>,
    /// The most bytes of evidence in memory.
    pub memory: u64,
    /// The most bytes of evidence in `cache`.
    pub cache_bytes: u64,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// Evidence of images, and the digests of tags. Shared by all workers.
#[derive(Debug)]
pub struct EvidenceStore {
    _settings: Settings,
}

/// The evidence of one image, as it is in memory.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The image's descriptor.
    pub(crate) image: Image,
    /// The bytes of its manifest, if a signature is over them (a bundle's message signature), and nothing else.
    pub(crate) manifest: Option<Arc<[u8]>>,
    /// Its signatures. Each verified under some policy once.
    pub(crate) signatures: Vec<Arc<Signature>>,
}

/// A signature as the registry has it: parsed, and the bytes from which it can be parsed again.
#[derive(Clone, Debug)]
pub(crate) struct FoundSignature {
    /// The signature.
    pub(crate) signature: Arc<Signature>,
    /// The bytes of its manifest.
    pub(crate) manifest: Arc<[u8]>,
    /// The number of its layer there, from 0: several layers may have one payload.
    pub(crate) layer: usize,
    /// The digest and the bytes of its payload or bundle.
    pub(crate) blob: (Sha256, Arc<[u8]>),
}

/// The digest that a tag had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tagged {
    /// The digest.
    pub(crate) digest: Sha256,
    /// How long ago the registry said so. `None`: the clock went back since then, so the age is unknown.
    pub(crate) age: Option<Duration>,
}

impl EvidenceStore {
    /// A store with nothing in memory.
    pub fn new(settings: Settings) -> Self {
        Self { _settings: settings }
    }

    /// The evidence of an image: from memory, else from the disk. The disk is waited for during a part of the time that is left.
    pub(crate) fn get(&self, _digest: Sha256, _deadline: Deadline) -> Option<Arc<Record>> {
        unimplemented!()
    }

    /// Keeps signatures that verified, beside those that are kept already. Waits for the disk for a part of the time that is
    /// left, never longer.
    pub(crate) fn put(
        &self,
        _image: &Image,
        _manifest: Option<&Arc<[u8]>>,
        _signatures: &[FoundSignature],
        _deadline: Deadline,
    ) {
        unimplemented!()
    }

    /// The digest that `name` (`registry.local:9001/plant/plc:v1`) had, if it is remembered: from memory, else from the disk.
    pub(crate) fn tag(&self, _name: &str, _now: Timestamp, _deadline: Deadline) -> Option<Tagged> {
        unimplemented!()
    }

    /// Remembers the digest that the registry gave for `name` at `now`. Only for images that were verified.
    pub(crate) fn put_tag(&self, _name: &str, _digest: Sha256, _now: Timestamp, _deadline: Deadline) {
        unimplemented!()
    }
}
