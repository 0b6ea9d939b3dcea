//! The file that has the evidence of one image: a header in text, then the bytes that it names.
//!
//! ```text
//! portreeve evidence 1 <sha256 of all that follows this line>
//! image <sha256> <size> <media type>
//! layer <sha256 of the manifest> <number of the layer> <sha256 of the payload>
//! bundle <sha256 of the manifest> 0 <sha256 of the bundle>
//! envelope <sha256 of the manifest> 0 <sha256 of Notation's envelope>
//! part <sha256> <size>
//!
//! <the parts, one after the other>
//! ```
//!
//! Every part is hashed and compared, so that a file that was changed counts as damaged. Signatures are parsed by the strict
//! readers of the registry's answers, and who made them is decided at each use. There is no verdict in the file, and no tag. A file
//! with an envelope has the format 2: an older Portreeve takes it for absent.

use std::sync::Arc;

use super::record::{Record, SignatureId};
use super::sealed::Unusable::{self, Damaged};
use super::sealed::{sealed_as, unsealed};
use super::signature::{Signature, SignatureForm};
use portreeve_verify::heap_size::as_u64;
use portreeve_verify::image::Sha256;
use portreeve_verify::oci::candidates::payload_layers;
use portreeve_verify::oci::{Image, MAX_CANDIDATES, SignatureManifest, media_type};
use portreeve_verify::sigstore;

/// The largest file.
pub(super) const MAX_BYTES: usize = 1 << 20;

const MAGIC: &str = "portreeve evidence ";
/// Most parts: the image's manifest, and a manifest and a blob for each signature.
const MAX_PARTS: usize = 1 + 2 * MAX_CANDIDATES;
const IMAGES: [&str; 4] =
    [media_type::OCI_INDEX, media_type::OCI_MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST];

/// The evidence of one image as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageFile<'a> {
    pub(super) image: Image,
    /// The image's manifest, if a signature is over it.
    pub(super) manifest: Option<&'a [u8]>,
    /// The later signatures come last.
    pub(super) signatures: Vec<Stored<'a>>,
}

/// The bytes of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored<'a> {
    pub(super) id: SignatureId,
    pub(super) manifest: &'a [u8],
    pub(super) blob: &'a [u8],
}

impl<'a> ImageFile<'a> {
    /// Reads a file, which must be about this image.
    pub(super) fn decode(bytes: &'a [u8], digest: Sha256) -> Result<Self, Unusable> {
        let content = unsealed(bytes, MAGIC)?;
        let end = content.windows(2).position(|two| two == b"\n\n").ok_or(Damaged("its header has no end"))?;
        let (header, body) = content.split_at_checked(end).ok_or(Damaged("its header has no end"))?;
        let mut body = body.get(2..).unwrap_or_default();
        let header = str::from_utf8(header).map_err(|_| Damaged("its header is no text"))?;
        let (mut image, mut ids, mut parts) = (None, Vec::new(), Vec::new());
        for line in header.lines() {
            let mut words = line.splitn(4, ' ');
            let kind = words.next();
            let line = Line([words.next(), words.next(), words.next()]);
            match kind {
                Some("image") if image.is_none() => image = Some(line.image()?),
                Some("layer") => ids.push(line.id(SignatureForm::Layer)?),
                Some("envelope") => ids.push(line.id(SignatureForm::Envelope)?),
                Some("bundle") => ids.push(line.id(SignatureForm::Bundle)?),
                Some("part") if parts.len() < MAX_PARTS => {
                    let (part, rest) = body.split_at_checked(line.size()?).ok_or(Damaged("it is too short"))?;
                    if Sha256::of(part) != line.digest(0)? {
                        return Err(Damaged("a part of it has another hash"));
                    }
                    parts.push((line.digest(0)?, part));
                    body = rest;
                }
                _ => return Err(Damaged("its header has an unknown line")),
            }
        }
        let image = image.filter(|image| image.digest == digest).ok_or(Damaged("it is about another image"))?;
        if !body.is_empty() || ids.len() > MAX_CANDIDATES {
            return Err(Damaged("it is too long"));
        }
        let part = |digest| parts.iter().find(|(hash, _)| *hash == digest).map(|(_, part)| *part);
        let stored = |id: SignatureId| {
            let (manifest, blob) = part(id.manifest).zip(part(id.blob)).ok_or(Damaged("a part of it is missing"))?;
            Ok(Stored { id, manifest, blob })
        };
        let signatures = ids.into_iter().map(stored).collect::<Result<_, _>>()?;
        Ok(Self { manifest: part(digest), image, signatures })
    }

    /// The file's bytes. Signatures that have no room are left out, the oldest first; `None` if none has room.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let first = self.signatures.len().saturating_sub(MAX_CANDIDATES);
        (first..self.signatures.len()).map(|first| self.encode_from(first)).find(|bytes| bytes.len() <= MAX_BYTES)
    }

    fn encode_from(&self, first: usize) -> Vec<u8> {
        let mut header = format!("image {} {} {}\n", self.image.digest.hex(), self.image.size, self.image.media_type);
        let mut parts: Vec<(Sha256, &[u8])> = Vec::new();
        let mut add = |digest, bytes| {
            if parts.iter().all(|(hash, _)| *hash != digest) {
                parts.push((digest, bytes));
            }
        };
        if let Some(manifest) = self.manifest {
            add(self.image.digest, manifest);
        }
        for Stored { id, manifest, blob } in self.signatures.get(first..).unwrap_or_default() {
            let kind = id.form.word();
            header.push_str(&format!("{kind} {} {} {}\n", id.manifest.hex(), id.layer, id.blob.hex()));
            add(id.manifest, manifest);
            add(id.blob, blob);
        }
        for (digest, part) in &parts {
            header.push_str(&format!("part {} {}\n", digest.hex(), part.len()));
        }
        header.push('\n');
        let parts = parts.iter().map(|(_, part)| *part);
        let content: Vec<u8> = std::iter::once(header.as_bytes()).chain(parts).flatten().copied().collect();
        let signatures = self.signatures.get(first..).unwrap_or_default();
        sealed_as(MAGIC, signatures.iter().any(|stored| stored.id.form == SignatureForm::Envelope), &content)
    }

    /// Parses the signatures.
    pub(super) fn record(&self) -> Result<Record, Unusable> {
        let mut signatures = Vec::with_capacity(self.signatures.len());
        // Layers of one payload, one after the other, share it.
        let mut payload: Option<(Sha256, Arc<[u8]>)> = None;
        for Stored { id, manifest, blob } in &self.signatures {
            let manifest = SignatureManifest::read(manifest, None, Some(id.manifest));
            let manifest = manifest.map_err(|_| Damaged("a manifest in it cannot be read"))?;
            let layer = match id.form {
                SignatureForm::Layer => payload_layers(&manifest).ok().and_then(|layers| layers.get(id.layer).copied()),
                form => form.layer_of(&manifest, self.image.digest).ok(),
            };
            let layer = layer.filter(|layer| layer.digest == id.blob && layer.size == as_u64(blob.len()));
            let layer = layer.ok_or(Damaged("a manifest in it has another layer"))?;
            let signature = match id.form {
                SignatureForm::Layer => {
                    let known = payload.take_if(|(digest, _)| *digest == id.blob);
                    let (_, bytes) = payload.insert(known.unwrap_or_else(|| (id.blob, Arc::from(*blob))));
                    sigstore::Signature::from_layer(&manifest, layer, Arc::clone(bytes)).map(Signature::Sigstore).ok()
                }
                form => form.read(&manifest, layer, blob.to_vec()).ok(),
            };
            signatures.push((*id, Arc::new(signature.ok_or(Damaged("a signature in it cannot be read"))?)));
        }
        Ok(Record::new(self.image.clone(), self.manifest.map(Arc::from), signatures))
    }
}

/// The words of a line, without the first.
struct Line<'a>([Option<&'a str>; 3]);

impl Line<'_> {
    fn word(&self, place: usize) -> Result<&str, Unusable> {
        self.0.get(place).copied().flatten().ok_or(Damaged("a line of its header is too short"))
    }

    fn digest(&self, place: usize) -> Result<Sha256, Unusable> {
        Sha256::from_hex(self.word(place)?).ok_or(Damaged("its header has a bad hash"))
    }

    fn size(&self) -> Result<usize, Unusable> {
        self.word(1)?.parse().map_err(|_| Damaged("its header has a bad number"))
    }

    fn image(&self) -> Result<Image, Unusable> {
        let media_type = self.word(2)?;
        if !IMAGES.contains(&media_type) {
            return Err(Damaged("its header has a bad media type"));
        }
        Ok(Image { digest: self.digest(0)?, media_type: media_type.to_owned(), size: as_u64(self.size()?) })
    }

    fn id(&self, form: SignatureForm) -> Result<SignatureId, Unusable> {
        Ok(SignatureId { form, manifest: self.digest(0)?, layer: self.size()?, blob: self.digest(2)? })
    }
}
