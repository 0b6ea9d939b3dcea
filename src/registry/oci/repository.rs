//! The questions that can be asked about a repository, wherever it is.

use super::layout;
use super::places::Place;
use super::remote::Remote;
use crate::base::context::Deadline;
use crate::http::origin::permit::Permit;
use crate::keychain::credentials::Credentials;
use crate::registry::client::Client;
use crate::registry::sign_in::SignIn;
use portreeve_verify::Unavailable;
use portreeve_verify::image::Sha256;
use portreeve_verify::oci::{Descriptor, Image, SignatureManifest};

/// The repository at this place. `credentials` are those of the place's own name. Other requests may wait for what is read
/// there: they read `sign_in`, and a registry is asked under the permit. A layout needs none.
pub(crate) fn open<'a>(
    client: &'a Client,
    place: &'a Place,
    credentials: &'a Credentials<'a>,
    deadline: Deadline,
    permit: Option<&'a Permit<'a>>,
    sign_in: &'a SignIn,
) -> Box<dyn Repository + 'a> {
    match place {
        Place::Layout { directory, repository } => layout::open(directory, repository, deadline),
        Place::Registry { url, repository, .. } => {
            Box::new(Remote::new(client, url, repository, credentials, deadline).watched(permit, sign_in))
        }
    }
}

/// Which manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// The one with this tag.
    Tag(&'a str),
    /// The one with this digest.
    Digest(Sha256),
}

/// An image's manifest or index.
#[derive(Clone, Debug)]
pub(crate) struct FetchedImage {
    pub(crate) image: Image,
    pub(crate) bytes: Vec<u8>,
}

/// A manifest of signatures.
#[derive(Clone, Debug)]
pub(crate) struct FetchedSignatures {
    pub(crate) manifest: SignatureManifest,
    pub(crate) bytes: Vec<u8>,
}

/// A repository at a registry or in a layout. Requests may be made from several threads at once. `cap` is the most bytes that are
/// read: a larger body is [`FetchError::TooLarge`], and the caller asks again with a larger cap once it has memory for it.
pub(crate) trait Repository: Sync {
    /// The manifest of this image and the list of its referrers are asked for next, each with this cap first. They may be fetched
    /// at the same time. What is not asked for after all does not count.
    fn prefetch(&self, _image: Sha256, _cap: usize) {}

    /// The image's manifest or index. By a digest: the bytes have that digest.
    fn image(&self, wanted: Wanted<'_>, cap: usize) -> Result<FetchedImage, FetchError>;

    /// The referrers of an image, by the referrers API; `None` if the registry does not have the API. Nothing is filtered. `cap` is
    /// for all pages together.
    fn referrers(&self, image: Sha256, cap: usize) -> Result<Option<Vec<Descriptor>>, FetchError>;

    /// The referrers of an image, by the list under the tag `sha256-<hex>`. A tag that is not there is an empty list.
    fn tagged_referrers(&self, image: Sha256, cap: usize) -> Result<Vec<Descriptor>, FetchError>;

    /// A manifest of signatures.
    fn signatures(&self, wanted: Wanted<'_>, cap: usize) -> Result<FetchedSignatures, FetchError>;

    /// A blob. The bytes have the descriptor's size and digest. A descriptor larger than `cap` is refused unread.
    fn blob(&self, descriptor: &Descriptor, cap: usize) -> Result<Vec<u8>, FetchError>;
}

/// Why nothing was fetched. The messages name the registry and the manifest or blob, and are safe to print.
#[derive(Clone, Debug)]
pub(crate) enum FetchError {
    /// It is not there: a definite answer of the registry.
    NotFound {
        /// What was asked for, where.
        message: String,
    },
    /// It is larger than the cap.
    TooLarge {
        /// What is larger, and than how many bytes.
        message: String,
    },
    /// What the registry sent cannot be right.
    Rejected {
        /// A fixed word for metrics and logs.
        code: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// Nobody could say.
    Unavailable(Unavailable),
}
