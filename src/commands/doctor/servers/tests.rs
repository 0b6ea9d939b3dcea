//! Which servers are asked, and about what.

use super::*;
use crate::base::files::scratch::Scratch;
use crate::policy;

fn named(config: &str, rules: &[(&str, &str)], stored: &[(&str, &str)]) -> Servers {
    let scratch = Scratch::new();
    let rules: Vec<String> =
        rules.iter().map(|(name, policy)| format!("  - {{ name: \"{name}\", policy: {{ {policy} }} }}\n")).collect();
    let head = "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: { name: p }\nspec:\n  repositories:\n";
    scratch.write("p.yaml", [head, &rules.concat()].concat());
    let policies = policy::load(&[scratch.path().to_owned()]).unwrap();
    let config = Config::parse(config, std::path::Path::new("c.yaml")).unwrap();
    let stored: Vec<_> = stored.iter().map(|(server, gun)| ((*server).to_owned(), (*gun).to_owned())).collect();
    Servers::named(&config, Some(&policies), &stored)
}

/// `kind url: repository (credentials)`, an example with `~` before it.
fn told(servers: &Servers) -> Vec<String> {
    let of = |target: &Target| {
        let kind = if target.kind == Kind::Registry { "registry" } else { "notary" };
        let questions: Vec<String> = target
            .questions
            .iter()
            .map(|Question { repository, credentials, mirror, is_real, .. }| {
                let mirror = mirror.as_ref().map(|mirror| format!("{mirror}, ")).unwrap_or_default();
                format!("{}{repository} ({mirror}{credentials})", if *is_real { "" } else { "~" })
            })
            .collect();
        format!("{kind} {}: {}", target.url, questions.join("; "))
    };
    servers.targets.iter().map(of).collect()
}

#[test]
fn policies_name_servers_by_rule_or_by_registry() {
    let config =
        "trust: { servers: { \"registry.local:9001\": \"https://notary.local\", \"own.local\": \"https://own\" } }";
    let trust = "trust: { enabled: true }";
    let servers = named(
        config,
        &[
            ("registry.local:9001/plant/*", trust),
            ("registry.local:9001/plc:v*", trust),
            ("quay.io/a/b", "trust: { enabled: true, trustServer: \"https://other:4443\" }"),
            ("docker.io/nginx", trust),
            ("unknown.local/*", trust),
            ("*", trust),
            ("carried.local/*", "trust: { enabled: true, trustServer: \"file:///etc/portreeve/trust\" }"),
            ("off.local/*", "trust: { enabled: false }"),
        ],
        &[],
    );
    let mut found = told(&servers);
    found.sort();
    assert_eq!(
        found,
        [
            "notary https://notary.docker.io: docker.io/library/nginx (docker.io/library/nginx)",
            "notary https://notary.local: ~registry.local:9001/plant/portreeve-doctor (registry.local:9001/plant/portreeve-doctor); \
             registry.local:9001/plc (registry.local:9001/plc); \
             ~registry.local:9001/portreeve-doctor (registry.local:9001/portreeve-doctor)",
            "notary https://other:4443: quay.io/a/b (quay.io/a/b)",
            "notary https://own: ~own.local/portreeve-doctor (own.local/portreeve-doctor)",
        ]
    );
    assert_eq!(servers.without_server, [("unknown.local".to_owned(), "ClusterImagePolicy p".to_owned())]);
    let directory = Directory { path: "/etc/portreeve/trust".into(), named_by: "ClusterImagePolicy p".to_owned() };
    assert_eq!(servers.directories, [directory]);
    let notary = servers.targets.iter().find(|target| target.url.as_str() == "https://notary.local").unwrap();
    assert_eq!((notary.named_by.as_str(), notary.more), ("ClusterImagePolicy p", 1));
}

#[test]
fn a_mirror_is_asked_about_under_the_signed_name() {
    let remap = "remap: { prefix: \"registry.local:9001/docker.io/\", signedPrefix: \"docker.io/\" }";
    let own = format!("trust: {{ enabled: true, trustServer: \"https://own\", {remap} }}");
    let found = format!("trust: {{ enabled: true, {remap} }}");
    let pattern = "registry.local:9001/docker.io/library/nginx";
    let signed = "docker.io/library/nginx";
    for (policy, expected) in [
        (own, format!("notary https://own: {signed} ({pattern}, {signed})")),
        // A server that was found by the signed name sees no credentials of the mirror.
        (found, format!("notary https://notary.docker.io: {signed} ({signed})")),
    ] {
        assert_eq!(told(&named("", &[(pattern, &policy)], &[])), [expected]);
    }
}

#[test]
fn registries_are_those_of_cosign_and_of_the_configuration() {
    let key = portreeve_test_support::cosign::Key::p256().public_pem().replace('\n', "\\n");
    let cosign = format!("cosign: {{ signers: [{{ name: a, publicKey: \"{key}\" }}] }}");
    let config = "registries:\n  endpoints: { \"docker.io\": \"https://mirror.local\", \"far.local\": \"https://near.local/v2/far\" }\n  \
                  signatures: { \"reg.local/plant/\": \"https://sigs.local/s/\", \"reg.local/carried\": \"file:///media/stick\" }\n";
    let servers =
        named(config, &[("reg.local/plant/*", &cosign), ("docker.io/nginx", &cosign), ("*.wide/*", &cosign)], &[]);
    let mut found = told(&servers);
    found.sort();
    assert_eq!(
        found,
        [
            "registry https://mirror.local: library/nginx (docker.io/library/nginx); \
             ~library/portreeve-doctor (docker.io/library/portreeve-doctor)",
            "registry https://near.local: ~far/portreeve-doctor (far.local/portreeve-doctor)",
            "registry https://reg.local: ~plant/portreeve-doctor (reg.local/plant/portreeve-doctor)",
            "registry https://sigs.local: ~s/portreeve-doctor (sigs.local/s/portreeve-doctor)",
        ]
    );
    assert_eq!(servers.directories.len(), 1);
    assert!(
        told(&named("", &[("quay.io/x", "mode: enforce, cosign: { signerSecrets: [{ name: s }] }")], &[])).len() == 1
    );
}

#[test]
fn stored_repositories_take_the_place_of_examples() {
    let trust = "trust: { enabled: true, trustServer: \"https://n\" }";
    let stored =
        [("https://n", "reg.local/plant/plc"), ("https://other", "reg.local/line/plc"), ("https://n", "x.local/y")];
    let asked = |pattern: &str| told(&named("", &[(pattern, trust)], &stored));
    assert_eq!(asked("reg.local/plant/*"), ["notary https://n: reg.local/plant/plc (reg.local/plant/plc)"]);
    assert_eq!(
        asked("reg.local/line/*"),
        ["notary https://n: ~reg.local/line/portreeve-doctor (reg.local/line/portreeve-doctor)"]
    );
    assert_eq!(asked("*"), ["notary https://n: reg.local/plant/plc (reg.local/plant/plc); x.local/y (x.local/y)"]);
}

#[test]
fn no_more_servers_than_allowed_are_asked() {
    let rules: Vec<(String, String)> = (0..MAX_SERVERS + 3)
        .map(|number| {
            (format!("r{number}.local/*"), format!("trust: {{ enabled: true, trustServer: \"https://n{number}\" }}"))
        })
        .collect();
    let rules: Vec<(&str, &str)> = rules.iter().map(|(name, policy)| (name.as_str(), policy.as_str())).collect();
    let servers = named("", &rules, &[]);
    assert_eq!((servers.targets.len(), servers.left_out), (MAX_SERVERS, 3));
}

/// Whatever a namespace's people name, the servers of the site are asked.
#[test]
fn a_namespace_takes_no_place_of_the_site_s_servers() {
    let scratch = Scratch::new();
    let server = |host: &str| format!("{{ trust: {{ enabled: true, trustServer: \"https://{host}\" }} }}");
    let rule = |name: &str, host: &str| format!("  - {{ name: \"{name}\", policy: {} }}\n", server(host));
    let head = |kind: &str, more: &str| {
        format!("apiVersion: portreeve/v1\nkind: {kind}\nmetadata: {{ name: p{more} }}\nspec:\n  repositories:\n")
    };
    scratch.write("site/p.yaml", [head("ClusterImagePolicy", ""), rule("a.local/*", "site.local")].concat());
    let many: String = (0..70).map(|n| rule(&format!("b{n}.local/*"), &format!("other{n}.local"))).collect();
    scratch.write("own/line-1/p.yaml", [head("ImagePolicy", ", namespace: line-1"), many].concat());
    let places =
        policy::PolicyPlaces { site: vec![scratch.path().join("site")], namespaces: Some(scratch.path().join("own")) };
    let (policies, _) = policy::load_all(&places).unwrap();
    let text = "trust: { servers: { \"own.local\": \"https://configured.local\" } }";
    let config = Config::parse(text, std::path::Path::new("c.yaml")).unwrap();
    let servers = Servers::named(&config, Some(&policies), &[]);
    let urls: Vec<&str> = servers.targets.iter().map(|target| target.url.as_str()).collect();
    assert_eq!(urls[..2], ["https://site.local", "https://configured.local"]);
    assert_eq!((urls.len(), servers.left_out), (MAX_SERVERS, 70 + urls_of_config(&config) + 1 - MAX_SERVERS));
}

fn urls_of_config(config: &Config) -> usize {
    config.registries.configured_endpoints().count() + config.trust.servers.configured().count()
}
