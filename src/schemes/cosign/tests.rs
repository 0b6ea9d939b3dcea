//! The scheme end to end: signed images at a TLS registry, the verifier, and the evidence between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portreeve_test_support::cosign::{Artifact, Bundle, Image, Key, Layer, Payload, Statement};
use portreeve_test_support::registry::{Change, Fault, Referrers, Registry, SignIn, TokenService};

use super::*;
use crate::base::context::Deadline;
use crate::base::files::scratch::Scratch;
use crate::base::secret::Secret;
use crate::base::waiting::Waiting;
use crate::http::url::PlainHttp;
use crate::keychain::{Credential, FnKeychain};
use crate::kube::signer_secrets::SecretStore;
use crate::metrics::Metrics;
use crate::registry::oci::places::Registries;
use crate::schemes::evidence::{self, EvidenceStore};
use crate::schemes::image_signatures::{self, ImageSignatures};
use crate::schemes::notary::{self, Notary};
use crate::schemes::{Freshness, Query, Refusal, Scheme as _, Trace, Verified, WhenUnavailable};
use portreeve_verify::image::Reference;
use portreeve_verify::sigstore::{Signer, SigstoreKey};

mod evidence_rows;
mod hostile;
mod identities;
mod keys;
mod layout;
mod neighbours;
mod requests;
mod rows;
mod sharing;
mod stale;

const NAME: &str = "plant/plc";
const LONG: Duration = Duration::from_secs(20);

/// A registry with one image under the tag `v1`, and the scheme.
struct Bench {
    registry: Registry,
    scratch: Scratch,
    cosign: Cosign,
    image: Image,
    alice: Key,
    bob: Key,
}

/// The parts of a query that tests change.
struct Ask<'a> {
    /// The reference behind the repository's name.
    image: &'a str,
    rule: &'a Rule,
    credentials: &'a [Credential],
    wait: Duration,
    now: Timestamp,
}

/// What can be set when the scheme is made.
#[derive(Clone)]
struct Options {
    refresh_after: Duration,
    verify_memory: usize,
    cache: bool,
    signatures: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { refresh_after: LONG, verify_memory: 48 << 20, cache: false, signatures: BTreeMap::new() }
    }
}

impl Bench {
    /// With the tag's digest taken anew for each query.
    fn new() -> Self {
        Self::with(&Options { refresh_after: Duration::ZERO, ..Options::default() })
    }

    fn with(options: &Options) -> Self {
        let registry = Registry::start();
        let scratch = Scratch::new();
        scratch.write("ca.pem", registry.ca_pem());
        let image = registry.push_image(NAME, "v1", "one");
        let cosign = make(&scratch, options);
        Self { registry, scratch, cosign, image, alice: Key::p256(), bob: Key::p256() }
    }

    /// Another process over the same cache.
    fn restart(&mut self, options: &Options) {
        self.cosign.images.evidence.settle();
        self.cosign = make(&self.scratch, options);
    }

    /// The image with a bundle by alice.
    fn signed(options: &Options) -> Self {
        let bench = Self::with(options);
        bench.attach(&bench.image, &bench.alice);
        bench
    }

    /// A bundle among the referrers.
    fn attach(&self, image: &Image, key: &Key) -> Artifact {
        let artifact = bundle(image, key);
        self.registry.attach(NAME, image, &artifact);
        artifact
    }

    fn rule(&self) -> Rule {
        rule_of(&[("alice", &self.alice)])
    }

    fn name(&self) -> String {
        format!("{}/{NAME}", self.registry.host())
    }

    fn ask(&self, ask: &Ask<'_>) -> Result<Verified, Refusal> {
        self.trace(ask, &mut Trace::default())
    }

    fn trace(&self, ask: &Ask<'_>, trace: &mut Trace) -> Result<Verified, Refusal> {
        self.trace_with(ask, portreeve_verify::Effort::UNLIMITED, trace)
    }

    fn trace_with(
        &self,
        ask: &Ask<'_>,
        effort: portreeve_verify::Effort<'_>,
        trace: &mut Trace,
    ) -> Result<Verified, Refusal> {
        let credentials = ask.credentials.to_vec();
        let keychain = FnKeychain(move |_: Deadline| credentials.clone());
        let image = Reference::parse(&format!("{}{}", self.name(), ask.image)).unwrap();
        let query = Query {
            image: &image,
            tags: None,
            except: &[],
            key_namespace: "line-1",
            keychain: &keychain,
            is_delegated: false,
            deadline: Deadline::after(ask.wait),
            now: ask.now,
            effort,
            notice: crate::schemes::WaitNotice::NONE,
        };
        self.cosign.verify(ask.rule, &query, trace)
    }

    /// The verdict on `:v1` by alice's key.
    fn verdict(&self) -> Result<Verified, Refusal> {
        self.ask(&Ask::of(":v1", &self.rule()))
    }

    /// The reference by digest.
    fn by_digest(&self) -> String {
        format!("@{}", self.image.digest())
    }
}

impl<'a> Ask<'a> {
    fn of(image: &'a str, rule: &'a Rule) -> Self {
        Self { image, rule, credentials: &[], wait: LONG, now: Timestamp::now() }
    }
}

fn make(scratch: &Scratch, options: &Options) -> Cosign {
    let metrics = Arc::new(Metrics::new());
    let cache = options.cache.then(|| scratch.path().join("cache"));
    let notary = Notary::new(notary::Settings {
        ca: Some(scratch.path().join("ca.pem")),
        refresh_after: options.refresh_after,
        plain_http: PlainHttp::Refused,
        cache: cache.clone(),
        workers: 8,
        waiting: Arc::new(Waiting::new(128)),
        memory: 64 << 20,
        verify_memory: options.verify_memory,
        cache_bytes: usize::MAX,
        metrics: Arc::clone(&metrics),
    });
    let evidence = EvidenceStore::new(evidence::Settings {
        cache,
        memory: 16 << 20,
        cache_bytes: 16 << 20,
        metrics: Arc::clone(&metrics),
    });
    let registries = Registries::new(BTreeMap::new(), options.signatures.clone(), PlainHttp::Refused).unwrap();
    let settings = image_signatures::Settings {
        registries,
        refresh_after: options.refresh_after,
        when_unavailable: WhenUnavailable::Deny,
    };
    let images = Arc::new(ImageSignatures::new(notary.unwrap().shared(), Arc::new(evidence), settings));
    let secrets = SecretStore::new(scratch.path().join("secrets"));
    let mut cosign = Cosign::new(
        images,
        Settings {
            secrets,
            cluster_signers: None,
            trusted_roots: scratch.path().join("roots"),
            metrics: Arc::clone(&metrics),
        },
    );
    // The files are looked at for each query.
    cosign.trusted_roots = TrustedRoots::checked_every(scratch.path().join("roots"), metrics, Duration::ZERO);
    cosign
}

fn rule_of(signers: &[(&str, &Key)]) -> Rule {
    let signer = |(name, key): &(&str, &Key)| {
        Signer::with_key((*name).to_owned(), SigstoreKey::from_pem(&key.public_pem()).unwrap())
    };
    Rule::signed_by(signers.iter().map(signer).collect())
}

fn bundle(image: &Image, key: &Key) -> Artifact {
    Artifact::bundle(image, Bundle::dsse(&Statement::new(image).bytes(), key).bytes())
}

/// A signature of the old format.
fn layer(image: &Image, reference: &str, key: &Key) -> Layer {
    Layer::new(Payload::new(image).reference(reference).bytes(), key)
}

fn rejected(result: Result<Verified, Refusal>, expected: &str) -> String {
    match result {
        Err(Refusal::Rejected { code, message }) => {
            assert_eq!(code, expected, "{message}");
            message
        }
        other => panic!("not rejected as {expected}: {other:?}"),
    }
}

fn unavailable(result: Result<Verified, Refusal>) -> String {
    match result {
        Err(Refusal::Unavailable(unavailable)) => unavailable.message,
        other => panic!("not unavailable: {other:?}"),
    }
}

/// What each of so many threads returns that all begin at the same time.
fn at_once<T: Send>(count: usize, run: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(count);
    thread::scope(|scope| {
        let (barrier, run) = (&barrier, &run);
        let begin = |number| {
            scope.spawn(move || {
                barrier.wait();
                run(number)
            })
        };
        let threads: Vec<_> = (0..count).map(begin).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
