//! Trust stores on the disk: what is read, and what stays in force.

use super::*;
use portreeve_test_support::notation::{distribution_point, revocation_list};

fn reloads(bench: &Bench, result: &str) -> String {
    let series = format!("portreeve_reloads_total{{what=\"trust_stores\",result=\"{result}\"}} ");
    let text = bench.metrics.render();
    text.lines().find_map(|line| line.strip_prefix(series.as_str())).unwrap_or_default().to_owned()
}

#[test]
fn a_store_that_is_not_there_is_named_with_what_to_do() {
    let bench = Bench::signed(Duration::ZERO);
    let other = Rule::under(&["ca:plant".to_owned(), "ca:other".to_owned()], &[], false).unwrap();
    let message = rejected(bench.ask(&Arc::new(other)), "trust-store");
    let place = bench.scratch.path().join("stores/truststore/x509/ca/other");
    assert!(message.contains("\"ca:other\"") && message.contains(&place.display().to_string()), "{message}");
    // It counts as soon as it is there.
    bench.scratch.write("stores/truststore/x509/ca/other/root.pem", pem(&bench.chain[2]));
    let other = Rule::under(&["ca:other".to_owned()], &[], false).unwrap();
    bench.ask(&Arc::new(other)).unwrap();
}

fn pem(certificate: &Certificate) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(&certificate.der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[test]
fn a_bad_file_leaves_the_last_good_store_in_force_and_is_told() {
    let bench = Bench::signed(Duration::ZERO);
    let rule = Arc::new(rule());
    bench.ask(&rule).unwrap();
    let file = bench.scratch.write("stores/truststore/x509/ca/plant/more.crt", "no certificate");
    bench.ask(&rule).unwrap();
    assert_eq!((reloads(&bench, "ok"), reloads(&bench, "failed")), ("0".to_owned(), "1".to_owned()));
    let stores = bench.notation.stores.current();
    assert!(stores.problems()[0].contains("more.crt"), "{:?}", stores.problems());
    assert!(stores.problems()[0].contains("stays in force"), "{:?}", stores.problems());
    // Another CA in its place: what was verified under the old one is verified no more.
    fs::remove_file(file).unwrap();
    let other = chain(Kind::P256, Kind::P256);
    bench.scratch.write("stores/truststore/x509/ca/plant/root.crt", &other[2].der);
    let message = rejected(bench.ask(&rule), "signature");
    assert!(message.contains("no certificate of its chain is in the policy's trust stores"), "{message}");
    assert_eq!((reloads(&bench, "ok"), reloads(&bench, "failed")), ("1".to_owned(), "1".to_owned()));
    // A store that is removed is gone.
    fs::remove_dir_all(bench.scratch.path().join("stores/truststore")).unwrap();
    rejected(bench.ask(&rule), "trust-store");
}

#[test]
fn what_is_no_store_is_told_and_hurts_no_other() {
    let bench = Bench::signed(Duration::ZERO);
    for path in ["ca/loose.crt", "ca/a b/root.crt", "tsa/empty/..data/x"] {
        bench.scratch.write(&format!("stores/truststore/x509/{path}"), &bench.chain[2].der);
    }
    bench.scratch.write("stores/crl/junk.crl", "no list");
    bench.ask(&Arc::new(rule())).unwrap();
    let stores = bench.notation.stores.current();
    let told = stores.problems().join("\n");
    for expected in ["loose.crt is no trust store", "a b is no trust store", "tsa:empty has no certificate", "junk.crl"]
    {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert_eq!(stores.names(), ["ca:plant"]);
    let empty = StoreName::parse("tsa:empty").unwrap();
    let message = stores.missing(&empty, bench.notation.stores.directory());
    assert_eq!(message, "the policy names the trust store \"tsa:empty\": tsa:empty has no certificate; correct it");
    let ending = &stores.endings()[0];
    assert_eq!(ending.kind.as_str(), "trust_store");
    assert!(ending.what.contains("ca:plant") && ending.what.contains("Plant Root"), "{}", ending.what);
    assert_eq!(ending.at.as_second(), 2_208_988_800);
}

#[test]
fn scheme_row_114_a_revocation_list_is_carried_in_or_the_policy_says_skip() {
    let bench = Bench::new(Duration::ZERO);
    let [_, ca, root] = <[Certificate; 3]>::try_from(bench.chain.clone()).ok().unwrap();
    let leaf = Spec::leaf("builder", Kind::P256).with(distribution_point("http://plant.example/crl")).signed_by(&ca);
    bench.attach(&Jws::new(&bench.image.manifest, &[leaf, ca.clone(), root]));
    let (strict, skip) = (Arc::new(rule()), Arc::new(Rule { skips_revocation: true, ..rule() }));
    let message = rejected(bench.ask(&strict), "signature");
    assert!(message.contains("revocation unknown"), "{message}");
    bench.ask(&skip).unwrap();
    bench.scratch.write("stores/crl/plant.crl", revocation_list(&ca, &[9], (NOW - DAY, NOW + DAY), &[]));
    // The signature is kept already, and is told all the same.
    let verified = bench.ask(&strict).unwrap();
    assert_eq!(verified.evidence.findings().len(), 1);
    let ends = |what: &str| {
        let expires = verified.evidence.expires();
        expires.iter().find(|(name, _)| name == what).map(|(_, at)| at.as_second())
    };
    assert_eq!(
        (ends("revocation list"), ends("certificate"), ends("signature")),
        (Some(NOW + DAY), Some(2_208_988_800), None)
    );
    assert!(bench.ask(&skip).unwrap().evidence.expires().iter().all(|(name, _)| name == "certificate"));
    let stores = bench.notation.stores.current();
    let list = stores.endings().iter().find(|ending| ending.kind.as_str() == "revocation_list").unwrap();
    assert_eq!((list.at.as_second(), list.what.as_str()), (NOW + DAY, "CN=Plant Signing CA,O=Plant,ST=WA,C=US"));
    bench.scratch.write("stores/crl/plant.crl", revocation_list(&ca, &[1], (NOW - DAY, NOW + DAY), &[]));
    let message = rejected(bench.ask(&strict), "signature");
    assert!(message.contains("is revoked"), "{message}");
}
