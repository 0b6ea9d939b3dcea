//! Compares a child with its owner (`admission.children: compare`). Another webhook can add a container to a pod after the
//! controller made the pod, and can take the image from a field that a tenant wrote. Therefore an image of a child passes only
//! if the owner's template has it. The template is read from the Kubernetes API. Every other image is verified as a user's
//! image is. If the owner cannot be read, all images are verified.
//!
//! An image of the template passes in every list and container of the child: it was verified when the template was written,
//! and it runs in this pod anyway.

use std::fmt;
use std::sync::Arc;

use super::exempt::Owner;
use super::workload::ImageUse;
use crate::base::context::Deadline;
use crate::kube::api::Api;
use crate::kube::owners::{OwnerName, Owners};
use portreeve_verify::ordered;
use portreeve_verify::ordered::Set;
use portreeve_verify::text::printable;

/// How far a child is trusted that a trusted controller made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Children {
    /// All of its images pass, as with Portieris.
    #[default]
    Trust,
    /// The images of its owner pass. All others are verified.
    Compare,
}

/// The images in owners' templates. All workers share it.
#[derive(Debug)]
pub struct Templates(Owners<Set<String>>);

/// Why images of a child were verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The owner's template does not have them.
    Strange {
        /// The owner: `ReplicaSet line-1/plc-5d8`.
        owner: String,
    },
    /// They are pinned when a Pod is made (`mutateImage: pods`).
    PinnedNow,
    /// The owner's template could not be read.
    Unread {
        /// The owner.
        owner: String,
        /// Why not.
        why: String,
    },
}

impl Templates {
    /// The templates behind an API server.
    pub fn new(api: Arc<Api>) -> Self {
        let heap_size = |images: &Set<String>| images.iter().map(|image| 64 + image.len() as u64).sum();
        Self(Owners::new(api, heap_size))
    }

    /// Removes the images that the owner's template has, and says why the others remain. `None`: no image remains. An image that
    /// `is_pinned_now` remains in any case.
    pub(super) fn compare(
        &self,
        owner: &Owner,
        namespace: &str,
        images: &mut Vec<ImageUse<'_>>,
        is_pinned_now: &dyn Fn(&ImageUse<'_>) -> bool,
        deadline: Deadline,
    ) -> Option<Compared> {
        if images.is_empty() {
            return None;
        }
        let Owner { kind, version, name, uid } = owner;
        let name = OwnerName { resource: kind.resource(), version, namespace, name, uid };
        let read = |bytes: &[u8]| {
            // As text, as a review is read: for other input the whole reader of objects would be there a second time.
            let object = kind.read(std::str::from_utf8(bytes).ok()?)?;
            Some(ordered::set(kind.images(&object).iter().map(|image| image.image.to_owned())))
        };
        match self.0.get(&name, deadline, &read) {
            Ok(template) => {
                let is_strange = |image: &ImageUse<'_>| !template.contains(image.image);
                let why = if images.iter().any(is_strange) {
                    Compared::Strange { owner: name.to_string() }
                } else {
                    Compared::PinnedNow
                };
                images.retain(|image| is_strange(image) || is_pinned_now(image));
                (!images.is_empty()).then_some(why)
            }
            Err(why) => Some(Compared::Unread { owner: name.to_string(), why: printable(&why.to_string(), 600) }),
        }
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strange { owner } => write!(f, "only images in the template of {owner} pass unverified"),
            Self::PinnedNow => f.write_str("images under \"mutateImage: pods\" are verified when a Pod is made"),
            Self::Unread { owner, why } => write!(f, "all images are verified, because {owner} {why}"),
        }
    }
}
