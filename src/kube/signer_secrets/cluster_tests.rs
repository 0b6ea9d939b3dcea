//! Signers' Secrets from a server that answers as kube-apiserver does.

use portreeve_test_support::api_server::ApiServer;
use portreeve_test_support::trust_server::Fault;

use super::*;
use crate::base::files::scratch::Scratch;
use crate::kube::api::{ApiSettings, ApiUrl, Purpose};

struct Bench {
    server: ApiServer,
    _scratch: Scratch,
    signers: ClusterSigners,
}

impl Bench {
    /// Nothing is cached.
    fn new() -> Self {
        let (server, scratch) = (ApiServer::start("t"), Scratch::new());
        let (token, ca) = (scratch.write("token", "t"), scratch.write("ca.crt", server.ca_pem()));
        let settings = ApiSettings { server: ApiUrl::parse(&server.url()), token, ca };
        let api = Api::new(&settings, Purpose::Credentials, Arc::default()).unwrap();
        Self { server, _scratch: scratch, signers: ClusterSigners::keeping(api, Duration::ZERO, Duration::ZERO) }
    }

    fn signer(&self, name: &str) -> Result<SignerSecret, ObjectError> {
        self.signers.get("line-1", name, Deadline::after(Duration::from_secs(20)))
    }
}

#[test]
fn signers_secrets_are_there_or_not_or_nobody_can_say() {
    let mut bench = Bench::new();
    bench
        .server
        .secret("line-1", "alice-key", "Opaque", &[("name", " alice\n"), ("publicKey", "-----BEGIN PUBLIC KEY-----")])
        .secret("line-1", "no-name", "Opaque", &[("publicKey", "x")])
        .secret("line-1", "blank", "Opaque", &[("name", "x"), ("publicKey", " \n")])
        .secret("line-1", "huge", "Opaque", &[("name", "x"), ("publicKey", &"x".repeat(MAX_KEY + 1))])
        .secret("line-2", "elsewhere", "Opaque", &[("name", "mallory"), ("publicKey", "x")]);
    let alice = bench.signer("alice-key").unwrap();
    assert_eq!((alice.name.as_str(), alice.public_key.as_str()), ("alice", "-----BEGIN PUBLIC KEY-----"));
    for (name, words) in [
        ("elsewhere", "does not exist"),
        ("no-name", "\"name\""),
        ("blank", "\"publicKey\""),
        ("huge", "\"publicKey\""),
    ] {
        match bench.signer(name) {
            Err(ObjectError::Unusable(said)) => assert!(said.contains(words), "{name}: {said}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let unavailable = |bench: &Bench, words: &str| match bench.signer("alice-key") {
        Err(ObjectError::Unavailable { message: said, .. }) => assert!(said.contains(words), "{said}"),
        other => panic!("{other:?}"),
    };
    bench.server.forbid("line-1", "secrets");
    unavailable(&bench, "403");
    bench.server.forbid_nothing();
    bench.server.accept_only("another");
    unavailable(&bench, "401");
    bench.server.misbehave("", Fault::Status(404));
    unavailable(&bench, "404");
    bench.server.stop();
    unavailable(&bench, "could not be had");
}
