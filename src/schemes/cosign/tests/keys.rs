//! Signers' keys from secrets.

use super::*;

fn secret(bench: &Bench, name: &str, keys: &[(&str, &str)]) {
    let directory = bench.scratch.path().join("secrets/line-1").join(name);
    std::fs::create_dir_all(&directory).unwrap();
    for (key, value) in keys {
        std::fs::write(directory.join(key), value).unwrap();
    }
}

fn by_secrets(names: &[&str]) -> Rule {
    Rule { signer_secrets: names.iter().map(|name| (*name).to_owned()).collect(), ..rule_of(&[]) }
}

#[test]
fn a_secret_as_cosign_makes_it_names_the_signer() {
    let bench = Bench::signed(&Options::default());
    let keys = [("cosign.pub", &*bench.alice.public_pem()), ("cosign.key", "private"), ("cosign.password", "x")];
    secret(&bench, "release", &keys);
    assert_eq!(bench.ask(&Ask::of(":v1", &by_secrets(&["release"]))).unwrap().signers, ["release"]);
    // The private key is not opened: it may be unreadable.
    let key = bench.scratch.path().join("secrets/line-1/release/cosign.key");
    std::fs::remove_file(&key).unwrap();
    std::fs::create_dir(&key).unwrap();
    bench.ask(&Ask::of(":v1", &by_secrets(&["release"]))).unwrap();
}

#[test]
fn a_secret_in_the_form_of_portieris_names_its_signer() {
    let bench = Bench::signed(&Options::default());
    secret(&bench, "signer", &[("name", "alice\n"), ("publicKey", &bench.alice.public_pem())]);
    assert_eq!(bench.ask(&Ask::of(":v1", &by_secrets(&["signer"]))).unwrap().signers, ["alice"]);
}

#[test]
fn secrets_that_cannot_be_used_are_told_by_name() {
    let bench = Bench::signed(&Options::default());
    secret(&bench, "empty", &[]);
    secret(&bench, "junk", &[("cosign.pub", "no key")]);
    secret(&bench, "same", &[("cosign.pub", &bench.alice.public_pem())]);
    secret(&bench, "other", &[("name", "alice"), ("publicKey", &bench.bob.public_pem())]);
    for name in ["missing", "empty", "junk"] {
        let message = rejected(bench.ask(&Ask::of(":v1", &by_secrets(&[name]))), "signer-secret");
        assert!(message.contains(&format!("line-1/{name}")), "{message}");
    }
    // Neither one name with two keys nor one key with two names.
    for name in ["same", "other"] {
        let rule = Rule { signer_secrets: vec![name.to_owned()], ..bench.rule() };
        let message = rejected(bench.ask(&Ask::of(":v1", &rule)), "signer-secret");
        assert!(message.contains("once") && message.contains(&format!("line-1/{name}")), "{message}");
    }
    assert!(bench.registry.requests().is_empty());
}
