use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Pattern, image (`#` stands for a sha256 digest in both), match.
const TABLE: &[(&str, &str, bool)] = &[
    // What Portieris documents promise, and where it goes wrong.
    ("*", "uk.icr.io/imagesec-demo/alpinegood:demo", true),
    ("*", "nginx", true),
    ("*", "localhost:5000/x@#", true),
    ("uk.icr.io/*", "uk.icr.io/imagesec-demo/alpinegood:demo", true),
    ("uk.icr.io/imagesec-demo/*", "uk.icr.io/imagesec-demo/alpinegood:demo", true),
    ("uk.icr.io/imagesec-demo/alpinegood", "uk.icr.io/imagesec-demo/alpinegood:demo", true),
    ("*.registry.example.com/myorg/*", "us.registry.example.com/myorg/foo:latest", true),
    ("registry*.example.com/myorg/*", "registry01.example.com/myorg/worker:v1", true),
    ("*.registry.example.com/myorg/*", "attacker.com/x.registry.example.com/myorg/malware", false),
    ("registry*.example.com/myorg/*", "registry.attacker.com/x.example.com/myorg/evil", false),
    ("registry.example.com/myorg/*", "evilreg.io/myorg/foo:latest", false),
    ("trusted.example.com/*", "evil.io/trusted.example.com/myorg/myimage:demo", false),
    ("icr.io/ns/img", "icr.io/ns/img@#", true),
    ("icr.io/ns/img:t", "icr.io/ns/img:t@#", true),
    ("docker.io/*", "nginx", true),
    ("icr.io*", "icr.io.evil.com/pwn", false),
    ("icr.io*", "icr.io/x", false),
    ("*nginx", "evil.io/x/nginx", false),
    ("*nginx", "evil/nginx", false),
    ("*:v1", "evil.io/x:v1", false),
    ("*:v1", "evil/x:v1", false),
    // Docker Hub.
    ("nginx", "docker.io/library/nginx:1", true),
    ("nginx", "docker.io/evil/nginx", false),
    ("docker.io/nginx", "nginx:1", true),
    ("index.docker.io/library/nginx", "nginx", true),
    ("library/nginx", "nginx", true),
    ("*nginx", "nginx", true),
    ("docker.io/ngin*", "nginx", true),
    ("docker.io/ngin*", "nginxevil/x", false),
    ("docker.io/*", "bitnami/redis:7", true),
    ("docker.io/*", "evil.io/docker.io/x", false),
    ("myorg/*", "docker.io/myorg/a/b", true),
    ("myorg/*", "evil.io/myorg/a", false),
    // Hosts: whole, without regard to case, ports included.
    ("Registry.Example.com/x", "registry.example.com/x", true),
    ("registry.local/x", "registry.local:9001/x", false),
    ("registry.local:9001/*", "registry.local:9001/plc/a", true),
    ("registry.local:*/x", "registry.local:9001/x", true),
    ("registry.local:*/x", "registry.local/x", true),
    // The default port is no other registry; every other port is.
    ("reg.io/*", "reg.io:443/x", true),
    ("reg.io:443/*", "reg.io/x", true),
    ("reg.io:443/*", "REG.io:443/x", true),
    ("*.reg.io/*", "a.reg.io:443/x", true),
    ("*.reg.io:443/*", "a.reg.io/x", true),
    ("*:443/x", "reg.io/x", true),
    ("*:443/x", "reg.io:5000/x", false),
    ("reg.io:*/x", "reg.io:443/x", true),
    ("[::1]:443/*", "[::1]/x", true),
    ("[::1]/*", "[::1]:443/x", true),
    ("[fd00::1]:9001/*", "[FD00:0::0001]:9001/x", true),
    ("[fd00:0:0::1]:9001/*", "[fd00::1]:9001/x", true),
    ("[fd00::1]:9001/*", "[fd00::2]:9001/x", false),
    ("[FD00:0:0::1]:9*/*", "[fd00::1]:9001/x", true),
    ("[*]:9001/*", "[fd00::1]:9001/x", true),
    ("docker.io/*", "index.docker.io:443/library/nginx", true),
    ("nginx", "docker.io:443/nginx", true),
    ("docker.io:443/nginx", "nginx", true),
    ("reg:443/x", "reg:443/x", true),
    ("reg:443/x", "reg/x", false),
    ("reg.io/*", "reg.io:80/x", false),
    ("reg.io/*", "reg.io:4430/x", false),
    ("reg.io:5000/*", "reg.io:443/x", false),
    ("reg.io:5000/*", "reg.io/x", false),
    ("localhost/*", "localhost/x", true),
    ("localhost/*", "localhost.evil.io/x", false),
    ("[::1]:5000/*", "[::1]:5000/x", true),
    ("*/app", "reg.io/app", true),
    ("*/app", "reg.io/team/app", false),
    ("*.io/app", "evil.com/x.io/app", false),
    ("reg*/app", "reg.io/x/app", false),
    ("*.example.com/*", "example.com/x", false),
    ("*.example.com/*", "x.example.com.evil.io/x", false),
    // Paths: anchored, stars cross slashes.
    ("reg.io/a/*", "reg.io/a/b/c/d", true),
    ("reg.io/a/*", "reg.io/a", false),
    ("reg.io/a/*", "reg.io/ab/c", false),
    ("reg.io/a*", "reg.io/ab/c", true),
    ("reg.io/*/c", "reg.io/a/b/c", true),
    ("reg.io/*/c", "reg.io/c", false),
    ("reg.io/a", "reg.io/a/b", false),
    ("reg.io/a", "reg.io/b/a", false),
    // Tags and digests.
    ("reg.io/a:v1", "reg.io/a:v1", true),
    ("reg.io/a:v1", "reg.io/a:v10", false),
    ("reg.io/a:v1", "reg.io/a", false),
    ("reg.io/a:latest", "reg.io/a", true),
    ("reg.io/a:v1", "reg.io/a@#", true),
    ("reg.io/a:*", "reg.io/a@#", true),
    ("reg.io/a:v*", "reg.io/a@#", true),
    ("reg.io/a:v*", "reg.io/a:x@#", false),
    ("reg.io/a:v*", "reg.io/a:v2-rc.1", true),
    ("reg.io/a@#", "reg.io/a@#", true),
    ("reg.io/a@#", "reg.io/a:v1@#", true),
    ("reg.io/a@#", "reg.io/a:v1", false),
    ("reg.io/a:v1@#", "reg.io/a@#", true),
    ("reg.io/a:v1@#", "reg.io/a:v2@#", false),
    ("nginx:1.25", "docker.io/library/nginx:1.25", true),
];

#[test]
fn matches_part_by_part() {
    for &(pattern, image, expected) in TABLE {
        let digest = format!("sha256:{HEX}");
        let parsed = Pattern::parse(&pattern.replace('#', &digest)).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        let reference = Reference::parse(&image.replace('#', &digest)).unwrap();
        assert_eq!(parsed.matches(&reference), expected, "{pattern} ~ {image}");
        assert_eq!(Pattern::parse(&parsed.to_string()), Ok(parsed), "{pattern} prints what it reads");
    }
}

#[test]
fn one_digest_is_more_than_a_name() {
    let name = Pattern::parse("reg.io/plc").unwrap();
    let digest = Pattern::parse(&format!("reg.io/plc@sha256:{}", "0".repeat(64))).unwrap();
    assert_eq!((digest.precedence(&name), name.precedence(&digest)), (Ordering::Less, Ordering::Greater));
    assert!(!digest.ties_with(&name));
}

#[test]
fn another_digest_does_not_match() {
    let pattern = Pattern::parse(&format!("reg.io/a@sha256:{HEX}")).unwrap();
    let image = Reference::parse(&format!("reg.io/a@sha256:{}", "0".repeat(64))).unwrap();
    assert!(!pattern.matches(&image));
}

#[test]
fn refuses_what_could_never_match() {
    for bad in [
        "",
        "/",
        "reg.io/",
        "reg.io/a/",
        "/a",
        "a//b",
        "reg.io//*",
        "reg.io/A",
        "reg.io/a b",
        "reg.io/a:",
        "reg.io/a:-x",
        "reg.io/a:b:c",
        "[fd00:0:*]:9001/*",
        "*]:9001/*",
        "reg.io/a@sha256:*",
        "reg.io/a@*",
        "reg.io/a@sha256:00",
        "reg.io:0/a",
        "http://reg.io/*",
        "https://reg.io/*",
        "re_g.io/a",
        "*.re_g.io/a",
        "..*/a",
        "reg.io/a?",
        "reg.io/[ab]",
        "reg.io/é*",
        "REG/a",
        "*:",
        "*:*:*",
        " *",
        "*\n",
        "reg.io/a-",
        "reg.io/**/",
    ] {
        assert!(Pattern::parse(bad).is_err(), "{bad:?}");
    }
    assert!(Pattern::parse(&format!("reg.io/{}*", "a".repeat(255))).is_err());
}

#[test]
fn the_more_specific_pattern_comes_first() {
    const ORDER: &[&str] = &[
        "reg.io/team/app:v1",
        "reg.io/team/app",
        "reg.io/team/*:release",
        "reg.io/team/app:v1*",
        "reg.io/team/*",
        "*.io/team/*",
        "reg.io/*",
        "*",
    ];
    for pair in ORDER.windows(2) {
        let [first, second] = [pair[0], pair[1]].map(|text| Pattern::parse(text).unwrap());
        assert_eq!(first.precedence(&second), Ordering::Less, "{first} before {second}");
        assert_eq!(second.precedence(&first), Ordering::Greater);
    }
    let [a, b] = ["reg.io/a*", "reg.io/*a"].map(|text| Pattern::parse(text).unwrap());
    assert!(a.ties_with(&b) && a.precedence(&b) != Ordering::Equal);
}

#[test]
fn one_pattern_has_one_normal_form() {
    for (one, other) in [
        ("nginx", "docker.io/library/nginx:*"),
        ("index.docker.io/a/b", "a/b"),
        ("REG.io/a", "reg.io/a"),
        ("reg.io/**", "reg.io/*"),
        ("*", "*/*"),
    ] {
        assert_eq!(Pattern::parse(one), Pattern::parse(other), "{one} = {other}");
    }
}
