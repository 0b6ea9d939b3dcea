//! Images that notation signed, as a registry has them, where the samples are beside the checkout.

use std::path::{Path, PathBuf};

use super::*;

/// The samples; `None` where they are not.
fn samples() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = root.ancestors().map(|above| above.join("shared/vectors/notation-timestamped"));
    found.into_iter().find(|path| path.is_dir())
}

/// The samples' registry as ours: the image is under the tag `v1`.
fn push(bench: &Bench, registry: &Path) {
    let read = |path: &Path| fs::read(path).unwrap();
    let json = |path: &Path| -> serde_json::Value { serde_json::from_slice(&read(path)).unwrap() };
    let files = |name: &str| {
        let entries = fs::read_dir(registry.join(name)).unwrap().map(|entry| entry.unwrap().path());
        entries.collect::<Vec<_>>()
    };
    for blob in files("blobs") {
        bench.registry.push_blob(NAME, read(&blob));
    }
    for manifest in files("manifests") {
        let media_type = json(&manifest)["mediaType"].as_str().unwrap().to_owned();
        bench.registry.push_manifest(NAME, &media_type, read(&manifest));
    }
    for list in files("referrers") {
        let subject = list.file_stem().unwrap().to_str().unwrap().replace("sha256-", "sha256:");
        for referrer in json(&list)["manifests"].as_array().unwrap() {
            bench.registry.list_referrer(NAME, &subject, referrer.clone());
        }
    }
    for (tag, digest) in json(&registry.join("tags-to-digests.json")).as_object().unwrap() {
        bench.registry.tag(NAME, tag, digest.as_str().unwrap());
    }
}

/// JWS and COSE with time stamps, found by the referrers API, and under the fallback tag without it.
#[test]
fn scheme_row_111_signatures_by_notation_with_time_stamps_are_found_and_count() {
    let Some(samples) = samples() else { return };
    let bench = || {
        let bench = Bench::new(Duration::ZERO);
        push(&bench, &samples.join("registry"));
        for (store, file) in [("ca/samples", "root.pem"), ("tsa/samples", "tsa-root.pem")] {
            bench
                .scratch
                .write(&format!("stores/truststore/x509/{store}/{file}"), fs::read(samples.join(file)).unwrap());
        }
        bench
    };
    let identity = ["x509.subject: C=US, ST=WA, O=Plant".to_owned()];
    let stores = ["ca:samples", "tsa:samples"].map(str::to_owned);
    let rule = Arc::new(Rule::under(&stores, &identity, false).unwrap());
    for referrers in [Referrers::Api, Referrers::Absent(404)] {
        let bench = bench();
        bench.registry.serve_referrers(referrers);
        let mut trace = Trace::default();
        let verified = bench.ask_at(":v1", &rule, NOW, &mut trace).unwrap();
        assert!(trace.findings.iter().any(|finding| !finding.signers.is_empty()), "{:?}", trace.findings);
        assert!(verified.digest.sha256().to_string().starts_with("sha256:77c3dcaa"));
    }
    // Years later the certificates have ended, and the time stamps have not: but only where they are looked at.
    let (bench, later) = (bench(), NOW + 11 * 365 * DAY);
    let without = Arc::new(Rule::under(&stores[..1], &identity, false).unwrap());
    rejected(bench.ask_at(":v1", &without, later, &mut Trace::default()), "signature");
    bench.ask_at(":v1", &rule, later, &mut Trace::default()).unwrap();
}
