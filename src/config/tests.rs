//! The configuration file, from its text to settings.

use portreeve_test_support::temp::TempDir;

use super::*;
use crate::yaml::shape::Shape;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("c.yaml")).map_err(|error| error.to_string())
}

#[test]
fn the_example_of_the_documentation_loads() {
    let config = parse(
        r#"
listen: "0.0.0.0:8000"
metricsListen: ""
tls: { certificate: /etc/certs/tls.crt, key: /etc/certs/tls.key, clientCa: "" }
policies: [/etc/portreeve/policies]
secrets: /etc/portreeve/secrets
credentials: { mounted: /etc/portreeve/registries, kubernetes: false }
trust:
  ca: /etc/certs/ca.pem
  servers: { "registry.local:9001": "https://notary.local:4443" }
  refreshAfter: 30s
  whenUnavailable: useCached
  maxStale: 24h
  requirePinnedRoots: true
registries:
  endpoints: { "registry.local:9001": "https://registry.plant.example" }
  signatures: { "registry.local:9001/plant/": "file:///etc/portreeve/signatures" }
admission: { mode: warn, unchangedTemplates: verify, children: compare }
limits: { connections: 64, requestBytes: 4MiB, headBytes: 8192, trustMemory: 4MiB, trustCache: 64MiB }
log: { format: text, level: debug }
"#,
    )
    .unwrap();
    assert_eq!(config.server.metrics_listen, None);
    assert_eq!(config.server.tls.client_ca, None);
    assert_eq!(config.trust.when_unavailable, WhenUnavailable::UseCached { max_stale: Duration::from_secs(86_400) });
    assert_eq!(config.trust.first_use, FirstUse::Forbidden);
    assert_eq!(
        (config.server.limits.connections, config.server.limits.request_bytes, config.server.limits.head_bytes),
        (64, 4 << 20, 8192)
    );
    assert_eq!((config.trust.limits.memory, config.trust.limits.cache), (4 << 20, 64 << 20));
    assert_eq!(config.mode, Mode::Warn);
    assert_eq!((config.unchanged_templates, config.children), (UnchangedTemplates::Verify, Children::Compare));
    assert!(config.trust.servers.for_host("registry.local:9001").is_some());
    assert!(config.trust.servers.for_host("docker.io").is_some());
}

#[test]
fn the_defaults_that_the_readme_lists_are_the_defaults() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md"));
    let (_, listing) = page.split_once("These are the defaults:\n\n```yaml\n").unwrap();
    let (listing, _) = listing.split_once("```").unwrap();
    let (mut listed, default) = (parse(listing).unwrap(), parse("").unwrap());
    // `text` on a terminal.
    listed.log_format = default.log_format;
    // What stands in the listing, and does nothing there.
    listed.files.clone_from(&default.files);
    listed.key_notes.clone_from(&default.key_notes);
    listed.conditional_keys.clone_from(&default.conditional_keys);
    assert_eq!(format!("{listed:#?}"), format!("{default:#?}"));
    for key in [
        "maxStale",
        "children",
        "unchangedTemplates",
        "verifyMemory",
        "trustCache",
        "clientCa",
        "level",
        "endpoints",
        "signatures",
    ] {
        assert!(listing.contains(key), "{key}");
    }
}

#[test]
fn nothing_at_all_is_the_defaults() {
    for text in ["", "# nothing yet\n", "{}", "tls:\ncredentials:\ntrust:\nregistries:\nadmission:\nlimits:\nlog:\n"] {
        let config = parse(text).unwrap();
        assert_eq!(config.server.listen.port(), 8000);
        assert_eq!(config.server.metrics_listen.unwrap().port(), 8080);
        assert_eq!(config.trust.when_unavailable, WhenUnavailable::Deny);
        assert_eq!((config.unchanged_templates, config.children), (UnchangedTemplates::Skip, Children::Trust));
    }
}

#[test]
fn the_api_is_asked_only_where_it_is_switched_on() {
    for text in ["{}", "credentials: { kubernetes: false, api: { server: \"https://10.96.0.1\" } }"] {
        assert_eq!(parse(text).unwrap().ask_api, AskApi::No, "{text}");
    }
    let config = parse("credentials: { kubernetes: true, api: { server: \"\" } }").unwrap();
    let api = config.api;
    assert_eq!(
        (config.ask_api, api.server, api.token),
        (AskApi::Yes, None, "/var/run/secrets/kubernetes.io/serviceaccount/token".into())
    );
    let text = "credentials: { kubernetes: true, api: { server: \"https://[fd00::1]:6443/\", token: t, ca: c } }";
    let api = parse(text).unwrap().api;
    assert_eq!(api.server.unwrap().to_string(), "https://[fd00::1]:6443");
    assert_eq!((api.token, api.ca), ("t".into(), "c".into()));
}

#[test]
fn mistakes_are_told_with_their_place_and_a_hint() {
    for (text, expected) in [
        ("lisen: x\n", "c.yaml:1:1: unknown field \"lisen\": did you mean \"listen\"?"),
        ("trust:\n  maxstale: 3s\n", "c.yaml:2:3: unknown field \"maxstale\": did you mean \"maxStale\"?"),
        ("admission: { mode: wran }\n", "c.yaml:1:20: unknown value \"wran\": did you mean \"warn\"?"),
        ("listen: here\n", "c.yaml: listen: found \"here\", expected an address"),
        ("trust: { refreshAfter: 5 }", "c.yaml:1:24: invalid type: integer `5`, expected a string"),
        ("trust: { refreshAfter: soon }", "c.yaml: trust.refreshAfter: found \"soon\", expected a duration"),
        ("listen: \"a\\e[31m\\tb\"\n", "c.yaml: listen: found \"a\u{fffd}[31m\u{fffd}b\", expected an address"),
        ("trust: { whenUnavailable: useCached }", "c.yaml: trust.maxStale: found \"0s\""),
        (
            "admission: { unchangedTemplates: true }",
            "c.yaml:1:34: invalid type: boolean `true`, expected skip or verify",
        ),
        ("limits: { headBytes: true }", "c.yaml:1:22: expected a size such as 64KiB or 8MiB"),
        ("tls: x", "c.yaml:1:6: invalid type: string, expected a mapping"),
        ("limits: { workers: 0 }", "c.yaml: limits.workers: found \"0\""),
        ("limits: { idleTime: 0s }", "c.yaml: limits.idleTime: found \"0s\""),
        ("limits: { requestBytes: 8MB }", "c.yaml: limits.requestBytes: found \"8MB\""),
        ("credentials: { api: { server: \"http://h\" } }", "c.yaml: credentials.api.server: found \"http://h\""),
        ("credentials: { api: { server: \"file:///h\" } }", "c.yaml: credentials.api.server: found"),
        // No secret is quoted.
        (
            "credentials: { api: { server: \"https://u:hunter2@h\" } }",
            "c.yaml: credentials.api.server: found \"h\", expected",
        ),
        (
            "listen: MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg",
            "c.yaml: listen: found \"MIGHAgEAMBMGByqGSM49AgEG…\", expected",
        ),
        ("log: { level: MIGHAgEAMBMGByqGSM49AgEGCCqGSM49 }", "c.yaml:1:15: unknown value \"MIGHAgEAMBMGByqGSM49…\""),
        ("credentials: { api: { tokn: x } }", "c.yaml:1:23: unknown field \"tokn\": did you mean \"token\"?"),
        ("trust: { servers: { \"a/b\": \"https://x\" } }", "c.yaml: trust.servers: \"a/b\""),
        ("registries: { endpoint: {} }", "c.yaml:1:15: unknown field \"endpoint\": did you mean \"endpoints\"?"),
        ("registry: {}", "c.yaml:1:1: unknown field \"registry\": did you mean \"registries\"?"),
        ("registries: { endpoints: [] }", "c.yaml:1:26: invalid type: sequence, expected a map"),
        ("registries: { endpoints: { a.io: 1 } }", "c.yaml:1:34: invalid type: integer `1`, expected a string"),
        ("registries: { endpoints: { a.io/b: \"https://x\" } }", "c.yaml: registries: endpoints: \"a.io/b\""),
        ("registries: { endpoints: { a.io: \"http://x\" } }", "c.yaml: registries: endpoints: \"a.io\""),
        ("registries: { signatures: { a.io: \"https://x/\" } }", "c.yaml: registries: signatures: \"a.io\""),
        ("registries: { signatures: { a.io/: \"http://x/\" } }", "c.yaml: registries: signatures: \"a.io/\""),
        ("registries: { signatures: { a.io/: \"file://x\" } }", "c.yaml: registries: signatures: \"a.io/\""),
        ("namespace: \"\"", "c.yaml: namespace: found \"\", expected a namespace"),
        ("namespace: ../x", "c.yaml: namespace: found \"../x\""),
        ("log: {}\nlog: {}", "c.yaml:2:1: \"log\" stands twice in one mapping"),
        ("- a\n", "c.yaml:1:1: "),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn plain_http_to_a_registry_is_a_switch_of_its_own() {
    let text = "registries: { endpoints: { a.io: \"http://127.0.0.1:5000\" }, signatures: { a.io/: \"http://127.0.0.1:5000/\" } }";
    assert!(parse(text).is_err());
    assert!(parse(&format!("{text}\ntrust: {{ allowPlainHttp: true }}")).is_ok());
}

/// The limits are those of Notary's trust data and of evidence together. Each is given the whole, and its store takes its part.
#[test]
fn the_keys_of_trust_data_count_for_signatures_as_well() {
    let config =
        parse("limits: { trustMemory: 8MiB, trustCache: 64MiB }\ntrust: { cache: /c, refreshAfter: 1m }").unwrap();
    let evidence = config.evidence(Arc::new(Metrics::new()));
    assert_eq!((evidence.memory, evidence.cache_bytes), (8 << 20, 64 << 20));
    assert_eq!(evidence.cache.as_deref(), Some(Path::new("/c")));
    let read = config.image_signatures();
    assert_eq!((read.refresh_after, read.when_unavailable), (Duration::from_secs(60), WhenUnavailable::Deny));
}

/// No key of the schema is without effect, and none that is read is missing there.
#[test]
fn every_key_has_an_effect() {
    fn leaves(shape: &Shape, prefix: &str, found: &mut Vec<(String, Vec<&'static str>)>) {
        let (Shape::Mapping(known) | Shape::TextsOr(known)) = shape else { return };
        for (name, shape) in *known {
            let key = format!("{prefix}{name}");
            let value = match shape {
                Shape::Word(known, _) => {
                    found.push((key, known.to_vec()));
                    continue;
                }
                Shape::Mapping(_) => {
                    leaves(shape, &format!("{key}."), found);
                    continue;
                }
                Shape::TextsOr(_) => {
                    leaves(shape, &format!("{key}."), found);
                    "[x]"
                }
                Shape::Truth => "true",
                Shape::Count => "7",
                Shape::CountOrText(_) => "7KiB",
                Shape::List(Shape::Mapping(_)) => "[{ group: a.b, kind: X, podSpec: /spec }]",
                Shape::List(_) => "[x]",
                Shape::Map(_) if *name == "servers" => "{ a.io: 'https://x.example' }",
                Shape::Map(_) if *name == "signatures" => "{ a.io/: 'https://x.example/' }",
                Shape::Map(_) => "{ a.io: 'https://x.example' }",
                Shape::Path => "other",
                Shape::Text if key.ends_with("isten") => "1.2.3.4:5",
                Shape::Text if key.ends_with("server") => "https://10.0.0.1",
                Shape::Text if key == "namespace" => "other",
                Shape::Text => "77s",
            };
            found.push((key, vec![value]));
        }
    }
    let mut keys = Vec::new();
    leaves(&DOCUMENT, "", &mut keys);
    assert!(keys.len() > 40, "{keys:?}");
    for (key, values) in keys {
        let names: Vec<&str> = key.split('.').collect();
        let end = " }".repeat(names.len() - 1);
        // Neither of the two has an effect without the other.
        let (beside, before) = match &*key {
            "trust.whenUnavailable" => (", maxStale: 1h", String::new()),
            "trust.maxStale" => {
                (", whenUnavailable: useCached", "trust: { whenUnavailable: useCached, maxStale: 1h }".to_owned())
            }
            _ => ("", String::new()),
        };
        let before = format!("{:?}", parse(&before).unwrap());
        let has_effect = |value: &&str| {
            let text = format!("{}: {value}{beside}{end}", names.join(": { "));
            format!("{:?}", parse(&text).unwrap()) != before
        };
        assert!(values.iter().any(has_effect), "{key}");
    }
}

/// Every word of the schema has a meaning.
#[test]
fn every_word_is_understood() {
    for (key, words) in [
        ("admission: { mode: ", &["enforce", "warn"][..]),
        ("admission: { unchangedTemplates: ", &["verify", "skip"]),
        ("admission: { children: ", &["trust", "compare"]),
        ("trust: { maxStale: 1h, whenUnavailable: ", &["deny", "useCached"]),
        ("log: { format: ", &["json", "text"]),
        ("log: { level: ", &["error", "warn", "info", "debug"]),
    ] {
        let settings = words.iter().map(|word| format!("{:?}", parse(&format!("{key}{word} }}")).unwrap()));
        assert_eq!(settings.collect::<std::collections::BTreeSet<_>>().len(), words.len(), "{key}");
    }
}

/// A site's file beside that of the manifests: what it does not say stays as it is.
#[test]
fn the_files_of_a_directory_are_merged_key_by_key() {
    let dir = TempDir::new();
    let load = || Config::load(Some(dir.path())).map_err(|error| error.to_string());
    assert!(load().unwrap_err().ends_with("there is no configuration file in it"));
    dir.write(
        "00-portreeve.yaml",
        "trust: { ca: /ca.pem, cache: /cache, servers: { docker.io: 'https://a' } }
limits: { shutdownDelay: 5s, trustCache: 128MiB }
policies: [/a, /b]
admission: { mode: warn }",
    );
    dir.write("..data/x.yaml", "listen: nowhere"); // kubelet's own
    dir.write("empty.yaml", "# nothing");
    dir.write(
        "site.yaml",
        "trust: { cache: /other, servers: { 'registry.local:9001': 'https://b' }, ca: }
limits: { trustCache: 1MiB }
policies: [/c]
admission:",
    );
    let config = load().unwrap();
    assert_eq!((config.trust.ca, config.trust.cache), ("/ca.pem".into(), Some("/other".into())));
    assert_eq!((config.server.limits.shutdown_delay, config.trust.limits.cache), (Duration::from_secs(5), 1 << 20));
    assert_eq!((config.policies, config.mode), (vec!["/c".into()], Mode::Warn));
    let servers = format!("{:?}", config.trust.servers);
    assert!(servers.contains("docker.io") && servers.contains("registry.local"), "{servers}");

    // An error names the file that decides.
    for (text, words) in [
        ("listen: x", "z.yaml: listen: found \"x\""),
        ("lisen: x", "z.yaml:1:1: unknown field \"lisen\""),
        ("trust: { servers: { x: y } }", "z.yaml: trust.servers: "),
        ("trust: { whenUnavailable: useCached }", "trust.maxStale: found \"0s\""),
    ] {
        dir.write("z.yaml", text);
        let error = load().unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    dir.write("z.yaml", "");
    (0..64).for_each(|at| drop(dir.write(&format!("{at}.yaml"), "")));
    assert!(load().unwrap_err().ends_with("there are more than 64 files in it"));
}

/// CASES.md, F10.
#[test]
fn a_list_of_controllers_replaces_and_add_adds() {
    let controllers = |text: &str| parse(&format!("admission: {text}")).unwrap().trusted_controllers;
    let default = parse("").unwrap().trusted_controllers;
    assert_eq!(default.len(), 8);
    assert_eq!(controllers("{ trustedControllers: [one] }"), ["one"]);
    assert_eq!(controllers("{ trustedControllers: [] }"), [""; 0]);
    let added = controllers("{ trustedControllers: { add: [one, two] } }");
    assert_eq!((&added[..8], &added[8..]), (&default[..], &["one".to_owned(), "two".to_owned()][..]));
    for same in ["{ trustedControllers: }", "{ trustedControllers: {} }", "{ trustedControllers: { add: } }"] {
        assert_eq!(controllers(same), default, "{same}");
    }
    let told = |text: &str| {
        let config = parse(&format!("admission: {text}")).unwrap();
        notes(&config, &[]).iter().map(ToString::to_string).find(|note| note.contains("trustedControllers leaves out"))
    };
    let note = told("{ trustedControllers: [\"system:kube-controller-manager\", one] }").unwrap();
    assert!(note.contains("leaves out system:serviceaccount:kube-system:cronjob-controller, "), "{note}");
    assert!(!note.contains("out system:kube-controller-manager") && note.contains("{ add: [...] }"), "{note}");
    assert!(note.contains(": what these controllers of Kubernetes make is verified again"), "{note}");
    let all_but_one = default.get(1..).unwrap().join(", ");
    let note = told(&format!("{{ trustedControllers: [{all_but_one}] }}")).unwrap();
    assert!(note.contains(": what this controller of Kubernetes makes is verified again"), "{note}");
    assert_eq!(told("{ trustedControllers: { add: [one] } }"), None);
    assert_eq!(told("{ mode: warn }"), None);
}
