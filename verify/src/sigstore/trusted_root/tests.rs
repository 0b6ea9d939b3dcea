use serde_json::{Value, json};

use super::*;

const P256: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2G2Y+2tabdTV5BcGiBIx0a9fAFwrkBbmLSGtks4L3qX6yYY0zufBnhC8Ur/iy55GhWP/9A/bY2LhC30M9+RYtw==";
const ED25519: &str = "MCowBQYDK2VwAyEAFwATcuIfPE5QxHOj896sMHpD/X/VmloGHnwHs7J0dDs=";

fn log(details: &str, key: &str) -> Value {
    json!({
        "baseUrl": "https://rekor.plant.example/",
        "publicKey": {"rawBytes": key, "keyDetails": details, "validFor": {"start": "2026-01-01T00:00:00Z"}},
        "logId": {"keyId": STANDARD.encode([7; 32])}
    })
}

fn certificate() -> Value {
    let pem = include_str!("../fixtures/certificate.pem");
    let der = crate::crypto::pem::pem_blocks(pem, 1).unwrap().remove(0).der;
    json!({"rawBytes": STANDARD.encode(der)})
}

fn file() -> Value {
    let authority = json!({
        "uri": "https://fulcio.plant.example",
        "certChain": {"certificates": [certificate()]},
        "validFor": {"start": "2026-02-03T04:05:06.5Z", "end": "2026-12-31T23:59:59.999Z"}
    });
    json!({
        "mediaType": MEDIA_TYPES[0],
        "tlogs": [log("PKIX_ECDSA_P256_SHA_256", P256), log("PKIX_ED25519", ED25519)],
        "certificateAuthorities": [authority],
        "ctlogs": [],
        "unknown": {"newer": true}
    })
}

fn read(file: &Value) -> Result<TrustedRoot, TrustedRootError> {
    TrustedRoot::read(file.to_string().as_bytes())
}

/// The text of what is wrong after this change.
fn why(edit: impl FnOnce(&mut Value)) -> String {
    let mut file = file();
    edit(&mut file);
    read(&file).unwrap_err().to_string()
}

#[test]
fn a_trusted_root_says_what_it_has_and_when_it_ends() {
    let root = read(&file()).unwrap();
    assert_eq!((root.logs.len(), root.ct_logs.len(), root.certificate_authorities.len()), (2, 0, 1));
    assert_eq!(root.id(), Sha256::of(file().to_string().as_bytes()));
    assert_eq!(root.date(), "2026-02-03");
    assert_eq!(root.logs[0].name, "rekor.plant.example");
    assert_eq!(root.logs[0].checkpoint_id, [7; 4]);
    let ends = root.ends(0);
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].what, "certificate authority fulcio.plant.example");
    assert!(ends[0].at <= 1_798_761_599, "the end of the year, or that of the certificate");
    assert!(root.heap_size() > 1000);
    let mut file = file();
    file["tlogs"][0]["publicKey"]["validFor"]["end"] = "2027-01-01T00:00:00Z".into();
    let end = TrustedRootEnd { what: "log rekor.plant.example".to_owned(), at: 1_798_761_600 };
    for now in [0, end.at - 1] {
        assert!(read(&file).unwrap().ends(now).contains(&end));
    }
    // The other log goes on. When it has ended as well, the last of them is named.
    assert!(!read(&file).unwrap().ends(end.at).contains(&end));
    file["tlogs"][1]["publicKey"]["validFor"]["end"] = "2026-12-31T00:00:00Z".into();
    let logs = read(&file).unwrap().ends(end.at).into_iter().filter(|end| end.what.starts_with("log "));
    assert_eq!(logs.collect::<Vec<_>>(), [end]);
}

#[test]
fn both_ends_of_an_instance_belong_to_it() {
    let valid = read(&file()).unwrap().certificate_authorities[0].valid_for;
    // The start is in the middle of a second, the end at the end of one.
    for (seconds, is_in) in
        [(1_770_091_506, false), (1_770_091_507, true), (1_798_761_599, true), (1_798_761_600, false)]
    {
        assert_eq!(valid.has(seconds), is_in, "{seconds}");
    }
}

#[test]
fn scheme_row_088_a_log_with_a_kind_of_key_that_is_not_known() {
    let mut file = file();
    file["tlogs"].as_array_mut().unwrap().push(log("PKIX_ML_DSA_65", "AA=="));
    file["ctlogs"] = json!([log("PKIX_ECDSA_P521_SHA_512", "")]);
    let root = read(&file).unwrap();
    assert_eq!((root.logs.len(), root.ct_logs.len()), (2, 0));
    // But it must say since when it counts, as all others.
    file["ctlogs"][0]["publicKey"]["validFor"] = json!({});
    assert!(read(&file).is_err());
}

#[test]
fn an_instance_without_a_start_is_refused() {
    let log = |edit: fn(&mut Value)| why(|file| edit(&mut file["tlogs"][1]["publicKey"]));
    assert_eq!(log(|key| key["validFor"] = json!({})), "tlogs[1]: its \"validFor\" has no \"start\"");
    assert_eq!(log(|key| key["validFor"]["start"] = Value::Null), "tlogs[1]: its \"validFor\" has no \"start\"");
    assert_eq!(log(|key| key["validFor"] = Value::Null), "tlogs[1]: it has no \"validFor\"");
    assert_eq!(log(|key| key["validFor"]["start"] = "2026".into()), "tlogs[1]: its \"validFor\" has no RFC 3339 time");
    assert_eq!(log(|key| key["validFor"]["end"] = 5.into()), "tlogs[1]: its \"validFor\" has no RFC 3339 time");
    let authority = why(|file| file["certificateAuthorities"][0]["validFor"] = json!({"end": "2027-01-01T00:00:00Z"}));
    assert_eq!(authority, "certificateAuthorities[0]: its \"validFor\" has no \"start\"");
}

#[test]
fn what_cannot_be_read_wholly_is_refused() {
    for (words, edit) in [
        ("\"mediaType\" is \"junk\"", (|file| file["mediaType"] = "junk".into()) as fn(&mut Value)),
        ("tlogs[0]: it is no list", |file| file["tlogs"] = json!({})),
        ("tlogs[0]: it has no \"publicKey\"", |file| file["tlogs"][0] = json!(1)),
        ("tlogs[0]: its key is not base64", |file| file["tlogs"][0]["publicKey"]["rawBytes"] = "§".into()),
        ("tlogs[0]: its key cannot be read", |file| file["tlogs"][0]["publicKey"]["rawBytes"] = "AA==".into()),
        ("another kind than its \"keyDetails\"", |file| file["tlogs"][0]["publicKey"]["rawBytes"] = ED25519.into()),
        ("\"logId\" is not 32 bytes", |file| file["tlogs"][0]["logId"] = Value::Null),
        ("\"logId\" is not 32 bytes", |file| file["tlogs"][0]["logId"]["keyId"] = "AA==".into()),
        ("\"checkpointKeyId\" is shorter", |file| file["tlogs"][0]["checkpointKeyId"] = json!({"keyId": "AA=="})),
        ("it has no certificates", |file| file["certificateAuthorities"][0]["certChain"] = json!({})),
        ("a certificate cannot be read", |file| {
            file["certificateAuthorities"][0]["certChain"]["certificates"][0]["rawBytes"] = "AA==".into();
        }),
        ("more than 8 certificates", |file| {
            file["certificateAuthorities"][0]["certChain"]["certificates"] = vec![certificate(); 9].into();
        }),
        ("more than 64 instances", |file| file["ctlogs"] = vec![log("PKIX_ED25519", ED25519); 65].into()),
        ("it names no log and no authority", |file| {
            *file = json!({"mediaType": MEDIA_TYPES[3], "tlogs": [], "ctlogs": null});
        }),
    ] {
        let text = why(edit);
        assert!(text.contains(words), "{text}\ndoes not say: {words}");
    }
    assert_eq!(TrustedRoot::read(&vec![b' '; MAX_TRUSTED_ROOT + 1]).unwrap_err(), TrustedRootError::TooLarge);
    assert!(matches!(TrustedRoot::read(b"{\"a\":1,\"a\":1}").unwrap_err(), TrustedRootError::Json(_)));
    let deep = "[".repeat(200);
    assert!(matches!(TrustedRoot::read(deep.as_bytes()).unwrap_err(), TrustedRootError::Json(_)));
}

#[test]
fn a_checkpoint_may_name_the_key_otherwise_than_entries_do() {
    let mut file = file();
    file["tlogs"][0]["checkpointKeyId"] = json!({"keyId": STANDARD.encode([1, 2, 3, 4])});
    file["tlogs"][1]["checkpointKeyId"] = json!({"keyId": ""});
    let root = read(&file).unwrap();
    assert_eq!((root.logs[0].checkpoint_id, root.logs[1].checkpoint_id), ([1, 2, 3, 4], [7; 4]));
}
