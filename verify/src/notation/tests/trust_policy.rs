//! Row 113: notation's own trust policies.

use serde_json::{Value, json};

use super::*;

fn file() -> Value {
    json!({"version": "1.0", "trustPolicies": [{
        "name": "plant",
        "registryScopes": ["registry.local/plant/plc", "registry.local/plant/hmi"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:plant", "tsa:plant"],
        "trustedIdentities": ["x509.subject: C=US, ST=WA, O=Plant"],
    }]})
}

fn with(edit: impl FnOnce(&mut Value)) -> Result<Vec<TrustPolicy>, TrustPolicyError> {
    let mut file = file();
    edit(&mut file["trustPolicies"][0]);
    read(&file.to_string())
}

/// All policies of a file, or the first error.
fn read(file: &str) -> Result<Vec<TrustPolicy>, TrustPolicyError> {
    TrustPolicy::read(file.as_bytes())?.into_iter().collect()
}

#[test]
fn scheme_row_113_only_strict_enforces_and_skip_is_refused() {
    let level = |level: &str| {
        let read = with(|policy| {
            policy["signatureVerification"]["level"] = level.into();
            if level == "skip" {
                policy["trustStores"] = json!([]);
                policy["trustedIdentities"] = Value::Null;
            }
        });
        read.unwrap().remove(0)
    };
    let strict = level("strict");
    assert_eq!((strict.name.as_str(), &strict.effect), ("plant", &PolicyEffect::Enforce));
    assert_eq!(strict.registry_scopes.len(), 2);
    assert_eq!((strict.trust_stores.len(), strict.trusted_identities.len()), (2, 1));
    assert!(!strict.after_cert_expiry_only && !strict.skips_revocation);
    assert!(matches!(level("permissive").effect, PolicyEffect::Warn(why) if why.contains("permissive")));
    assert!(matches!(level("audit").effect, PolicyEffect::Warn(why) if why.contains("audit")));
    assert_eq!(level("skip").effect, PolicyEffect::Refused);
    let overridden = |check: &str, action: &str| {
        let read = with(|policy| policy["signatureVerification"]["override"] = json!({check: action}));
        let policy = read.unwrap().remove(0);
        (policy.effect, policy.skips_revocation)
    };
    for check in ["authenticity", "authenticTimestamp", "expiry", "revocation"] {
        assert_eq!(overridden(check, "enforce"), (PolicyEffect::Enforce, false));
        assert!(matches!(overridden(check, "log"), (PolicyEffect::Warn(_), false)));
    }
    assert_eq!(overridden("revocation", "skip"), (PolicyEffect::Enforce, true));
    let after = with(|policy| policy["signatureVerification"]["verifyTimestamp"] = "afterCertExpiry".into());
    assert!(after.unwrap()[0].after_cert_expiry_only);
}

#[test]
fn scheme_row_113_what_notation_does_not_have_is_an_error() {
    type Edit = fn(&mut Value);
    let cases: [(&str, Edit); 18] = [
        ("none of strict", |policy| policy["signatureVerification"]["level"] = "Strict".into()),
        ("no \"signatureVerification\"", |policy| policy["signatureVerification"] = Value::Null),
        ("has a check or an action", |policy| {
            policy["signatureVerification"]["override"] = json!({"integrity": "log"})
        }),
        ("has a check or an action", |policy| policy["signatureVerification"]["override"] = json!({"expiry": "skip"})),
        ("no object", |policy| policy["signatureVerification"]["override"] = json!([])),
        ("neither \"always\"", |policy| policy["signatureVerification"]["verifyTimestamp"] = "never".into()),
        ("trust stores or identities", |policy| policy["signatureVerification"]["level"] = "skip".into()),
        ("no trust stores", |policy| policy["trustStores"] = json!([])),
        ("no identities", |policy| policy["trustedIdentities"] = json!([])),
        ("ca:NAME", |policy| policy["trustStores"] = json!(["CA:plant"])),
        ("ca:NAME", |policy| policy["trustStores"] = json!(["ca:"])),
        ("lacks O", |policy| policy["trustedIdentities"] = json!(["x509.subject: C=US, ST=WA"])),
        ("covers another", |policy| policy["trustedIdentities"] = json!(["*", "x509.subject: C=US, ST=WA, O=Plant"])),
        ("\"*\" alone", |policy| policy["registryScopes"] = json!(["*", "registry.local/a"])),
        ("\"*\" alone", |policy| policy["registryScopes"] = json!([])),
        ("beside other characters", |policy| policy["registryScopes"] = json!(["registry.local/*"])),
        ("lists of texts", |policy| policy["registryScopes"] = json!([1])),
        ("\"Name\" is written in another case", |policy| policy["Name"] = "a".into()),
    ];
    for (words, edit) in cases {
        let error = with(edit).expect_err(words).to_string();
        assert!(error.contains(words) && error.contains("plant"), "{error}");
    }
    for (bytes, words) in [
        ("", "not strict JSON"),
        ("[]", "no object"),
        ("{\"version\":\"1.1\",\"trustPolicies\":[]}", "\"version\""),
        ("{\"version\":\"1.0\"}", "trustPolicies"),
        ("{\"version\":\"1.0\",\"trustPolicies\":[{}]}", "no \"name\""),
        ("{\"version\":\"1.0\",\"trustPolicies\":[],\"a\":1}", "\"a\" is not known"),
    ] {
        let error = read(bytes).expect_err(bytes).to_string();
        assert!(error.contains(words), "{error}");
    }
    let mut twice = file();
    let policy = twice["trustPolicies"][0].clone();
    twice["trustPolicies"].as_array_mut().unwrap().push(policy);
    assert!(read(&twice.to_string()).unwrap_err().to_string().contains("same name"));
    twice["trustPolicies"][1]["name"] = "other".into();
    assert!(read(&twice.to_string()).unwrap_err().to_string().contains("in another policy"));
}
