//! Row 113, with documents as notation's users write them.

use std::sync::Arc;

use portreeve_test_support::temp::TempDir;
use portreeve_verify::image::Reference;

use super::super::{LintOutcome, lint, policies};
use crate::commands::arguments::Input;
use crate::policy::{PolicySet, Selection};
use crate::schemes::notation::Rule;
use crate::schemes::{Check, Mode};

const SITE: &str = r#"{
    "version": "1.0",
    "trustPolicies": [
        {
            "name": "Plant images",
            "registryScopes": [ "registry.local:9001/plant/plc", "registry.local:9001/plant/hmi" ],
            "signatureVerification": {
                "level": "strict",
                "verifyTimestamp": "afterCertExpiry",
                "override": { "revocation": "skip" }
            },
            "trustStores": [ "ca:plant", "tsa:plant" ],
            "trustedIdentities": [
                "x509.subject: C=US, ST=WA, O=Plant",
                "x509.subject: C=US, ST=WA, O=Vendor\\, Inc., CN=release"
            ]
        },
        {
            "name": "lab",
            "registryScopes": [ "registry.local:9001/lab/tool" ],
            "signatureVerification": { "level": "permissive", "verifyTimestamp": "afterCertExpiry" },
            "trustStores": [ "signingAuthority:lab" ],
            "trustedIdentities": [ "*" ]
        },
        {
            "name": "global",
            "registryScopes": [ "*" ],
            "signatureVerification": { "level": "audit" },
            "trustStores": [ "ca:plant" ],
            "trustedIdentities": [ "x509.subject: C=US, ST=WA, O=Plant" ]
        }
    ]
}"#;

/// Lints this document. Returns the output as well.
fn run(json: &str) -> (LintOutcome, String) {
    let directory = TempDir::new();
    let file = directory.write("trustpolicy.json", json);
    let mut out = Vec::new();
    let outcome = lint(&[Input::File(file)], None, &mut out).unwrap();
    (outcome, String::from_utf8(out).unwrap().replace(&format!("{}/", directory.path().display()), ""))
}

/// The output as the site's policies.
fn used(out: &str) -> PolicySet {
    policies(&[TempDir::new().write("p.yaml", out)]).unwrap_or_else(|problems| panic!("{problems:?}\n{out}"))
}

fn rule_of(set: &PolicySet, image: &str) -> (Mode, Arc<Rule>) {
    let Selection::Rules(found) = set.select("line-1", &Reference::parse(image).unwrap()) else { panic!("{image}") };
    let signed = found[0].rules[0].signed().unwrap();
    let [checks] = signed.any_of.as_slice() else { panic!("{image}") };
    let [Check::Notation(rule)] = checks.as_slice() else { panic!("{image}") };
    (signed.mode, Arc::clone(rule))
}

#[test]
fn scheme_row_113_each_policy_is_printed_as_one_that_asks_for_the_same() {
    let (outcome, out) = run(SITE);
    assert_eq!((outcome.files, outcome.policies, outcome.problems, outcome.notes), (1, 3, 0, 3), "{out}");
    let set = used(&out);
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let identities =
        texts(&["x509.subject: C=US, ST=WA, O=Plant", r"x509.subject: C=US, ST=WA, O=Vendor\, Inc., CN=release"]);
    let plant = Arc::new(Rule {
        after_cert_expiry_only: true,
        ..Rule::under(&texts(&["ca:plant", "tsa:plant"]), &identities, true).unwrap()
    });
    for image in ["plc:v1", "hmi:v2"] {
        let (mode, rule) = rule_of(&set, &format!("registry.local:9001/plant/{image}"));
        assert_eq!((mode, &rule), (Mode::Enforce, &plant));
    }
    // Without a store of time stamps, `verifyTimestamp` has no effect, as in notation.
    let lab = Rule::under(&texts(&["signingAuthority:lab"]), &texts(&["*"]), false).unwrap();
    assert_eq!(rule_of(&set, "registry.local:9001/lab/tool:v1"), (Mode::Warn, Arc::new(lab)));
    let global = Rule::under(&texts(&["ca:plant"]), &identities[..1], false).unwrap();
    assert_eq!(rule_of(&set, "nginx:v1"), (Mode::Warn, Arc::new(global)));
    for said in [
        "# note: trustpolicy.json: the policy \"lab\": \"permissive\" only logs expiry, time stamps and revocation; here it warns, \
         and denies nothing (mode: warn)\n",
        "# note: trustpolicy.json: the policy \"global\": \"audit\" only logs all but damaged signatures; here it warns",
        "# trustpolicy.json, as printed:",
        "# 3 policies in 1 file, nothing wrong, 3 notes\n",
    ] {
        assert!(out.contains(said), "{said}\n{out}");
    }
}

#[test]
fn scheme_row_113_what_is_not_taken_over_is_said_by_name() {
    let skip = SITE
        .replace("\"audit\"", "\"skip\"")
        .replacen("[ \"ca:plant\" ]", "[]", 1)
        .replace("[ \"x509.subject: C=US, ST=WA, O=Plant\" ]", "[]");
    let (outcome, out) = run(&skip);
    assert_eq!(outcome.problems, 1, "{out}");
    assert!(out.contains("# error: trustpolicy.json: the policy \"global\": its level is \"skip\""), "{out}");
    assert!(out.ends_with("# 1 problem in 1 file\n"), "{out}");
    // The others are printed, and nothing is let in that no policy names.
    let set = used(&out);
    rule_of(&set, "registry.local:9001/plant/plc:v1");
    assert!(!matches!(set.select("line-1", &Reference::parse("nginx").unwrap()), Selection::Rules(_)));

    let (outcome, out) = run(&SITE.replace("\"ca:plant\", \"tsa", "\"ca:the plant\", \"tsa"));
    assert_eq!(outcome.problems, 1, "{out}");
    assert!(out.contains("the policy \"Plant images\": \"ca:the plant\" is no trust store"), "{out}");
    // What a policy here cannot have is found as in every other policy.
    let (outcome, out) = run(&SITE.replace("registry.local:9001/lab/tool", "registry.local:9001/lab tool"));
    assert_eq!(outcome.problems, 1, "{out}");
    assert!(out.contains("# trustpolicy.json, as printed:"), "{out}");
    // No name adds a line.
    let (outcome, out) = run(&SITE.replace("\"lab\"", "\"a\\nkind: Pod\""));
    assert_eq!((outcome.problems, outcome.policies), (0, 3), "{out}");
    for (text, said) in [
        (SITE.replace("\"audit\"", "\"lenient\""), "the policy \"global\": its \"level\" is none of strict"),
        (SITE.replace("\"1.0\"", "\"1.1\""), "its \"version\" is not \"1.0\""),
        (SITE.replace("\"registryScopes\": [ \"*\" ]", "\"globalPolicy\": true"), "its \"globalPolicy\" is not known"),
        (SITE.replace("O=Plant\" ]", "\" ]"), "cannot be read"),
        (SITE.trim_end_matches('}').to_owned(), "not strict JSON"),
    ] {
        let (outcome, out) = run(&text);
        let errors: Vec<&str> = out.lines().filter(|line| line.starts_with("# error: trustpolicy.json: ")).collect();
        assert!(outcome.problems == 1 && errors.iter().any(|line| line.contains(said)), "{said}: {out}");
    }
}

#[test]
fn a_fault_in_one_policy_leaves_the_others_as_they_are() {
    for (right, wrong) in [
        ("registry.local:9001/plant/plc", "registry.local:9001/plant/*"),
        ("\"strict\"", "\"stric\""),
        ("\"ca:plant\", \"tsa:plant\"", "\"plant\""),
        ("\"revocation\": \"skip\"", "\"revocation\": \"no\""),
    ] {
        let (outcome, out) = run(&SITE.replace(right, wrong));
        assert_eq!(outcome.problems, 1, "{out}");
        assert!(out.contains("# error: trustpolicy.json: the policy \"Plant images\": "), "{out}");
        let set = used(&out);
        assert_eq!(set.len(), 2, "{out}");
        assert_eq!(rule_of(&set, "registry.local:9001/lab/tool:v1").0, Mode::Warn);
    }
    // Of two with the same scope, notation takes neither; here the first one is printed, and the second one is an error.
    let (outcome, out) = run(&SITE.replace("registry.local:9001/lab/tool", "registry.local:9001/plant/plc"));
    assert_eq!((outcome.problems, used(&out).len()), (1, 2), "{out}");
}

/// The webhook reads every file of a directory as policies.
#[test]
fn a_trust_policy_is_no_policy_where_policies_are_read() {
    let directory = TempDir::new();
    let file = directory.write("trustpolicy.json", SITE);
    assert!(policies(&[file]).is_err());
    let outcome = lint(&[Input::File(directory.path().to_owned())], None, &mut Vec::new()).unwrap();
    assert_eq!(outcome.problems, 1);
}
