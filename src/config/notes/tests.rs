//! Which notes a configuration has.

use super::*;
use crate::base::files::scratch::Scratch;

fn told(text: &str) -> Vec<String> {
    let config = Config::parse(text, Path::new("c.yaml")).unwrap();
    notes(&config, &[]).iter().map(Note::to_string).collect()
}

#[test]
fn keys_that_do_nothing_are_noted() {
    for (text, expected) in [
        ("", None),
        ("trust: { cache: /nowhere }\nlimits: { trustCache: 1MiB }", None),
        ("trust: { whenUnavailable: useCached, maxStale: 1h }", None),
        ("trust: { maxStale: 1h }", Some("trust.maxStale does nothing: it needs trust.whenUnavailable: useCached")),
        ("limits: { trustCache: 1MiB }", Some("limits.trustCache does nothing: it needs a directory in trust.cache")),
        ("credentials: { api: { server: \"https://10.0.0.1\" } }", Some("credentials.api does nothing")),
        ("credentials: { kubernetes: true, api: { server: \"https://10.0.0.1\" } }", None),
        ("admission: { children: compare }\ncredentials: { api: { server: \"https://10.0.0.1\" } }", None),
        ("log: { level: info }\ntrust:\n  cache:\n", Some("c.yaml:3: trust.cache has no value, and does nothing")),
        ("trust:\n", Some("c.yaml:1: trust has no value, and does nothing")),
    ] {
        let told = told(text);
        match expected {
            None => assert_eq!(told, [""; 0], "{text}"),
            Some(words) => assert!(told.len() == 1 && told[0].starts_with(words), "{text}: {told:?}"),
        }
    }
}

#[test]
fn an_option_can_give_a_key_its_effect() {
    let mut config = Config::parse("limits: { trustCache: 1MiB }", Path::new("c.yaml")).unwrap();
    config.trust.cache = Some("/nowhere".into());
    assert!(notes(&config, &[]).is_empty());
}

#[test]
fn mounted_files_that_no_key_names_are_noted() {
    let scratch = Scratch::new();
    let link = |name: &str, to: &str| std::os::unix::fs::symlink(to, scratch.path().join(name)).unwrap();
    for name in ["tls.crt", "tls.key", "ca.crt", "client.pem"] {
        scratch.write(&format!("certs/..1/{name}"), "");
        link(&format!("certs/{name}"), &format!("..data/{name}"));
    }
    link("certs/..data", "..1");
    // Not mounted: a directory of somebody's own.
    scratch.write("own/ca.pem", "");
    scratch.write("own/letter.txt", "");
    let [certs, own] = ["certs", "own"].map(|name| scratch.path().join(name).display().to_string());
    let config = |client_ca: &str| {
        let text = format!(
            "tls: {{ certificate: {certs}/tls.crt, key: {certs}/tls.key, clientCa: \"{client_ca}\" }}\n\
             trust: {{ ca: {own}/ca.pem }}\n"
        );
        told(&text)
    };
    assert_eq!(
        config(""),
        [format!("no key of the configuration names {certs}/client.pem: it is mounted and not read")]
    );
    assert_eq!(config(&format!("{certs}/client.pem")), [""; 0]);
}

#[test]
fn what_is_below_a_named_directory_has_a_key() {
    let scratch = Scratch::new();
    for name in
        ["policies/a/p.yaml", "secrets/n/s/publicKey", "trust/x/root.json", "trust-ca/ca.crt", ".hidden", "1/2/3/4/5/6"]
    {
        scratch.write(name, "");
    }
    let text = format!(
        "policies: [{0}/policies]\nsecrets: {0}/secrets\ntrust: {{ ca: {0}/trust-ca/ca.pem }}\n",
        scratch.path().display()
    );
    let config = Config::parse(&text, Path::new("c.yaml")).unwrap();
    let below = |others: &[&Path]| {
        let mut notes = Vec::new();
        Search { named: named(&config, others), visited: 0, notes: &mut notes }.look_below(scratch.path(), 0);
        notes.iter().map(|note| note.to_string().replace(&scratch.path().display().to_string(), "")).collect::<Vec<_>>()
    };
    let ca = "no key of the configuration names /trust-ca/ca.crt: it is mounted and not read";
    let trust = "no key of the configuration names /trust/x/root.json: it is mounted and not read";
    assert_eq!(below(&[]), [trust, ca]);
    assert_eq!(below(&[&scratch.path().join("trust")]), [ca]);
}
