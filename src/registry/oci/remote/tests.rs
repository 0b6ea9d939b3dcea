//! Repositories at a real registry on a loopback port, well-behaved and otherwise.

use std::time::{Duration, Instant};

use portreeve_test_support::certificates::Authority;
use portreeve_test_support::cosign::Image as Pushed;
use portreeve_test_support::registry::{Change, Fault, Referrers, Registry, SignIn as Gate, TokenService, media_types};
use serde_json::json;

use super::*;
use crate::base::files::scratch::Scratch;
use crate::http::proxy::Proxies;
use crate::keychain::Credential;
use crate::registry::oci::places::{Place, Registries};
use crate::registry::oci::repository::open;
use crate::registry::sign_in::SignIn as Progress;
use crate::registry::tests::{credential, http};
use portreeve_verify::UnavailableCause;
use portreeve_verify::image::Reference;

mod blobs;
mod hostile;
mod manifests;
mod proxy;
mod referrers;
mod sign_in;

const NAME: &str = "plant/plc";

struct Bench {
    registry: Registry,
    /// Another server under the same CA.
    storage: Registry,
    client: Client,
    scratch: Scratch,
}

impl Bench {
    fn new() -> Self {
        let authority = Authority::named("Registry Test CA");
        let scratch = Scratch::new();
        let ca = scratch.write("ca.pem", authority.pem());
        let client = Client::over(http(Some(ca), PlainHttp::Refused, Proxies::default()), PlainHttp::Refused);
        let (registry, storage) = (Registry::start_under(&authority), Registry::start_under(&authority));
        Self { registry, storage, client, scratch }
    }

    /// Both servers and the client without TLS.
    fn plain() -> Self {
        let plain_http = PlainHttp::DangerouslyAllowed;
        let client = Client::over(http(None, plain_http, Proxies::default()), plain_http);
        let (registry, storage) = (Registry::start_plain(), Registry::start_plain());
        Self { registry, storage, client, scratch: Scratch::new() }
    }

    fn place(&self) -> Place {
        Place::Registry {
            url: ServerUrl::parse(&self.registry.url(), PlainHttp::DangerouslyAllowed).unwrap(),
            repository: NAME.to_owned(),
            credentials: format!("{}/{NAME}", self.registry.host()),
        }
    }

    /// Asks the repository with these credentials within this time.
    fn ask_with<T>(&self, credentials: &[Credential], wait: Duration, ask: impl FnOnce(&dyn Repository) -> T) -> T {
        let (place, sign_in) = (self.place(), Progress::default());
        let credentials = Credentials::known(credentials.to_vec());
        ask(&*open(&self.client, &place, &credentials, Deadline::after(wait), None, &sign_in))
    }

    fn ask<T>(&self, ask: impl FnOnce(&dyn Repository) -> T) -> T {
        self.ask_with(&[], Duration::from_secs(20), ask)
    }

    fn image(&self, wanted: Wanted<'_>) -> Result<FetchedImage, FetchError> {
        self.ask(|repository| repository.image(wanted, MAX_MANIFEST))
    }

    fn referrers(&self, image: Sha256) -> Result<Option<Vec<Descriptor>>, FetchError> {
        self.ask(|repository| repository.referrers(image, MAX_REFERRERS))
    }

    fn signatures(&self, wanted: Wanted<'_>) -> Result<FetchedSignatures, FetchError> {
        self.ask(|repository| repository.signatures(wanted, MAX_SIGNATURE_MANIFEST))
    }

    fn blob(&self, bytes: &[u8]) -> Result<Vec<u8>, FetchError> {
        self.ask(|repository| repository.blob(&descriptor(bytes), 64 << 10))
    }
}

fn digest(image: &Pushed) -> Sha256 {
    Sha256::new(image.sha256())
}

/// The descriptor of a blob with these bytes.
fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: "application/octet-stream".to_owned(),
        digest: Sha256::of(bytes),
        size: bytes.len() as u64,
        artifact_type: None,
        annotations: portreeve_verify::ordered::Map::new(),
    }
}

/// What a failure is, and its message.
fn told<T: std::fmt::Debug>(result: Result<T, FetchError>) -> (&'static str, String) {
    match result {
        Err(FetchError::NotFound { message }) => ("not found", message),
        Err(FetchError::TooLarge { message }) => ("too large", message),
        Err(FetchError::Rejected { code, message }) => (code, message),
        Err(FetchError::Unavailable(unavailable)) => ("unavailable", unavailable.message),
        Ok(found) => panic!("expected a failure, not {found:?}"),
    }
}

#[track_caller]
fn assert_told<T: std::fmt::Debug>(result: Result<T, FetchError>, kind: &str, words: &str) {
    let (found, message) = told(result);
    assert!(found == kind && message.contains(words), "expected {kind} with \"{words}\", not {found}: {message}");
}
