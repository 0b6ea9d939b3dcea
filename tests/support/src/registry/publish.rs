//! Publishing without a client: manifests, blobs, and signatures in the places where clients put them.

use serde_json::{Value, json};

use super::Registry;
use crate::cosign::{Artifact, Image, digest};

/// Media types of what registries hold.
pub mod media_types {
    /// An OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI image's configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// An OCI layer.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
}

impl Registry {
    /// Stores a blob and returns its digest.
    pub fn push_blob(&self, name: &str, bytes: impl Into<Vec<u8>>) -> String {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        self.server.state().content.repository(name).blobs.insert(digest.clone(), bytes);
        digest
    }

    /// Stores a manifest under its digest, and returns the digest. These are the bytes that a client gets.
    pub fn push_manifest(&self, name: &str, media_type: &str, bytes: impl Into<Vec<u8>>) -> String {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        self.store(name, &digest, media_type, bytes);
        digest
    }

    /// Answers requests for `digest` with a manifest that may have another one.
    pub fn store(&self, name: &str, digest: &str, media_type: &str, bytes: impl Into<Vec<u8>>) {
        let manifest = (media_type.to_owned(), bytes.into());
        self.server.state().content.repository(name).manifests.insert(digest.to_owned(), manifest);
    }

    /// Lets a tag name a digest.
    pub fn tag(&self, name: &str, tag: &str, digest: &str) {
        self.server.state().content.repository(name).tags.insert(tag.to_owned(), digest.to_owned());
    }

    /// Removes a tag.
    pub fn untag(&self, name: &str, tag: &str) {
        self.server.state().content.repository(name).tags.remove(tag);
    }

    /// Removes a manifest or blob.
    pub fn remove(&self, name: &str, digest: &str) {
        let mut state = self.server.state();
        let repository = state.content.repository(name);
        repository.manifests.remove(digest);
        repository.blobs.remove(digest);
    }

    /// Removes a repository with everything in it.
    pub fn remove_repository(&self, name: &str) {
        self.server.state().content.repositories.remove(name);
    }

    /// An image of one layer under a tag. Another `seed` makes another image.
    pub fn push_image(&self, name: &str, tag: &str, seed: &str) -> Image {
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": { "Env": [format!("SEED={seed}")] },
            "rootfs": { "type": "layers", "diff_ids": [digest(seed.as_bytes())] },
        });
        let config = self.descriptor(name, media_types::CONFIG, config.to_string().as_bytes());
        let layer = self.descriptor(name, media_types::LAYER, format!("layer of {seed}").as_bytes());
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": media_types::MANIFEST, "config": config, "layers": [layer] });
        let image = Image::new(manifest.to_string().as_bytes());
        self.push(name, tag, &image);
        image
    }

    /// An index over images that are there, each with an architecture.
    pub fn push_index(&self, name: &str, tag: &str, children: &[(&Image, &str)]) -> Image {
        let child = |(image, architecture): &(&Image, &str)| {
            json!({
                "mediaType": media_type_of(&image.manifest), "digest": image.digest(), "size": image.manifest.len(),
                "platform": { "architecture": architecture, "os": "linux" },
            })
        };
        let children: Vec<Value> = children.iter().map(child).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": media_types::INDEX, "manifests": children });
        let index = Image::new(index.to_string().as_bytes());
        self.push(name, tag, &index);
        index
    }

    /// A manifest or index under a tag and its digest. Its Content-Type is its `mediaType`.
    pub fn push(&self, name: &str, tag: &str, image: &Image) {
        let digest = self.push_manifest(name, &media_type_of(&image.manifest), image.manifest.clone());
        self.tag(name, tag, &digest);
    }

    /// Stores a signature manifest with its blobs, and lists it among the referrers of the image, whatever its own
    /// `subject` is.
    pub fn attach(&self, name: &str, image: &Image, artifact: &Artifact) {
        self.push_artifact(name, artifact);
        self.list_referrer(name, &image.digest(), artifact.referrer());
    }

    /// Stores a signature manifest with its blobs under the tag `sha256-<hex>.sig`. It replaces one that is there.
    pub fn attach_tag(&self, name: &str, image: &Image, artifact: &Artifact) {
        self.push_artifact(name, artifact);
        self.tag(name, &image.tag(".sig"), &artifact.digest());
    }

    /// Stores signature manifests with their blobs, and lists them in an index under the tag `sha256-<hex>`, where clients
    /// look if there is no referrers API. It replaces one that is there.
    pub fn attach_fallback(&self, name: &str, image: &Image, artifacts: &[Artifact]) {
        artifacts.iter().for_each(|artifact| self.push_artifact(name, artifact));
        let digest = self.push_manifest(name, media_types::INDEX, crate::cosign::referrers(artifacts));
        self.tag(name, &image.tag(""), &digest);
    }

    /// Stores a signature manifest with its blobs, and says nowhere whose signature it is.
    pub fn push_artifact(&self, name: &str, artifact: &Artifact) {
        for blob in &artifact.blobs {
            self.push_blob(name, blob.clone());
        }
        self.push_manifest(name, media_types::MANIFEST, artifact.manifest.clone());
    }

    /// Appends any descriptor to the referrers of a digest.
    pub fn list_referrer(&self, name: &str, subject: &str, descriptor: Value) {
        let mut state = self.server.state();
        state.content.repository(name).referrers.entry(subject.to_owned()).or_default().push(descriptor.to_string());
    }

    /// Empties the list of referrers of a digest.
    pub fn forget_referrers(&self, name: &str, subject: &str) {
        self.server.state().content.repository(name).referrers.remove(subject);
    }

    /// A descriptor of these bytes, which it stores as a blob.
    pub fn descriptor(&self, name: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = self.push_blob(name, bytes);
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }
}

/// The `mediaType` of a manifest, or that of an OCI image manifest.
fn media_type_of(manifest: &[u8]) -> String {
    let manifest: Value = serde_json::from_slice(manifest).unwrap_or_default();
    manifest["mediaType"].as_str().unwrap_or(media_types::MANIFEST).to_owned()
}
