//! The metrics of the real executable after admissions of every kind, and the alert rules, the dashboard and the page
//! that name them. What needs `promtool` is skipped if it is not installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use portreeve_test_support::certificates::Authority;
use portreeve_test_support::cosign::{Artifact, Bundle, Key, Statement};
use portreeve_test_support::registry::Registry;
use portreeve_test_support::trust_server::{Fault, SignIn, TokenService};
use serde_json::{Value, json};

use crate::pki::Pki;
use crate::plant::{HMI, PLC};
use crate::process::{Run, run, skip_for_want_of, wait_patiently, wait_until};
use crate::product::Site;
use crate::review::{
    DID_NOT_ANSWER, assert_allowed, assert_denied, fixture, fixture_json, in_namespace, pod_review, policy_for,
};
use crate::stage::Stage;

#[test]
fn every_kind_of_admission_is_counted() {
    let scrape = scrape();
    for line in [
        r#"portreeve_admissions_total{endpoint="admit",outcome="allowed"} 4"#,
        r#"portreeve_admissions_total{endpoint="admit",outcome="denied"} 5"#,
        r#"portreeve_admissions_total{endpoint="admit",outcome="error"} 1"#,
        r#"portreeve_admissions_total{endpoint="validate",outcome="allowed"} 1"#,
        r#"portreeve_admissions_total{endpoint="validate-policy",outcome="denied"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="verified",reason="fetched",scope="cluster"} 1"#,
        r#"portreeve_images_total{endpoint="validate",verdict="verified",reason="fetched",scope="cluster"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="verified",reason="stood-in",scope="cluster"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="rejected",reason="no-such-tag",scope="cluster"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="rejected",reason="no-matching-policy",scope="cluster"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="rejected",reason="not-ours",scope="none"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="unavailable",reason="trust-server",scope="cluster"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="unchecked",reason="policy",scope="namespace"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="exempt",reason="parent",scope="none"} 1"#,
        r#"portreeve_checks_total{endpoint="admit",scheme="trust",verdict="verified",reason="fetched"} 1"#,
        r#"portreeve_checks_total{endpoint="validate",scheme="trust",verdict="verified",reason="fetched"} 1"#,
        r#"portreeve_checks_total{endpoint="admit",scheme="trust",verdict="verified",reason="stood-in"} 1"#,
        r#"portreeve_checks_total{endpoint="admit",scheme="trust",verdict="rejected",reason="no-such-tag"} 1"#,
        r#"portreeve_checks_total{endpoint="admit",scheme="trust",verdict="unavailable",reason="trust-server"} 1"#,
        r#"portreeve_checks_total{endpoint="admit",scheme="cosign",verdict="unavailable",reason="registry"} 0"#,
        r#"portreeve_signature_lookups_total{source="remembered"} 0"#,
        r#"portreeve_trust_lookups_total{source="stood_in"} 1"#,
        r#"portreeve_trust_lookups_total{source="nowhere"} 1"#,
        "portreeve_stood_in_age_seconds_count 1",
        r#"portreeve_limit_hits_total{limit="request_bytes"} 1"#,
        r#"portreeve_reloads_total{what="policies",result="ok"} 1"#,
        r#"portreeve_admissions_in_hand{state="queued"} 0"#,
        r#"portreeve_admissions_in_hand{state="deciding"} 0"#,
        "portreeve_workers 8",
        "portieris_pod_admission_decision_allow_count 4",
        "portieris_pod_admission_decision_deny_count 5",
    ] {
        assert!(scrape.lines().any(|found| found == line), "no {line} in\n{scrape}");
    }
    for series in [
        r#"portreeve_trust_requests_total{peer="trust_server",outcome="ok"}"#,
        r#"portreeve_trust_requests_total{peer="trust_server",outcome="unauthorized"}"#,
        r#"portreeve_trust_requests_total{peer="trust_server",outcome="server_error"}"#,
        r#"portreeve_trust_requests_total{peer="token_service",outcome="ok"}"#,
        r#"portreeve_trust_lookups_total{source="refreshed"}"#,
        "portreeve_trust_received_bytes_total",
        r#"portreeve_phase_duration_seconds_count{phase="queue"}"#,
        r#"portreeve_phase_duration_seconds_count{phase="read"}"#,
        r#"portreeve_phase_duration_seconds_count{phase="policy"}"#,
        r#"portreeve_phase_duration_seconds_count{phase="credentials"}"#,
        r#"portreeve_phase_duration_seconds_count{phase="trust"}"#,
        r#"portreeve_phase_duration_seconds_count{phase="request"}"#,
        r#"portreeve_phase_duration_seconds_count{phase="verify"}"#,
        r#"portreeve_phase_duration_seconds_count{phase="answer"}"#,
        r#"portreeve_reload_success_timestamp_seconds{what="certificate"}"#,
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        let value = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        assert!(value.is_some_and(|value| value.parse::<f64>().is_ok_and(|value| value > 0.0)), "{series}: {value:?}");
    }
}

#[test]
fn one_refreshes_and_the_others_share_or_remember() {
    let mut stage = Stage::new();
    stage.site.config["trust"]["refreshAfter"] = json!("1h");
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    stage.server.misbehave("/timestamp.json", Fault::Delay(Duration::from_secs(1)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_allowed(&serving.admit("/admit", &review)));
        }
    });
    assert_allowed(&serving.admit("/admit", &review));
    let scrape = serving.get_plain("/metrics").unwrap().body;
    let [refreshed, shared, remembered] = ["refreshed", "shared", "remembered"].map(|source| {
        let series = format!("portreeve_trust_lookups_total{{source=\"{source}\"}} ");
        scrape.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u32>().ok()).unwrap()
    });
    assert_eq!((refreshed, shared + remembered), (1, 4), "{scrape}");
    assert!(remembered >= 1, "{scrape}");
    wait_until("where the data came from to be logged", || {
        serving.log().contains(r#""source":"fetched""#) && serving.log().contains(r#""source":"remembered""#)
    });
}

#[test]
fn signatures_in_a_registry_are_counted_by_their_scheme() {
    let registry = Registry::start();
    let key = Key::p256();
    let image = registry.push_image("plant/plc", "v1", "first");
    let bundle = Bundle::dsse(&Statement::new(&image).bytes(), &key).bytes();
    registry.attach("plant/plc", &image, &Artifact::bundle(&image, bundle));
    let mut site = Site::new(&Pki::new());
    site.config["trust"]["ca"] = json!(site.file("registry-ca.pem", registry.ca_pem()));
    site.config["trust"]["refreshAfter"] = json!("0s");
    let cosign = json!({ "signers": [{ "name": "release", "publicKey": key.public_pem() }] });
    let mut policy = policy_for("*", json!({}));
    policy["spec"]["repositories"][0]["policy"] = json!({ "cosign": cosign });
    site.policies(&[policy]);
    let serving = site.serve();
    let name = format!("{}/plant/plc", registry.host());
    let admit = |image: &str| serving.admit("/admit", &pod_review(image));
    assert_allowed(&admit(&format!("{name}:v1")));
    assert_allowed(&admit(&format!("{name}@{}", image.digest())));
    registry.go_away();
    assert_denied(&admit(&format!("{name}:v1")), &["unavailable: "]);
    let scrape = serving.get_plain("/metrics").unwrap().body;
    for line in [
        r#"portreeve_checks_total{endpoint="admit",scheme="cosign",verdict="verified",reason="fetched"} 1"#,
        r#"portreeve_checks_total{endpoint="admit",scheme="cosign",verdict="verified",reason="remembered"} 1"#,
        r#"portreeve_checks_total{endpoint="admit",scheme="cosign",verdict="unavailable",reason="registry"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="unavailable",reason="registry",scope="cluster"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="unavailable",reason="trust-server",scope="cluster"} 0"#,
        r#"portreeve_signature_lookups_total{source="refreshed"} 1"#,
        r#"portreeve_signature_lookups_total{source="remembered"} 1"#,
        r#"portreeve_signature_lookups_total{source="nowhere"} 1"#,
        r#"portreeve_trust_lookups_total{source="refreshed"} 0"#,
    ] {
        assert!(scrape.lines().any(|found| found == line), "no {line} in\n{scrape}");
    }
    let asked = scrape.lines().find_map(|line| {
        line.strip_prefix(r#"portreeve_trust_requests_total{peer="registry",outcome="ok"} "#)?.parse::<u32>().ok()
    });
    assert!(asked.is_some_and(|asked| asked >= 4), "manifest, referrers, signature manifest, blob: {scrape}");
    wait_until("the scheme to be logged", || serving.log().contains(r#""scheme":"cosign""#));
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let Some(run) = promtool(&["check", "metrics"], scrape()) else { return };
    let run = run.expect(0);
    assert_eq!(run.text(), "", "promtool has something to say");
    // promtool complains about a counter with another kind of name, so no output means that the names are right.
    let renamed = scrape().replace("portreeve_panics_total", "portreeve_panics");
    assert!(promtool(&["check", "metrics"], &renamed).unwrap().text().contains("portreeve_panics"));
}

#[test]
fn the_alert_rules_fire_when_they_should_and_only_then() {
    let rules = monitoring("alerts.yaml");
    let Some(run) = promtool(&["check", "rules", rules.to_str().unwrap()], "") else { return };
    run.expect(0);
    let cases = fixture("alerts.test.yaml");
    promtool(&["test", "rules", cases.to_str().unwrap()], "").unwrap().expect(0);
    // Every alert has a case.
    let (rules, cases) = (fs::read_to_string(rules).unwrap(), fs::read_to_string(cases).unwrap());
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(page.contains(&format!("`{alert}`")), "{alert} is not in docs/operations.md");
        assert!(cases.matches(alert).count() >= 2, "{alert} is not seen both to fire and not to");
    }
}

#[test]
fn the_operator_s_rules_are_the_same() {
    let made = run(&mut Command::new(monitoring("../monitoring-operator/make-rule")), "").expect(0).stdout;
    let kept = fs::read_to_string(monitoring("../monitoring-operator/prometheus-rule.yaml")).unwrap();
    assert_eq!(kept, made, "run manifests/components/monitoring-operator/make-rule, and keep what it prints");
    let read = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    let alerts = read(&fs::read_to_string(monitoring("alerts.yaml")).unwrap());
    assert_eq!(read(&kept)["spec"], alerts);
    assert!(alerts["groups"][0]["rules"].as_array().is_some_and(|rules| rules.len() > 20), "{alerts}");
    // The PodMonitor selects the pods of the Deployment, and a port that they have.
    let pods = read(&fs::read_to_string(monitoring("../../base/deployment.yaml")).unwrap())["spec"]["template"].clone();
    let monitor = read(&fs::read_to_string(monitoring("../monitoring-operator/pod-monitor.yaml")).unwrap());
    for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(pods["metadata"]["labels"][label], *value, "{label}");
    }
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let ports = pods["spec"]["containers"][0]["ports"].as_array().unwrap();
    assert!(ports.iter().any(|port| port["name"] == endpoint["port"] && port["containerPort"] == 8080), "{endpoint}");
    assert_eq!(endpoint["path"], "/metrics");
}

#[test]
fn alerts_and_dashboard_speak_of_series_that_are_there() {
    let alerts = fs::read_to_string(monitoring("alerts.yaml")).unwrap();
    let page = pages();
    let dashboard = fs::read_to_string(monitoring("../monitoring-dashboard/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut expressions = vec![alerts];
    for panel in dashboard["panels"].as_array().unwrap() {
        expressions.extend(panel["targets"].as_array().unwrap().iter().map(|t| t["expr"].as_str().unwrap().to_owned()));
    }
    let mut seen = 0;
    for expression in &expressions {
        for (name, matchers) in selectors(expression) {
            assert!(has_series(scrape(), name, &[]), "{name} in {expression}");
            for (label, values) in matchers {
                for value in values.split('|') {
                    if name == "portreeve_ends_timestamp_seconds" {
                        // The site of the scrape has not all kinds.
                        assert!(page.contains(&format!("`{value}`")), "{value}: {expression}");
                        continue;
                    }
                    let pair = format!("{label}=\"{value}\"");
                    assert!(has_series(scrape(), name, &[&pair]), "no {name} has {pair}: {expression}");
                }
            }
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn the_pages_name_every_metric_with_its_labels_and_no_other() {
    let page = pages();
    let said: BTreeSet<&str> = page.split('`').skip(1).step_by(2).collect();
    let mut there = BTreeSet::new();
    for line in scrape().lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let name = typed.split(' ').next().unwrap();
            assert!(said.contains(name), "{name} is not in docs/metrics.md");
            there.insert(name);
        }
        for (label, value) in labels(line) {
            if !["le", "version"].contains(&label) {
                assert!(said.contains(label) && said.contains(value), "{label}={value} is not in docs/metrics.md");
            }
        }
    }
    let is_metric = |word: &&&str| ["portreeve_", "portieris_", "process_"].iter().any(|own| word.starts_with(own));
    for word in said.iter().filter(is_metric) {
        assert!(there.contains(word), "docs/metrics.md or docs/operations.md speaks of {word}, which is not there");
    }
}

/// The reference of the metrics, and the page with what ends and the alerts.
fn pages() -> String {
    let read = |name| fs::read_to_string(root().join("docs").join(name)).unwrap();
    [read("metrics.md"), read("operations.md")].concat()
}

/// The output of `/metrics` after admissions of every kind.
fn scrape() -> &'static str {
    static SCRAPE: OnceLock<String> = OnceLock::new();
    SCRAPE.get_or_init(|| {
        let mut stage = Stage::new();
        stage.server.require(SignIn::Bearer(TokenService { anonymous: true, ..TokenService::default() }));
        let trust = stage.site.config["trust"].as_object_mut().unwrap();
        trust.extend([
            ("refreshAfter".to_owned(), json!("0s")),
            ("whenUnavailable".to_owned(), json!("useCached")),
            ("maxStale".to_owned(), json!("24h")),
        ]);
        stage.site.config["limits"] = json!({ "requestBytes": "64KiB" });
        let signer = json!({ "name": "alice", "publicKey": stage.repo.signer_public_key_pem("alice") });
        let checked = policy_for("registry.local:9001/*", json!({ "enabled": true, "signers": [signer] }));
        let unchecked = in_namespace(policy_for("*", json!({ "enabled": false })), "line-2");
        stage.site.policies(&[checked, unchecked]);
        let serving = stage.site.serve();
        let admit = |review: &Value| serving.admit("/admit", review);
        let signed = pod_review(&format!("{PLC}:v1"));

        assert_allowed(&admit(&signed));
        assert_allowed(&serving.admit("/validate", &signed));
        assert_denied(&admit(&pod_review(&format!("{PLC}:unsigned"))), &["unsigned"]);
        assert_denied(&admit(&pod_review("elsewhere.example/app:v1")), &["no repository pattern"]);
        let mut elsewhere = signed.clone();
        elsewhere["request"]["namespace"] = json!("line-2");
        assert_allowed(&admit(&elsewhere));
        assert_allowed(&admit(&fixture_json("review-child.json")));
        let mut connect = signed.clone();
        connect["request"]["operation"] = json!("CONNECT");
        assert_denied(&admit(&connect), &["CONNECT"]);
        let mut odd = signed.clone();
        odd["request"]["object"]["spec"]["containers"] = json!(7);
        assert_denied(&admit(&odd), &["cannot be decoded"]);
        assert_eq!(serving.post("/admit", "{}").status, 400);
        assert_eq!(serving.post("/admit", &" ".repeat(65 << 10)).status, 413);
        let mut policies = signed.clone();
        policies["request"]["kind"]["kind"] = json!("ConfigMap");
        policies["request"]["name"] = json!("portreeve-policies");
        policies["request"]["object"] = json!({ "data": { "p.yaml": "kind: [" } });
        assert_denied(&serving.admit("/validate-policy", &policies), &["p.yaml"]);

        stage.server.misbehave("", Fault::Status(503));
        assert_allowed(&admit(&signed));
        assert_denied(&admit(&pod_review(&format!("{HMI}:v1"))), &[DID_NOT_ANSWER]);
        serving.get_plain("/metrics").unwrap().body
    })
}

/// Runs `promtool` with these arguments and input. `None` if it is not installed; the test is then skipped.
fn promtool(arguments: &[&str], input: &str) -> Option<Run> {
    if Command::new("promtool").arg("--version").output().is_ok() {
        return Some(run(Command::new("promtool").args(arguments), input));
    }
    skip_for_want_of("promtool (Debian package prometheus)");
    None
}

/// The selectors of our metrics in an expression: the name, and the values (`a|b`) that each label is compared with.
fn selectors(expression: &str) -> Vec<(&str, BTreeMap<&str, &str>)> {
    let mut found = Vec::new();
    for own in ["portreeve_", "process_"] {
        for (at, _) in expression.match_indices(own) {
            let rest = expression.split_at(at).1;
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let matchers = rest.strip_prefix('{').map_or("", |rest| rest.split_once('}').unwrap().0);
            let matchers = matchers.split(',').filter_map(|matcher| {
                let (label, value) = matcher.split_once('"')?;
                Some((label.trim_end_matches(['=', '!', '~']), value.trim_end_matches('"')))
            });
            found.push((name, matchers.collect()));
        }
    }
    found
}

fn has_series(scrape: &str, name: &str, labels: &[&str]) -> bool {
    scrape.lines().any(|line| {
        let family = line.strip_prefix("# TYPE ").is_some_and(|typed| typed.split(' ').next() == Some(name));
        let sample = line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        (sample || (family && labels.is_empty())) && labels.iter().all(|label| line.contains(label))
    })
}

/// The labels of a sample.
fn labels(line: &str) -> Vec<(&str, &str)> {
    let inner = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inner, _)| inner);
    inner
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(label, value)| (label, value.trim_matches('"')))
        .collect()
}

fn monitoring(file: &str) -> std::path::PathBuf {
    root().join("manifests/components/monitoring").join(file)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn what_ends_soon_is_logged_once_a_day_and_after_each_start() {
    let mut stage = Stage::new();
    let at = |days: i64| jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    stage.server.publish(&stage.repo.update(|signer| signer.expires("targets/releases", at(4))));
    // A CA of trust servers, and a pinned one.
    let (bundled, pinned) =
        (Authority::valid("Bundled CA", at(-1), at(9)), Authority::valid("Pinned CA", at(-1), at(11)));
    let bundle = stage.server.ca_pem().to_owned() + &bundled.pem();
    stage.site.config["trust"]["ca"] = json!(stage.site.file("bundle.pem", &bundle));
    let other = json!({ "enabled": true, "roots": [{ "ca": pinned.pem() }] });
    let signer = json!({ "name": "alice", "publicKey": stage.repo.signer_public_key_pem("alice") });
    stage.site.policies(&[
        policy_for("registry.local:9001/*", json!({ "enabled": true, "signers": [signer] })),
        in_namespace(policy_for("other.local/*", other), "line-2"),
    ]);
    let told = r#""message":"certificates, CAs or trust data end soon""#;
    let lines = |log: &str| -> Vec<Value> {
        log.lines().filter(|line| line.contains(told)).map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let named = |lines: &[Value]| -> BTreeSet<(String, String)> {
        let endings = lines.iter().flat_map(|line| line["endings"].as_array().unwrap());
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        endings.map(|ending| (word(&ending["kind"]), word(&ending["what"]))).collect()
    };
    let serving = stage.site.serve();
    wait_patiently("what ends to be logged at the start", || serving.log().contains(told));
    let first = lines(&serving.log());
    let kinds: Vec<String> = named(&first).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["pinned_ca", "trust_ca"], "{first:?}");
    assert_eq!(first[0]["endings"][0]["advice"].as_str().map(|advice| advice.contains("renewed CA")), Some(true));
    assert!(first[0]["endings"][0]["what"].as_str().unwrap().ends_with("bundle.pem, Bundled CA"), "{first:?}");
    assert!(first[0]["endings"][1]["what"].as_str().unwrap().ends_with("line 3), Pinned CA"), "{first:?}");

    assert_allowed(&serving.admit("/admit", &pod_review(&format!("{PLC}:v1"))));
    wait_patiently("what came into use to be logged", || lines(&serving.log()).len() > 1);
    let second = lines(&serving.log());
    assert_eq!(second.len(), 2);
    let place = format!("{PLC}, {}", stage.server.url());
    assert_eq!(named(&second[1..]), BTreeSet::from([("releases".to_owned(), place.clone())]));
    assert_eq!(second[1]["endings"][0]["advice"], "its owner must sign it again");
    let scrape = serving.get_plain("/metrics").unwrap().body;
    for (what, days) in [("trust_ca", 9), ("pinned_ca", 11), ("releases", 4)] {
        let series = format!("portreeve_ends_timestamp_seconds{{what=\"{what}\"}} ");
        let found = scrape.lines().find_map(|line| line.strip_prefix(&series)?.parse::<i64>().ok()).unwrap();
        assert!((found - at(days).as_second()).abs() < 600, "{what} {found}");
    }
    drop(serving);

    // After a restart all of it is named at once. No image was decided since: the trust data is read from the disk.
    let serving = stage.site.serve();
    wait_patiently("what ends to be logged after the restart", || serving.log().contains(told));
    let kinds: Vec<String> = named(&lines(&serving.log())).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["pinned_ca", "releases", "trust_ca"]);
    assert!(named(&lines(&serving.log())).contains(&("releases".to_owned(), place)));
    // Nothing of it is named again.
    assert_allowed(&serving.admit("/admit", &pod_review(&format!("{PLC}:v1"))));
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(lines(&serving.log()).len(), 1, "{}", serving.log());
}
