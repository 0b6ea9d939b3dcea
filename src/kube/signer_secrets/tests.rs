//! Signers' Secrets as kubelet mounts them, and from a server that answers as kube-apiserver does.

use portreeve_test_support::api_server::ApiServer;
use portreeve_test_support::trust_server::Fault;
use portreeve_verify::Unavailable;

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
        Err(ObjectError::Unavailable(Unavailable { message: said, .. })) => assert!(said.contains(words), "{said}"),
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
    unavailable(&bench, "could not be read");
}

#[test]
fn reads_what_kubelet_mounts() {
    let scratch = Scratch::new();
    scratch.write("line-1/alice-key/..2026/name", "alice\n");
    scratch.write("line-1/alice-key/..2026/publicKey", "-----BEGIN PUBLIC KEY-----\n");
    let directory = scratch.path().join("line-1/alice-key");
    std::os::unix::fs::symlink("..2026", directory.join("..data")).unwrap();
    for key in ["name", "publicKey"] {
        std::os::unix::fs::symlink(format!("..data/{key}"), directory.join(key)).unwrap();
    }
    let secret = SecretStore::new(scratch.path()).read("line-1", "alice-key").unwrap();
    assert_eq!(secret.name, "alice");
    assert!(secret.public_key.starts_with("-----BEGIN"));
}

#[test]
fn says_what_to_mount_where() {
    let scratch = Scratch::new();
    let store = SecretStore::new(scratch.path());
    let words = store.read("line-1", "alice-key").unwrap_err().to_string();
    assert!(words.contains("line-1/alice-key") && words.contains("is not mounted: mount"), "{words}");
    let nowhere = SecretStore::new(scratch.path().join("none")).read("line-1", "alice-key").unwrap_err().to_string();
    assert!(nowhere.starts_with("the signer's Secret line-1/alice-key is not on this machine ("), "{nowhere}");
    assert!(
        nowhere.contains("/none does not exist): name a directory with the keys in a --config: secrets"),
        "{nowhere}"
    );
    scratch.write("line-1/alice-key/name", "alice");
    let words = store.read("line-1", "alice-key").unwrap_err().to_string();
    assert!(words.contains("\"publicKey\""), "{words}");
    scratch.write("line-1/alice-key/publicKey", " \n");
    assert!(matches!(store.read("line-1", "alice-key"), Err(SecretError::Empty { key: "publicKey", .. })));
    scratch.write("line-1/alice-key/publicKey", "x".repeat(MAX_KEY + 1));
    assert!(matches!(
        store.read("line-1", "alice-key"),
        Err(SecretError::Key { source: FileError::TooLarge { .. }, .. })
    ));
}

#[test]
fn nothing_but_a_name_becomes_part_of_a_path() {
    let scratch = Scratch::new();
    scratch.write("secret/name", "x");
    scratch.write("secret/publicKey", "x");
    scratch.write("line-1/other/name", "x");
    let store = SecretStore::new(scratch.path());
    let long = "a".repeat(254);
    for name in ["", ".", "..", "../secret", "a/b", "/etc", "A", "a_b", "-a", "a-", "a..b", ".a", "ä", "a\0", &long] {
        assert!(matches!(store.read("line-1", name), Err(SecretError::InvalidName(_))), "{name}");
        assert!(matches!(store.read(name, "x"), Err(SecretError::InvalidName(_))), "{name}");
    }
    assert!(matches!(store.read("a.b", "x"), Err(SecretError::InvalidName(_))));
}
