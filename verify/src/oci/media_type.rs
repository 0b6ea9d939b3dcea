//! The media types that Portreeve reads.

/// An OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The payload of a cosign signature in the old format.
pub const COSIGN_PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// A Sigstore bundle, version 0.3.
pub const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// A signature of Notation, as the type of an artifact or of a config.
pub const NOTATION_SIGNATURE: &str = "application/vnd.cncf.notary.signature";
/// The empty JSON object, `{}`: the config of manifests that are no images.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// What every version of the bundle's media type begins with.
const SIGSTORE_BUNDLES: &str = "application/vnd.dev.sigstore.bundle";
/// What the two media types of Docker's schema 1 begin with.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// The media types of images: OCI's, and Docker's.
const IMAGES: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// A Sigstore bundle of any version. The bundle itself says which.
pub fn is_bundle(media_type: &str) -> bool {
    media_type.starts_with(SIGSTORE_BUNDLES)
}

/// An index or a manifest list, which has manifests instead of layers.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

/// One of Docker's two.
pub(super) fn is_docker(media_type: &str) -> bool {
    matches!(media_type, DOCKER_MANIFEST | DOCKER_LIST)
}

/// A manifest of Docker's schema 1.
pub(super) fn is_schema_1(media_type: &str) -> bool {
    media_type.get(..SCHEMA_1.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEMA_1))
}

/// The media type of an image that this text is. A header's value may be in any case (RFC 9110, section 8.3.1).
pub(super) fn of_image(text: &str, is_header: bool) -> Option<&'static str> {
    IMAGES.into_iter().find(|known| *known == text || is_header && known.eq_ignore_ascii_case(text))
}

/// The value of a `Content-Type` without its parameters; `None` if nothing is left.
pub(super) fn essence(content_type: &str) -> Option<&str> {
    content_type.split(';').next().map(str::trim).filter(|essence| !essence.is_empty())
}
