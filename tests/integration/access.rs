//! Notary servers that demand a token: real JWTs, credentials from mounted pull secrets.

use serde_json::Value;

use crate::notary::needs_notary;
use crate::plant::{Guarded, PASSWORD, PLC, USER};
use crate::review::{assert_denied, pod};

/// Reviews a Pod with the signed image.
#[track_caller]
fn answer(guarded: &Guarded, status: i32) -> Value {
    let file = guarded.site.file("pod.json", &pod(&format!("{PLC}:v1")).to_string());
    let (ended, mut answers) = guarded.site.answers(&file);
    assert_eq!(ended, Some(status), "{answers:#?}");
    answers.remove(0)
}

#[test]
fn a_token_is_fetched_by_get_as_from_harbor() {
    needs_notary!();
    let guarded = Guarded::new();
    guarded.site.pull_secret("harbor", "registry.local:9001", USER, PASSWORD);
    let before = guarded.tokens.issued();
    guarded.assert_pinned(&answer(&guarded, 0));
    assert_eq!(guarded.tokens.issued(), before + 1, "one token serves a whole refresh");
}

#[test]
fn a_token_is_fetched_by_post_where_get_is_not_taken() {
    needs_notary!();
    let guarded = Guarded::new();
    guarded.site.pull_secret("quay", "https://registry.local:9001/v2/", USER, PASSWORD);
    guarded.tokens.take_only_post();
    guarded.assert_pinned(&answer(&guarded, 0));
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
        assert_denied(&answer(&guarded, 3), &["plant/plc:v1", "harbor"]);
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
    guarded.assert_pinned(&answer(&guarded, 0));
}

#[test]
fn without_credentials_it_asks_anonymously_and_says_so() {
    needs_notary!();
    let guarded = Guarded::new();
    guarded.site.pull_secret("elsewhere", "registry.local:9002", USER, PASSWORD);
    let issued = guarded.tokens.issued();
    assert_denied(&answer(&guarded, 3), &["plant/plc:v1"]);
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
    assert_denied(&answer(&guarded, 3), &["plant/plc:v1"]);
    assert!(guarded.tokens.issued() - before <= 3, "{} tokens", guarded.tokens.issued() - before);
}
