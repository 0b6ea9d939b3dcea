//! What is kept as evidence, and how it counts.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn scheme_row_133_evidence_does_not_count_under_a_policy_without_its_key() {
    let bench = Bench::signed(&Options::default());
    bench.verdict().unwrap();
    let by_digest = bench.by_digest();
    let bob = rule_of(&[("bob", &bench.bob)]);
    let message = rejected(bench.ask(&Ask::of(&by_digest, &bob)), "signature");
    assert!(message.contains("bob"), "{message}");
    bench.registry.go_away();
    let annotated = Rule { annotations: [("build".to_owned(), "42".to_owned())].into(), ..bench.rule() };
    unavailable(bench.ask(&Ask::of(&by_digest, &annotated)));
    bench.ask(&Ask::of(&by_digest, &bench.rule())).unwrap();
}

#[test]
fn scheme_row_134_damaged_evidence_is_fetched_anew_or_unavailable() {
    let options = Options { cache: true, ..Options::default() };
    let mut bench = Bench::signed(&options);
    bench.verdict().unwrap();
    let (rule, by_digest) = (bench.rule(), bench.by_digest());
    for away in [true, false] {
        bench.cosign.images.evidence.settle();
        let damaged = damage(&bench.scratch.path().join("cache"));
        assert!(damaged > 0, "nothing is stored");
        bench.restart(&options);
        if away {
            bench.registry.go_away();
            unavailable(bench.ask(&Ask::of(&by_digest, &rule)));
            bench.registry.come_back();
        }
        bench.registry.forget_requests();
        assert_eq!(bench.ask(&Ask::of(&by_digest, &rule)).unwrap().freshness, Freshness::Fetched);
        assert_eq!(bench.registry.count("/blobs/"), 1);
    }
}

/// Changes a byte in the middle of every file.
fn damage(directory: &std::path::Path) -> usize {
    let mut damaged = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damaged += damage(&path);
        } else if let Ok(mut bytes) = std::fs::read(&path)
            && bytes.len() > 100
        {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    damaged
}

#[test]
fn evidence_and_a_new_signature_count_together() {
    let bench = Bench::signed(&Options { refresh_after: Duration::ZERO, ..Options::default() });
    bench.verdict().unwrap();
    // The registry has only the other one now.
    bench.registry.forget_referrers(NAME, &bench.image.digest());
    bench.attach(&bench.image, &bench.bob);
    let both = rule_of(&[("alice", &bench.alice), ("bob", &bench.bob)]);
    assert_eq!(bench.ask(&Ask::of(":v1", &both)).unwrap().signers, ["alice", "bob"]);
}

#[test]
fn only_what_verified_is_kept_and_no_tag_of_an_unverified_image() {
    let bench = Bench::signed(&Options::default());
    bench.attach(&bench.image, &Key::p256());
    let bob = rule_of(&[("bob", &bench.bob)]);
    rejected(bench.ask(&Ask::of(":v1", &bob)), "signature");
    let digest = portreeve_verify::image::Sha256::new(bench.image.sha256());
    let soon = || Deadline::after(LONG);
    let tag = format!("{}:v1", bench.name());
    assert!(bench.cosign.images.evidence.get(digest, soon()).is_none());
    assert!(bench.cosign.images.evidence.tag(&tag, Timestamp::now(), soon()).is_none());
    bench.verdict().unwrap();
    assert_eq!(bench.cosign.images.evidence.get(digest, soon()).unwrap().signatures.len(), 1);
    assert_eq!(bench.cosign.images.evidence.tag(&tag, Timestamp::now(), soon()).unwrap().digest, digest);
}

#[test]
fn statement_and_findings_say_what_counted() {
    let bench = Bench::signed(&Options::default());
    let fetched = bench.verdict().unwrap();
    let cached = bench.verdict().unwrap();
    for verified in [fetched, cached] {
        let statement = verified.evidence.statement();
        for part in ["v1", &bench.registry.url()] {
            assert!(statement.contains(part), "{statement}");
        }
        let findings = verified.evidence.findings();
        assert!(
            matches!(&findings[..], [one] if one.signers == ["alice"] && one.passed_over.is_none()),
            "{findings:?}"
        );
        assert!(findings[0].signature.starts_with("bundle in sha256:"), "{findings:?}");
    }
}

/// A disk that does not answer would otherwise be waited for after each part that is fetched.
#[test]
fn the_disk_is_read_once_for_each_lookup() {
    static READS: AtomicUsize = AtomicUsize::new(0);
    let bench = Bench::with(&Options { refresh_after: Duration::ZERO, cache: true, ..Options::default() });
    bench.cosign.images.evidence.before_reads(|| {
        READS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let rule = bench.rule();
    rejected(bench.ask(&Ask::of(&bench.by_digest(), &rule)), "not-signed");
    assert_eq!(READS.swap(0, Ordering::Relaxed), 1);
    // The tag is one file, the image another.
    let other = bench.registry.push_image(NAME, "v2", "two");
    rejected(bench.ask(&Ask::of(":v2", &rule)), "not-signed");
    assert_eq!(READS.swap(0, Ordering::Relaxed), 2, "{}", other.digest());
}
