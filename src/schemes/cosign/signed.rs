//! The details of an image's signatures, for messages and for people.

use crate::schemes::Finding;

/// What an image was verified by.
#[derive(Clone, Debug)]
pub struct Signed {}

impl Signed {
    /// What was signed, in words: `tag v1 at registry.local:9001, signed by cosign`.
    pub fn statement(&self) -> String {
        unimplemented!()
    }

    /// The signatures, one by one.
    pub fn findings(&self) -> Vec<Finding> {
        unimplemented!()
    }
}
