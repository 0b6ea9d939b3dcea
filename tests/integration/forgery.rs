//! A forgery that Notary's own client accepts, because it parses twice and merges duplicate keys: an attacker with the
//! server's snapshot and timestamp keys adds a tag to a file that he cannot sign, and its signature stays valid.

use portreeve_test_support::signer as tuf;

use crate::https::{HttpsServer, Reply};
use crate::notary::{lookup_at, needs_notary};
use crate::pki::Pki;
use crate::plant::PLC;
use crate::product::Site;
use crate::review::{assert_allowed, assert_denied, patch, pod, policy};

const HONEST: [u8; 32] = [0x11; 32];
/// 32 bytes of 0xee, in base64 and in hex.
const FORGED: &str = "7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u4=";

/// Serves a repository as a Notary server would.
fn serve(pki: &Pki, repo: &tuf::Repo) -> HttpsServer {
    let files = repo.files().clone();
    HttpsServer::start(pki, move |request| {
        if request.target == "/v2/" {
            return Reply::json(200, "{}"); // the client's first request
        }
        let name = request.target.strip_prefix(&format!("/v2/{PLC}/_trust/tuf/")).and_then(|n| n.strip_suffix(".json"));
        match name.and_then(|name| files.get(name)) {
            Some(bytes) => Reply::json(200, String::from_utf8(bytes.clone()).unwrap()),
            None => Reply::json(404, r#"{"errors":[{"code":"METADATA_NOT_FOUND","message":"","detail":null}]}"#),
        }
    })
}

/// Puts a second `targets` before the signed one in this role's file. Snapshot and timestamp are signed over the
/// result, as a server can do; no other key signs anything.
fn forge(repo: &tuf::Repo, role: &'static str) -> tuf::Repo {
    repo.update(|signer| {
        signer.edit_bytes(role, |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            let targets = format!(r#""targets":{{"forged":{{"hashes":{{"sha256":"{FORGED}"}},"length":1}}}},"#);
            let (before, after) = text.split_once(r#""signed":{"#).unwrap();
            format!(r#"{before}"signed":{{{targets}{after}"#).into_bytes()
        })
    })
}

#[test]
fn a_second_targets_object_fools_the_real_client_and_not_us() {
    needs_notary!();
    let pki = Pki::new();
    for (role, repo) in [
        ("targets", tuf::Signer::new(PLC).target("targets", "v1", HONEST, 9).publish()),
        ("targets/releases", tuf::Signer::new(PLC).signer("alice").release("v1", HONEST, 9, &["alice"]).publish()),
    ] {
        // Without the forgery the real client reads the repository and does not find the tag.
        let honest = serve(&pki, &repo);
        let found = lookup_at(&pki, &honest.url(), PLC, "v1").expect(0).stdout;
        assert_eq!(found.trim(), format!("v1 sha256:{} 9", "11".repeat(32)), "{role}");
        assert_ne!(lookup_at(&pki, &honest.url(), PLC, "forged").status, Some(0), "{role}");

        let forged = serve(&pki, &forge(&repo, role));
        let found = lookup_at(&pki, &forged.url(), PLC, "forged").expect(0).stdout;
        assert_eq!(found.trim(), format!("forged sha256:{} 1", "ee".repeat(32)), "{role}: the real client is fooled");

        for (server, tag, status) in
            [(&honest, "v1", 0), (&honest, "forged", 1), (&forged, "forged", 1), (&forged, "v1", 1)]
        {
            let site = Site::with_server(&pki, &server.url());
            site.policies(&[policy(&[])]);
            let file = site.file("pod.json", &pod(&format!("{PLC}:{tag}")).to_string());
            let (ended, answers) = site.answers(&file);
            assert_eq!(ended, Some(status), "{role}: {answers:#?}");
            if status == 0 {
                assert_allowed(&answers[0]);
                assert_eq!(patch(&answers[0])[0]["value"], format!("{PLC}:v1@sha256:{}", "11".repeat(32)));
            } else {
                assert_denied(&answers[0], &[&format!("plant/plc:{tag}")]);
            }
            if std::ptr::eq(server, &forged) {
                assert_denied(&answers[0], &["same key twice"]);
            }
        }
    }
}
