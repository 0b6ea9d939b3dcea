//! Which requests are made, in which order, and which at the same time.

use super::*;

/// Long enough that requests at the same time are seen to be.
const DELAY: Duration = Duration::from_millis(300);

fn guarded(bench: &Bench) -> Vec<Credential> {
    bench.registry.require(SignIn::Bearer(TokenService::of("alice", "secret")));
    vec![of("alice", "secret")]
}

fn of(user: &str, password: &str) -> Credential {
    Credential { username: user.to_owned(), password: Secret::new(password), source: "a file".to_owned() }
}

#[test]
fn a_cold_image_takes_token_manifest_referrers_signature_manifest_and_blob_and_nothing_else() {
    let bench = Bench::signed(&Options::default());
    let credentials = guarded(&bench);
    let rule = bench.rule();
    let ask = Ask { credentials: &credentials, ..Ask::of(":v1", &rule) };
    bench.ask(&ask).unwrap();
    let expected = [
        "GET manifests/v1",
        "GET /token",
        "GET manifests/v1",
        "GET referrers/sha256:…",
        "GET manifests/sha256:…",
        "GET blobs/sha256:…",
    ];
    assert_eq!(bench.registry.round_trips(), expected, "the first request finds out how to sign in");
    // From then on, a tag that is known and a digest take no request at all.
    bench.registry.forget_requests();
    let by_digest = bench.by_digest();
    for image in [":v1", by_digest.as_str()] {
        let verified = bench.ask(&Ask { credentials: &credentials, ..Ask::of(image, &rule) }).unwrap();
        assert_eq!(verified.freshness, Freshness::Cached);
    }
    assert_eq!(bench.registry.round_trips(), [""; 0]);
    // Another image of the registry needs no other way to sign in.
    let other = bench.registry.push_image(NAME, "v2", "two");
    bench.attach(&other, &bench.alice);
    bench.ask(&Ask { credentials: &credentials, ..Ask::of(":v2", &rule) }).unwrap();
    let expected = ["GET manifests/v2", "GET referrers/sha256:…", "GET manifests/sha256:…", "GET blobs/sha256:…"];
    assert_eq!(bench.registry.round_trips(), expected, "the token is still good");
}

#[test]
fn without_the_referrers_api_both_tags_are_asked_for_at_once() {
    let bench = Bench::new();
    let credentials = guarded(&bench);
    bench.registry.serve_referrers(Referrers::Absent(404));
    bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&[layer(&bench.image, "x/y", &bench.alice)]));
    bench.registry.misbehave("", Fault::Delay(DELAY));
    let rule = bench.rule();
    bench.ask(&Ask { credentials: &credentials, ..Ask::of(":v1", &rule) }).unwrap();
    let trips = bench.registry.round_trips();
    assert_eq!(trips[..4], ["GET manifests/v1", "GET /token", "GET manifests/v1", "GET referrers/sha256:…"]);
    let mut tags = trips[4..6].to_vec();
    tags.sort();
    assert_eq!(tags, ["GET manifests/sha256-…", "GET manifests/sha256-….sig"]);
    assert_eq!(trips[6..], ["GET blobs/sha256:…"]);
    assert_eq!(bench.registry.in_a_row(DELAY), 6);
}

#[test]
fn signatures_are_fetched_side_by_side_and_four_at_most() {
    let bench = Bench::new();
    for _ in 0..7 {
        bench.attach(&bench.image, &bench.bob);
    }
    bench.attach(&bench.image, &bench.alice);
    bench.registry.misbehave("", Fault::Delay(DELAY));
    bench.verdict().unwrap();
    assert_eq!(bench.registry.most_at_once(""), 4);
    // Two rounds of four, each a manifest and a blob.
    assert!(bench.registry.in_a_row(DELAY) <= 7, "{}", bench.registry.in_a_row(DELAY));
    assert_eq!(bench.registry.requests().len(), 2 + 8 + 8);
}

#[test]
fn a_digest_is_looked_up_with_its_referrers_beside_it_when_nothing_is_stored() {
    let bench = Bench::signed(&Options::default());
    bench.registry.misbehave("", Fault::Delay(DELAY));
    let rule = bench.rule();
    let image = format!(":anything{}", bench.by_digest());
    let verified = bench.ask(&Ask::of(&image, &rule)).unwrap();
    assert_eq!(verified.digest.sha256().to_string(), bench.image.digest());
    let mut trips = bench.registry.round_trips();
    trips.sort();
    let expected = ["GET blobs/sha256:…", "GET manifests/sha256:…", "GET manifests/sha256:…", "GET referrers/sha256:…"];
    assert_eq!(trips, expected, "the tag beside a digest is not looked at");
    assert_eq!(bench.registry.in_a_row(DELAY), 3);
}

/// With a sign-in: refusals, token, manifest and referrers, signature's manifest, blob.
#[test]
fn first_contact_about_a_digest_takes_five_round_trips_in_a_row() {
    let bench = Bench::signed(&Options::default());
    let credentials = guarded(&bench);
    bench.registry.misbehave("", Fault::Delay(DELAY));
    let rule = bench.rule();
    bench.ask(&Ask { credentials: &credentials, ..Ask::of(&bench.by_digest(), &rule) }).unwrap();
    assert_eq!((bench.registry.count("/token"), bench.registry.in_a_row(DELAY)), (1, 5));
    assert_eq!(bench.registry.requests().len(), 7);
}

#[test]
fn what_is_asked_for_beside_a_manifest_says_nothing_without_it() {
    let bench = Bench::signed(&Options::default());
    let rule = bench.rule();
    bench.registry.misbehave("/referrers/", Fault::Status(500));
    let absent = format!("@sha256:{}", "ab".repeat(32));
    rejected(bench.ask(&Ask::of(&absent, &rule)), "not-found");
    unavailable(bench.ask(&Ask::of(&bench.by_digest(), &rule)));
    bench.registry.behave();
    bench.registry.misbehave("/manifests/", Fault::Status(500));
    unavailable(bench.ask(&Ask::of(&bench.by_digest(), &rule)));
}

#[test]
fn another_rule_asks_only_for_what_is_missing() {
    let bench = Bench::signed(&Options::default());
    bench.registry.attach_tag(NAME, &bench.image, &Artifact::layers(&[layer(&bench.image, "x/y", &bench.bob)]));
    bench.verdict().unwrap();
    bench.registry.forget_requests();
    let both = rule_of(&[("alice", &bench.alice), ("bob", &bench.bob)]);
    assert_eq!(bench.ask(&Ask::of(":v1", &both)).unwrap().signers, ["alice", "bob"]);
    let mut trips = bench.registry.round_trips();
    trips.sort();
    assert_eq!(trips, ["GET blobs/sha256:…", "GET manifests/sha256-…", "GET manifests/sha256-….sig"]);
}

#[test]
fn a_definite_refusal_is_remembered_for_a_moment_and_a_new_signature_counts_after_it() {
    let bench = Bench::with(&Options::default());
    rejected(bench.verdict(), "not-signed");
    let asked = bench.registry.requests().len();
    rejected(bench.verdict(), "not-signed");
    assert_eq!(bench.registry.requests().len(), asked);
    bench.attach(&bench.image, &bench.alice);
    thread::sleep(Duration::from_millis(2100));
    bench.verdict().unwrap();
}

#[test]
fn signatures_at_another_place_are_read_there_and_the_tag_at_the_images_own_registry() {
    let signatures = Registry::start();
    let mut bench = Bench::new();
    let place = BTreeMap::from([(format!("{}/", bench.registry.host()), format!("{}/sigs/", signatures.url()))]);
    bench.scratch.write("ca.pem", format!("{}{}", bench.registry.ca_pem(), signatures.ca_pem()));
    bench.restart(&Options { signatures: place, ..Options::default() });
    signatures.attach("sigs/plant/plc", &bench.image, &bundle(&bench.image, &bench.alice));
    let mut trace = Trace::default();
    let rule = bench.rule();
    bench.trace(&Ask::of(":v1", &rule), &mut trace).unwrap();
    assert_eq!(bench.registry.round_trips(), ["GET manifests/v1"]);
    let expected = ["GET referrers/sha256:…", "GET manifests/sha256:…", "GET blobs/sha256:…"];
    assert_eq!(signatures.round_trips(), expected);
    let subject = trace.subject.unwrap();
    assert_eq!((subject.name(), subject.server()), (bench.name().as_str(), Some(signatures.url().as_str())));
    // Each of them can be away.
    let other = bench.registry.push_image(NAME, "v2", "two");
    signatures.go_away();
    assert!(unavailable(bench.ask(&Ask::of(":v2", &rule))).contains(&signatures.url()), "{}", other.digest());
}

/// What a warm lookup costs. `cargo test --release -- --ignored --nocapture what_a_warm_lookup_costs` prints it.
#[test]
#[ignore = "measures, and asserts nothing"]
fn what_a_warm_lookup_costs() {
    let bench = Bench::signed(&Options { refresh_after: Duration::from_secs(600), ..Options::default() });
    bench.verdict().unwrap();
    let (rule, by_digest) = (bench.rule(), bench.by_digest());
    for image in [":v1", by_digest.as_str()] {
        let image = Reference::parse(&format!("{}{image}", bench.name())).unwrap();
        let keychain = FnKeychain(|_: Deadline| Vec::new());
        let query = Query {
            image: &image,
            tags: None,
            except: &[],
            key_namespace: "line-1",
            keychain: &keychain,
            is_delegated: false,
            deadline: Deadline::after(LONG * 10),
            now: Timestamp::now(),
            effort: portreeve_verify::Effort::UNLIMITED,
            notice: crate::schemes::WaitNotice::NONE,
        };
        let (rounds, began) = (100_000_u32, Instant::now());
        for _ in 0..rounds {
            bench.cosign.verify(&rule, &query, &mut Trace::default()).unwrap();
        }
        println!("{image}: {:?} each", began.elapsed() / rounds);
    }
}
