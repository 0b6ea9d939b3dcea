//! Several rules for one image: which of them decide, and what they come to together.

use super::*;

/// A rule that asks the world's server.
fn rule(world: &World, pattern: &str, mode: &str, trust: &Value) -> Value {
    let mut asked = json!({ "enabled": true, "trustServer": world.server.url() });
    asked.as_object_mut().unwrap().extend(trust.as_object().unwrap().clone());
    json!({ "name": pattern, "policy": { "mode": mode, "trust": asked } })
}

fn unchecked(pattern: &str) -> Value {
    json!({ "name": pattern, "policy": {} })
}

/// Engines with these rules in one policy, in the opposite order, and in a policy each.
fn in_every_order(world: &World, rules: &[Value]) -> Vec<Engine> {
    let turned: Vec<Value> = rules.iter().rev().cloned().collect();
    let mut engines = vec![
        world.engine(&[document(None, rules.to_vec().into())]),
        world.engine(&[document(None, turned.clone().into())]),
    ];
    for order in [rules.to_vec(), turned] {
        let named = |(index, rule): (usize, &Value)| {
            let mut document = document(None, json!([rule]));
            document["metadata"]["name"] = format!("p{index}").into();
            document
        };
        engines.push(world.engine(&order.iter().enumerate().map(named).collect::<Vec<_>>()));
        std::fs::remove_dir_all(world.directory.path().join("policies")).unwrap();
    }
    engines
}

/// An unsigned digest must not get past the rule for its tags to a laxer one.
#[test]
fn no_digest_leads_past_a_rule_for_tags() {
    let world = World::new();
    let strict = |mode: &str| rule(&world, &format!("{GUN}:v*"), mode, &json!({}));
    for engine in in_every_order(&world, &[strict("enforce"), unchecked("*")]) {
        let unsigned = admit(&engine, &pod(&[&by_digest("evil")]));
        assert_denied(&unsigned, &["rejected", "plc:v*"]);
        assert_allowed(&admit(&engine, &pod(&[&by_digest("v1")])), &[]);
        assert_allowed(&admit(&engine, &pod(&[&tagged("other")])), &[]);
    }
    for engine in in_every_order(&world, &[strict("warn"), unchecked("*")]) {
        let heard = admit(&engine, &pod(&[&by_digest("evil")]));
        assert_allowed(&heard, &[]);
        assert!(heard.warnings[0].contains("rejected"), "{heard:?}");
    }
}

/// A rule for some tags speaks for no digest that was released under others alone.
#[test]
fn a_digest_counts_under_the_tags_that_the_pattern_matches() {
    let world = World::new();
    for pattern in ["v1", "v*", "*1"] {
        let engine = world.engine(&[document(None, json!([rule(&world, &tagged(pattern), "enforce", &json!({}))]))]);
        assert_allowed(&admit(&engine, &pod(&[&by_digest("v1")])), &[]);
        assert_denied(&admit(&engine, &pod(&[&by_digest("both")])), &["no tag in", &format!("tags {pattern} count")]);
    }
}

/// Where several rules are equally strict, a digest that one of them lets in is let in.
#[test]
fn for_a_digest_one_of_several_rules_is_enough() {
    let world = World::new();
    let signed_by = |name: &str, key: &str| json!({ "signers": [{ "name": name, "publicKey": key }] });
    let rules = [
        rule(&world, &format!("{GUN}:b*"), "enforce", &signed_by("bob", &world.bob)),
        rule(&world, &format!("{GUN}:v*"), "enforce", &signed_by("alice", &world.alice)),
        unchecked("*"),
    ];
    for engine in in_every_order(&world, &rules) {
        assert_allowed(&admit(&engine, &pod(&[&by_digest("v1")])), &[]);
        let heard = admit(&engine, &pod(&[&by_digest("hidden")]));
        assert_denied(&heard, &["plc:b*", "plc:v*", "1 of 1"]);
        let heard = admit(&engine, &pod(&[&tagged("b1")]));
        assert_denied(&heard, &["plc:b*"]);
        assert!(!heard.message.contains("plc:v*"), "{}", heard.message);
    }
    // Unavailable: the server of one of them does not answer.
    let away = json!({ "trustServer": "https://127.0.0.1:9" });
    let rules = [
        rule(&world, &format!("{GUN}:b*"), "enforce", &away),
        rule(&world, &format!("{GUN}:v*"), "enforce", &json!({})),
    ];
    for engine in in_every_order(&world, &rules) {
        let heard = admit(&engine, &pod(&[&by_digest("evil")]));
        assert_denied(&heard, &["unavailable: the trust server did not answer", "rejected: "]);
        assert!(heard.audit["images"].as_str().unwrap().ends_with("=unavailable"), "{heard:?}");
        assert_allowed(&admit(&engine, &pod(&[&by_digest("v1")])), &[]);
    }
}

/// A rule that only warns of an unavailable verdict does not keep the next rule from being checked.
#[test]
fn a_warning_is_no_reason_to_ask_no_further() {
    let world = World::new();
    let rules = [
        rule(&world, &format!("{GUN}:b*"), "warn", &json!({ "trustServer": "https://127.0.0.1:9" })),
        rule(&world, &format!("{GUN}:v*"), "warn", &json!({})),
    ];
    for engine in in_every_order(&world, &rules) {
        let heard = admit(&engine, &pod(&[&by_digest("v1")]));
        assert_allowed(&heard, &[]);
        assert!(heard.warnings.is_empty() && heard.audit["images"].as_str().unwrap().contains("=sha256:"), "{heard:?}");
    }
}

/// What is equally specific is as strict as the strictest of it: a laxer rule for other tags is not enough.
#[test]
fn a_digest_does_not_go_by_a_laxer_rule_for_other_tags() {
    let world = World::new();
    let signed_by = |name: &str, key: &str| json!({ "signers": [{ "name": name, "publicKey": key }] });
    let alice = signed_by("alice", &world.alice);
    let rules = [
        rule(&world, &GUN.replace("plc", "*plc:v1"), "enforce", &signed_by("bob", &world.bob)),
        rule(&world, &GUN.replace("plc", "plc*:v1"), "warn", &alice),
        rule(&world, &format!("{GUN}:b*"), "warn", &alice),
    ];
    for engine in in_every_order(&world, &rules) {
        assert_denied(&admit(&engine, &pod(&[&by_digest("v1")])), &["bob"]);
    }
}

/// Equally specific rules must all hold, each in its own mode; the alphabet does not choose.
#[test]
fn equally_specific_rules_must_all_hold_each_in_its_mode() {
    let world = World::new();
    let (alice, bob) = (
        json!({ "signers": [{ "name": "alice", "publicKey": world.alice }] }),
        json!({ "signers": [{ "name": "bob", "publicKey": world.bob }] }),
    );
    let [one, other] = [GUN.replace("plc", "*plc"), GUN.replace("plc", "plc*")];
    for (one, other) in [(&one, &other), (&other, &one)] {
        // Both deny.
        for engine in
            in_every_order(&world, &[rule(&world, one, "enforce", &alice), rule(&world, other, "enforce", &bob)])
        {
            assert_allowed(&admit(&engine, &pod(&[&tagged("both")])), &[(FIRST, pinned("both"))]);
            assert_denied(&admit(&engine, &pod(&[&tagged("v1")])), &["bob"]);
        }
        // One denies, the other warns.
        for engine in in_every_order(&world, &[rule(&world, one, "warn", &bob), rule(&world, other, "enforce", &alice)])
        {
            let heard = admit(&engine, &pod(&[&tagged("v1")]));
            assert_allowed(&heard, &[(FIRST, pinned("v1"))]);
            assert!(heard.warnings[0].contains("bob"), "{heard:?}");
            assert_denied(&admit(&engine, &pod(&[&tagged("evil")])), &["evil"]);
        }
        // With signers and without, checked and unchecked: what asks for more must hold too.
        for laxer in [rule(&world, one, "enforce", &json!({})), unchecked(one)] {
            for engine in in_every_order(&world, &[laxer, rule(&world, other, "enforce", &bob)]) {
                assert_denied(&admit(&engine, &pod(&[&tagged("v1")])), &["bob"]);
                assert_allowed(&admit(&engine, &pod(&[&tagged("both")])), &[(FIRST, pinned("both"))]);
            }
        }
        // One that leaves the tag and one that pins it.
        let mut leaves = rule(&world, one, "enforce", &json!({}));
        leaves["policy"]["mutateImage"] = false.into();
        for engine in in_every_order(&world, &[leaves, rule(&world, other, "enforce", &alice)]) {
            assert_allowed(&admit(&engine, &pod(&[&tagged("v1")])), &[(FIRST, pinned("v1"))]);
        }
    }
}

/// Two rules that ask two servers, which have signed different things under one tag.
#[test]
fn rules_that_verify_different_digests_let_nothing_in() {
    let world = World::new();
    let authority = Authority::new();
    let server = TrustServer::start_under(&authority);
    server.publish(&Signer::new(GUN).signer("alice").release("v1", sha256(b"other"), 100, &["alice"]).publish());
    let both = [std::fs::read_to_string(world.directory.path().join("ca.pem")).unwrap(), authority.pem()];
    world.write("ca.pem", &both.join("\n"));
    let elsewhere = json!({ "trustServer": server.url() });
    let [one, other] = [GUN.replace("plc", "*plc"), GUN.replace("plc", "plc*")];
    let rules =
        |modes: [&str; 2]| [rule(&world, &one, modes[0], &elsewhere), rule(&world, &other, modes[1], &json!({}))];
    for engine in in_every_order(&world, &rules(["enforce", "enforce"])) {
        assert_denied(&admit(&engine, &pod(&[&tagged("v1")])), &["different digests"]);
        // The digest says which is meant; then the other server says no.
        assert_denied(&admit(&engine, &pod(&[&pinned("v1")])), &["rejected"]);
    }
    for engine in in_every_order(&world, &rules(["warn", "enforce"])) {
        let heard = admit(&engine, &pod(&[&tagged("v1")]));
        assert_allowed(&heard, &[(FIRST, pinned("v1"))]);
        assert!(heard.warnings[0].contains("different digests"), "{heard:?}");
    }
    for engine in in_every_order(&world, &rules(["warn", "warn"])) {
        let heard = admit(&engine, &pod(&[&tagged("v1")]));
        assert_allowed(&heard, &[]);
        assert!(heard.warnings[0].contains("different digests"), "{heard:?}");
    }
}

/// What policy denies is denied in its own words, and no server is asked.
#[test]
fn a_denial_is_told_in_the_policy_s_words() {
    let mut world = World::new();
    let words = "use the site's mirror\u{1b}[2J";
    let deny = |pattern: &str| json!({ "name": pattern, "policy": { "deny": { "message": words } } });
    let reject =
        |pattern: &str| json!({ "name": pattern, "policy": { "simple": { "requirements": [{ "type": "reject" }] } } });
    for rules in [[deny("docker.io/*"), unchecked("*")], [unchecked("docker.io/library/nginx"), deny("*")]] {
        let engine = world.engine(&[document(None, json!(rules))]);
        let heard = admit(&engine, &pod(&["bitnami/redis"]));
        assert_denied(
            &heard,
            &["rejected: denied by policy: use the site's mirror\u{fffd}[2J [ClusterImagePolicy p ("],
        );
        assert_eq!(heard.audit["images"], "bitnami/redis=rejected:denied-by-policy");
    }
    let engine = world.engine(&[document(None, json!([reject("*")]))]);
    assert_denied(&admit(&engine, &pod(&[&tagged("v1")])), &["denied by policy", "\"reject\""]);
    // By digest alone no tag is named, and that is why a rule for some tags denies.
    let engine = world.engine(&[document(None, json!([deny("r.io/plc:w*"), unchecked("r.io/*")]))]);
    let digest = "0".repeat(64);
    let strictest = "the image names no tag, so the strictest rule for its name counts; name its tag as well";
    assert_denied(&admit(&engine, &pod(&[&format!("r.io/plc@sha256:{digest}")])), &[strictest]);
    for image in ["r.io/plc:w1", &format!("r.io/plc:w1@sha256:{digest}")] {
        let heard = admit(&engine, &pod(&[image]));
        assert_denied(&heard, &["denied by policy"]);
        assert!(!heard.message.contains(strictest), "{heard:?}");
    }
    assert_allowed(&admit(&engine, &pod(&[&format!("r.io/plc:v1@sha256:{digest}")])), &[]);
    assert_eq!(world.server.connections(), 0);
    // A check that is equally specific and holds does not help.
    let [one, other] = [GUN.replace("plc", "*plc"), GUN.replace("plc", "plc*")];
    for engine in in_every_order(&world, &[deny(&one), rule(&world, &other, "enforce", &json!({})), unchecked("*")]) {
        assert_denied(&admit(&engine, &pod(&[&tagged("v1")])), &["denied by policy"]);
    }
    world.more_config = json!({ "admission": { "mode": "warn" } });
    let heard = admit(&world.engine(&[document(None, json!([deny("*")]))]), &pod(&["nginx"]));
    assert_allowed(&heard, &[]);
    assert!(heard.warnings[0].contains("denied by policy"), "{heard:?}");
}

/// `sha256:…` is the ID of an image that lies on the node, pulled from wherever, and not an image of Docker Hub.
#[test]
fn an_image_id_is_let_in_by_no_rule() {
    let world = World::new();
    for rules in [json!([unchecked("docker.io/library/*")]), json!([unchecked("*")])] {
        let engine = world.engine(&[document(None, rules)]);
        for id in [&format!("sha256:{}", "0".repeat(64)), "sha256:0123abcd"] {
            assert_denied(&admit(&engine, &pod(&[id])), &["invalid image name", "an image ID"]);
        }
        assert_allowed(&admit(&engine, &pod(&["docker.io/library/app:0123abcd"])), &[]);
    }
}

/// By digest alone an image must not get past the rule for the tag that it was released under, to a less specific one.
#[test]
fn a_release_counts_for_the_rule_of_its_tag() {
    let world = World::new();
    let signed_by = |name: &str, key: &str| json!({ "signers": [{ "name": name, "publicKey": key }] });
    let by_bob = rule(&world, &format!("{GUN}:v*"), "enforce", &signed_by("bob", &world.bob));
    let by_anybody = |mode: &str| rule(&world, "registry.local:9001/*", mode, &json!({}));
    for engine in in_every_order(&world, &[by_bob.clone(), by_anybody("enforce"), unchecked("*")]) {
        assert_denied(&admit(&engine, &pod(&[&tagged("v1")])), &["not signed by bob"]);
        assert_denied(
            &admit(&engine, &pod(&[&by_digest("v1")])),
            &["not signed by bob", "tags count but for those like v*"],
        );
        assert_allowed(&admit(&engine, &pod(&[&by_digest("both")])), &[]);
    }
    // A rule that asks for less takes nothing from one that asks for more.
    for lax in
        [unchecked(&format!("{GUN}:v*")), rule(&world, &format!("{GUN}:v*"), "warn", &signed_by("bob", &world.bob))]
    {
        for engine in in_every_order(&world, &[lax.clone(), by_anybody("enforce")]) {
            assert_allowed(&admit(&engine, &pod(&[&by_digest("v1")])), &[]);
        }
    }
    // What never decides takes nothing either.
    let shadowed = rule(&world, "registry.local:9001/plant/*:v*", "enforce", &signed_by("bob", &world.bob));
    for engine in in_every_order(&world, &[unchecked(&format!("{GUN}:v*")), shadowed, by_anybody("enforce")]) {
        assert_allowed(&admit(&engine, &pod(&[&by_digest("v1")])), &[]);
    }
}

/// The tag belongs to what no pattern matches: the repository may have a pattern for other tags.
#[test]
fn what_no_pattern_matches_is_told_with_its_tag() {
    let world = World::new();
    let engine = world.engine(&[document(None, json!([unchecked("docker.io/library/auto:latest")]))]);
    assert_allowed(&admit(&engine, &pod(&["auto"])), &[]);
    assert_denied(&admit(&engine, &pod(&["auto:v2"])), &["object(s) matches docker.io/library/auto:v2; add one"]);
}
