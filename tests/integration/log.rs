//! The log of the real executable: one line a decision, no forged lines or fields, no secrets.

use portreeve_test_support::trust_server::{Fault, SignIn, TokenService};
use serde_json::{Value, json};

use crate::plant::PLC;
use crate::process::wait_until;
use crate::product::Serving;
use crate::review::{assert_allowed, assert_denied, fixture_json, pod_review};
use crate::stage::Stage;

#[test]
fn each_admission_is_one_line_with_all_that_it_rests_on() {
    let mut stage = Stage::new();
    stage.site.config["trust"]["refreshAfter"] = json!("1h");
    let serving = stage.site.serve();
    let mut review = pod_review(&format!("{PLC}:v1"));
    review["request"]["object"]["spec"]["initContainers"] =
        json!([{ "name": "first", "image": format!("{PLC}:unsigned") }, { "name": "odd", "image": "?" }]);
    review["request"]["dryRun"] = json!(true);
    assert_denied(&serving.admit("/admit", &review), &["unsigned"]);
    let line = decisions(&serving, 1).remove(0);
    for (field, value) in [
        ("message", json!("denied")),
        ("level", json!("warn")),
        ("uid", review["request"]["uid"].clone()),
        ("endpoint", json!("/admit")),
        ("operation", json!("CREATE")),
        ("kind", json!("Pod")),
        ("namespace", json!("line-1")),
        ("name", json!("plc")),
        ("user", json!("alice")),
        ("dryRun", json!(true)),
        ("allowed", json!(false)),
        ("basis", json!("images")),
        ("imageCount", json!(3)),
    ] {
        assert_eq!(line[field], value, "{field} in {line:#}");
    }
    assert!(line["micros"].as_u64().is_some_and(|micros| micros > 0), "{line:#}");
    let image = |name: &str| {
        line["images"]
            .as_array()
            .unwrap()
            .iter()
            .find(|image| image["name"] == name)
            .unwrap_or_else(|| panic!("{line:#}"))
    };
    let signed = image("plc");
    for (field, value) in [
        ("list", json!("container")),
        ("image", json!(format!("{PLC}:v1"))),
        ("verdict", json!("verified")),
        ("denies", json!(false)),
        ("scope", json!("cluster")),
        ("policy", json!("ClusterImagePolicy plant")),
        ("line", json!(1)),
        ("pattern", json!("registry.local:9001/*")),
        ("server", json!(stage.server.url())),
        ("digest", json!(format!("sha256:{}", "07".repeat(32)))),
        ("tag", json!("v1")),
        ("signers", json!(["alice"])),
    ] {
        assert_eq!(signed[field], value, "{field} in {signed:#}");
    }
    assert!(signed["file"].as_str().is_some_and(|file| file.ends_with("/plant.yaml")), "{signed:#}");
    assert!(signed["source"] == "fetched" || signed["source"] == "remembered", "{signed:#}");
    assert!(signed["micros"].as_u64().is_some_and(|micros| micros > 0), "{signed:#}");
    let unsigned = image("first");
    assert_eq!((&unsigned["reason"], &unsigned["denies"]), (&json!("no-such-tag"), &json!(true)));
    assert!(unsigned["message"].as_str().is_some_and(|words| words.contains("not signed")), "{unsigned:#}");
    assert_eq!(unsigned.get("digest"), None);
    assert_eq!((&image("odd")["reason"], image("odd").get("policy")), (&json!("invalid-image-name"), None));
}

#[test]
fn every_way_to_an_answer_has_its_line() {
    let stage = Stage::new();
    let serving = stage.site.serve();
    assert_allowed(&serving.admit("/admit", &pod_review(&format!("{PLC}:v1"))));
    assert_allowed(&serving.admit("/admit", &fixture_json("review-child.json")));
    let mut odd = pod_review("x");
    odd["request"]["object"] = json!(7);
    assert_denied(&serving.admit("/validate", &odd), &[]);
    assert_eq!(serving.post("/admit", "{").status, 400);
    let mut policies = pod_review("x");
    policies["request"]["kind"]["kind"] = json!("ConfigMap");
    policies["request"]["name"] = json!("portreeve-policies");
    policies["request"]["object"] = json!({ "data": { "p.yaml": "kind: [" } });
    assert_denied(&serving.admit("/validate-policy", &policies), &["p.yaml"]);
    stage.server.misbehave("", Fault::Status(503));
    assert_denied(&serving.admit("/admit", &pod_review("registry.local:9001/plant/hmi:v1")), &[]);

    let lines = decisions(&serving, 6);
    let of =
        |line: &Value| ["message", "level", "endpoint", "basis"].map(|field| line[field].as_str().unwrap().to_owned());
    assert_eq!(
        lines.iter().map(of).collect::<Vec<_>>(),
        [
            ["allowed", "info", "/admit", "images"],
            ["allowed", "info", "/admit", "parent"],
            ["denied", "warn", "/validate", "undecodable"],
            ["refused", "warn", "/admit", "not-a-review"],
            ["denied", "warn", "/validate-policy", "policies"],
            ["denied", "warn", "/admit", "images"],
        ]
    );
    assert_eq!(lines[2]["uid"], odd["request"]["uid"]);
    assert_eq!((&lines[4]["user"], &lines[4]["name"]), (&json!("alice"), &json!("portreeve-policies")));
    for line in [&lines[1], &lines[2], &lines[3], &lines[4]] {
        assert!(line["why"].as_str().is_some_and(|words| words.len() > 10), "{line:#}");
        assert_eq!(line.get("images"), None);
    }
    assert_eq!(lines[5]["images"][0]["verdict"], "unavailable");
}

/// Text with which a tenant could forge a line, a field or the display of a terminal.
const HOSTILE: &str = "plc\n{\"message\":\"allowed\",\"uid\":\"forged\"}\r\n\",\"allowed\":true,\"x\":\"\u{1b}[2J\u{9b}2K\u{202e}\u{2028}\\";

#[test]
fn nobody_forges_a_line() {
    for format in ["json", "text"] {
        let mut stage = Stage::new();
        stage.site.config["log"] = json!({ "format": format });
        let serving = stage.site.serve();
        let mut review = pod_review(HOSTILE);
        let request = review["request"].as_object_mut().unwrap();
        for field in ["uid", "name", "namespace"] {
            request.insert(field.to_owned(), json!(HOSTILE));
        }
        request.insert("userInfo".to_owned(), json!({ "username": HOSTILE }));
        request["object"]["spec"]["containers"][0]["name"] = json!(HOSTILE);
        assert_denied(&serving.admit("/admit", &review), &[]);
        review["request"]["operation"] = json!(HOSTILE);
        review["request"]["kind"] = json!({ "group": HOSTILE, "version": "v1", "kind": HOSTILE });
        assert_denied(&serving.admit("/admit", &review), &[]);

        wait_until("both decisions to be logged", || serving.log().matches("denied").count() >= 2);
        let log = serving.log();
        let obeyed = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2028}".contains(c);
        assert!(!log.contains(obeyed), "{log:?}");
        assert!(log.lines().all(|line| !line.trim_start().starts_with("{\"message\"")), "{log}");
        if format == "json" {
            let lines = decisions(&serving, 2);
            assert!(lines.iter().all(|line| line["allowed"] == false && line.get("x").is_none()), "{log}");
        } else {
            assert_eq!(log.lines().filter(|line| line.contains("warn: denied uid=")).count(), 2, "{log}");
        }
    }
}

#[test]
fn no_secret_is_logged() {
    const PASSWORD: &str = "correct-horse-battery-staple";
    let mut stage = Stage::new();
    stage.site.config["log"] = json!({ "format": "json", "level": "debug" });
    stage.server.require(SignIn::Bearer(TokenService::of("robot", PASSWORD)));
    stage.site.pull_secret("harbor", "registry.local:9001", "robot", PASSWORD);
    let serving = stage.site.serve();
    let mut review = pod_review(&format!("{PLC}:v1"));
    review["request"]["object"]["spec"]["containers"][0]["env"] = json!([{ "name": "KEY", "value": "tenant-secret" }]);
    assert_allowed(&serving.admit("/admit", &review));
    stage.server.misbehave("/token", Fault::Status(401));
    stage.server.revoke_tokens();
    assert_denied(&serving.admit("/admit", &pod_review("registry.local:9001/plant/hmi:v1")), &["/registries/harbor/"]);
    assert_eq!(decisions(&serving, 2)[1]["allowed"], false);
    let log = serving.log();
    let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("robot:{PASSWORD}"));
    for secret in [PASSWORD, &basic, "Bearer ", "Authorization", "tenant-secret"] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

/// Waits for this number of decision lines, and returns them. Every line of the log must be a JSON object.
fn decisions(serving: &Serving, count: usize) -> Vec<Value> {
    let read = || {
        let log = serving.log();
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole).to_owned();
        let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        whole.lines().map(object).filter(|line: &Value| line.get("endpoint").is_some()).collect::<Vec<_>>()
    };
    wait_until("the decisions to be logged", || read().len() >= count);
    let lines = read();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}
