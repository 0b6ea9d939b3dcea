//! The details of an image's signatures, for messages and for people.

use std::sync::Arc;

use super::requirement::{Required, SignedImage};
use crate::schemes::Finding;
use crate::schemes::evidence::Record;

/// What an image was verified by.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The image and its signatures.
    pub(super) record: Arc<Record>,
    /// The tag that the digest was found by.
    pub(super) tag: Option<String>,
    /// The place that says so, in words.
    pub(super) place: String,
    pub(super) required: Required,
}

impl Signed {
    /// What the digest is, in words: `the digest that tag v1 has at https://registry.local:9001`.
    pub fn statement(&self) -> String {
        match &self.tag {
            Some(tag) => format!("the digest that tag {tag} has at {}", self.place),
            None => "the digest that the image names".to_owned(),
        }
    }

    /// The signatures, one by one.
    pub fn findings(&self) -> Vec<Finding> {
        let Record { image, manifest, signatures, .. } = &*self.record;
        let (image, required) = (SignedImage { image, manifest: manifest.as_deref() }, self.required.as_ref());
        signatures.iter().filter_map(|signature| required.finding(image, signature)).collect()
    }
}
