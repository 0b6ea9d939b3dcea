use std::time::Duration;

use super::*;
use crate::schemes::notary::{Remap, UnavailableRule};
use crate::schemes::{Check, Mode, MutateImage, Signed};

const HEAD: &str = "apiVersion: portieris.cloud.ibm.com/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec:\n";

fn good(text: &str) -> Vec<Document> {
    let (documents, problems) = read_text(text, Path::new("f"));
    let problems: Vec<_> = problems.into_list().iter().map(ToString::to_string).collect();
    assert_eq!(problems, Vec::<String>::new(), "{text}");
    documents
}

fn bad(text: &str) -> Vec<String> {
    let (_, problems) = read_text(text, Path::new("f"));
    problems.into_list().iter().map(ToString::to_string).collect()
}

fn policy(body: &str) -> String {
    format!("{HEAD}  repositories:\n  - name: reg.io/*\n    policy:\n{body}")
}

fn signed(text: &str) -> Signed {
    let rule = good(&policy(text)).pop().and_then(|mut document| document.rules.pop()).unwrap().1;
    match Arc::into_inner(rule).unwrap().requirement {
        Requirement::Signed(signed) => signed,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn portieris_documents_work_unchanged() {
    let documents = good(
        "apiVersion: securityenforcement.admission.cloud.ibm.com/v1beta1
kind: ImagePolicy
metadata:
  name: signed-only
  namespace: line-1
  resourceVersion: \"12\"
  creationTimestamp: null
  annotations: {a: b}
spec:
  repositories:
    - name: \"*\"
      policy:
        trust:
          enabled: true
          signerSecrets:
          - name: alice-key
          - name: bob-key
          - name: alice-key
        va:
          enabled: false
    - name: icr.io/open/*
      policy:
    - name: icr.io/open2/*
    - name: icr.io/open3/*
      policy: {simple: {requirements: [{type: insecureAcceptAnything}]}, vulnerability: {ICCRVA: {enabled: false}}}
    - name: icr.io/open4/*
      policy: {trust: {enabled: false, trustServer: \"\"}, mutateImage: false, va: {}, simple: {}}
status: {}
---
apiVersion: portieris.cloud.ibm.com/v1
kind: ClusterImagePolicy
metadata: {name: none}
spec: {repositories: []}
",
    );
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0].scope, Scope::Namespace("line-1".into()));
    assert_eq!(documents[1].scope, Scope::Cluster);
    let rules: Vec<&Rule> = documents[0].rules.iter().map(|(_, rule)| &**rule).collect();
    let Requirement::Signed(first) = &rules[0].requirement else { panic!() };
    let [[Check::NotaryV1(check)]] = [first.any_of[0].as_slice()] else { panic!("{first:?}") };
    assert_eq!(check.signer_secrets, ["alice-key", "bob-key"]);
    assert_eq!((first.mutate_image, first.mode), (MutateImage::Everywhere, Mode::Enforce));
    assert!(rules[1..].iter().all(|rule| rule.requirement == Requirement::Nothing));
    assert_eq!(rules[0].describe(), "ImagePolicy line-1/signed-only (f, line 11)");
    assert_eq!((rules[1].place.line, rules[1].place.column), (21, 7));
}

#[test]
fn lists_as_kubectl_exports_them() {
    let item = "{apiVersion: portreeve/v1, kind: ClusterImagePolicy, metadata: {name: a}, spec: {repositories: []}}";
    assert_eq!(good(&format!("apiVersion: v1\nkind: List\nmetadata: {{}}\nitems:\n- {item}\n- {item}\n")).len(), 2);
    assert_eq!(bad("apiVersion: v1\nkind: List\nitems: [{kind: Pod, apiVersion: v1}]\n").len(), 1);
    // As the API server answers it: what each item is, the list says.
    let raw = item.replace("apiVersion: portreeve/v1, kind: ClusterImagePolicy, ", "");
    assert_eq!(good(&format!("apiVersion: portreeve/v1\nkind: ClusterImagePolicyList\nitems: [{raw}]\n")).len(), 1);
    assert_eq!(bad(&format!("apiVersion: v1\nkind: List\nitems: [{raw}]\n")).len(), 1);
    let half = item.replace("kind: ClusterImagePolicy, ", "");
    assert_eq!(bad(&format!("apiVersion: portreeve/v1\nkind: ClusterImagePolicyList\nitems: [{half}]\n")).len(), 1);
    // Kubernetes has one List.
    assert_eq!(bad(&format!("apiVersion: apps/v1\nkind: List\nitems: [{item}]\n")).len(), 1);
    assert_eq!(bad(&format!("apiVersion: v1\nkind: ClusterImagePolicyList\nitems: [{item}]\n")).len(), 1);
    // What stands beside the items would count for nothing.
    let beside = format!("apiVersion: v1\nkind: List\nitems:\n- {item}\nspec: {{repositories: []}}\n");
    let told = bad(&beside);
    assert!(told.len() == 1 && told[0].starts_with("f:5:1: \"spec\" does not belong in a list"), "{told:?}");
}

#[test]
fn json_is_as_good() {
    let text = r#"{"apiVersion":"portreeve/v1","kind":"ClusterImagePolicy","metadata":{"name":"j"},
            "spec":{"repositories":[{"name":"*","policy":{"trust":{"enabled":true}}}]}}"#;
    assert_eq!(good(text)[0].rules.len(), 1);
}

#[test]
fn every_setting_is_read() {
    let signed = signed(
        "      mode: warn
      mutateImage: false
      trust:
        enabled: true
        trustServer: https://notary.local:4443/
        roots: [{keyId: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}]
        remap: {prefix: \"Registry.local:9001/docker.io/\", signedPrefix: docker.io/}
        whenUnavailable: useCached
        maxStale: 24h
",
    );
    assert_eq!(signed.mode, Mode::Warn);
    assert_eq!(signed.mutate_image, MutateImage::Nowhere);
    let rule = match signed.any_of.into_iter().flatten().next() {
        Some(Check::NotaryV1(rule)) => rule,
        _ => panic!("no check of trust data"),
    };
    assert_eq!(rule.server.as_ref().unwrap().as_str(), "https://notary.local:4443");
    assert_eq!(rule.roots.len(), 1);
    let remap = Remap { prefix: "registry.local:9001/docker.io/".into(), signed_prefix: "docker.io/".into() };
    assert_eq!(rule.remap, Some(remap));
    assert_eq!(rule.when_unavailable, Some(UnavailableRule::UseCached));
    assert_eq!(rule.max_stale, Some(Duration::from_secs(86_400)));
}

/// The `policy` below a repository, and what must be said, each with its place.
const BAD_POLICIES: &[(&str, &[&str])] = &[
    ("      tust: {enabled: true}\n", &["f:8:7: unknown field \"tust\" in policy; did you mean \"trust\"?"]),
    (
        "      trust: {enabled: true, trustserver: x}\n",
        &["f:8:30: unknown field \"trustserver\" in policy.trust; did you mean \"trustServer\"?"],
    ),
    (
        "      trust:\n      enabled: true\n",
        &[
            "f:8:12: \"enabled\" is missing",
            "f:9:7: \"enabled\" does not belong in policy; it belongs under policy.trust: check the indentation",
        ],
    ),
    (
        "    trust: {enabled: true}\n",
        &[
            "f:8:5: \"trust\" does not belong in an entry of spec.repositories; it belongs under policy: check the indentation",
        ],
    ),
    (
        "      simpleStore: {storeURL: x}\n",
        &["f:8:7: unknown field \"simpleStore\" in policy; it is where Portieris looks for simple signatures"],
    ),
    ("      wholly: different\n", &["f:8:7: unknown field \"wholly\" in policy"]),
    (
        "      trust: {signers: [], signerSecrets: [{name: a}], roots: []}\n",
        &[
            "f:8:24: \"signers\" is empty; name the signers",
            "f:8:24: \"signers\" asks for a check while trust is not enabled",
            "f:8:43: \"signerSecrets\" asks for a check",
            "f:8:63: \"roots\" is empty",
            "f:8:63: \"roots\" asks for a check",
        ],
    ),
    ("      trust: {enabled: false, signerSecrets: [{name: a}]}\n", &["f:8:46: \"signerSecrets\" asks for a check"]),
    (
        "      trust: {trustServer: \"https://n.local\"}\n",
        &["f:8:14: \"enabled\" is missing from policy.trust; write \"enabled: true\""],
    ),
    (
        "      trust: {enabled: yes}\n",
        &["f:8:24: \"enabled\" must be true or false, and is a string; write true or false"],
    ),
    ("      trust: {enabled: \"true\"}\n", &["f:8:24: \"enabled\" must be true or false"]),
    ("      trust: true\n", &["f:8:14: \"policy.trust\" must be a mapping, and is true or false"]),
    ("      - trust: {enabled: true}\n", &["f:8:7: \"policy\" must be a mapping, and is a list"]),
    (
        "      simple: {requirements: [{type: sigstoreSigned}]}\n",
        &["f:8:31: \"simple: sigstoreSigned\" asks for a check that is not supported; "],
    ),
    (
        "      simple: {requirements: [{type: insecureAcceptAnything}, {type: signedBy, keySecret: k}]}\n",
        &["\"simple: signedBy\""],
    ),
    ("      simple: {requirements: [{}]}\n", &["\"simple\" asks"]),
    ("      va: {enabled: true}\n", &["f:8:11: \"va\" asks for a check"]),
    ("      va: {account: x}\n", &["\"va\" asks for a check"]),
    ("      vulnerability: {ICCRVA: {enabled: true}}\n", &["f:8:31: \"vulnerability\" asks for a check"]),
    ("      vulnerability: true\n", &["\"vulnerability\" must be a mapping"]),
    (
        "      va:\n        enabled: false\n        trust: {enabled: true}\n",
        &["f:10:9: \"trust\" does not belong in va; it belongs under policy: check the indentation"],
    ),
    (
        "      vulnerability:\n        ICCRVA:\n          enabled: false\n          signerSecrets: [{name: a}]\n",
        &["f:11:11: \"signerSecrets\" does not belong in vulnerability; it belongs under policy.trust"],
    ),
    (
        "      vulnerability:\n        trust: {enabled: false}\n",
        &["f:9:9: \"trust\" does not belong in policy.vulnerability; it belongs under policy"],
    ),
    (
        "      simple: {requirements: [{type: insecureAcceptAnything, trust: {enabled: true}}]}\n",
        &["f:8:62: \"trust\" does not belong in an entry of policy.simple.requirements"],
    ),
    ("      mode: enforce\n", &["f:8:13: \"mode\" asks for a check"]),
    ("      mode: lax\n", &["f:8:13: \"mode\" cannot be \"lax\"; it is \"enforce\" or \"warn\""]),
    ("      mutateImage: no\n", &["f:8:20: \"mutateImage\" cannot be \"no\"; it is true, false or \"pods\""]),
    (
        "      trust: {enabled: true, whenUnavailable: usecached}\n",
        &["f:8:47: \"whenUnavailable\" cannot be \"usecached\""],
    ),
    ("      trust: {enabled: true, maxStale: 24h}\n", &["f:8:40: \"maxStale\" has no effect"]),
    ("      trust: {enabled: true, whenUnavailable: deny, maxStale: 24h}\n", &["\"maxStale\" has no effect"]),
    ("      trust: {enabled: true, whenUnavailable: useCached, maxStale: 0s}\n", &["\"maxStale\" must be above zero"]),
    (
        "      trust: {enabled: true, whenUnavailable: useCached, maxStale: 24}\n",
        &["\"maxStale\" must be a string, and is a number"],
    ),
    (
        "      trust: {enabled: true, whenUnavailable: useCached, maxStale: -1h}\n",
        &["\"-1h\" is no duration; write it as"],
    ),
    ("      trust: {enabled: true, whenUnavailable: useCached, maxStale: soon}\n", &["\"soon\" is no duration"]),
    (
        "      trust: {enabled: true, trustServer: \"http://n.local\"}\n",
        &["f:8:43: the trust server's URL cannot be used"],
    ),
    (
        "      trust: {enabled: true, signers: [{name: Alice, publicKey: \"\"}]}\n",
        &[
            "f:8:47: a signer cannot be called \"Alice\"",
            "f:8:65: \"publicKey\" is missing from an entry of policy.trust.signers",
        ],
    ),
    ("      trust: {enabled: true, signers: {name: a}}\n", &["\"signers\" must be a list, and is a mapping"]),
    ("      trust: {enabled: true, signerSecrets: [a]}\n", &["must be a mapping, and is a string"]),
    ("      trust: {enabled: true, signerSecrets: [{name: ../x}]}\n", &["f:8:53: \"name\" cannot be \"../x\""]),
    ("      trust: {enabled: true, roots: [{}]}\n", &["f:8:38: an entry of \"roots\" has 0 of the fields"]),
    ("      trust: {enabled: true, roots: []}\n", &["\"roots\" is empty"]),
    ("      trust: {enabled: true, roots: [{keyId: a, ca: b}]}\n", &["has 2 of the fields"]),
    ("      trust: {enabled: true, roots: [{keyId: ABC}]}\n", &["\"keyId\" cannot be \"ABC\"; it is 64 lowercase"]),
    (
        "      trust: {enabled: true, remap: {prefix: reg.io/a, signedPrefix: docker.io/}}\n",
        &["\"prefix\" cannot be \"reg.io/a\""],
    ),
    ("      trust: {enabled: true, remap: {prefix: a/, signedPrefix: docker.io/}}\n", &["\"prefix\" cannot be \"a/\""]),
    (
        "      trust: {enabled: true, remap: {prefix: reg.io/}}\n",
        &["\"signedPrefix\" is missing from policy.trust.remap"],
    ),
];

#[test]
fn nothing_that_asks_for_a_check_is_ignored() {
    for (text, expected) in BAD_POLICIES {
        let found = bad(&policy(text));
        assert_eq!(found.len(), expected.len(), "{text}{found:#?}");
        for (found, expected) in found.iter().zip(*expected) {
            assert!(found.contains(expected), "{text}{found}\n{expected}");
        }
    }
}

/// Whole documents, and what must be said.
const BAD_DOCUMENTS: &[(&str, &str)] = &[
    (
        "apiVersion: portreeve/v1\nkind: ImagePolicy\nmetadata: {name: p}\nspec: {repositories: []}\n",
        "f:3:11: \"namespace\" is missing from metadata; for all namespaces write a ClusterImagePolicy",
    ),
    (
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p, namespace: n}\nspec: {repositories: []}\n",
        "f:3:32: a ClusterImagePolicy has no namespace",
    ),
    (
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {}\nspec: {repositories: []}\n",
        "\"name\" is missing from metadata",
    ),
    (
        "apiVersion: portreeve/v1\nkind: ImagePolicy\nmetadata: {name: p, namespace: Line_1}\nspec: {repositories: []}\n",
        "\"namespace\" cannot be \"Line_1\"",
    ),
    (
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nspec: {repositories: []}\n",
        "f:1:1: \"metadata\" is missing",
    ),
    ("apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\n", "f:1:1: \"spec\" is missing"),
    (
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {}\n",
        "f:4:7: \"repositories\" is missing from spec",
    ),
    (
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {repositories: [{}]}\n",
        "\"name\" is missing from an entry of spec.repositories",
    ),
    (
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {repositories: [{name: reg.io/}]}\n",
        "f:4:30: the pattern names no repository after its last slash; end it in \"/*\"",
    ),
    (
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {repositories: [{name: \"https://reg.io/*\"}]}\n",
        "f:4:30: the pattern begins with \"https://\", which no image name does; write it as images are named",
    ),
    (
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {repository: []}\n",
        "did you mean \"repositories\"?",
    ),
    (
        "apiVersion: portreeve/v2\nkind: ClusterImagePolicy\n",
        "f:2:7: not a policy: kind \"ClusterImagePolicy\", apiVersion \"portreeve/v2\"; a policy has",
    ),
    ("apiVersion: v1\nkind: ConfigMap\n", "not a policy: kind \"ConfigMap\""),
    ("kind: ImagePolicy\n", "not a policy"),
    ("just text\n", "f:1:1: not a policy, but a string"),
    ("a: 1\nb: [\n", "f:2:4: not readable as YAML or JSON"),
    ("a: 1\na: 2\n", "f:2:1: \"a\" stands twice in one mapping"),
];

#[test]
fn what_is_no_policy_is_told() {
    for (text, expected) in BAD_DOCUMENTS {
        let found = bad(text);
        assert!(found.iter().any(|found| found.contains(expected)), "{text}{found:#?}\n{expected}");
    }
}

/// PORTIERIS.md, fault 21: a `trust:` in any wrong place is reported. It has its right places, and so has every other check.
#[test]
fn checks_are_refused_at_every_other_level() {
    use serde_json::{Value, json};
    let document = json!({
        "apiVersion": "portreeve/v1", "kind": "ClusterImagePolicy", "metadata": { "name": "p" },
        "spec": { "repositories": [{ "name": "reg.io/*", "policy": {
            "simple": { "requirements": [{ "type": "insecureAcceptAnything" }] },
            "vulnerability": { "ICCRVA": { "enabled": false } },
            "va": { "enabled": false },
            "trust": {
                "enabled": true,
                "signerSecrets": [{ "name": "a" }],
                "roots": [{ "keyId": "ab".repeat(32) }],
                "remap": { "prefix": "a.io/", "signedPrefix": "b.io/" },
            },
            "cosign": {
                "signers": [{ "name": "ci", "issuer": "a", "subject": "b" }],
                "trustedRoot": "plant",
                "annotations": { "a": "b" },
            },
            "notation": { "trustStores": ["ca:a"], "trustedIdentities": ["*"], "metadata": { "a": "b" } },
            "anyOf": [{ "cosign": { "signerSecrets": [{ "name": "b" }] } }, { "trust": { "enabled": true } }],
        } }] },
    });
    good(&document.to_string());
    fn mappings(value: &Value, at: String, found: &mut Vec<String>) {
        match value {
            Value::Object(entries) => {
                found.push(at.clone());
                entries.iter().for_each(|(key, value)| mappings(value, format!("{at}/{key}"), found));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(n, value)| mappings(value, format!("{at}/{n}"), found));
            }
            _ => {}
        }
    }
    let mut places = Vec::new();
    mappings(&document, String::new(), &mut places);
    places.retain(|place| place != "/spec/repositories/0/policy");
    assert_eq!(places.len(), 23, "{places:?}");
    for (field, check) in [
        ("trust", json!({ "enabled": true })),
        ("cosign", json!({ "signerSecrets": [{ "name": "c" }] })),
        ("anyOf", json!([{ "trust": { "enabled": true } }])),
        ("notation", json!({ "trustStores": ["ca:b"], "trustedIdentities": ["*"] })),
    ] {
        for place in &places {
            let mut slipped = document.clone();
            let is_element = place.starts_with("/spec/repositories/0/policy/anyOf/") && place.len() == 35;
            slipped.pointer_mut(place).unwrap()[field] = check.clone();
            if is_element && field != "anyOf" {
                good(&slipped.to_string());
                continue;
            }
            let found = bad(&slipped.to_string());
            let told = |found: &String| {
                found.contains(&format!("\"{field}\" does not belong in"))
                    || found.contains(&format!("\"{field}\" must be a string"))
            };
            assert!(found.iter().any(told), "{place}/{field}: {found:?}");
        }
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let found = bad(&policy("      tust: {}\n      mode: lax\n  - name: REG.io/X\n"));
    assert_eq!(found.len(), 3, "{found:#?}");
}
