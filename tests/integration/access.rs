//! Trust servers that want a token: real JWTs, credentials from mounted pull secrets.

use crate::notary::{Digest, RealNotary, Signer, needs_notary};
use crate::pki::Pki;
use crate::plant::PLC;
use crate::product::Site;
use crate::review::{assert_denied, patch, pinned, pod, policy};
use crate::token::TokenService;

const USER: &str = "robot$plant";
const PASSWORD: &str = "pass:word+&=%";

/// A Notary server that wants tokens, one signed repository, and an installation that requires its signer.
struct Guarded {
    tokens: TokenService,
    _notary: RealNotary,
    site: Site,
    digest: Digest,
}

impl Guarded {
    fn new() -> Self {
        let pki = Pki::new();
        let tokens = TokenService::start(&pki, USER, PASSWORD);
        let notary = RealNotary::with_tokens(&pki, &tokens);
        let (alice, digest) = (Signer::new("alice"), Digest::of("v1"));
        notary.repository(PLC).add_signer(&alice).sign("v1", &digest, &["targets/releases", "targets/alice"]);
        let site = Site::with_server(&pki, &notary.url());
        site.policies(&[policy(&[&alice])]);
        Self { tokens, _notary: notary, site, digest }
    }

    /// Reviews a Pod with the signed image.
    #[track_caller]
    fn answer(&self, status: i32) -> serde_json::Value {
        let file = self.site.file("pod.json", &pod(&format!("{PLC}:v1")).to_string());
        let (ended, mut answers) = self.site.answers(&file);
        assert_eq!(ended, Some(status), "{answers:#?}");
        answers.remove(0)
    }

    #[track_caller]
    fn assert_pinned(&self) {
        assert_eq!(patch(&self.answer(0))[0]["value"], pinned(PLC, &self.digest));
    }
}

#[test]
fn a_token_is_fetched_by_get_as_from_harbor() {
    needs_notary!();
    let guarded = Guarded::new();
    guarded.site.pull_secret("harbor", "registry.local:9001", USER, PASSWORD);
    let before = guarded.tokens.issued();
    guarded.assert_pinned();
    assert_eq!(guarded.tokens.issued(), before + 1, "one token serves a whole refresh");
}

#[test]
fn a_token_is_fetched_by_post_where_get_is_not_taken() {
    needs_notary!();
    let guarded = Guarded::new();
    guarded.site.pull_secret("quay", "https://registry.local:9001/v2/", USER, PASSWORD);
    guarded.tokens.take_only_post();
    guarded.assert_pinned();
}

#[test]
fn a_wrong_password_leaves_it_undecided() {
    needs_notary!();
    let guarded = Guarded::new();
    for only_post in [false, true] {
        if only_post {
            guarded.tokens.take_only_post();
        }
        guarded.site.pull_secret(&format!("harbor-{only_post}"), "registry.local:9001", USER, "wrong");
        let refused = guarded.tokens.refused();
        assert_denied(&guarded.answer(3), &["plant/plc:v1", "harbor"]);
        assert!(guarded.tokens.refused() > refused, "the credentials were tried");
    }
}

#[test]
fn every_candidate_is_tried() {
    needs_notary!();
    let guarded = Guarded::new();
    let site = &guarded.site;
    site.pull_secret("a-elsewhere", "registry.local", "other", "host").pull_secret(
        "b-old",
        "registry.local:9001",
        USER,
        "wrong",
    );
    site.pull_secret("c-new", "registry.local:9001", USER, PASSWORD);
    guarded.assert_pinned();
}

#[test]
fn without_credentials_it_asks_anonymously_and_says_so() {
    needs_notary!();
    let guarded = Guarded::new();
    guarded.site.pull_secret("elsewhere", "registry.local:9002", USER, PASSWORD);
    let issued = guarded.tokens.issued();
    assert_denied(&guarded.answer(3), &["plant/plc:v1"]);
    assert_eq!(guarded.tokens.issued(), issued, "another port's credentials stay at home");
    assert!(guarded.tokens.refused() > 0, "an anonymous token was asked for");
}

#[test]
fn tokens_that_the_server_refuses_do_not_go_round_for_ever() {
    needs_notary!();
    let guarded = Guarded::new();
    guarded.site.pull_secret("harbor", "registry.local:9001", USER, PASSWORD);
    guarded.tokens.issue_useless_tokens();
    let before = guarded.tokens.issued();
    assert_denied(&guarded.answer(3), &["plant/plc:v1"]);
    assert!(guarded.tokens.issued() - before <= 3, "{} tokens", guarded.tokens.issued() - before);
}
