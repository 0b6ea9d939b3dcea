//! What a policy's `trust` asks for: signers, pins, digests; and servers that refuse or do not answer.

use super::*;

#[test]
fn required_signers_must_all_have_signed() {
    let world = World::new();
    let alice = json!({ "name": "alice", "publicKey": world.alice });
    let bob = json!({ "name": "bob", "publicKey": world.bob });
    let false_bob = json!({ "name": "bob", "publicKey": world.alice });
    let ask = |signers: Value, tag: &str| admit(&world.simple(&json!({ "signers": signers })), &pod(&[&tagged(tag)]));
    assert_allowed(&ask(json!([alice]), "v1"), &[(FIRST, pinned("v1"))]);
    assert_allowed(&ask(json!([alice, bob]), "both"), &[(FIRST, pinned("both"))]);
    assert_denied(&ask(json!([bob]), "v1"), &["bob"]);
    assert_denied(&ask(json!([alice, bob]), "v1"), &["bob"]);
    assert_denied(&ask(json!([false_bob]), "both"), &["bob"]);
}

/// A policy's pins are asked, whatever root the server offers.
#[test]
fn only_a_pinned_root_counts() {
    let world = World::new();
    let pinned_to = |key: &str| world.simple(&json!({ "roots": [{ "keyId": key }] }));
    assert_allowed(&admit(&pinned_to(&world.root_key), &pod(&[&tagged("v1")])), &[(FIRST, pinned("v1"))]);
    assert_denied(&admit(&pinned_to(&"0".repeat(64)), &pod(&[&tagged("v1")])), &["rejected: "]);
}

#[test]
fn signer_secrets_come_from_the_policy_s_own_namespace() {
    let world = World::new();
    // Fault 7: a tenant puts a key of its own where a cluster policy might look.
    world.write("secrets/line-1/alice-key/name", "bob").write("secrets/line-1/alice-key/publicKey", &world.bob);
    world
        .write("secrets/portreeve/alice-key/name", "alice")
        .write("secrets/portreeve/alice-key/publicKey", &world.alice);
    let secrets = json!({ "signerSecrets": [{ "name": "alice-key" }] });
    let heard = admit(&world.simple(&secrets), &pod(&[&tagged("v1")]));
    assert_allowed(&heard, &[(FIRST, pinned("v1"))]);
    assert!(heard.audit["signers"].as_str().unwrap().ends_with("=alice"), "{heard:?}");
    let own = world.engine(&[world.policy(Some("line-1"), "*", &secrets)]);
    assert_denied(&admit(&own, &pod(&[&tagged("v1")])), &["bob"]);
    assert_allowed(&admit(&own, &pod(&[&tagged("both")])), &[(FIRST, pinned("both"))]);
    let missing = world.engine(&[world.policy(Some("line-1"), "*", &json!({ "signerSecrets": [{ "name": "none" }] }))]);
    assert_denied(&admit(&missing, &pod(&[&tagged("v1")])), &["line-1/none"]);
    // Fault 8: of two keys for one name, neither wins.
    world.write("secrets/line-1/twin/name", "bob").write("secrets/line-1/twin/publicKey", &world.alice);
    let both = json!({ "signerSecrets": [{ "name": "alice-key" }, { "name": "twin" }] });
    let engine = world.engine(&[world.policy(Some("line-1"), "*", &both)]);
    assert_denied(&admit(&engine, &pod(&[&tagged("both")])), &["two different keys"]);
    // The role that tags are released in is no signer: otherwise every releaser would count as that signer.
    world.write("secrets/portreeve/alice-key/name", "releases");
    assert_denied(&admit(&world.simple(&secrets), &pod(&[&tagged("v1")])), &["cannot be called \"releases\""]);
}

#[test]
fn digests_are_looked_up_as_what_they_are() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    let digest = |tag: &str| sha256_hex(tag.as_bytes());
    // Fault 4: the digest form is judged by the digest, and needs no patch.
    assert_allowed(&admit(&engine, &pod(&[&by_digest("v1")])), &[]);
    assert_allowed(&admit(&engine, &pod(&[&pinned("v1")])), &[]);
    assert_denied(&admit(&engine, &pod(&[&by_digest("evil")])), &["rejected"]);
    assert_denied(&admit(&engine, &pod(&[&format!("{GUN}:v1@sha256:{}", digest("both"))])), &["rejected"]);
    // Fault 5: the digest form matches the policy that made it.
    let exact = world.engine(&[world.policy(None, GUN, &json!({}))]);
    assert_allowed(&admit(&exact, &pod(&[&by_digest("v1")])), &[]);
    let exact = world.engine(&[world.policy(None, &tagged("v1"), &json!({}))]);
    assert_allowed(&admit(&exact, &pod(&[&pinned("v1")])), &[]);
    // The patch keeps the tag, so that a pattern with a tag, or a part of one, matches it again.
    for pattern in [tagged("v1"), tagged("v*"), tagged("*1")] {
        let engine = world.engine(&[world.policy(None, &pattern, &json!({}))]);
        let heard = admit(&engine, &pod(&[&tagged("v1")]));
        assert_allowed(&heard, &[(FIRST, pinned("v1"))]);
        let patched = pod(&[&heard.patch[0].1]);
        assert_allowed(&ask(&engine, Endpoint::Validate, &patched), &[]);
        assert_allowed(&admit(&engine, &patched), &[]);
    }
    // Fault 15.
    assert_denied(&admit(&engine, &pod(&[&format!("{GUN}@sha512:{}", "a".repeat(128))])), &["sha256"]);
    // Fault 17: only released targets count.
    assert_denied(&admit(&engine, &pod(&[&tagged("hidden")])), &["hidden"]);
    // Fault 16: no number in a name is ever taken for a status.
    assert_allowed(&admit(&engine, &pod(&[&tagged("v401")])), &[(FIRST, pinned("v401"))]);
}

#[test]
fn every_credential_is_tried_and_told() {
    let world = World::new();
    world.server.require(SignIn::Bearer(TokenService::of("robot", "right")));
    let config = |user: &str, password: &str| {
        json!({ "auths": { "registry.local:9001": { "username": user, "password": password } } }).to_string()
    };
    world.write("registries/a/.dockerconfigjson", &config("stranger", "hidden-word"));
    let engine = world.simple(&json!({}));
    let heard = admit(&engine, &pod(&[&tagged("v1")]));
    assert_denied(&heard, &["unavailable", "registries/a"]);
    assert!(!heard.message.contains("hidden-word"), "{}", heard.message);
    world.write("registries/c/.dockerconfigjson", "{");
    let heard = admit(&world.simple(&json!({})), &pod(&[&tagged("v1")]));
    assert_denied(&heard, &["unavailable", "registries/a", "registries/c"]);
    world.write("registries/b/.dockerconfigjson", &config("robot", "right"));
    assert_allowed(&admit(&world.simple(&json!({})), &pod(&[&tagged("v1")])), &[(FIRST, pinned("v1"))]);
}

#[test]
fn a_server_that_is_away_is_told_apart_from_data_that_says_no() {
    let mut world = World::new();
    let plain = world.simple(&json!({}));
    let cached = world.simple(&json!({ "whenUnavailable": "useCached", "maxStale": "1h" }));
    for engine in [&plain, &cached] {
        assert_allowed(&admit(engine, &pod(&[&tagged("v1")])), &[(FIRST, pinned("v1"))]);
    }
    world.server.misbehave("timestamp", Fault::Status(500));
    assert_denied(&admit(&plain, &pod(&[&tagged("v1")])), &["unavailable"]);
    world.server.stop();
    assert_denied(&admit(&plain, &pod(&[&tagged("v1")])), &["unavailable"]);
    let heard = admit(&cached, &pod(&[&tagged("v1")]));
    assert_allowed(&heard, &[(FIRST, pinned("v1"))]);
    assert!(heard.warnings.iter().any(|warning| warning.contains("did not answer")), "{heard:?}");
}

#[test]
fn a_denial_says_what_took_the_time() {
    let world = World::new();
    let engine = world.simple(&json!({}));
    world.server.misbehave("timestamp", Fault::Stall);
    let body = pod(&[&tagged("v1")]).to_string();
    let ask = |time| {
        let (answer, _) = engine.review(Endpoint::Admit, body.as_bytes(), Deadline::after(time));
        String::from_utf8(answer.body).unwrap()
    };
    let waited = ask(Duration::from_secs(1));
    assert!(waited.contains("did not answer in time") && waited.contains(" (waited "), "{waited}");
    assert!(!waited.contains("before it could be asked"), "{waited}");
    let late = ask(Duration::ZERO);
    assert!(late.contains("the time was up before it could be asked"), "{late}");
}
