//! The scheme end to end: images with Notation's signatures at a TLS registry, trust stores on the disk, the verifier, and the
//! evidence between them.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portreeve_test_support::cosign::{Artifact, Image};
use portreeve_test_support::notation::{Certificate, Jws, Kind, Spec, artifact, chain};
use portreeve_test_support::registry::{Referrers, Registry};

use super::*;
use crate::base::context::Deadline;
use crate::base::files::scratch::Scratch;
use crate::base::waiting::Waiting;
use crate::http::url::PlainHttp;
use crate::keychain::FnKeychain;
use crate::metrics::Metrics;
use crate::registry::oci::places::Registries;
use crate::schemes::evidence::{self, EvidenceStore};
use crate::schemes::image_signatures::{self, ImageSignatures};
use crate::schemes::notary::{self, Notary};
use crate::schemes::storage::disk_quota::EvidenceKind;
use crate::schemes::storage::evidence_files::EvidenceFiles;
use crate::schemes::{Freshness, Query, Refusal, Scheme as _, Trace, UnavailableRule, Verified, WhenUnavailable};
use portreeve_verify::image::Reference;

mod stores;
mod vectors;

const NAME: &str = "plant/plc";
const LONG: Duration = Duration::from_secs(20);
/// 2026-12-01, within the dates of all certificates.
const NOW: i64 = 1_796_083_200;
const DAY: i64 = 86_400;

/// A registry with one image under the tag `v1`, a trust store with the root of `chain`, and the scheme.
struct Bench {
    registry: Registry,
    scratch: Scratch,
    notation: Notation,
    metrics: Arc<Metrics>,
    image: Image,
    chain: Vec<Certificate>,
}

impl Bench {
    fn new(refresh_after: Duration) -> Self {
        let registry = Registry::start();
        let scratch = Scratch::new();
        scratch.write("ca.pem", registry.ca_pem());
        let chain = chain(Kind::P256, Kind::P256);
        scratch.write("stores/truststore/x509/ca/plant/root.crt", &chain[2].der);
        let image = registry.push_image(NAME, "v1", "one");
        let metrics = Arc::new(Metrics::new());
        let notation = make(&scratch, &metrics, refresh_after);
        Self { registry, scratch, notation, metrics, image, chain }
    }

    /// The image with a signature.
    fn signed(refresh_after: Duration) -> Self {
        let bench = Self::new(refresh_after);
        bench.attach(&Jws::new(&bench.image.manifest, &bench.chain));
        bench
    }

    /// Another process over the same cache.
    fn restart(&mut self, refresh_after: Duration) {
        self.notation.images.evidence.settle();
        self.notation = make(&self.scratch, &self.metrics, refresh_after);
    }

    fn attach(&self, jws: &Jws) -> Artifact {
        let artifact = artifact(&self.image, "application/jose+json", jws.bytes());
        self.registry.attach(NAME, &self.image, &artifact);
        artifact
    }

    fn ask_at(&self, image: &str, rule: &Arc<Rule>, now: i64, trace: &mut Trace) -> Result<Verified, Refusal> {
        let keychain = FnKeychain(|_: Deadline| Vec::new());
        let image = Reference::parse(&format!("{}/{NAME}{image}", self.registry.host())).unwrap();
        let query = Query {
            image: &image,
            tags: None,
            except: &[],
            key_namespace: "line-1",
            keychain: &keychain,
            is_delegated: false,
            deadline: Deadline::after(LONG),
            now: Timestamp::from_second(now).unwrap(),
            effort: portreeve_verify::Effort::UNLIMITED,
            notice: crate::schemes::WaitNotice::NONE,
        };
        self.notation.verify(rule, &query, trace)
    }

    fn ask(&self, rule: &Arc<Rule>) -> Result<Verified, Refusal> {
        self.ask_at(":v1", rule, NOW, &mut Trace::default())
    }
}

/// The scheme, with the trust stores looked at for each query.
fn make(scratch: &Scratch, metrics: &Arc<Metrics>, refresh_after: Duration) -> Notation {
    let cache = Some(scratch.path().join("cache"));
    let notary = Notary::new(notary::Settings {
        ca: Some(scratch.path().join("ca.pem")),
        refresh_after,
        plain_http: PlainHttp::Refused,
        cache: cache.clone(),
        workers: 8,
        waiting: Arc::new(Waiting::new(128)),
        memory: 64 << 20,
        verify_memory: 48 << 20,
        cache_bytes: usize::MAX,
        metrics: Arc::clone(metrics),
    });
    let settings = evidence::Settings { cache, memory: 16 << 20, cache_bytes: 16 << 20, metrics: Arc::clone(metrics) };
    let registries = Registries::new(BTreeMap::new(), BTreeMap::new(), PlainHttp::Refused).unwrap();
    let evidence = Arc::new(EvidenceStore::new(settings));
    let settings = image_signatures::Settings { registries, refresh_after, when_unavailable: WhenUnavailable::Deny };
    let images = Arc::new(ImageSignatures::new(notary.unwrap().shared(), evidence, settings));
    let stores = SiteStores::checked_every(scratch.path().join("stores"), Arc::clone(metrics), Duration::ZERO);
    Notation { stores, images }
}

fn rule() -> Rule {
    Rule::under(&["ca:plant".to_owned()], &["x509.subject: C=US, ST=WA, O=Plant".to_owned()], false).unwrap()
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

#[test]
fn a_signature_under_a_store_pins_the_image_and_says_who_signed_and_until_when() {
    let bench = Bench::signed(LONG);
    let rule = Arc::new(rule());
    let mut trace = Trace::default();
    let verified = bench.ask_at(":v1", &rule, NOW, &mut trace).unwrap();
    assert_eq!(verified.digest.sha256().to_string(), bench.image.digest());
    assert!(verified.signers.len() == 1 && verified.signers[0].contains("builder"), "{:?}", verified.signers);
    assert_eq!(verified.freshness, Freshness::Fetched);
    assert!(trace.findings[0].signature.starts_with("envelope in sha256:"), "{:?}", trace.findings);
    let ends: Vec<_> = verified.evidence.expires();
    assert_eq!(ends, [("certificate".to_owned(), Timestamp::from_second(2_208_988_800).unwrap())]);
    let expected = ["GET manifests/v1", "GET referrers/sha256:…", "GET manifests/sha256:…", "GET blobs/sha256:…"];
    assert_eq!(bench.registry.round_trips(), expected);
    // From then on, neither the tag nor the digest takes a request.
    bench.registry.forget_requests();
    for image in [":v1".to_owned(), format!("@{}", bench.image.digest())] {
        let verified = bench.ask_at(&image, &rule, NOW, &mut Trace::default()).unwrap();
        assert_eq!((verified.freshness, verified.evidence.findings().len()), (Freshness::Cached, 1));
    }
    assert_eq!(bench.registry.round_trips(), [""; 0]);
}

#[test]
fn notation_looks_under_the_fallback_tag_alone() {
    let bench = Bench::new(Duration::ZERO);
    bench.registry.serve_referrers(Referrers::Absent(404));
    let signature =
        artifact(&bench.image, "application/jose+json", Jws::new(&bench.image.manifest, &bench.chain).bytes());
    bench.registry.attach_fallback(NAME, &bench.image, &[signature]);
    bench.ask(&Arc::new(rule())).unwrap();
    let expected = [
        "GET manifests/v1",
        "GET referrers/sha256:…",
        "GET manifests/sha256-…",
        "GET manifests/sha256:…",
        "GET blobs/sha256:…",
    ];
    assert_eq!(bench.registry.round_trips(), expected);
}

#[test]
fn neither_scheme_fetches_or_counts_the_signatures_of_the_other() {
    let bench = Bench::new(Duration::ZERO);
    let key = portreeve_test_support::cosign::Key::p256();
    let statement = portreeve_test_support::cosign::Statement::new(&bench.image).bytes();
    let bundle = portreeve_test_support::cosign::Bundle::dsse(&statement, &key).bytes();
    bench.registry.attach(NAME, &bench.image, &Artifact::bundle(&bench.image, bundle));
    let message = rejected(bench.ask(&Arc::new(rule())), "not-signed");
    assert!(message.contains("has no Notation signature") && message.contains("notation sign "), "{message}");
    assert!(message.contains("1 referrers of other kinds"), "{message}");
    assert!(
        bench.registry.round_trips().iter().all(|trip| !trip.contains("blobs/")),
        "{:?}",
        bench.registry.requests()
    );
}

#[test]
fn each_request_is_judged_at_its_own_time() {
    let bench = Bench::new(LONG);
    bench.attach(&Jws::new(&bench.image.manifest, &bench.chain).expires(NOW + DAY));
    let rule = Arc::new(rule());
    let verified = bench.ask(&rule).unwrap();
    let signature = ("signature".to_owned(), Timestamp::from_second(NOW + DAY).unwrap());
    assert!(verified.evidence.expires().contains(&signature));
    // What is stored is the same; the time is another.
    let by_digest = format!("@{}", bench.image.digest());
    bench.ask_at(&by_digest, &rule, NOW + DAY - 1, &mut Trace::default()).unwrap();
    let late = bench.ask_at(&by_digest, &rule, NOW + DAY + 1, &mut Trace::default());
    assert!(rejected(late, "signature").contains("expire"));
}

#[test]
fn evidence_outlives_a_restart_and_is_verified_under_the_rule_of_the_moment() {
    let mut bench = Bench::signed(Duration::ZERO);
    bench.ask(&Arc::new(rule())).unwrap();
    bench.restart(Duration::ZERO);
    let file = EvidenceFiles::below(&bench.scratch.path().join("cache")).directory(EvidenceKind::Image);
    let file = fs::read(file.join(bench.image.digest().trim_start_matches("sha256:"))).unwrap();
    assert!(file.starts_with(b"portreeve evidence 2 "), "an older Portreeve takes it for absent");
    bench.registry.go_away();
    let by_digest = format!("@{}", bench.image.digest());
    let ask = |rule: Rule| bench.ask_at(&by_digest, &Arc::new(rule), NOW, &mut Trace::default());
    assert_eq!(ask(rule()).unwrap().freshness, Freshness::Cached);
    // Another identity, or metadata that is not signed: the registry would have to be asked.
    let other =
        Rule::under(&["ca:plant".to_owned()], &["x509.subject: C=US, ST=WA, O=Other".to_owned()], false).unwrap();
    let more = Rule { metadata: BTreeMap::from([("line".to_owned(), "1".to_owned())]), ..rule() };
    for rule in [other, more] {
        assert!(matches!(ask(rule), Err(Refusal::Unavailable(_))));
    }
}

#[test]
fn a_remembered_tag_stands_in_as_far_as_the_policy_says() {
    let mut bench = Bench::signed(Duration::ZERO);
    bench.ask_at(":v1", &Arc::new(rule()), Timestamp::now().as_second(), &mut Trace::default()).unwrap();
    bench.restart(Duration::ZERO);
    bench.registry.go_away();
    let stale = |max_stale| Rule {
        when_unavailable: Some(UnavailableRule::UseCached),
        max_stale: Some(Duration::from_secs(max_stale)),
        ..rule()
    };
    let ask =
        |rule, later| bench.ask_at(":v1", &Arc::new(rule), Timestamp::now().as_second() + later, &mut Trace::default());
    assert!(matches!(ask(stale(3600), 600).unwrap().freshness, Freshness::Stale { .. }));
    assert!(matches!(ask(stale(300), 600), Err(Refusal::Unavailable(_))));
    assert!(matches!(ask(rule(), 600), Err(Refusal::Unavailable(_))));
}
