//! A trust server in this process, for faults that no real Notary server shows.

use portreeve_test_support::signer::{Repo, Signer};
use portreeve_test_support::trust_server::TrustServer;
use serde_json::json;

use crate::pki::Pki;
use crate::plant::PLC;
use crate::product::Site;
use crate::review::policy_for;

/// A signed repository on an in-process server, and a site that reads from it.
pub(crate) struct Stage {
    pub(crate) server: TrustServer,
    pub(crate) repo: Repo,
    pub(crate) site: Site,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let repo = Signer::new(PLC).signer("alice").release("v1", [7; 32], 1234, &["alice"]).publish();
        let server = TrustServer::start();
        server.publish(&repo);
        let mut site = Site::with_server(&Pki::new(), &server.url());
        site.config["trust"]["ca"] = json!(site.file("trust-ca.pem", server.ca_pem()));
        let signer = json!({ "name": "alice", "publicKey": repo.signer_public_key_pem("alice") });
        site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true, "signers": [signer] }))]);
        Self { server, repo, site }
    }
}
