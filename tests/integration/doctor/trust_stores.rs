//! Notation's trust stores and revocation lists, and the trusted roots: are they there, and when do they end?

use portreeve_test_support::cosign::plant::{ISSUER, Plant, SUBJECT};
use portreeve_test_support::notation::{Certificate, Kind, Spec, revocation_list};
use serde_json::json;

use super::*;
use crate::review::policy_of;

/// A site whose policy names these stores.
fn naming(stores: &[&str]) -> Site {
    let mut site = sound();
    site.config["notation"] = json!({ "trustStores": site.files().join("stores") });
    let notation = json!({ "trustStores": stores, "trustedIdentities": ["x509.subject: C=US, ST=WA, O=Plant"] });
    site.policies(&[policy_of("registry.local:9001/plant/*", json!({ "notation": notation }))]);
    site.file("stores/.keep", "");
    site
}

fn in_days(days: i64) -> i64 {
    (Timestamp::now() + (24 * days).hours()).as_second()
}

fn ca(name: &str, days: i64) -> Certificate {
    Spec { not_after: in_days(days), ..Spec::ca(name, Kind::P256) }.self_signed()
}

fn put(site: &Site, path: &str, bytes: &[u8]) {
    site.file(path, "");
    std::fs::write(site.files().join(path), bytes).unwrap();
}

/// The registry of the policy is away here, so that is told besides.
#[test]
fn a_store_that_a_policy_names_must_be_there() {
    let site = naming(&["ca:plant", "tsa:plant"]);
    let report = doctor(&site, &[], WRONG);
    for store in ["ca:plant", "tsa:plant"] {
        let finding = report.has("wrong", "trust_stores", store);
        assert!(text_of(finding).contains("it is not there (ClusterImagePolicy "), "{finding}");
        let action = finding["action"].as_str().unwrap();
        let place = format!(
            "stores/truststore/x509/{}/plant (notation.trustStores), where nothing can be",
            store.trim_end_matches(":plant")
        );
        assert!(action.contains(&place), "{finding}");
    }
    for kind in ["ca", "tsa"] {
        put(&site, &format!("stores/truststore/x509/{kind}/plant/root.crt"), &ca("Plant Root", 1_000).der);
    }
    let report = doctor(&site, &[], NOT_ASKED);
    report.is_well_but_for(&["registry"]).has("ok", "trust_stores", "2 can be used");
    report.has("ok", "trust_store", "ca:plant, Plant Root");
    // What cannot be read is told with its file.
    put(&site, "stores/truststore/x509/ca/plant/more.crt", b"no certificate");
    let report = doctor(&site, &[], WRONG);
    report.has("wrong", "trust_stores", "more.crt");
    let count = report.findings().filter(|finding| finding["check"] == "trust_stores" && finding["state"] == "wrong");
    assert_eq!(count.count(), 1, "one fault is told once: {report:?}");
}

#[test]
fn certificates_of_stores_and_revocation_lists_end() {
    let site = naming(&["ca:plant", "ca:lab"]);
    let (plant, lab) = (ca("Plant Root", 10), ca("Lab Root", 1_000));
    put(&site, "stores/truststore/x509/ca/plant/root.crt", &plant.der);
    put(&site, "stores/truststore/x509/ca/lab/root.crt", &lab.der);
    let list = |issuer: &Certificate, days| revocation_list(issuer, &[], (in_days(-9), in_days(days)), &[]);
    put(&site, "stores/crl/plant.crl", &list(&plant, 2));
    put(&site, "stores/crl/lab.crl", &list(&lab, 5));
    let report = doctor(&site, &[], NOT_ASKED);
    report.is_well_but_for(&["registry"]);
    let finding = report.has("soon", "trust_store", "ca:plant, Plant Root");
    assert!(finding["action"].as_str().unwrap().contains("renewed CA"), "{finding}");
    // A list is carried in, so three days are enough.
    let finding = report.has("soon", "revocation_list", "CN=Plant Root,O=Plant,ST=WA,C=US it ends");
    assert!(finding["ends"].is_string() && text_of(finding).contains(", in "), "{finding}");
    assert_eq!(report.findings().filter(|finding| finding["check"] == "revocation_list").count(), 1, "{report:?}");
    // Beside its newer edition an old list is no finding.
    put(&site, "stores/crl/plant-2.crl", &list(&plant, 30));
    doctor(&site, &[], NOT_ASKED).has("ok", "revocation_list", "CN=Lab Root");
    put(&site, "stores/crl/lab.crl", &list(&lab, -1));
    doctor(&site, &[], WRONG).has("wrong", "revocation_list", "CN=Lab Root,O=Plant,ST=WA,C=US it ended");
}

#[test]
fn a_trusted_root_must_be_there_and_its_parts_end() {
    let mut site = sound();
    site.config["sigstore"] = json!({ "trustedRoots": site.files().join("roots") });
    let signers = json!([{ "name": "ci", "issuer": ISSUER, "subject": SUBJECT }]);
    let cosign = json!({ "signers": signers, "trustedRoot": "plant" });
    site.policies(&[policy_of("registry.local:9001/plant/*", json!({ "cosign": cosign }))]);
    site.file("roots/.keep", "");
    let finding = doctor(&site, &[], WRONG);
    let finding = finding.has("wrong", "trusted_roots", "plant it is not there (ClusterImagePolicy ");
    let place = "roots/plant.json (sigstore.trustedRoots), where nothing can be used";
    assert!(finding["action"].as_str().unwrap().contains(place), "{finding}");
    site.file("roots/public.json", &Plant::new().trusted_root().to_string());
    let finding = doctor(&site, &[], WRONG);
    let finding = finding.has("wrong", "trusted_roots", "plant it is not there (ClusterImagePolicy ");
    assert!(finding["action"].as_str().unwrap().contains(", where public can be used"), "{finding}");
    std::fs::remove_file(site.files().join("roots/public.json")).unwrap();
    let mut root = Plant::new().trusted_root();
    site.file("roots/plant.json", &root.to_string());
    let report = doctor(&site, &[], NOT_ASKED);
    report.is_well_but_for(&["registry"]).has("ok", "trusted_roots", "1 can be used");
    let known = report.has("ok", "trusted_roots", "plant it is of ")["found"].as_str().unwrap().to_owned();
    assert!(
        known.contains("knows the log rekor.plant.example (") && known.contains("), log2.plant.example ("),
        "{known}"
    );
    assert!(known.ends_with("); signatures in other logs do not count"), "{known}");
    report.has("ok", "trusted_root", "plant, certificate authority fulcio.plant.example it ends 2036-01-01");
    // A log that has ended is left out while another one goes on.
    let end = |log: &mut Value, days| {
        let at = Timestamp::from_second(in_days(days)).unwrap();
        log["publicKey"]["validFor"]["end"] = at.to_string().into();
    };
    end(&mut root["tlogs"][0], -3);
    end(&mut root["ctlogs"][0], 5);
    site.file("roots/plant.json", &root.to_string());
    let report = doctor(&site, &[], NOT_ASKED);
    let finding = report.has("soon", "trusted_root", "plant, certificate log ct.plant.example it ends");
    assert!(finding["action"].as_str().unwrap().contains("trusted_root.json"), "{finding}");
    end(&mut root["tlogs"][1], -1);
    site.file("roots/plant.json", &root.to_string());
    doctor(&site, &[], WRONG).has("wrong", "trusted_root", "plant, log log2.plant.example it ended");
    // What cannot be read is told with its file.
    site.file("roots/plant.json", "{}");
    let report = doctor(&site, &[], WRONG);
    report.has("wrong", "trusted_roots", "plant.json cannot be used");
    let count = report.findings().filter(|finding| finding["check"] == "trusted_roots" && finding["state"] == "wrong");
    assert_eq!(count.count(), 1, "one fault is told once: {report:?}");
}
