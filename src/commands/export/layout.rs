//! Writes an OCI image layout (OCI image specification 1.1) with manifests and signatures, and without the layers of images.
//!
//! Blobs are written first, and `index.json` last, by a rename: a reader finds either what was there before or all of the new.
//! A later export adds to the directory. A directory with anything else in it is refused.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{ExportError, put, sync};
use crate::base::files::read_capped;
use crate::registry::oci::layout::{INDEX, REF_NAME, SUBJECT};
use portreeve_verify::image::Sha256;
use portreeve_verify::oci::{Descriptor, MAX_REFERRERS, media_type, read_referrers};
use portreeve_verify::ordered::{self, Map};

/// The file that says that a directory is a layout, and its content.
const MARKER: (&str, &[u8]) = ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
/// The directory of the blobs, in two parts.
const BLOBS: (&str, &str) = ("blobs", "sha256");

/// A layout that is being written.
pub(super) struct LayoutWriter<'a> {
    directory: &'a Path,
    entries: Vec<Entry>,
}

/// An entry of `index.json`: a descriptor.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    annotations: Map<String, String>,
}

/// `index.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'static str,
    manifests: &'a [Entry],
}

impl From<Descriptor> for Entry {
    fn from(Descriptor { media_type, digest, size, artifact_type, annotations }: Descriptor) -> Self {
        Self { media_type, digest: digest.to_string(), size, artifact_type, annotations }
    }
}

impl Entry {
    /// An image under its name.
    pub(super) fn image(media_type: &str, digest: Sha256, size: u64, name: String) -> Self {
        Self::new(media_type, digest, size, None, [(REF_NAME, name)])
    }

    /// A manifest of signatures of an image. In the old format it has a name of its own.
    pub(super) fn signatures(
        digest: Sha256,
        size: u64,
        artifact_type: Option<String>,
        image: Sha256,
        name: Option<String>,
    ) -> Self {
        let name = name.map(|name| (REF_NAME, name));
        let annotations = [(SUBJECT, image.to_string())].into_iter().chain(name);
        Self::new(media_type::OCI_MANIFEST, digest, size, artifact_type, annotations)
    }

    fn new(
        media_type: &str,
        digest: Sha256,
        size: u64,
        artifact_type: Option<String>,
        annotations: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let annotations = annotations.into_iter().map(|(name, value)| (name.to_owned(), value));
        let annotations = ordered::map(annotations);
        Self { media_type: media_type.to_owned(), digest: digest.to_string(), size, artifact_type, annotations }
    }

    fn name(&self) -> Option<&String> {
        self.annotations.get(REF_NAME)
    }

    /// Does it take the place of the other?
    fn replaces(&self, other: &Self) -> bool {
        match (self.name(), other.name()) {
            (Some(one), Some(other)) => one == other,
            (None, None) => self.digest == other.digest,
            _ => false,
        }
    }
}

impl<'a> LayoutWriter<'a> {
    /// Begins a layout, or goes on with that of an earlier export.
    pub(super) fn open(directory: &'a Path) -> Result<Self, ExportError> {
        let in_the_way = || ExportError::InTheWay { path: directory.to_owned() };
        let failed = |source| ExportError::Io { path: directory.to_owned(), source };
        let files = match fs::read_dir(directory) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { directory, entries: Vec::new() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(in_the_way()),
            Err(error) => return Err(failed(error)),
        };
        // An export that was interrupted has left blobs, and no index.
        let is_of_export = |name: &std::ffi::OsStr| name == BLOBS.0 || name == MARKER.0;
        let index = directory.join(INDEX);
        if !index.exists() {
            let is_ours = files.flatten().all(|file| is_of_export(&file.file_name()));
            return if is_ours { Ok(Self { directory, entries: Vec::new() }) } else { Err(in_the_way()) };
        }
        let index = read_capped(&index, MAX_REFERRERS).map_err(|_| in_the_way())?;
        let entries = read_referrers(&index).map_err(|_| in_the_way())?;
        let is_ours = |entry: &Descriptor| {
            let image = |name: &String| name.contains('/');
            entry.annotations.contains_key(SUBJECT) || entry.annotations.get(REF_NAME).is_some_and(image)
        };
        if !directory.join(MARKER.0).is_file() || !entries.iter().all(is_ours) {
            return Err(in_the_way());
        }
        Ok(Self { directory, entries: entries.into_iter().map(Entry::from).collect() })
    }

    fn blobs(&self) -> PathBuf {
        self.directory.join(BLOBS.0).join(BLOBS.1)
    }

    /// Writes a blob, and gives its digest.
    pub(super) fn blob(&self, bytes: &[u8]) -> Result<Sha256, ExportError> {
        let (digest, blobs) = (Sha256::of(bytes), self.blobs());
        fs::create_dir_all(&blobs).map_err(|source| ExportError::Io { path: blobs.clone(), source })?;
        put(&blobs, &digest.hex(), bytes)?;
        Ok(digest)
    }

    /// Adds an entry. An entry of the same name is replaced.
    pub(super) fn entry(&mut self, entry: Entry) {
        self.entries.retain(|old| !entry.replaces(old));
        self.entries.push(entry);
    }

    /// Writes `index.json`: from now on a reader sees the new entries.
    pub(super) fn finish(self) -> Result<(), ExportError> {
        let index = Index { schema_version: 2, media_type: media_type::OCI_INDEX, manifests: &self.entries };
        // Serialising structs of strings and numbers cannot fail.
        let index = serde_json::to_vec(&index).unwrap_or_default();
        if index.len() > MAX_REFERRERS {
            let why = format!("it has too many images for one layout of at most {MAX_REFERRERS} bytes; use several");
            return Err(ExportError::Argument { what: "DIR", why });
        }
        sync(&self.blobs())?;
        put(self.directory, MARKER.0, MARKER.1)?;
        put(self.directory, INDEX, &index)?;
        sync(self.directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files::scratch::Scratch;

    fn image(name: &str, bytes: &[u8]) -> Entry {
        Entry::image(media_type::OCI_MANIFEST, Sha256::of(bytes), bytes.len() as u64, name.to_owned())
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = read_referrers(&fs::read(directory.join(INDEX)).unwrap()).unwrap();
        entries
            .iter()
            .map(|entry| format!("{} {}", entry.annotations.get(REF_NAME).unwrap(), entry.digest.hex()))
            .collect()
    }

    #[test]
    fn a_later_export_adds_and_replaces_by_name() {
        let scratch = Scratch::new();
        let directory = scratch.path().join("stick");
        let mut first = LayoutWriter::open(&directory).unwrap();
        assert_eq!(first.blob(b"one").unwrap(), Sha256::of(b"one"));
        first.entry(image("r.io/a:v1", b"one"));
        first.entry(image("r.io/b:v1", b"two"));
        first.finish().unwrap();
        let mut second = LayoutWriter::open(&directory).unwrap();
        second.entry(image("r.io/a:v1", b"three"));
        second.finish().unwrap();
        let expected = [("r.io/b:v1", b"two" as &[u8]), ("r.io/a:v1", b"three")];
        let expected = expected.map(|(name, bytes)| format!("{name} {}", Sha256::of(bytes).hex()));
        assert_eq!(names(&directory), expected);
        assert_eq!(fs::read(directory.join(BLOBS.0).join(BLOBS.1).join(Sha256::of(b"one").hex())).unwrap(), b"one");
        assert_eq!(fs::read(directory.join(MARKER.0)).unwrap(), MARKER.1);
    }

    #[test]
    fn nothing_of_others_is_touched() {
        let scratch = Scratch::new();
        scratch.write("notes/notes.txt", "x");
        scratch.write("foreign/oci-layout", "{}");
        scratch.write(
            "foreign/index.json",
            format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":1}}]}}"#,
                media_type::OCI_MANIFEST,
                Sha256::of(b"x")
            ),
        );
        for directory in ["notes", "foreign", "notes/notes.txt"] {
            let opened = LayoutWriter::open(&scratch.path().join(directory)).map(|_| ());
            assert!(matches!(opened, Err(ExportError::InTheWay { .. })), "{directory}: {opened:?}");
        }
    }
}
