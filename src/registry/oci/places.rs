//! Where an image and its signatures are read: `registries.endpoints` and `registries.signatures` of the configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::http::url::{PlainHttp, ServerUrl};
use portreeve_verify::image::Reference;

/// The registries of the configuration.
#[derive(Clone, Debug)]
pub struct Registries {}

impl Registries {
    /// The default of `registries.endpoints`.
    pub const DEFAULT_ENDPOINTS: [(&str, &str); 1] = [("docker.io", "https://registry-1.docker.io")];

    /// Checks every entry, so that a mistake is reported at start. `endpoints`: registry host → URL. `signatures`: prefix of an
    /// image's name → URL of the place with the signatures, `https://…` or `file:///…`.
    pub fn new(
        _endpoints: BTreeMap<String, String>,
        _signatures: BTreeMap<String, String>,
        _plain_http: PlainHttp,
    ) -> Result<Self, RegistriesError> {
        Ok(Self {})
    }

    /// Where the image is: there its tag is resolved. A layout, if one is configured for its name.
    pub(crate) fn image_place(&self, _image: &Reference) -> Place {
        unimplemented!()
    }

    /// Where its signatures are; the same place as the image's if nothing else is configured.
    pub(crate) fn signature_place(&self, _image: &Reference) -> Place {
        unimplemented!()
    }
}

/// A repository, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// At a registry.
    Registry {
        /// The registry's URL.
        url: ServerUrl,
        /// The repository's name there: `library/nginx`.
        repository: String,
        /// The name whose credentials may be sent there: `docker.io/library/nginx`.
        credentials: String,
    },
    /// In an OCI image layout.
    Layout {
        /// Its directory.
        directory: PathBuf,
        /// The image's repository, in one spelling: `registry.local:9001/plant/plc`.
        repository: String,
    },
}

/// For logs and messages: the registry's URL, or the layout's.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { url, .. } => f.write_str(url.as_str()),
            Self::Layout { directory, .. } => write!(f, "file://{}", directory.display()),
        }
    }
}

/// An entry that cannot be used.
#[derive(Debug)]
pub enum RegistriesError {
    /// The key is not a registry's host, or not a prefix of image names.
    Pattern {
        /// The key.
        pattern: String,
    },
}

impl fmt::Display for RegistriesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern { pattern } => f.write_str(pattern),
        }
    }
}

impl std::error::Error for RegistriesError {}
