use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use portreeve_test_support::certificates::{Authority, Leaf};
use portreeve_test_support::signer::{Key, Signer};
use portreeve_verify::tuf::{
    Anchor, FetchError, FirstUse, Gun, MetadataName, MetadataSource, RefreshError, Repository, RoleName,
};
use serde_json::json;

use super::*;
use crate::policy::document::read_text;
use crate::policy::load::finish;
use crate::policy::{Owner, check_data};
use crate::schemes::Check;

/// Documents of `kind namespace/name: pattern=+ pattern=-`; one file a document. `+` asks for trust, `~` warns, `!` denies, any
/// other word is a trust server of that name; `any3` asks for one of three checks.
fn build(policies: &[&str]) -> Result<PolicySet, Vec<String>> {
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        let (identity, patterns) = policy.split_once(": ").unwrap();
        let (kind, metadata) = match identity.split_once('/') {
            Some((namespace, name)) => ("ImagePolicy", format!("{{name: {name}, namespace: {namespace}}}")),
            None => ("ClusterImagePolicy", format!("{{name: {identity}}}")),
        };
        let mut text = format!("apiVersion: portreeve/v1\nkind: {kind}\nmetadata: {metadata}\nspec:\n");
        text.push_str(if patterns == "-" { "  repositories: []\n" } else { "  repositories:\n" });
        for pattern in patterns.split(' ').filter(|pattern| *pattern != "-") {
            let (pattern, asks) = pattern.split_once('=').unwrap();
            let policy = match asks {
                "-" => "trust: {enabled: false}".to_owned(),
                "+" => "trust: {enabled: true}".to_owned(),
                "~" => "mode: warn, trust: {enabled: true}".to_owned(),
                "!" => "deny: {message: use the mirror}".to_owned(),
                any if any.starts_with("any") => {
                    let check = |n| format!("{{cosign: {{signerSecrets: [{{name: s{n}}}]}}}}");
                    let count = any.trim_start_matches("any").parse().unwrap();
                    format!("anyOf: [{}]", (0..count).map(check).collect::<Vec<String>>().join(", "))
                }
                server => format!("trust: {{enabled: true, trustServer: \"https://{server}\"}}"),
            };
            text.push_str(&format!("  - {{name: \"{pattern}\", policy: {{{policy}}}}}\n"));
        }
        let (read, found) = read_text(&text, Path::new(&format!("f{index}")));
        documents.extend(read);
        problems.extend(found.into_list());
    }
    finish(documents, problems).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn select<'a>(set: &'a PolicySet, namespace: &str, image: &str) -> Selection<'a> {
    set.select(namespace, &Reference::parse(image).unwrap())
}

fn chosen(set: &PolicySet, namespace: &str, image: &str) -> String {
    match select(set, namespace, image) {
        Selection::Rules(lists) => {
            let patterns =
                |list: Together<'_>| list.rules.iter().map(|rule| rule.pattern.clone()).collect::<Vec<_>>().join(" & ");
            lists.into_iter().map(patterns).collect::<Vec<_>>().join(" | ")
        }
        Selection::TooMany => "too many".into(),
        Selection::NoMatch { scope, policies } => format!("{scope:?} {policies}"),
        Selection::NoPolicy => "no policy".into(),
        Selection::Unusable(fault) => fault.into(),
    }
}

#[test]
fn the_namespace_hides_the_cluster() {
    let set = build(&["cluster: *=+", "line-1/a: reg.io/a=+", "line-1/b: reg.io/b=-", "empty/x: -"]).unwrap();
    assert_eq!(set.len(), 4);
    assert_eq!(set.rules().count(), 3);
    assert_eq!(chosen(&set, "line-1", "reg.io/a"), "reg.io/a");
    assert_eq!(chosen(&set, "line-1", "reg.io/b"), "reg.io/b");
    assert_eq!(chosen(&set, "line-1", "reg.io/c"), "Namespace(\"line-1\") 2", "though the cluster's would match");
    assert_eq!(chosen(&set, "empty", "reg.io/a"), "Namespace(\"empty\") 1");
    assert_eq!(chosen(&set, "line-2", "reg.io/a"), "*");
    assert_eq!(chosen(&set, "", "reg.io/a"), "*");
}

#[test]
fn no_policy_is_told_from_no_match() {
    assert_eq!(chosen(&PolicySet::default(), "a", "nginx"), "no policy");
    assert!(PolicySet::default().is_empty());
    let set = build(&["other/a: *=-"]).unwrap();
    assert_eq!(chosen(&set, "a", "nginx"), "no policy");
    assert_eq!(chosen(&build(&["c: -"]).unwrap(), "a", "nginx"), "Cluster 1");
}

#[test]
fn the_most_specific_rule_decides_whatever_the_order() {
    let policies = [
        "a: *=- reg.io/*=- reg.io/team/*=+",
        "b: reg.io/team/app=- reg.io/team/app:v1=+ *.io/team/special*=-",
        "c: *.io/*=- docker.io/*=+",
    ];
    let expected = [
        ("reg.io/team/app:v1", "reg.io/team/app:v1"),
        ("reg.io/team/app:v2", "reg.io/team/app"),
        ("reg.io/team/x", "reg.io/team/*"),
        ("reg.io/x", "reg.io/*"),
        ("nginx", "docker.io/*"),
        ("quay.com/x", "*"),
        ("quay.io/x", "*.io/*"),
        ("quay.io/team/specialist", "*.io/team/special*"),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let set = build(&order.map(|index| policies[index])).unwrap();
        for (image, pattern) in expected {
            assert_eq!(chosen(&set, "n", image), pattern, "{image}");
        }
    }
}

/// Neither the alphabet nor the order of files tells equally specific rules apart.
#[test]
fn all_that_are_equally_specific_decide() {
    for (policies, image, expected) in [
        (["a: reg.io/*b=+", "b: reg.io/b*=-"], "reg.io/bob", "reg.io/*b & reg.io/b*"),
        (["a: reg.io/*b=-", "b: reg.io/b*=+"], "reg.io/bob", "reg.io/*b & reg.io/b*"),
        (["a: reg.io/*plc=~", "b: reg.io/plc*=+"], "reg.io/plc", "reg.io/*plc & reg.io/plc*"),
        (["a: reg.io/*plc=n1", "b: *reg.io/plc=n2"], "reg.io/plc", "*reg.io/plc & reg.io/*plc"),
        (["a: reg.io/*b=+", "b: reg.io/b*=+"], "reg.io/bob", "reg.io/*b"),
        (["a: reg.io/*b=+", "b: reg.io/b*=+ reg.io/bob=-"], "reg.io/bob", "reg.io/bob"),
        (["a: reg.io/a:v*=+", "b: reg.io/a:*1=-"], "reg.io/a:v1", "reg.io/a:*1 & reg.io/a:v*"),
    ] {
        let mut turned = policies;
        turned.reverse();
        for policies in [policies, turned] {
            assert_eq!(chosen(&build(&policies).unwrap(), "n", image), expected, "{policies:?}");
        }
    }
}

/// A digest says nothing of tags, so that it must not lead past the rule that its tag would have.
#[test]
fn a_digest_alone_is_judged_by_the_strictest_rules_of_its_name() {
    let digest = format!("sha256:{}", "0".repeat(64));
    for (rules, expected) in [
        // A rule for some tags, and a laxer one for all.
        ("plc:v*=+ *=-", "plc:v*"),
        ("plc:v*=~ *=-", "plc:v*"),
        ("plc:v*=~ plc*=+", "plc*"),
        ("plc:v1=- plc:v*=- plc*=-", "plc:v1"),
        ("plc:v*=! plc:r*=+ *=-", "plc:v*"),
        ("plc:v*=- *=!", "*"),
        ("plc=+ *=!", "plc"),
        // What is more specific for every tag decides alone. A pattern without a star comes before any with one.
        ("plc=- *=+ docker.io/*=+", "plc"),
        ("plc=~ library/*:v*=+", "plc"),
        ("plc=- plc:v*=+", "plc"),
        ("plc=- plc:v1=+", "plc:v1"),
        // Several that are equally strict: one is enough.
        ("plc:v*=a plc:r*=b *=-", "plc:r* | plc:v*"),
        ("plc:v*=a plc*=b", "plc:v* | plc*"),
        ("plc:v*=+ plc:r*=+ *=~", "plc:r* | plc:v*"),
        // A rule whose tags a more specific one takes away never decides.
        ("plc:v1*=- plc:v12*=a plc:v*=b", "plc:v12* | plc:v*"),
        ("plc:v1=- library/*:v1=+", "plc:v1"),
        ("plc:v*=- library/*:v*=+", "plc:v*"),
        ("plc:v1=- plc:v*=+", "plc:v*"),
        // Equally specific ones decide together for the tags that both match.
        ("*plc:v1=a plc*:v1=b", "*plc:v1 & plc*:v1"),
        ("*plc=a plc*=b", "*plc & plc*"),
        ("*plc=~ plc*=-", "*plc & plc*"),
        ("plc*:va=- plc*:*a=+ plc:*aa=~", "plc*:*a"),
        // A rule for another digest is none for this one.
        ("plc@sha256:1111111111111111111111111111111111111111111111111111111111111111=+ plc=-", "plc"),
        ("plc:v1@sha256:0000000000000000000000000000000000000000000000000000000000000000=+ plc=-", "plc:v1@#"),
        ("other:v*=+", "Cluster 1"),
    ] {
        let rules: Vec<&str> = rules.split(' ').collect();
        for turned in [false, true] {
            let mut rules = rules.clone();
            if turned {
                rules.reverse();
            }
            let set = build(&[&format!("c: {}", rules.join(" "))]).unwrap();
            let found = chosen(&set, "n", &format!("plc@{digest}")).replace(&digest, "#");
            assert_eq!(found, expected, "{rules:?}");
        }
    }
}

/// With a tag, a digest changes nothing of it.
#[test]
fn a_tag_beside_a_digest_decides() {
    let set = build(&["c: plc:v*=+ plc*=- *=-"]).unwrap();
    let digest = "0".repeat(64);
    assert_eq!(chosen(&set, "n", &format!("plc:v1@sha256:{digest}")), "plc:v*");
    assert_eq!(chosen(&set, "n", &format!("plc:r1@sha256:{digest}")), "plc*");
    assert_eq!(chosen(&set, "n", "plc"), "plc*", "an implied tag is a tag");
}

/// No author needs that many, and each could be a query to another server.
#[test]
fn more_rules_than_are_ever_asked_are_not() {
    let digest = format!("plc@sha256:{}", "0".repeat(64));
    let rules = |count: usize, asks: &dyn Fn(usize) -> String| {
        let rules: Vec<String> = (0..count).map(|n| format!("plc:v{n:04}*={}", asks(n))).collect();
        build(&[&format!("c: {}", rules.join(" "))]).unwrap()
    };
    let different = |n: usize| format!("n{n}");
    assert_eq!(chosen(&rules(32, &different), "n", &digest).split(" | ").count(), 32);
    assert_eq!(chosen(&rules(33, &different), "n", &digest), "too many");
    assert_eq!(chosen(&rules(5_000, &|_| "+".to_owned()), "n", &digest), "too many");
    assert_eq!(chosen(&rules(5_000, &different), "n", "plc:v0007"), "plc:v0007*", "a tag has its own");
    // Each alternative of a rule counts.
    let alternatives = |n: usize| if n == 0 { "any8".to_owned() } else { format!("n{n}") };
    assert_eq!(chosen(&rules(25, &alternatives), "n", &digest).split(" | ").count(), 25);
    assert_eq!(chosen(&rules(26, &alternatives), "n", &digest), "too many");
    let shadowed: Vec<String> = (0..300).map(|n| format!("library/*:v{n}*=n{n}")).collect();
    let set = build(&[&format!("c: plc=+ {}", shadowed.join(" "))]).unwrap();
    assert_eq!(chosen(&set, "n", &digest), "plc", "those that never decide are not counted");
}

#[test]
fn contradictions_name_both_places() {
    let problems = build(&["a: reg.io/x=+", "b: other.io/y=- REG.io/x:*=-"]).unwrap_err();
    assert_eq!(
        problems,
        ["f1:7:5: pattern \"REG.io/x:*\" asks for something else than the same pattern in ClusterImagePolicy a, \
          f0:6:5; keep the one that asks for what these images must have"]
    );
    let problems = build(&["n/a: x=+", "n/a: x=-"]).unwrap_err();
    assert_eq!(problems, ["f1:1:1: ImagePolicy n/a stands twice, first in f0:1:1; give each policy a name of its own"]);
    assert_eq!(build(&["n/a: x=+ docker.io/x=-"]).unwrap_err().len(), 1);
    for (one, other) in [("+", "any1"), ("any1", "any2"), ("any1", "-")] {
        assert_eq!(build(&[&format!("n/a: x={one} docker.io/x={other}")]).unwrap_err().len(), 1, "{one} {other}");
    }
}

/// `reg.io:443` is the same registry, so that the port must not lead past its rule to a laxer one.
#[test]
fn the_default_port_escapes_no_rule() {
    let set = build(&["c: reg.io/*=+ reg.io/app=+ hub.io:443/*=+ docker.io/library/*=+ *=-"]).unwrap();
    for (image, pattern) in [
        ("reg.io:443/x", "reg.io/*"),
        ("REG.io:443/app:v1", "reg.io/app"),
        ("hub.io/x", "hub.io:443/*"),
        ("index.docker.io:443/library/nginx", "docker.io/library/*"),
        ("reg.io:5000/x", "*"),
    ] {
        assert_eq!(chosen(&set, "n", image), pattern, "{image}");
    }
    assert_eq!(build(&["a: reg.io/x=+ reg.io:443/x=-"]).unwrap_err().len(), 1, "one pattern, two demands");
}

#[test]
fn what_says_the_same_may_stand_twice() {
    for asks in ["+", "any1", "any2"] {
        let text = |policy: &str| policy.replace('+', asks);
        let policies = ["n/a: x=+", "n/a: x=+", "n/b: docker.io/library/x=+", "m/a: x=-", "a: x=-"].map(text);
        let set = build(&policies.each_ref().map(String::as_str)).unwrap();
        assert_eq!(set.len(), 4);
        assert_eq!(chosen(&set, "n", "x"), "x");
    }
}

/// What trying every pattern on an image with a tag finds: the most specific ones that match.
fn obvious<'a>(patterns: &[&'a str], image: &str) -> BTreeSet<&'a str> {
    let image = Reference::parse(image).unwrap();
    let parsed = patterns.iter().map(|text| (*text, crate::policy::Pattern::parse(text).unwrap()));
    let matching: Vec<_> = parsed.filter(|(_, pattern)| pattern.matches(&image)).collect();
    let Some((_, best)) = matching.iter().min_by(|(_, a), (_, b)| a.precedence(b)) else { return BTreeSet::new() };
    matching.iter().filter(|(_, pattern)| pattern.ties_with(best)).map(|(text, _)| *text).collect()
}

/// Those that hold no other as a whole: where one is enough, a larger one adds nothing.
fn smallest<'a>(sets: impl IntoIterator<Item = BTreeSet<&'a str>>) -> BTreeSet<BTreeSet<&'a str>> {
    let sets: BTreeSet<_> = sets.into_iter().filter(|set| !set.is_empty()).collect();
    sets.iter().filter(|set| !sets.iter().any(|other| other != *set && other.is_subset(set))).cloned().collect()
}

/// Every pattern with a trust server of its own, so that no two say the same.
fn each_asks_another(patterns: &[&str]) -> PolicySet {
    let text: Vec<String> = patterns.iter().enumerate().map(|(n, pattern)| format!("{pattern}=n{n}")).collect();
    build(&[&format!("c: {}", text.join(" "))]).unwrap()
}

fn patterns_of<'a>(set: &'a PolicySet, image: &str) -> Vec<BTreeSet<&'a str>> {
    match select(set, "n", image) {
        Selection::Rules(lists) => {
            lists.iter().map(|list| list.rules.iter().map(|rule| rule.pattern.as_str()).collect()).collect()
        }
        _ => Vec::new(),
    }
}

/// The buckets find what trying every rule in turn finds.
#[test]
fn the_index_agrees_with_trying_every_rule() {
    let patterns: Vec<&str> =
        "* a.io/* a.io/x a.io/x:1 a.io/x* *.io/x *.io/*:1 x docker.io/* b.io/x/* a.io/t* a.io/t/* \
                               a.io/t/u* a.io/t/u/* a.io/*/v a.io/t/*/w:1 t/* li* *.io/t/u/* a.io/*x a.io/*/*u *a.io/t*"
            .split_whitespace()
            .collect();
    let set = each_asks_another(&patterns);
    let images = "a.io/x a.io/x:1 a.io/xy:1 b.io/x b.io/x/y:1 x y c.com/x a.io/y:1 a.io/t a.io/tt/v a.io/t/v a.io/xx \
                  a.io/t/uu a.io/t/u/v a.io:443/t/u/w:1 a.io/t/w:1 t/u b.io/t/u/v a.io/tx";
    for image in images.split_whitespace() {
        assert_eq!(patterns_of(&set, image), [obvious(&patterns, image)], "{image}");
    }
}

/// For a digest alone the lists are those that some tag would have.
#[test]
fn a_digest_alone_is_judged_as_with_every_tag() {
    let globs = ["", ":v", ":1", ":v1", ":v*", ":1*", ":*v", ":*1", ":v*1", ":*v*", ":*1*", ":v1*", ":*1v*", ":v*v*"];
    let names = ["a.io/x", "a.io/*", "*.io/x", "*"];
    let all: Vec<String> = names
        .iter()
        .flat_map(|name| globs.iter().map(move |glob| format!("{name}{glob}")))
        .filter(|pattern| !pattern.starts_with("*:"))
        .collect();
    let mut tags = vec![String::new()];
    for _ in 0..4 {
        tags = tags.iter().flat_map(|tag| ["", "v", "1", "c"].map(|next| format!("{tag}{next}"))).collect();
    }
    tags.retain(|tag| !tag.is_empty());
    let digest = format!("sha256:{}", "0".repeat(64));
    let mut state = 88_172_645_463_325_252_u64;
    for round in 0..120 {
        let patterns: Vec<&str> = all
            .iter()
            .map(String::as_str)
            .filter(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.is_multiple_of(6)
            })
            .collect();
        let set = each_asks_another(&patterns);
        let expected = smallest(tags.iter().map(|tag| obvious(&patterns, &format!("a.io/x:{tag}@{digest}"))));
        assert_eq!(smallest(patterns_of(&set, &format!("a.io/x@{digest}"))), expected, "{round}: {patterns:?}");
    }
}

/// Of many teams' rules, those of other folders are not even tried.
#[test]
fn a_folder_has_only_its_own_rules() {
    let teams: Vec<String> = (0..300).map(|team| format!("a.io/team-{team}/app*=+")).collect();
    let set = build(&[&format!("c: {} a.io/t*=-", teams.join(" "))]).unwrap();
    let rules = set.cluster.as_ref().unwrap();
    assert_eq!(rules.folders(), vec![1; 301]);
    assert_eq!(chosen(&set, "n", "a.io/team-7/app-1"), "a.io/team-7/app*");
    assert_eq!(chosen(&set, "n", "a.io/team-7/other"), "a.io/t*");
}

/// A Notary server in memory.
struct Files(BTreeMap<String, Vec<u8>>);

impl MetadataSource for Files {
    fn fetch(&mut self, name: &MetadataName, _: usize) -> Result<Vec<u8>, FetchError> {
        self.0.get(&name.file_stem()).cloned().ok_or(FetchError::NotFound)
    }
}

/// TRUST.md, row 9. Pins belong to policy rules: of two patterns that match an image, the longer one's rule decides alone.
#[test]
fn row_009_the_longest_patterns_pins_decide_alone() {
    const GUN: &str = "registry.local:9001/plant/plc";
    let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    let (ca, key) = (Authority::new(), Key::p256());
    let key = key.with_bundle(Leaf::new(GUN).server_auth().signed_by(&key, &ca));
    let root = vec![key.clone()];
    let signer = Signer::new_at(GUN, now).signer("alice").release("v1", [0xab; 32], 1234, &["alice"]);
    let repo = signer.rotate("root", root.clone()).version("root", 1).sign_with("root", root).publish();
    let image = Reference::parse(&format!("{GUN}:v1")).unwrap();
    let under = |longer: &str, shorter: &str| {
        let rule = |pattern: &str, id: &str| json!({"name": pattern, "policy": {"trust": {"enabled": true, "roots": [{"keyId": id}]}}});
        let policy = json!({
            "apiVersion": "portreeve/v1", "kind": "ClusterImagePolicy", "metadata": {"name": "p"},
            "spec": {"repositories": [
                rule("registry.local:9001/*", shorter), rule("registry.local:9001/plant/*", longer), rule("*", shorter),
            ]},
        });
        let set: PolicySet =
            check_data(&BTreeMap::from([("p.yaml".to_owned(), policy.to_string())]), &Owner::Site).unwrap();
        let Selection::Rules(lists) = set.select("line-1", &image) else { panic!("no rule") };
        let [[rule]] = [lists[0].rules.as_slice()] else { panic!("{lists:?}") };
        assert_eq!(rule.pattern, "registry.local:9001/plant/*");
        let Some(Check::NotaryV1(check)) = rule.signed().unwrap().any_of[0].first() else { panic!("no check") };
        let anchor = Anchor { pins: check.roots.clone(), first_use: FirstUse::Allowed };
        let signers = portreeve_verify::ordered::set([RoleName::of_signer("alice").unwrap()]);
        let mut server = Files(repo.files().clone());
        match Repository::refresh(&mut server, &Gun::new(GUN).unwrap(), &anchor, None, &signers, now) {
            Ok(_) => "accepted",
            Err(RefreshError::Rejected(rejection)) => rejection.code(),
            Err(RefreshError::Unavailable(why)) => panic!("{why}"),
        }
    };
    let (right, wrong) = (key.id(), "1".repeat(64));
    assert_eq!(under(&wrong, &right), "root-not-trusted");
    assert_eq!(under(&right, &wrong), "accepted");
}
