//! The plant that most tests use: one real Notary server with a few signed repositories, shared by all tests that run
//! at the same time and only read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;

use crate::https::{HttpsServer, Reply, https};
use crate::notary::{Digest, RealNotary, Signer};
use crate::pki::Pki;
use crate::product::Site;
use crate::review::{patch, pinned, policy};
use crate::token::TokenService;

pub(crate) const PLC: &str = "registry.local:9001/plant/plc";
pub(crate) const HMI: &str = "registry.local:9001/plant/hmi";

/// The user for whom the token service issues tokens.
pub(crate) const USER: &str = "robot$plant";
pub(crate) const PASSWORD: &str = "pass:word+&=%";

/// `plant/plc` has `v1` by alice. `plant/hmi` has `v1` by alice and bob, `v2` by alice, and a `draft` that bob signed
/// and that was not released. `plant/bare` has `v1` in `targets`.
pub(crate) struct Plant {
    pub(crate) pki: Arc<Pki>,
    pub(crate) notary: RealNotary,
    pub(crate) alice: Signer,
    pub(crate) bob: Signer,
    pub(crate) plc: Digest,
    pub(crate) hmi: Digest,
    pub(crate) bare: Digest,
}

impl Plant {
    /// The plant that other tests use now, or a new one. It ends with its last user.
    pub(crate) fn visit() -> Arc<Self> {
        static OPEN: Mutex<Weak<Plant>> = Mutex::new(Weak::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.upgrade().unwrap_or_else(|| {
            let plant = Arc::new(Self::build());
            *open = Arc::downgrade(&plant);
            plant
        })
    }

    /// A plant that is not shared, for a test that stops its server.
    pub(crate) fn build() -> Self {
        let pki = Pki::new();
        let notary = RealNotary::start(&pki);
        let (alice, bob) = (Signer::new("alice"), Signer::new("bob"));
        let (plc, hmi, bare) = (Digest::of("plc v1"), Digest::of("hmi v1"), Digest::of("bare v1"));
        notary.repository(PLC).add_signer(&alice).sign("v1", &plc, &["targets/releases", "targets/alice"]);
        notary
            .repository(HMI)
            .add_signer(&alice)
            .add_signer(&bob)
            .sign("v1", &hmi, &["targets/releases", "targets/alice", "targets/bob"])
            .sign("v2", &Digest::of("hmi v2"), &["targets/releases", "targets/alice"])
            .sign("draft", &Digest::of("hmi draft"), &["targets/bob"]);
        notary.repository("registry.local:9001/plant/bare").sign("v1", &bare, &[]);
        Self { pki, notary, alice, bob, plc, hmi, bare }
    }

    /// An installation whose configuration names this plant's server.
    pub(crate) fn site(&self) -> Site {
        Site::with_server(&self.pki, &self.notary.url())
    }

    /// The same, with a policy for all of the plant's images that requires alice.
    pub(crate) fn site_requiring_alice(&self) -> Site {
        let site = self.site();
        site.policies(&[policy(&[&self.alice])]);
        site
    }

    /// A server that relays this plant's server and changes some responses: `lie` takes the path and the body. The
    /// counter is the number of changed bodies.
    pub(crate) fn relay(self: &Arc<Self>, lie: fn(&str, String) -> String) -> (HttpsServer, Arc<AtomicUsize>) {
        let (behind, lies) = (Arc::clone(self), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&lies);
        let server = HttpsServer::start(&self.pki, move |request| {
            let response = https(&behind.pki, behind.notary.port(), &request.method, &request.target, b"");
            let body = lie(&request.target, response.body.clone());
            count.fetch_add(usize::from(body != response.body), Ordering::SeqCst);
            Reply::json(response.status, body)
        });
        (server, lies)
    }
}

/// A Notary server that demands tokens, with `v1` of [`PLC`] signed by alice, and an installation that requires alice. The
/// installation has no credentials yet.
pub(crate) struct Guarded {
    pub(crate) tokens: TokenService,
    pub(crate) alice: Signer,
    pub(crate) digest: Digest,
    pub(crate) site: Site,
    _notary: RealNotary,
}

impl Guarded {
    pub(crate) fn new() -> Self {
        let pki = Pki::new();
        let tokens = TokenService::start(&pki, USER, PASSWORD);
        let notary = RealNotary::with_tokens(&pki, &tokens);
        let (alice, digest) = (Signer::new("alice"), Digest::of("v1"));
        notary.repository(PLC).add_signer(&alice).sign("v1", &digest, &["targets/releases", "targets/alice"]);
        let site = Site::with_server(&pki, &notary.url());
        site.policies(&[policy(&[&alice])]);
        Self { tokens, alice, digest, site, _notary: notary }
    }

    /// The response pins the signed image.
    #[track_caller]
    pub(crate) fn assert_pinned(&self, answer: &Value) {
        assert_eq!(patch(answer)[0]["value"], pinned(PLC, &self.digest));
    }
}
