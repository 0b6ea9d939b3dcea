//! Rows 99 to 104: the protected headers.

use portreeve_test_support::notation::Cbor;
use serde_json::json;

use super::*;

type Edit = fn(&mut serde_json::Value);

/// Each refused with these words.
fn refused(cases: &[(&str, Edit)]) {
    let chain = self_signed(Kind::P256);
    for (words, edit) in cases {
        let changed = Jws::new(IMAGE, &chain).edit(|jws| edit(&mut jws.protected));
        assert_refused(jws(&changed), "bad-signature", words);
    }
}

const SCHEME: &str = "io.cncf.notary.signingScheme";
const EXPIRY: &str = "io.cncf.notary.expiry";

#[test]
fn the_signing_agent_is_a_text_or_null() {
    let chain = p256_chain();
    let by = |agent: serde_json::Value| {
        jws(&Jws::new(IMAGE, &chain).edit(|jws| jws.header["io.cncf.notary.signingAgent"] = agent))
    };
    by(serde_json::Value::Null).unwrap();
    by("notation/1.3.2".into()).unwrap();
    assert_refused(by(1.into()), "bad-signature", "signing agent is no text");
}

#[test]
fn scheme_row_099_content_type_and_signing_scheme() {
    refused(&[
        ("content type", |headers| headers["cty"] = "application/json".into()),
        ("content type is not there", |headers| drop(headers.as_object_mut().unwrap().remove("cty"))),
        ("signing scheme is not there", |headers| drop(headers.as_object_mut().unwrap().remove(SCHEME))),
        ("signing scheme is \"notary.x510\"", |headers| headers[SCHEME] = "notary.x510".into()),
        ("signing scheme is \"\"", |headers| headers[SCHEME] = "".into()),
        ("no string", |headers| headers[SCHEME] = 1.into()),
        ("does not mark its signing scheme as critical", |headers| headers["crit"] = json!([EXPIRY])),
    ]);
}

#[test]
fn scheme_row_100_what_is_critical_is_known_and_there() {
    refused(&[
        ("\"io.example.other\", which is not known", |headers| {
            headers["crit"] = json!([SCHEME, "io.example.other"]);
            headers["io.example.other"] = "a".into();
        }),
        ("\"io.cncf.notary.expiry\", which is not known", |headers| headers["crit"] = json!([SCHEME, EXPIRY])),
        ("\"io.cncf.notary.signingScheme\", which is not known", |headers| headers["crit"] = json!([SCHEME, SCHEME])),
        ("\"alg\", which is not known", |headers| headers["crit"] = json!([SCHEME, "alg"])),
        ("does not mark", |headers| headers["crit"] = json!([])),
        ("no list of names", |headers| headers["crit"] = json!([SCHEME, 1])),
        ("no list of names", |headers| headers["crit"] = SCHEME.into()),
        ("no header \"crit\"", |headers| drop(headers.as_object_mut().unwrap().remove("crit"))),
    ]);
    let chain = self_signed(Kind::P256);
    // An unknown header that is not critical is passed over.
    let other = Jws::new(IMAGE, &chain).edit(|jws| jws.protected["io.example.other"] = json!({"a": [1]}));
    jws(&other).unwrap();
    for (critical, words) in [
        (vec![Cbor::text(SCHEME), Cbor::text("io.example.other")], "\"io.example.other\", which is not known"),
        (vec![], "does not mark"),
        (vec![Cbor::text(SCHEME), Cbor::Integer(3)], "list of texts"),
    ] {
        let changed = Cose::new(IMAGE, &chain).edit(|cose| cose.set(Cbor::Integer(2), Cbor::Array(critical)));
        assert_refused(cose(&changed), "bad-signature", words);
    }
}

#[test]
fn scheme_row_101_verification_plugins_are_refused() {
    refused(&[
        ("plug-in", |headers| headers["io.cncf.notary.verificationPlugin"] = "com.example.plugin".into()),
        ("plug-in", |headers| {
            headers["io.cncf.notary.verificationPlugin"] = "com.example.plugin".into();
            headers["crit"] = json!([SCHEME, "io.cncf.notary.verificationPlugin"]);
        }),
        ("plug-in", |headers| headers["io.cncf.notary.verificationPluginMinVersion"] = "1.0.0".into()),
    ]);
    let chain = self_signed(Kind::P256);
    let changed = Cose::new(IMAGE, &chain)
        .edit(|cose| cose.set(Cbor::text("io.cncf.notary.verificationPlugin"), Cbor::text("com.example.plugin")));
    assert_refused(cose(&changed), "bad-signature", "plug-in");
}

#[test]
fn scheme_row_102_an_expiry_is_critical_ahead_and_after_the_signing_time() {
    refused(&[
        ("does not mark its expiry", |headers| headers[EXPIRY] = "2030-01-01T00:00:00Z".into()),
        ("expires before it was signed", |headers| {
            headers[EXPIRY] = headers["io.cncf.notary.signingTime"].clone();
            headers["crit"] = json!([SCHEME, EXPIRY]);
        }),
        ("RFC 3339", |headers| {
            headers[EXPIRY] = "2030-01-01".into();
            headers["crit"] = json!([SCHEME, EXPIRY]);
        }),
    ]);
    let chain = self_signed(Kind::P256);
    let policy = Policy::of(&[&chain[0]]);
    let envelope = jws(&Jws::new(IMAGE, &chain).expires(NOW + DAY)).unwrap();
    assert_eq!(envelope.expires(), Some(NOW + DAY));
    policy.signer_of(&envelope, NOW + DAY - 1).unwrap();
    let (code, words) = policy.refusal(&envelope, NOW + DAY);
    assert!(code == "expired" && words.contains("2026-12-02T00:00:00Z"), "{words}");
    let expiring = |crit: Vec<Cbor>, at: Cbor| {
        Cose::new(IMAGE, &chain).edit(|cose| {
            cose.set(Cbor::Integer(2), Cbor::Array(crit));
            cose.set(Cbor::text(EXPIRY), at);
        })
    };
    let both = || vec![Cbor::text(EXPIRY), Cbor::text(SCHEME)];
    let envelope = cose(&expiring(both(), Cbor::time(NOW))).unwrap();
    assert_eq!(policy.refusal(&envelope, NOW).0, "expired");
    policy.signer_of(&envelope, NOW - 1).unwrap();
    assert_refused(
        cose(&expiring(vec![Cbor::text(SCHEME)], Cbor::time(NOW))),
        "bad-signature",
        "does not mark its expiry",
    );
    for time in [
        Cbor::Integer(NOW),
        Cbor::text("2030-01-01T00:00:00Z"),
        Cbor::time(-1),
        Cbor::Tag(2, Box::new(Cbor::Integer(NOW))),
    ] {
        assert_refused(cose(&expiring(both(), time)), "bad-signature", "tagged number of seconds");
    }
}

#[test]
fn scheme_row_103_each_scheme_has_its_own_time_and_its_own_stores() {
    const AUTHENTIC: &str = "io.cncf.notary.authenticSigningTime";
    refused(&[
        ("time of another", |headers| headers[AUTHENTIC] = "2026-09-21T00:00:00Z".into()),
        ("lacks the signing time", |headers| {
            drop(headers.as_object_mut().unwrap().remove("io.cncf.notary.signingTime"))
        }),
        ("lacks the signing time", |headers| headers[SCHEME] = "notary.x509.signingAuthority".into()),
        ("does not mark its authentic signing time", |headers| {
            headers[SCHEME] = "notary.x509.signingAuthority".into();
            let headers = headers.as_object_mut().unwrap();
            let time = headers.remove("io.cncf.notary.signingTime").unwrap();
            headers.insert(AUTHENTIC.to_owned(), time);
        }),
    ]);
    let chain = self_signed(Kind::P256);
    let ca = Policy::of(&[&chain[0]]);
    let authority = Policy::with(TrustStores::new(Vec::new(), vec![chain[0].der.clone()], None));
    let by_signer = jws(&Jws::new(IMAGE, &chain)).unwrap();
    let by_authority = jws(&Jws::new(IMAGE, &chain).by_authority(NOW)).unwrap();
    ca.signer_of(&by_signer, NOW).unwrap();
    authority.signer_of(&by_authority, NOW).unwrap();
    let (code, words) = ca.refusal(&by_authority, NOW);
    assert!(code == "untrusted-certificate" && words.contains("the type signingAuthority"), "{words}");
    let (code, words) = authority.refusal(&by_signer, NOW);
    assert!(code == "untrusted-certificate" && words.contains("the type ca"), "{words}");
}

#[test]
fn scheme_row_104_duplicate_names_and_names_in_another_case() {
    let chain = self_signed(Kind::P256);
    let text = Jws::new(IMAGE, &chain).protected.to_string();
    for (found, twin) in [
        ("\"alg\"", "\"alg\":\"ES256\",\"alg\""),
        ("\"alg\"", "\"Alg\":\"ES256\",\"alg\""),
        ("\"crit\"", "\"CRIT\":[],\"crit\""),
        ("\"cty\"", "\"cTy\":\"a\",\"cty\""),
        (
            "\"io.cncf.notary.signingScheme\":",
            "\"io.cncf.notary.ſigningScheme\":\"notary.x509\",\"io.cncf.notary.signingScheme\":",
        ),
        ("\"alg\"", "\"io.cncf.notary.EXPIRY\":\"a\",\"alg\""),
        ("\"alg\"", "\"io.cncf.notary.verificationPlugIn\":\"a\",\"alg\""),
    ] {
        let twin = text.replacen(found, twin, 1);
        assert_ne!(twin, text);
        let changed = Jws::new(IMAGE, &chain).edit(|jws| jws.protected_text = Some(twin.clone()));
        assert_eq!(why(jws(&changed)).0, "bad-signature", "{twin}");
    }
    // The same around the protected headers.
    let text = String::from_utf8(Jws::new(IMAGE, &chain).bytes()).unwrap();
    for (found, twin) in [
        ("\"header\"", "\"Header\":{},\"header\""),
        ("\"header\"", "\"header\":{},\"header\""),
        ("\"header\"", "\"signatures\":[],\"header\""),
        ("\"payload\"", "\"PAYLOAD\":\"\",\"payload\""),
        ("\"x5c\"", "\"X5C\":[],\"x5c\""),
        ("\"x5c\"", "\"alg\":\"ES256\",\"x5c\""),
        ("\"x5c\"", "\"io.cncf.notary.expiry\":\"2030-01-01T00:00:00Z\",\"x5c\""),
        ("\"x5c\"", "\"io.cncf.notary.timeſtampSignature\":\"\",\"x5c\""),
        ("}", "} "),
        ("{", "\u{feff}{"),
    ] {
        let twin = text.replacen(found, twin, 1);
        assert_ne!(twin, text);
        let result = read(EnvelopeFormat::Jws, twin.as_bytes());
        // White space between the members changes nothing.
        assert_eq!(result.is_ok(), found == "}", "{twin}");
    }
    for bad in ["", "{}", "[]", "null", "{\"payload\":\"\",\"protected\":\"\",\"signature\":\"\",\"header\":{}}"] {
        assert_eq!(why(read(EnvelopeFormat::Jws, bad.as_bytes())).0, "bad-signature", "{bad}");
    }
    // Base64url with padding, in the other alphabet, and with bits that mean nothing.
    for edit in [
        |signature: &str| format!("{signature}=="),
        |signature: &str| format!("{signature}+/"),
        |signature: &str| {
            let (head, _) = signature.split_at(signature.len() - 1);
            format!("{head}_")
        },
    ] {
        let mut value = Jws::new(IMAGE, &chain).value();
        value["signature"] = edit(value["signature"].as_str().unwrap()).into();
        assert_refused(read(EnvelopeFormat::Jws, value.to_string().as_bytes()), "bad-signature", "base64url");
    }
}
