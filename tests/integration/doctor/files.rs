//! The files of a site: certificates, policies, keys, credentials, the configuration; and the limits of the process.

use std::process::Command;

use portreeve_test_support::certificates::Authority;
use serde_json::json;

use super::*;
use crate::memory::Group;
use crate::product::executable;
use crate::review::{cosign_policy_for, policy_for};

#[test]
fn a_sound_site_is_well_in_text_and_json() {
    let site = sound();
    let report = doctor(&site, &[], WELL);
    report.is_well_but_for(&[]);
    report.has("ok", "serving_certificate", &format!("it is for {SERVICE}"));
    report.has("ok", "serving_certificate", "ends 4096-");
    report.has("ok", "trust_ca", "can be used");
    report.has("ok", "policies", "1 can be used");
    report.has("ok", "credentials", "there are none");
    report.has("ok", "trust_cache", "0 repositories, 0 of 512 MiB");
    report.has("skipped", "clock", "no server");
    let run = run(&mut site.command("doctor", &[]), "").expect(WELL);
    assert_eq!(run.stderr, "");
    for words in [
        &format!(
            "ok       serving certificate {}: the key belongs to it\n",
            site.config["tls"]["certificate"].as_str().unwrap()
        ),
        "\nok       policies ",
        "\nskipped  clock: there is no server to compare it with\n",
        " ok\n",
    ] {
        assert!(run.stdout.contains(words), "{words:?} is not in\n{}", run.stdout);
    }
}

#[test]
fn policies_that_are_not_there_must_be_named() {
    let site = sound();
    let report = doctor(&site, &["--policies", "/no/such"], WRONG);
    assert_eq!(report.has("wrong", "policies", "/no/such")["action"], "name a file that exists");
    // And the webhook reads directories, as they are mounted.
    let file = site.file("p.yaml", "");
    let told = run(&mut site.command("serve", &["--policies", file.to_str().unwrap()]), "").expect(2).stderr;
    assert_eq!(told, "portreeve: --policies is a file: serve takes a directory\n");
}

#[test]
fn a_serving_certificate_is_looked_at_from_all_sides() {
    let mut site = sound();
    let (other_chain, other_key) = Authority::new().server(&["localhost"]);
    let (service_chain, service_key) = Authority::new().server(&["webhook.portreeve.svc"]);
    let ending = |days| {
        let [_, chain, key] = ending_in(days, &[SERVICE]);
        (chain, key)
    };
    let (soon, ended) = (ending(5), ending(-3));
    for (chain, key, status, state, words) in [
        (&soon.0, &soon.1, WELL, "soon", "in 4 days"),
        (&ended.0, &ended.1, WRONG, "wrong", "ended "),
        (&other_chain, &other_key, WRONG, "wrong", "it is for localhost and not for portreeve.portreeve.svc"),
        (&service_chain, &service_key, WELL, "note", "it is for webhook.portreeve.svc"),
        (&service_chain, &other_key, WRONG, "wrong", "does not belong to"),
    ] {
        serve_with(&mut site, chain, key);
        let report = doctor(&site, &[], status);
        let finding = report.has(state, "serving_certificate", words);
        assert!(!finding["action"].as_str().unwrap().is_empty(), "{finding}");
        if state == "soon" {
            let ends = finding["ends"].as_str().unwrap();
            assert!(finding["found"].as_str().unwrap().contains(ends), "{finding}");
        }
    }
    site.config["tls"] = json!({ "certificate": "/nowhere/tls.crt", "key": "/nowhere/tls.key" });
    doctor(&site, &[], WRONG).has("wrong", "serving_certificate", "/nowhere/tls.crt");
}

#[test]
fn the_authorities_of_clients_and_servers_end_too() {
    let mut site = sound();
    let authority = |days: i64| {
        let now = Timestamp::now();
        Authority::valid("plant", now - 9_000.hours(), now + (24 * days + 1).hours()).pem()
    };
    site.config["trust"]["ca"] = json!(site.file("ca.pem", &authority(3)));
    site.config["tls"]["clientCa"] = json!(site.file("clients.pem", &authority(-3)));
    let report = doctor(&site, &[], WRONG);
    report.has("soon", "trust_ca", "in 3 days");
    report.has("wrong", "client_ca", "days ago");
    site.config["trust"]["ca"] = json!(site.file("broken.pem", "-----BEGIN CERTIFICATE-----\n"));
    let report = doctor(&site, &[], WRONG);
    report.has("wrong", "trust_ca", "is not valid PEM");
    report.has("wrong", "client_ca", "days ago");
}

#[test]
fn policies_and_the_keys_that_they_name_are_looked_at() {
    let mut site = sound();
    site.policy_text("kind: Pod\n");
    doctor(&site, &[], WRONG).has("wrong", "policies", "plant.yaml:1:7");
    // Policies that are to be applied, as lint takes them.
    let file = site.file("next.yaml", &policy_for("icr.io*", json!({ "enabled": false })).to_string());
    doctor(&site, &["--policies", file.to_str().unwrap()], WELL).has(
        "note",
        "policies",
        "names a repository of Docker Hub",
    );

    let key = portreeve_test_support::cosign::Key::p256().public_pem();
    let secrets = json!([{ "name": "cosign-pub" }]);
    site.policies(&[cosign_policy_for("registry.local:9001/*", json!({ "signerSecrets": secrets }))]);
    site.config["registries"] = json!({ "endpoints": {} });
    let report = doctor(&site, &["--timeout", "2s"], WRONG);
    report.has("wrong", "signer_secret", "portreeve/cosign-pub");
    report.has("unknown", "registry", "https://registry.local:9001");
    site.secret("portreeve", "cosign-pub", &[("cosign.pub", &key)]);
    doctor(&site, &["--timeout", "2s"], NOT_ASKED).has("ok", "signer_secret", "has the key of cosign-pub");
}

#[test]
fn the_policies_of_namespaces_are_looked_at() {
    let mut site = sound();
    let own = |kind: &str| {
        json!({
            "apiVersion": "portreeve/v1", "kind": kind, "metadata": { "name": "own", "namespace": "line-1" },
            "spec": { "repositories": [{ "name": "registry.local:9001/line-1/*" }] },
        })
    };
    let good = site.file("own/line-1/plant.yaml", &own("ImagePolicy").to_string());
    site.config["namespacePolicies"] = json!(good.parent().unwrap().parent().unwrap());
    doctor(&site, &[], WELL).has("ok", "namespace_policies", "line-1 1 can be used");
    site.file("own/line-2/plant.yaml", &own("ImagePolicy").to_string());
    let report = doctor(&site, &[], WRONG);
    report.is_well_but_for(&["namespace_policies"]);
    report.has("wrong", "namespace_policies", "line-2 ");
}

#[test]
fn bad_credentials_files_and_idle_keys_are_told() {
    let mut site = sound();
    site.pull_secret("harbor", "registry.local:9001", "robot", "secret");
    doctor(&site, &[], WELL).has("ok", "credentials", "1 can be used");
    let registries = site.config["credentials"]["mounted"].as_str().unwrap().to_owned();
    std::fs::create_dir(format!("{registries}/other")).unwrap();
    std::fs::write(format!("{registries}/other/.dockerconfigjson"), "{").unwrap();
    let report = doctor(&site, &[], WRONG);
    report.has("wrong", "credentials", "other/.dockerconfigjson");
    assert!(!format!("{report:?}").contains("secret\""), "no password is printed");
    std::fs::remove_dir_all(format!("{registries}/other")).unwrap();
    site.config["trust"]["maxStale"] = json!("1h");
    doctor(&site, &[], WELL).has("note", "configuration", "trust.maxStale does nothing");
    // The webhook says so as well, once, at its start.
    let serving = site.serve();
    assert_eq!(serving.log().matches("trust.maxStale does nothing").count(), 1, "{}", serving.log());
}

#[test]
fn a_configuration_that_cannot_be_used_is_bad_input() {
    let mut site = sound();
    site.config["trsut"] = json!({});
    let run = run(&mut site.command("doctor", &[]), "").expect(2);
    assert!(run.stderr.contains("trsut") && run.stdout.is_empty(), "{run:?}");
}

#[test]
fn limits_that_contradict_the_configuration_are_told() {
    let site = sound();
    let with_descriptors = |most: u32| {
        let mut command = Command::new("/usr/bin/prlimit");
        command.env_clear().arg(format!("--nofile={most}:{most}"));
        let plain = site.command("doctor", &["--output", "json"]);
        command.arg(plain.get_program()).args(plain.get_args());
        command
    };
    Report::of(&mut with_descriptors(2_064), WELL).has("ok", "limits", "2064 file descriptors");
    Report::of(&mut with_descriptors(2_063), WRONG).has("wrong", "limits", "a process here may have 2063");
    for (mib, status, state) in [(128, WELL, "ok"), (127, WRONG, "wrong")] {
        let Some(group) = Group::new(mib << 20) else { return };
        let plain = site.command("doctor", &["--output", "json"]);
        let mut command = Command::new("/bin/sh");
        command.env_clear().args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(group.path().join("cgroup.procs"));
        command.arg(plain.get_program()).args(plain.get_args());
        Report::of(&mut command, status).has(state, "limits", &format!("{mib} MiB"));
    }
}

#[test]
fn a_workstation_without_anything_is_told_where_the_rest_is() {
    let mut command = executable();
    let report = Report::of(command.args(["doctor", "--output", "json"]), WELL);
    for (check, instead) in [
        ("serving_certificate", "tls.certificate"),
        ("trust_ca", "--trust-ca FILE"),
        ("policies", "--policies PATH"),
        ("credentials", "credentials.mounted"),
    ] {
        let finding = report.has("skipped", check, "is a path of the pod");
        assert!(finding["action"].as_str().unwrap().contains(instead), "{finding}");
    }
    report.has("skipped", "pod", "kubectl -n portreeve exec deploy/portreeve");
    let given = doctor(&sound(), &[], WELL);
    assert!(!format!("{given:?}").contains("kubectl"), "nothing was left out");
    // In a pod the same files are missing.
    let mut command = executable();
    command.env("KUBERNETES_SERVICE_HOST", "10.96.0.1");
    Report::of(command.args(["doctor", "--output", "json"]), WRONG).has(
        "wrong",
        "serving_certificate",
        "/etc/certs/tls.crt",
    );
}
