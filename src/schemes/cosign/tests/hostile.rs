//! Registries that are hostile: many candidates, large ones, and ones that never end.

use super::*;

/// A bundle of half a megabyte, in a manifest of a quarter.
fn large(image: &Image, key: &Key) -> Artifact {
    let statement = Statement::new(image).bytes();
    let bundle = Bundle::dsse(&statement, key).edit(|bundle| bundle["padding"] = "x".repeat(500 << 10).into());
    Artifact::bundle(image, bundle.bytes()).edit(|manifest| manifest["annotations"]["x"] = "y".repeat(200 << 10).into())
}

#[test]
fn many_large_candidates_cost_no_more_than_the_budget() {
    let bench = Bench::with(&Options { refresh_after: Duration::ZERO, verify_memory: 12 << 20, ..Options::default() });
    for _ in 0..12 {
        bench.registry.attach(NAME, &bench.image, &large(&bench.image, &bench.bob));
    }
    let message = unavailable(bench.verdict());
    assert!(message.contains("limits.verifyMemory"), "{message}");
    // The memory is given back.
    let other = bench.registry.push_image(NAME, "v2", "two");
    bench.registry.attach(NAME, &other, &large(&other, &bench.alice));
    bench.ask(&Ask::of(":v2", &bench.rule())).unwrap();
}

#[test]
fn a_long_list_is_not_kept_while_its_candidates_are_read() {
    let bench = Bench::new();
    let digest = bench.image.digest();
    for number in 0..2_000 {
        let referrer = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{number:064x}"),
            "size": 700, "artifactType": "application/spdx+json",
        });
        bench.registry.list_referrer(NAME, &digest, referrer);
    }
    for _ in 0..4 {
        bench.registry.attach(NAME, &bench.image, &large(&bench.image, &bench.bob));
    }
    // So that all four are in memory at once.
    bench.registry.misbehave("/blobs/", Fault::Delay(Duration::from_millis(300)));
    // All were read, or it would be unavailable.
    rejected(bench.verdict(), "signature");
}

#[test]
fn an_image_that_waits_for_memory_keeps_to_its_deadline() {
    let bench = Bench::with(&Options { refresh_after: Duration::ZERO, verify_memory: 12 << 20, ..Options::default() });
    bench.registry.attach(NAME, &bench.image, &large(&bench.image, &bench.alice));
    let server: Arc<str> = bench.registry.url().into();
    let budget = &bench.cosign.images.shared.budget;
    let part = crate::schemes::memory_budget::Part::Heavy;
    let held = budget.draw(part, &server, budget.most(), Deadline::after(LONG), &|| {}).ok().unwrap();
    let rule = bench.rule();
    let began = Instant::now();
    let message = unavailable(bench.ask(&Ask { wait: Duration::from_millis(700), ..Ask::of(":v1", &rule) }));
    assert!(message.contains("limits.verifyMemory") && began.elapsed() < Duration::from_secs(5), "{message}");
    drop(held);
    bench.verdict().unwrap();
}

#[test]
fn ten_thousand_referrers_hold_up_nobody() {
    let bench = Bench::new();
    let digest = bench.image.digest();
    for number in 0..10_000 {
        let referrer = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{number:064x}"),
            "size": 700, "artifactType": "application/spdx+json",
        });
        bench.registry.list_referrer(NAME, &digest, referrer);
    }
    bench.attach(&bench.image, &bench.alice);
    let other = bench.registry.push_image(NAME, "v2", "two");
    bench.attach(&other, &bench.alice);
    let rule = bench.rule();
    thread::scope(|scope| {
        let many = scope.spawn(|| bench.verdict());
        let began = Instant::now();
        bench.ask(&Ask::of(":v2", &rule)).unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        many.join().unwrap().unwrap();
    });
}

#[test]
fn endless_answers_end() {
    for part in ["/manifests/v1", "/referrers/", "/blobs/"] {
        for fault in [Fault::Huge(100 << 20), Fault::HugeChunked(100 << 20)] {
            let bench = Bench::signed(&Options::default());
            bench.registry.misbehave(part, fault);
            let began = Instant::now();
            assert!(bench.verdict().is_err(), "{part}");
            assert!(began.elapsed() < Duration::from_secs(10), "{part}: {:?}", began.elapsed());
        }
    }
}
