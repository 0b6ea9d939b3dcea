//! Evidence: the signatures that images were verified by, kept by digest in memory and under `trust.cache` (SCHEMES.md,
//! section 7).
//!
//! It is never a verdict: each use verifies it anew under the policy and the keys of that moment. It is never keyed by a tag: a
//! registry may move a tag, and a digest never changes. Which digest a tag had is remembered apart, with the time at which the
//! registry said so.
//!
//! Losing evidence costs a request to a registry. It never costs a verdict, and protects from nothing.

use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::base::clock;
use crate::base::context::Deadline;
use crate::metrics::Metrics;
use crate::schemes::WaitNotice;
use crate::schemes::notary::Notary;
use crate::schemes::notary::store::Store;
use crate::schemes::storage::disk_quota::{DiskQuota, EvidenceKind, Used};
use crate::schemes::storage::evidence_files::EvidenceFiles;
use disk::{Common, Disk};
use image_file::{ImageFile, Stored};
use memory::{Memory, Tag};
use portreeve_verify::image::Sha256;
use portreeve_verify::oci::Image;
use sealed::Unusable;

mod disk;
mod image_file;
mod memory;
mod record;
mod sealed;
mod signature;
mod tag_file;

pub(crate) use record::{FoundSignature, Record};
pub(crate) use signature::{Signature, SignatureForm};

/// How often a new time of confirmation alone is written.
const CONFIRM_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// The store's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory that keeps evidence for the next start (`trust.cache`); `None`: memory alone.
    pub cache: Option<PathBuf>,
    /// The budget of memory that evidence shares with trust data (`limits.trustMemory`): a quarter of it at most is evidence.
    pub memory: u64,
    /// The quota of `cache` that evidence shares with trust data (`limits.trustCache`): a quarter of it at most is evidence.
    pub cache_bytes: u64,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// Evidence of images, and the digests of tags. Shared by all workers.
#[derive(Debug)]
pub struct EvidenceStore {
    settings: Settings,
    memory: Mutex<Memory>,
    disk: Option<Arc<Disk>>,
    /// Trust data takes what evidence leaves.
    trust_data: TrustData,
}

/// The store of trust data, if there is one.
struct TrustData(Option<Arc<Store>>);

/// The digest that a tag had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tagged {
    /// The digest.
    pub(crate) digest: Sha256,
    /// How long ago the registry said so, for `maxStale`. `None`: the clock went back since then, so the age is unknown.
    pub(crate) age: Option<Duration>,
    /// How long ago this process asked the registry, for `refreshAfter`. It is by the monotonic clock as well: setting the time of
    /// day back makes no tag younger. `None`: it was read from the disk.
    pub(crate) asked: Option<Duration>,
}

impl EvidenceStore {
    /// A store with nothing in memory.
    pub fn new(settings: Settings) -> Self {
        let files = settings.cache.as_deref().map(EvidenceFiles::below);
        let count = move || {
            let mut used = Used::default();
            files.iter().for_each(|files| files.count(&mut used));
            used
        };
        let common = Common {
            quota: Arc::new(DiskQuota::new(settings.cache_bytes)),
            count: Arc::new(count),
            budget: None,
            readers: Default::default(),
            writer: Default::default(),
        };
        Self::with(settings, common, None)
    }

    /// A store that shares its memory, its quota of the disk and the threads for the disk with trust data.
    pub fn beside(self, notary: &Notary) -> Self {
        let store = Arc::clone(&notary.store);
        let counted = Arc::clone(&store);
        let common = Common {
            quota: Arc::clone(&store.quota),
            count: Arc::new(move || counted.usage()),
            budget: Some(Arc::clone(&notary.budget)),
            readers: store.readers.clone(),
            writer: notary.writer.writer.clone(),
        };
        Self::with(self.settings, common, Some(store))
    }

    fn with(settings: Settings, common: Common, trust_data: Option<Arc<Store>>) -> Self {
        let disk = |cache: &PathBuf| Arc::new(Disk::new(cache, common, Arc::clone(&settings.metrics)));
        Self {
            memory: Mutex::new(Memory::within(settings.memory)),
            disk: settings.cache.as_ref().map(disk),
            settings,
            trust_data: TrustData(trust_data),
        }
    }

    /// The evidence of an image: from memory, else from the disk. The disk is waited for during a part of the time that is left.
    pub(crate) fn get(&self, digest: Sha256, deadline: Deadline) -> Option<Arc<Record>> {
        self.find(digest, deadline, WaitNotice::NONE)
    }

    /// The same, with notice before the disk is read.
    pub(crate) fn find(&self, digest: Sha256, deadline: Deadline, notice: WaitNotice<'_>) -> Option<Arc<Record>> {
        if let Some(record) = self.in_memory(digest) {
            return Some(record);
        }
        let disk = self.disk.as_ref()?;
        notice.give();
        let file = Disk::read(disk, EvidenceKind::Image, digest, image_file::MAX_BYTES, deadline)?;
        match ImageFile::decode(&file.bytes, digest).and_then(|file| file.record()) {
            Ok(record) => Some(self.insert(record)),
            Err(why) => {
                disk.unusable(EvidenceKind::Image, digest, why);
                None
            }
        }
    }

    /// The evidence of an image in memory.
    pub(crate) fn in_memory(&self, digest: Sha256) -> Option<Arc<Record>> {
        self.memory().images.get(&digest)
    }

    /// Keeps signatures that verified, beside those that are kept already. `manifest` is needed for signatures that are over it.
    /// The disk is written behind the request.
    pub(crate) fn put(&self, image: &Image, manifest: Option<&Arc<[u8]>>, signatures: &[FoundSignature]) {
        if signatures.is_empty() {
            return;
        }
        let manifest = manifest.filter(|_| signatures.iter().any(|found| found.signature.needs_manifest()));
        let found = signatures.iter().map(|found| (found.id(), Arc::clone(&found.signature)));
        self.insert(Record::new(image.clone(), manifest.cloned(), found));
        let Some(disk) = &self.disk else { return };
        let bytes = signatures.iter().map(FoundSignature::len).sum::<usize>() + manifest.map_or(0, |bytes| bytes.len());
        let (ours, image, manifest, signatures) =
            (Arc::clone(disk), image.clone(), manifest.cloned(), signatures.to_vec());
        let digest = image.digest;
        let write = move || write_image(&ours, image, manifest.as_deref(), &signatures);
        disk.start(digest, bytes, write);
    }

    /// The digest that `name` (`registry.local:9001/plant/plc:v1`) had, if it is remembered: from memory, else from the disk.
    pub(crate) fn tag(&self, name: &str, now: Timestamp, deadline: Deadline) -> Option<Tagged> {
        self.find_tag(name, now, deadline, WaitNotice::NONE)
    }

    /// The same, with notice before the disk is read.
    pub(crate) fn find_tag(
        &self,
        name: &str,
        now: Timestamp,
        deadline: Deadline,
        notice: WaitNotice<'_>,
    ) -> Option<Tagged> {
        let key = Sha256::of(name.as_bytes());
        let known = self.memory().tags.get(&key);
        let tag = match known {
            Some(tag) => tag,
            None => {
                let disk = self.disk.as_ref()?;
                notice.give();
                let file = Disk::read(disk, EvidenceKind::Tag, key, tag_file::MAX_BYTES, deadline)?;
                match tag_file::decode(&file.bytes, name) {
                    Ok((digest, confirmed)) => {
                        let tag = Tag { name: name.into(), digest, confirmed, asked: None, written: Some(confirmed) };
                        self.insert_tag(key, tag)
                    }
                    Err(why) => {
                        disk.unusable(EvidenceKind::Tag, key, why);
                        return None;
                    }
                }
            }
        };
        let asked = tag.asked.map(|asked| asked.elapsed());
        // A time in the future means that the clock was set back.
        let age = Duration::try_from(now.duration_since(tag.confirmed)).ok();
        // The two begin at different moments: when the registry was asked, and when its word was remembered.
        let longer = |one: Duration, other: Option<Duration>| one.max(other.unwrap_or_default());
        let (age, asked) = (age.map(|age| longer(age, asked)), asked.map(|asked| longer(asked, age)));
        Some(Tagged { digest: tag.digest, age, asked })
    }

    /// Is there evidence of the image in memory, or of the tag `name`? The disk is not asked.
    pub(crate) fn is_in_memory(&self, digest: Option<Sha256>, name: Option<&str>) -> bool {
        let mut memory = self.memory();
        digest.is_some_and(|digest| memory.images.get(&digest).is_some())
            || name.is_some_and(|name| memory.tags.get(&Sha256::of(name.as_bytes())).is_some())
    }

    /// Remembers the digest that the registry gave for `name` at `now`. Only for images that were verified.
    pub(crate) fn put_tag(&self, name: &str, digest: Sha256, now: Timestamp) {
        let key = Sha256::of(name.as_bytes());
        let known = self.memory().tags.get(&key);
        let is_recent = |written: Timestamp| written <= now && now.duration_since(written) < CONFIRM_EVERY;
        let known = known.filter(|known| known.digest == digest).and_then(|known| known.written);
        let is_written = self.disk.is_none() || known.is_some_and(is_recent);
        let written = if is_written { known } else { Some(now) };
        let tag = Tag { name: name.into(), digest, confirmed: now, asked: Some(Instant::now()), written };
        if self.insert_tag(key, tag).confirmed != now {
            return; // another request has a later word
        }
        let Some(disk) = self.disk.as_ref().filter(|_| !is_written) else { return };
        let (ours, name) = (Arc::clone(disk), name.to_owned());
        let write = move || {
            ours.write(EvidenceKind::Tag, key, &tag_file::encode(&name, digest, now));
            ours.touch(&ours.path(EvidenceKind::Image, digest));
        };
        disk.start(key, 1, write);
    }

    /// Merges a record into memory.
    fn insert(&self, record: Record) -> Arc<Record> {
        let mut memory = self.memory();
        let known = memory.images.get(&record.image.digest);
        let record = Arc::new(known.map_or_else(|| record.clone(), |known| known.with(&record)));
        memory.insert_image(Arc::clone(&record));
        self.trust_data.leave(memory.bytes());
        record
    }

    /// Keeps the later of two words about a tag. A word from the future does not count: the clock was set back. A word that was
    /// read from the disk does not replace the same word in memory, which says when the registry was asked.
    fn insert_tag(&self, key: Sha256, tag: Tag) -> Tag {
        let mut memory = self.memory();
        let is_later = |known: &Tag| match known.confirmed.cmp(&tag.confirmed) {
            Ordering::Equal => tag.asked.is_none(),
            order => order == Ordering::Greater,
        };
        let known = memory.tags.get(&key).filter(is_later);
        if let Some(known) = known.filter(|known| known.confirmed <= clock::now()) {
            return known;
        }
        memory.insert_tag(key, tag.clone());
        self.trust_data.leave(memory.bytes());
        tag
    }

    /// What is done before each read of the disk.
    #[cfg(test)]
    pub(crate) fn before_reads(&self, run: fn() -> std::io::Result<()>) {
        let reading = self.disk.as_ref().map(|disk| &disk.atomic.reading).unwrap();
        *reading.lock().unwrap() = Some(run);
    }

    /// Waits until all writes have ended.
    #[cfg(test)]
    pub(crate) fn settle(&self) {
        if let Some(disk) = &self.disk {
            disk.settle();
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner) // no code under it can panic half-way
    }
}

impl TrustData {
    fn leave(&self, bytes: u64) {
        if let Self(Some(store)) = self {
            store.leave(bytes);
        }
    }
}

impl std::fmt::Debug for TrustData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TrustData").field(&self.0.is_some()).finish()
    }
}

/// Writes signatures beside those that are on the disk already.
fn write_image(disk: &Disk, image: Image, manifest: Option<&[u8]>, found: &[FoundSignature]) {
    let digest = image.digest;
    let _lock = disk.lock(digest);
    let bytes = disk.read_now(EvidenceKind::Image, digest, image_file::MAX_BYTES);
    let stored = bytes.as_ref().and_then(|bytes| match ImageFile::decode(bytes, digest) {
        Ok(stored) => Some(stored),
        Err(Unusable::OtherFormat) => None,
        Err(why) => {
            disk.unusable(EvidenceKind::Image, digest, why);
            None
        }
    });
    let mut wanted = stored.unwrap_or(ImageFile { image, manifest: None, signatures: Vec::new() });
    let before = (wanted.manifest.is_some(), wanted.signatures.len());
    wanted.manifest = wanted.manifest.or(manifest);
    for found in found {
        let id = found.id();
        if wanted.signatures.iter().all(|stored| stored.id != id) {
            wanted.signatures.push(Stored { id, manifest: &found.manifest, blob: &found.blob.1 });
        }
    }
    if (wanted.manifest.is_some(), wanted.signatures.len()) != before {
        match wanted.encode() {
            Some(bytes) => disk.write(EvidenceKind::Image, digest, &bytes),
            None => disk.not_written(&format!("the evidence of {digest} is larger than a file of it may be")),
        }
    }
}

#[cfg(test)]
mod tests;
