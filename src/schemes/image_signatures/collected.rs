//! What was fetched about one image: its manifest, and its signatures so far. It depends on no policy but for the kind of
//! signatures, so all requests for the image share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::memory::Account;
use crate::keychain::credentials::Fingerprint;
use crate::schemes::Finding;
use crate::schemes::evidence::FoundSignature;
use portreeve_verify::Unavailable;
use portreeve_verify::image::Sha256;
use portreeve_verify::oci::Image;

/// The fingerprints of the credentials that were tried at the image's place and at the signatures' place; `None` where nobody
/// asked for them.
pub(super) type Tried = [Option<Fingerprint>; 2];

/// What was fetched about an image.
#[derive(Clone)]
pub(super) struct Collected {
    /// Its descriptor.
    pub(super) image: Image,
    /// The bytes of its manifest.
    pub(super) manifest: Arc<[u8]>,
    /// A time just before the registry was asked for it.
    pub(super) asked: Timestamp,
    /// When the last part was fetched.
    pub(super) ended: Instant,
    /// The signatures that the referrers API names; `None` if it was not asked.
    pub(super) referrers: Option<Arc<Part>>,
    /// The signatures that are found by tags; `None` if they were not asked for.
    pub(super) tags: Option<Arc<Part>>,
    /// Whose credentials were tried.
    pub(super) tried: Tried,
    /// Was the tag's digest remembered?
    pub(super) tag_kept: Arc<AtomicBool>,
    /// The memory that it is in.
    pub(super) account: Arc<Account>,
}

/// A part of the signatures.
#[derive(Default)]
pub(super) struct Part {
    /// The signatures that can be read.
    pub(super) signatures: Vec<Found>,
    /// Those that cannot be.
    pub(super) passed_over: Vec<Finding>,
    /// The referrers that were looked at.
    pub(super) seen: Vec<Sha256>,
    /// How many candidates there were.
    pub(super) candidates: usize,
    /// How many referrers are of another kind.
    pub(super) others: usize,
    /// Why a candidate could not be fetched: it may have been a good one.
    pub(super) failed: Option<Unavailable>,
    /// Why the registry's data is refused as a whole: a code and a message.
    pub(super) refused: Option<(&'static str, String)>,
}

/// A signature, and whether it is kept as evidence already.
pub(super) struct Found {
    pub(super) found: FoundSignature,
    kept: AtomicBool,
}

impl Found {
    pub(super) fn new(found: FoundSignature) -> Self {
        Self { found, kept: AtomicBool::new(false) }
    }

    /// Is the caller the first that keeps it?
    pub(super) fn keep(&self) -> bool {
        !self.kept.swap(true, Ordering::Relaxed)
    }
}

impl Collected {
    /// Its parts so far.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.referrers.iter().chain(&self.tags).map(Arc::as_ref)
    }

    /// All signatures so far.
    pub(super) fn signatures(&self) -> impl Iterator<Item = &Found> {
        self.parts().flat_map(|part| &part.signatures)
    }

    /// Is there nothing more to be fetched?
    pub(super) fn is_complete(&self) -> bool {
        self.tags.is_some() || self.refused().is_some()
    }

    /// Why the registry's data is refused as a whole.
    pub(super) fn refused(&self) -> Option<&(&'static str, String)> {
        self.parts().find_map(|part| part.refused.as_ref())
    }

    /// Why a candidate could not be fetched.
    pub(super) fn failed(&self) -> Option<&Unavailable> {
        self.parts().find_map(|part| part.failed.as_ref())
    }

    /// Was it fetched at most so long ago, or after that moment?
    pub(super) fn is_recent(&self, max_age: Duration, since: Instant) -> bool {
        self.ended >= since || self.ended.elapsed() <= max_age
    }

    /// May it be kept for a moment for further requests? Not what is large, and no failure.
    pub(super) fn may_stay(&self) -> bool {
        self.failed().is_none() && !self.account.has_drawn()
    }

    /// How much of it has been fetched.
    pub(super) fn progress(&self) -> usize {
        self.parts().count()
    }

    /// Is the caller the first that remembers the tag's digest?
    pub(super) fn keep_tag(&self) -> bool {
        !self.tag_kept.swap(true, Ordering::Relaxed)
    }

    /// What it takes in memory, roughly: what is large is not kept.
    pub(super) fn heap_size(&self) -> u64 {
        let bytes = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let signatures = self.signatures().map(|Found { found, .. }| {
            found.signature.heap_size() + bytes(found.manifest.len()) + bytes(found.blob.1.len())
        });
        let findings = self
            .parts()
            .flat_map(|part| &part.passed_over)
            .map(|finding| bytes(finding.signature.len()) + bytes(finding.passed_over.as_ref().map_or(0, String::len)));
        1024 + bytes(self.manifest.len()) + signatures.chain(findings).sum::<u64>()
    }
}
