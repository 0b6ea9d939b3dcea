//! Images and signatures in an OCI image layout (OCI image specification 1.1, "Image Layout"): a registry in a directory, for
//! a site without one. `portreeve export --image` writes it. Its files are trusted no more than a registry's answers: caps,
//! digests and signatures are checked in the same way.
//!
//! A tag is the annotation `org.opencontainers.image.ref.name` of an entry of `index.json`: the whole name of an image,
//! `registry.local:9001/plant/plc:v1`, or the tag alone if the layout is of one repository. Refuses links that lead out of
//! the directory. Never writes.

use std::io;
use std::path::Path;

use super::repository::{FetchError, FetchedImage, FetchedSignatures, Repository, Wanted};
use crate::base::context::Deadline;
use crate::base::files::{FileError, read_capped};
use portreeve_verify::image::Sha256;
use portreeve_verify::oci::{
    Descriptor, Image, MAX_REFERRERS, MAX_SIGNATURE_MANIFEST, OciError, SignatureManifest, media_type, read_referrers,
};
use portreeve_verify::text::printable;
use portreeve_verify::{Unavailable, UnavailableCause};

/// The file that lists the manifests of a layout.
pub(crate) const INDEX: &str = "index.json";
/// The annotation with the name of an image.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// An annotation of our exports: the image that a manifest of signatures is about. Without it, a reader opens the manifest.
pub(crate) const SUBJECT: &str = "io.portreeve.subject";

/// The repository of an image in the layout of this directory.
pub(crate) fn open<'a>(directory: &'a Path, repository: &'a str, deadline: Deadline) -> Box<dyn Repository + 'a> {
    Box::new(Layout { directory, repository, deadline })
}

struct Layout<'a> {
    directory: &'a Path,
    /// The image's repository, in one spelling.
    repository: &'a str,
    /// Checked before each file: a layout may have thousands.
    deadline: Deadline,
}

impl Layout<'_> {
    /// The content of a file of the layout; `None` if there is none.
    fn read(&self, path: &str, cap: usize) -> Result<Option<Vec<u8>>, FetchError> {
        if self.deadline.remaining().is_none() {
            let message = format!("the layout {}: the time was up before {path} was read", self.name());
            return Err(FetchError::Unavailable(Unavailable::new(UnavailableCause::OutOfTime, message)));
        }
        let path = self.directory.join(path);
        let failed = |error: &dyn std::fmt::Display| self.unavailable(&format!("{} {error}", show(&path)));
        let (real, base) = match (path.canonicalize(), self.directory.canonicalize()) {
            (Ok(real), Ok(base)) => (real, base),
            (Err(error), Ok(_)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            (Err(error), _) | (_, Err(error)) => return Err(failed(&FileError::Io(error))),
        };
        if !real.starts_with(&base) {
            return Err(failed(&"leads out of the layout"));
        }
        match read_capped(&real, cap) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error @ FileError::TooLarge { .. }) => {
                Err(FetchError::TooLarge { message: format!("{} {error}", show(&path)) })
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// The entries of the layout's index.
    fn index(&self) -> Result<Vec<Descriptor>, FetchError> {
        self.index_within(MAX_REFERRERS)
    }

    /// The same, if the index has no more bytes than these.
    fn index_within(&self, cap: usize) -> Result<Vec<Descriptor>, FetchError> {
        // A directory that is not mounted is like a registry that is away.
        let Some(bytes) = self.read(INDEX, cap)? else {
            return Err(self.unavailable(&format!("it has no {INDEX}, so it is no OCI image layout")));
        };
        read_referrers(&bytes).map_err(|error| self.unavailable(&format!("{INDEX}: {error}")))
    }

    /// The entry with this tag. A tag alone counts only if the layout has it once: it does not say of which repository it is.
    fn tagged(&self, tag: &str) -> Result<Option<Descriptor>, FetchError> {
        let full = format!("{}:{tag}", self.repository);
        let mut alone = Vec::new();
        for entry in self.index()? {
            match entry.annotations.get(REF_NAME) {
                Some(name) if *name == full => return Ok(Some(entry)),
                Some(name) if name == tag => alone.push(entry),
                _ => {}
            }
        }
        Ok(alone.pop().filter(|_| alone.is_empty()))
    }

    /// The digest of a manifest that is asked for; `None` if the layout does not have this tag.
    fn digest(&self, wanted: Wanted<'_>) -> Result<Option<Sha256>, FetchError> {
        match wanted {
            Wanted::Digest(digest) => Ok(Some(digest)),
            Wanted::Tag(tag) => Ok(self.tagged(tag)?.map(|entry| entry.digest)),
        }
    }

    fn content(&self, digest: Sha256, cap: usize) -> Result<Option<Vec<u8>>, FetchError> {
        self.read(&blob_path(digest), cap)
    }

    /// The bytes of a manifest, with its digest.
    fn manifest(&self, wanted: Wanted<'_>, cap: usize) -> Result<(Vec<u8>, Sha256), FetchError> {
        if let Some(digest) = self.digest(wanted)?
            && let Some(bytes) = self.content(digest, cap)?
        {
            return Ok((bytes, digest));
        }
        // Without an index the directory is no layout, and says nothing.
        self.index()?;
        let name = match wanted {
            Wanted::Tag(tag) => format!("{}:{}", self.repository, printable(tag, 128)),
            Wanted::Digest(digest) => digest.to_string(),
        };
        Err(FetchError::NotFound { message: format!("the layout {} does not have {name}", self.name()) })
    }

    fn bad(&self, wanted: Wanted<'_>, error: &OciError) -> FetchError {
        let what = match wanted {
            Wanted::Tag(tag) => printable(tag, 128),
            Wanted::Digest(digest) => digest.to_string(),
        };
        FetchError::Rejected { code: error.code(), message: format!("the layout {}: {what}: {error}", self.name()) }
    }

    fn unavailable(&self, why: &str) -> FetchError {
        FetchError::Unavailable(Unavailable::other(format!("the layout {}: {why}", self.name())))
    }

    fn name(&self) -> String {
        format!("file://{}", show(self.directory))
    }

    /// Is it the manifest of something that is about the image?
    fn is_about(&self, entry: &Descriptor, image: Sha256) -> Result<bool, FetchError> {
        if let Some(subject) = entry.annotations.get(SUBJECT) {
            return Ok(*subject == image.to_string());
        }
        if entry.media_type != media_type::OCI_MANIFEST || entry.size > MAX_SIGNATURE_MANIFEST as u64 {
            return Ok(false);
        }
        let Some(bytes) = self.content(entry.digest, MAX_SIGNATURE_MANIFEST)? else { return Ok(false) };
        let manifest = SignatureManifest::read(&bytes, None, Some(entry.digest));
        Ok(manifest.is_ok_and(|manifest| manifest.subject == Some(image)))
    }
}

impl Repository for Layout<'_> {
    fn image(&self, wanted: Wanted<'_>, cap: usize) -> Result<FetchedImage, FetchError> {
        let (bytes, digest) = self.manifest(wanted, cap)?;
        let image = match Image::read(&bytes, None, Some(digest)) {
            // OCI's older images do not say what they are. The layout's index says it, where a registry's header would.
            Err(OciError::NoMediaType) => {
                let entry = self.index()?.into_iter().find(|entry| entry.digest == digest);
                Image::read(&bytes, entry.as_ref().map(|entry| entry.media_type.as_str()), Some(digest))
            }
            image => image,
        };
        let image = image.map_err(|error| self.bad(wanted, &error))?;
        Ok(FetchedImage { image, bytes })
    }

    fn referrers(&self, image: Sha256, cap: usize) -> Result<Option<Vec<Descriptor>>, FetchError> {
        let mut referrers = Vec::new();
        for entry in self.index_within(cap)? {
            if self.is_about(&entry, image)? {
                referrers.push(entry);
            }
        }
        Ok(Some(referrers))
    }

    fn tagged_referrers(&self, image: Sha256, cap: usize) -> Result<Vec<Descriptor>, FetchError> {
        let Some(entry) = self.tagged(&format!("sha256-{}", image.hex()))? else { return Ok(Vec::new()) };
        let Some(bytes) = self.content(entry.digest, cap)? else { return Ok(Vec::new()) };
        read_referrers(&bytes).map_err(|error| self.bad(Wanted::Digest(entry.digest), &error))
    }

    fn signatures(&self, wanted: Wanted<'_>, cap: usize) -> Result<FetchedSignatures, FetchError> {
        let (bytes, digest) = self.manifest(wanted, cap)?;
        let manifest = SignatureManifest::read(&bytes, None, Some(digest)).map_err(|error| self.bad(wanted, &error))?;
        Ok(FetchedSignatures { manifest, bytes })
    }

    fn blob(&self, descriptor: &Descriptor, cap: usize) -> Result<Vec<u8>, FetchError> {
        let digest = descriptor.digest;
        let wrong = |what: String| FetchError::Rejected {
            code: "digest-mismatch",
            message: format!("the layout {}: blob {digest} {what}", self.name()),
        };
        if descriptor.size > cap as u64 {
            return Err(wrong(format!("has {} bytes, and at most {cap} are read", descriptor.size)));
        }
        let Some(bytes) = self.content(digest, cap)? else {
            return Err(FetchError::NotFound { message: format!("the layout {} has no blob {digest}", self.name()) });
        };
        if bytes.len() as u64 != descriptor.size || Sha256::of(&bytes) != digest {
            return Err(wrong("has other bytes than its digest says".to_owned()));
        }
        Ok(bytes)
    }
}

/// The path of a blob in a layout.
pub(crate) fn blob_path(digest: Sha256) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn show(path: &Path) -> String {
    printable(&path.display().to_string(), 300)
}

#[cfg(test)]
mod tests;
