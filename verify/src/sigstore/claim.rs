//! What a signature says: which images it is about, and what else it says of them.

use crate::heap_size::{allocation, as_u64, inline_size};
use crate::image::Sha256;
use crate::json::Value;

/// The most annotations of one signature, those of all its subjects together.
const MAX_ANNOTATIONS: usize = 256;

/// What was signed. It counts only as far as a key of the policy has signed it.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// The images. Several may have the same digest; each is a claim of its own.
    pub(super) subjects: Vec<Subject>,
    /// The repository, in one spelling, that the signed `docker-reference` names. Bundles have none.
    pub(super) repository: Option<String>,
}

/// An image that a signature is about.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) digest: Sha256,
    /// The annotations whose values are strings. All others never meet a requirement (SCHEMES.md, row 45).
    annotations: Vec<(Box<str>, Box<str>)>,
}

impl Claim {
    /// Adds an image. `annotations` is an object, `null`, or not there. `None` if it is something else, or if there are too many.
    pub(super) fn add(&mut self, digest: Sha256, annotations: Option<Value<'_>>) -> Option<()> {
        let mut subject = Subject { digest, annotations: Vec::new() };
        if let Some(annotations) = annotations.filter(|annotations| !annotations.is_null()) {
            let before: usize = self.subjects.iter().map(|subject| subject.annotations.len()).sum();
            for (name, value) in annotations.object()? {
                if let Some(value) = value.string() {
                    subject.annotations.push((name.into(), value.into()));
                }
                if before + subject.annotations.len() > MAX_ANNOTATIONS {
                    return None;
                }
            }
        }
        self.subjects.push(subject);
        Some(())
    }

    /// What it takes in memory, in bytes.
    pub(super) fn heap_size(&self) -> u64 {
        let text = |(name, value): &(Box<str>, Box<str>)| allocation(name.len()) + allocation(value.len());
        let subject = |subject: &Subject| {
            let inline = as_u64(subject.annotations.capacity()) * inline_size::<(Box<str>, Box<str>)>();
            inline + subject.annotations.iter().map(text).sum::<u64>()
        };
        let subjects = as_u64(self.subjects.capacity()) * inline_size::<Subject>();
        let repository = allocation(self.repository.as_ref().map_or(0, String::capacity));
        subjects + repository + self.subjects.iter().map(subject).sum::<u64>()
    }
}

impl Subject {
    /// The value of this annotation, if it is a string.
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }
}
