use std::path::Path;

use portreeve_test_support::certificates::{Authority, Leaf};
use portreeve_test_support::signer::Key;

use super::*;

/// Reads the text of a `policy` whose trust is on.
fn read(text: &str) -> Result<Rule, Vec<String>> {
    let nodes = crate::yaml::tree::parse(text, crate::yaml::tree::Caps::FILE).unwrap();
    let mut problems = Problems::new(Path::new("f"));
    let rule = super::read(nodes[0].entry("trust").unwrap(), &mut problems);
    let problems: Vec<_> = problems.into_list().iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(rule.unwrap().unwrap()) } else { Err(problems) }
}

/// `trust` with these signers, a name and a PEM text each.
fn with_signers(signers: &[(&str, &str)]) -> String {
    let mut text = "trust:\n  enabled: true\n  signers:\n".to_owned();
    for (name, pem) in signers {
        text.push_str(&format!("  - name: {name}\n    publicKey: |\n"));
        pem.lines().for_each(|line| text.push_str(&format!("      {line}\n")));
    }
    text
}

#[test]
fn signers_have_one_key_each() {
    let (alice, bob) = (Key::p256(), Key::ed25519());
    let rule = read(&with_signers(&[("alice", &alice.public_pem()), ("bob", &bob.public_pem())])).unwrap();
    let names: Vec<&str> = rule.signers.iter().map(|signer| signer.role.signer()).collect();
    assert_eq!(names, ["alice", "bob"]);
    assert_eq!(rule.signers[0].keys, [SignerKey::from_pem(&alice.public_pem()).unwrap()]);
    assert!(rule.signers.iter().all(|signer| signer.keys.len() == 1));
}

#[test]
fn one_signer_twice_must_have_one_key() {
    let (one, other) = (Key::p256(), Key::p256());
    // A certificate of a key is that key.
    let certificate = Leaf::new("alice").self_signed(&one);
    let rule = read(&with_signers(&[("alice", &one.public_pem()), ("alice", &certificate)])).unwrap();
    assert_eq!(rule.signers.len(), 1);
    let problems = read(&with_signers(&[("alice", &one.public_pem()), ("alice", &other.public_pem())])).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("signer \"alice\" stands twice, first on line 4"), "{problems:?}");
}

#[test]
fn a_key_that_cannot_be_read_is_told_with_its_line() {
    for (pem, expected) in
        [(Key::p256().private_pem(), "private key"), ("rubbish".into(), ""), ("-----BEGIN PUBLIC KEY-----".into(), "")]
    {
        let problems = read(&with_signers(&[("alice", &pem)])).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("f:6:7: the signer's key cannot be read: "), "{problems:?}");
        assert!(problems[0].contains(expected), "{problems:?}");
    }
}

#[test]
fn pins_of_every_kind_are_read() {
    let (authority, key) = (Authority::new(), Key::p256());
    let leaf = Leaf::new("docker.io/library/app").self_signed(&key);
    let block = |field: &str, pem: &str| {
        let lines: String = pem.lines().map(|line| format!("      {line}\n")).collect();
        format!("  - {field}: |\n{lines}")
    };
    let head = "trust:\n  enabled: true\n  roots:\n";
    let id = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let text = format!("{head}{}{}  - keyId: {id}\n", block("certificate", &leaf), block("ca", &authority.pem()));
    let roots = read(&text).unwrap().roots;
    assert_eq!(roots[0], RootPin::certificate_from_pem(&leaf).unwrap());
    assert_eq!(roots[1], RootPin::Ca(authority.der()));
    assert_eq!(roots[2], RootPin::KeyId(KeyId::from_hex(id).unwrap()));
    assert_eq!(roots.len(), 3);
    assert_eq!(
        read(&format!("{head}{0}{0}", block("ca", &authority.pem()))).unwrap().roots.len(),
        1,
        "the same one twice"
    );
    let problems = read(&format!("{head}{}", block("ca", &leaf))).unwrap_err();
    assert!(problems[0].starts_with("f:5:7: the pinned certificate cannot be read: "), "{problems:?}");
    assert_eq!(problems.len(), 1);
}

#[test]
fn a_pin_that_is_not_understood_never_becomes_no_pin() {
    let null = "trust: {enabled: true, roots: [{ca: null}]}";
    let problems = read(null).unwrap_err();
    assert!(problems[0].contains("has 0 of the fields"), "{problems:?}");
    assert!(read("trust: {enabled: true, roots: [null]}").is_err());
    assert!(read("trust: {enabled: true, roots: {}}").is_err());
    for text in ["roots: []", "roots: ", "signers: []", "signers: "] {
        let problems = read(&format!("trust:\n  enabled: true\n  {text}\n")).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("is empty; "), "{problems:?}");
        assert!(problems[0].contains("or remove it: then"), "{problems:?}");
    }
    assert!(read("trust: {enabled: true, signerSecrets: []}").is_ok());
}

fn remap(prefix: &str, signed_prefix: &str) -> Result<Rule, Vec<String>> {
    read(&format!("trust: {{enabled: true, remap: {{prefix: '{prefix}', signedPrefix: '{signed_prefix}'}}}}"))
}

#[test]
fn a_remapped_name_is_normalised_on_both_sides() {
    const TABLE: [(&str, &str, &str, &str); 12] = [
        ("harbor.local/proxy/", "docker.io/", "harbor.local/proxy/nginx:1.27", "docker.io/library/nginx"),
        ("harbor.local/proxy/", "docker.io/", "harbor.local/proxy/library/nginx", "docker.io/library/nginx"),
        ("harbor.local/proxy/", "docker.io/", "harbor.local/proxy/bitnami/redis", "docker.io/bitnami/redis"),
        ("harbor.local/proxy/", "index.docker.io:443/", "harbor.local/proxy/nginx", "docker.io/library/nginx"),
        ("harbor.local/proxy/", "Reg.io:443/a/", "harbor.local/proxy/b", "reg.io/a/b"),
        // No spelling of the host escapes it.
        ("harbor.local/proxy/", "reg.io/", "Harbor.local:443/proxy/app", "reg.io/app"),
        ("harbor.local:443/proxy/", "reg.io/", "harbor.local/proxy/app", "reg.io/app"),
        ("[fd00:0::1]:9001/", "reg.io/", "[FD00::1]:9001/app", "reg.io/app"),
        ("docker.io/", "reg.io/", "index.docker.io:443/nginx", "reg.io/library/nginx"),
        // Whole components, and nothing else.
        ("reg.io/docker.io/", "docker.io/", "reg.io/docker.iox/nginx", "reg.io/docker.iox/nginx"),
        ("reg.io/a/", "docker.io/", "reg.io/a", "reg.io/a"),
        ("reg.io/", "docker.io/", "reg.io:5000/a", "reg.io:5000/a"),
    ];
    for (prefix, signed_prefix, image, expected) in TABLE {
        let rule = remap(prefix, signed_prefix).unwrap();
        let image = portreeve_verify::image::Reference::parse(image).unwrap();
        let signed = rule.remap.unwrap().signed(&image).unwrap();
        assert_eq!(signed.repository(), expected, "{prefix} {signed_prefix} {image}");
    }
}

#[test]
fn a_remap_that_gives_no_name_is_refused() {
    let long = format!("reg.io/{}/", "a".repeat(247));
    for (prefix, signed_prefix) in [
        ("reg.io/a", "docker.io/"),
        ("a/", "docker.io/"),
        ("reg.io/", "library/"),
        ("reg.io/", "docker.io/A/"),
        ("reg.io/", "docker.io//"),
        ("reg.io/", "docker.io/a:1/"),
        ("reg.io/", long.as_str()),
    ] {
        assert!(remap(prefix, signed_prefix).is_err(), "{prefix} {signed_prefix}");
    }
    let rule = remap("a.io/", "b.io/a/very/long/way/").unwrap();
    let image = portreeve_verify::image::Reference::parse(&format!("a.io/{}", "x".repeat(245))).unwrap();
    assert!(rule.remap.unwrap().signed(&image).is_err());
}

#[test]
fn a_secret_s_name_is_one_that_kubernetes_takes() {
    assert!(read("trust: {enabled: true, signerSecrets: [{name: alice.key-1}]}").is_ok());
    for name in ["x..y.-z", "a.-b", "a-.b", "a..b", ".a", "a_b"] {
        let problems = read(&format!("trust: {{enabled: true, signerSecrets: [{{name: \"{name}\"}}]}}")).unwrap_err();
        assert!(problems[0].starts_with(&format!("f:1:47: \"name\" cannot be \"{name}\"")), "{problems:?}");
    }
}

/// It is the role that tags are released in: every image would count as signed by it.
#[test]
fn releases_is_no_signer() {
    let problems = read(&with_signers(&[("releases", &Key::p256().public_pem())])).unwrap_err();
    assert!(problems[0].starts_with("f:4:11: a signer cannot be called \"releases\": "), "{problems:?}");
    assert_eq!(problems.len(), 1);
}
