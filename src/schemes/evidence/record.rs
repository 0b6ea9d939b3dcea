//! The evidence of one image in memory.

use std::sync::Arc;

use super::signature::{Signature, SignatureForm};
use portreeve_verify::heap_size::{allocation, inline_size};
use portreeve_verify::image::Sha256;
use portreeve_verify::oci::{Image, MAX_CANDIDATES};

/// The evidence of one image.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The image's descriptor.
    pub(crate) image: Image,
    /// The bytes of its manifest, if a signature is over them (a bundle's message signature), and nothing else.
    pub(crate) manifest: Option<Arc<[u8]>>,
    /// Its signatures. Each verified under some policy once.
    pub(crate) signatures: Vec<Arc<Signature>>,
    /// Which they are, in the same order.
    ids: Vec<SignatureId>,
}

/// A signature as the registry has it: parsed, and the bytes from which it can be parsed again.
#[derive(Clone, Debug)]
pub(crate) struct FoundSignature {
    /// The signature.
    pub(crate) signature: Arc<Signature>,
    /// The bytes of its manifest.
    pub(crate) manifest: Arc<[u8]>,
    /// Its number among [`portreeve_verify::oci::candidates::payload_layers`] of the manifest, from 0: several layers may have
    /// one payload. 0 for a bundle.
    pub(crate) layer: usize,
    /// The digest and the bytes of its payload or bundle.
    pub(crate) blob: (Sha256, Arc<[u8]>),
}

/// Identifies a signature of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignatureId {
    pub(super) form: SignatureForm,
    pub(super) manifest: Sha256,
    /// The number of its layer.
    pub(super) layer: usize,
    pub(super) blob: Sha256,
}

impl FoundSignature {
    /// Which one it is.
    pub(crate) fn id(&self) -> SignatureId {
        let (form, manifest) = (self.signature.form(), self.signature.manifest());
        SignatureId { form, manifest, layer: self.layer, blob: self.blob.0 }
    }

    /// The size of its bytes.
    pub(super) fn len(&self) -> usize {
        self.manifest.len() + self.blob.1.len()
    }
}

impl Record {
    /// The evidence that these signatures are.
    pub(crate) fn new(
        image: Image,
        manifest: Option<Arc<[u8]>>,
        signatures: impl IntoIterator<Item = (SignatureId, Arc<Signature>)>,
    ) -> Self {
        let mut record = Self { image, manifest, signatures: Vec::new(), ids: Vec::new() };
        for (id, signature) in signatures {
            record.add(id, signature);
        }
        record
    }

    /// The same with the signatures of another record of the image. Signatures that are in both are those of this record, which
    /// remember keys.
    pub(super) fn with(&self, other: &Self) -> Self {
        let mut record = self.clone();
        record.manifest = record.manifest.or_else(|| other.manifest.clone());
        for (id, signature) in other.ids.iter().zip(&other.signatures) {
            record.add(*id, Arc::clone(signature));
        }
        record
    }

    /// Adds a signature; past [`MAX_CANDIDATES`] the oldest is dropped.
    fn add(&mut self, id: SignatureId, signature: Arc<Signature>) {
        if self.ids.contains(&id) {
            return;
        }
        if self.ids.len() >= MAX_CANDIDATES {
            self.ids.remove(0);
            self.signatures.remove(0);
        }
        self.ids.push(id);
        self.signatures.push(signature);
    }

    /// About how many bytes it takes in memory.
    pub(super) fn heap_size(&self) -> u64 {
        let manifest = self.manifest.as_ref().map_or(0, |manifest| allocation(manifest.len()));
        let signatures = self.signatures.iter().map(|it| it.heap_size() + inline_size::<(usize, SignatureId)>());
        inline_size::<Self>() + allocation(self.image.media_type.len()) + signatures.fold(manifest, u64::saturating_add)
    }
}
