//! The spellings of a host, signed by the real client: an IPv6 address, the default port, Docker Hub's short names.

use crate::https::{HttpsServer, Reply};
use crate::notary::{Digest, RealNotary, Signer, needs_notary};
use crate::pki::Pki;
use crate::process::run;
use crate::product::Site;
use crate::review::{patch, pod, policy_for};
use crate::token::TokenService;

/// The image in the patch of `review`.
#[track_caller]
fn patched(site: &Site, image: &str) -> serde_json::Value {
    let file = site.file("pod.json", &pod(image).to_string());
    let (ended, answers) = site.answers(&file);
    assert_eq!(ended, Some(0), "{answers:#?}");
    patch(&answers[0])[0]["value"].clone()
}

#[test]
fn a_registry_at_an_ipv6_address() {
    needs_notary!();
    let pki = Pki::new();
    let notary = RealNotary::start(&pki);
    let (alice, digest) = (Signer::new("alice"), Digest::of("v1"));
    let gun = "[fd00::1]:9001/plant/plc";
    notary.repository(gun).add_signer(&alice).sign("v1", &digest, &["targets/releases", "targets/alice"]);
    let mut site = Site::new(&pki);
    site.config["trust"]["servers"] = serde_json::json!({ "[FD00:0::1]:9001": notary.url() });
    let trust = serde_json::json!({ "enabled": true, "signers": [alice.in_policy()] });
    site.policies(&[policy_for("[fd00::1]:9001/plant/*", trust)]);
    for image in [gun, "[fd00:0:0::1]:9001/plant/plc"] {
        assert_eq!(patched(&site, &format!("{image}:v1")), format!("{image}:v1@{digest}"));
    }
    // Both forms of an export can be carried and read.
    for layout in [&[][..], &["--flat"]] {
        let stick = site.file("stick/.keep", "").with_file_name(format!("stick-{}", layout.len()));
        let mut args = vec!["--gun", gun];
        args.extend(layout);
        args.push(stick.to_str().unwrap());
        run(&mut site.command("export", &args), "").expect(0);
        let trust = serde_json::json!({ "enabled": true, "trustServer": format!("file://{}", stick.display()) });
        site.policies(&[policy_for("*", trust)]);
        assert_eq!(patched(&site, &format!("{gun}:v1")), format!("{gun}:v1@{digest}"));
    }
}

#[test]
fn an_export_takes_the_names_and_the_credentials_that_the_webhook_takes() {
    needs_notary!();
    let pki = Pki::new();
    let tokens = TokenService::start(&pki, "hub", "hub-word");
    let notary = RealNotary::with_tokens(&pki, &tokens);
    notary.repository("docker.io/library/nginx").sign("1.27", &Digest::of("nginx"), &[]);
    let site = Site::new(&pki);
    let export = |gun: &str| {
        let stick = site.file("stick/.keep", "").with_file_name("out");
        run(&mut site.command("export", &["--server", &notary.url(), "--gun", gun, stick.to_str().unwrap()]), "")
    };
    export("nginx").expect(3);
    site.pull_secret("hub", "https://index.docker.io:443/v1/", "hub", "hub-word");
    for gun in ["nginx", "docker.io/nginx", "index.docker.io:443/library/nginx", "docker.io/library/nginx:1.27"] {
        let told = export(gun).expect(0).stdout;
        assert!(told.starts_with("docker.io/library/nginx of "), "{told}");
    }
    let told = export("alpine").expect(1);
    assert!(told.stderr.contains("docker.io/library/alpine"), "{}", told.stderr);
}

#[test]
fn what_is_no_notary_server_says_nothing_about_trust_data() {
    needs_notary!();
    let pki = Pki::new();
    let check = |url: &str| {
        let site = Site::with_server(&pki, url);
        site.policies(&[policy_for("*", serde_json::json!({ "enabled": true }))]);
        run(&mut site.command("check", &["registry.local:9001/plant/none:v1"]), "")
    };
    for page in ["<html><h1>404 Not Found</h1></html>", r#"{"errors":[{"code":"NAME_UNKNOWN","message":"unknown"}]}"#] {
        let ingress = HttpsServer::start(&pki, move |_| Reply::json(404, page));
        let told = check(&ingress.url()).expect(3).stdout;
        assert!(told.contains("unavailable") && told.contains("this is no Notary server"), "{told}");
        assert!(told.contains(&ingress.url()), "{told}");
    }
    let notary = RealNotary::start(&pki);
    let told = check(&notary.url()).expect(1).stdout;
    assert!(!told.contains("/v2"), "{told}");
    // Under an address that ends in Notary's own path, the server knows other names, so its answer says nothing about
    // this image.
    let told = check(&format!("{}/v2/", notary.url())).expect(3).stdout;
    assert!(told.contains("unavailable") && told.contains("a trust server's address ends before /v2"), "{told}");
    assert!(!told.contains("was ever signed"), "{told}");
    let site = Site::new(&pki);
    let url = format!("{}/v2", notary.url());
    let args = ["--server", &url, "--gun", "registry.local:9001/plant/none", "unwritten"];
    let told = run(&mut site.command("export", &args), "").expect(3).stderr;
    assert!(told.contains("a trust server's address ends before /v2"), "{told}");
}
