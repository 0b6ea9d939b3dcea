//! What is stored about an image, for people.

use std::time::Duration;

use jiff::Timestamp;

use super::service::ImageSignatures;
use crate::base::context::Deadline;
use portreeve_verify::image::{Digest, Reference, Sha256};

/// What is stored about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its digest: that of the reference, or the one that the tag had.
    pub digest: Sha256,
    /// How long ago the registry said so; `None` for a reference with a digest, or if the age is unknown.
    pub age: Option<Duration>,
    /// How many of its signatures are stored.
    pub signatures: usize,
}

impl ImageSignatures {
    /// What is stored about an image, in memory or on the disk; `None` for nothing.
    pub fn stored(&self, image: &Reference, deadline: Deadline, now: Timestamp) -> Option<Stored> {
        let (digest, age) = match image.digest() {
            Some(Digest::Sha256(digest)) => (digest, None),
            Some(Digest::Sha512(_)) => return None,
            None => {
                let tagged = self.evidence.tag(&tag_name(image)?, now, deadline)?;
                (tagged.digest, tagged.age)
            }
        };
        let signatures = self.evidence.get(digest, deadline).map_or(0, |record| record.signatures.len());
        (signatures > 0 || image.digest().is_none()).then_some(Stored { digest, age, signatures })
    }
}

/// The name by which a tag's digest is remembered: `registry.local:9001/plant/plc:v1`.
pub(super) fn tag_name(image: &Reference) -> Option<String> {
    let (repository, tag) = (image.repository(), image.tag()?);
    let mut name = String::with_capacity(repository.len() + 1 + tag.len());
    name.extend([repository, ":", tag]);
    Some(name)
}
