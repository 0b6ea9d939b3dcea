//! The `policy` of a repository: what it asks of an image.
//!
//! Whatever asks for a check that would not be made is refused: `signers` while trust is off, `simple` with requirements
//! other than `reject`, vulnerability checks.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fields::Problems;
use super::problem::Fault;
use super::{Mode, Remap, Requirement, TrustRule, UnavailableRule};
use crate::base::text::duration;
use crate::http::url::{PlainHttp, TrustServer};
use crate::kube::object_name::is_dns_subdomain;
use crate::yaml::tree::{Node, Value};
use portreeve_verify::image::{MAX_NAME, check_path, normal_host, one_spelling};
use portreeve_verify::tuf::anchor::RootPin;
use portreeve_verify::tuf::gun::RoleName;
use portreeve_verify::tuf::key::{KeyId, SignerKey};
use portreeve_verify::tuf::repository::RequiredSigner;

const POLICY: &[&str] = &["trust", "mutateImage", "mode", "deny", "simple", "vulnerability", "va"];
const TRUST: &[&str] =
    &["enabled", "trustServer", "signers", "signerSecrets", "roots", "remap", "whenUnavailable", "maxStale"];
/// Those of [`TRUST`] that ask for a check, and so must not stand where no check is made.
const DEMANDS: [&str; 3] = ["signers", "signerSecrets", "roots"];

/// The most characters of a denial's message.
pub const MAX_DENIAL: usize = 500;

/// Reads a `policy`. `None` where it cannot be used; why is in `problems`.
pub(crate) fn read_requirement(policy: &Node, problems: &mut Problems) -> Option<Requirement> {
    problems.mapping(policy, "policy", POLICY)?;
    if let Some(deny) = policy.entry("deny") {
        return read_denial(policy, deny, problems);
    }
    let rejects = refuse_unsupported(policy, problems);
    let mode =
        problems.choice(policy, "mode", &[("enforce", Mode::Enforce), ("warn", Mode::Warn)], "\"enforce\" or \"warn\"");
    let mutate_image = problems.boolean(policy, "mutateImage").unwrap_or(true);
    if rejects {
        if let Some(at) = policy.get("mode").filter(|_| mode == Some(Mode::Warn)).map(|mode| mode.at) {
            problems.report(at, Fault::BesideDenial { field: "mode" });
        }
        // Whatever else stands there is looked over: it may have slipped out of place.
        let _ = policy.entry("trust").map(|trust| read_trust(trust, mode, mutate_image, problems));
        let why = "this policy has the requirement \"reject\", under which no image may run; use an image that another \
                   pattern allows";
        return Some(Requirement::Denied(why.to_owned()));
    }
    if let Some(trust) = policy.entry("trust") {
        return read_trust(trust, mode, mutate_image, problems);
    }
    if let Some(at) = policy.get("mode").filter(|_| mode == Some(Mode::Enforce)).map(|mode| mode.at) {
        problems.report(at, Fault::NotEnabled { field: "mode" }); // whoever writes it means something by it
    }
    Some(Requirement::Nothing)
}

/// `deny`, which stands alone: no check could let anything in beside it, and a denial that only warns is none.
fn read_denial(policy: &Node, deny: &Node, problems: &mut Problems) -> Option<Requirement> {
    const INSIDE: &str = "policy.deny";
    for &field in POLICY.iter().filter(|field| **field != "deny") {
        if let Some(node) = policy.get(field) {
            problems.report(node.at, Fault::BesideDenial { field });
        }
    }
    let (at, message) =
        problems.mapping(deny, INSIDE, &["message"]).and_then(|deny| problems.required(deny, "message", INSIDE))?;
    if message.trim().is_empty() {
        problems.report(at, Fault::Missing { field: "message", inside: INSIDE });
        return None;
    }
    if message.chars().count() > MAX_DENIAL {
        problems.report(at, Fault::LongMessage { limit: MAX_DENIAL });
        return None;
    }
    Some(Requirement::Denied(message.trim().to_owned()))
}

/// `trust`, with what stands beside it.
fn read_trust(trust: &Node, mode: Option<Mode>, mutate_image: bool, problems: &mut Problems) -> Option<Requirement> {
    if trust.is_null() {
        problems.report(trust.at, Fault::NoSwitch); // a forgotten body, or one that slipped out of place
        return None;
    }
    refuse_empty_lists(trust, problems);
    problems.mapping(trust, "policy.trust", TRUST)?;
    let enabled = problems.boolean(trust, "enabled");
    let rule = TrustRule {
        mode: mode.unwrap_or_default(),
        mutate_image,
        server: read_server(trust, problems),
        signers: read_signers(trust, problems),
        signer_secrets: read_signer_secrets(trust, problems),
        roots: read_roots(trust, problems),
        remap: read_remap(trust, problems),
        when_unavailable: problems.choice(
            trust,
            "whenUnavailable",
            &[("deny", UnavailableRule::Deny), ("useCached", UnavailableRule::UseCached)],
            "\"deny\" or \"useCached\"",
        ),
        max_stale: read_max_stale(trust, problems),
    };
    if enabled == Some(true) {
        return Some(Requirement::Trust(Box::new(rule)));
    }
    refuse_disabled_demands(trust, problems);
    Some(Requirement::Nothing)
}

/// Trust is off, or nobody said whether it is on: then nothing may stand there that asks for a check (PORTIERIS.md,
/// fault 21).
fn refuse_disabled_demands(trust: &Node, problems: &mut Problems) {
    let demands: Vec<_> = DEMANDS.iter().filter_map(|&field| trust.get(field).map(|node| (field, node))).collect();
    for (field, node) in &demands {
        problems.report(node.at, Fault::NotEnabled { field });
    }
    if demands.is_empty() && trust.get("enabled").is_none() {
        problems.report(trust.at, Fault::NoSwitch);
    }
}

/// Without a signer any signature counts, and without a pin the first root that is seen is trusted: not what a person
/// wants who wrote `signers` or `roots`. Portieris' own `signerSecrets` may be empty.
fn refuse_empty_lists(trust: &Node, problems: &mut Problems) {
    for field in ["signers", "roots"] {
        if let Some(list) = trust.entry(field)
            && (list.is_null() || matches!(&list.value, Value::List(items) if items.is_empty()))
        {
            problems.report(list.at, Fault::EmptyList { field });
        }
    }
}

/// Portieris' other checks may stand in a document only where they ask for nothing, or for a denial: is it that?
fn refuse_unsupported(policy: &Node, problems: &mut Problems) -> bool {
    let mut rejects = false;
    if let Some(simple) = policy.get("simple")
        && problems.mapping(simple, "policy.simple", &["requirements", "storeURL", "storeSecret"]).is_some()
    {
        for requirement in problems.list(simple, "requirements") {
            problems.strays(requirement, "an entry of policy.simple.requirements", &[]);
            let kind = requirement.get("type").and_then(Node::text).unwrap_or_default();
            if kind == "reject" {
                rejects = true;
            } else if kind != "insecureAcceptAnything" {
                let field = if kind.is_empty() { "simple".to_owned() } else { format!("simple: {kind}") };
                problems.report(requirement.at, Fault::Unsupported { field });
            }
        }
    }
    if let Some(va) = policy.get("va") {
        refuse_enabled(va, "va", problems);
    }
    if let Some(vulnerability) = policy.get("vulnerability") {
        let Value::Map(checkers) = &vulnerability.value else {
            problems.wrong_type("vulnerability", "a mapping", vulnerability);
            return rejects;
        };
        problems.strays(vulnerability, "policy.vulnerability", &[]);
        for (_, checker) in checkers {
            refuse_enabled(checker, "vulnerability", problems);
        }
    }
    rejects
}

/// A checker must be empty, or say `enabled: false`.
fn refuse_enabled(checker: &Node, field: &'static str, problems: &mut Problems) {
    problems.strays(checker, field, &["enabled"]);
    let off = match &checker.value {
        Value::Null | Value::Bool(false) => true,
        Value::Map(entries) => {
            entries.is_empty() || checker.get("enabled").is_some_and(|on| matches!(on.value, Value::Bool(false)))
        }
        _ => false,
    };
    if !off {
        problems.report(checker.at, Fault::Unsupported { field: field.to_owned() });
    }
}

fn read_server(trust: &Node, problems: &mut Problems) -> Option<TrustServer> {
    let (at, url) = problems.text(trust, "trustServer")?;
    // Portieris takes an empty one for none.
    if url.is_empty() {
        return None;
    }
    TrustServer::parse(url, PlainHttp::Refused).map_err(|error| problems.report(at, Fault::Server(error))).ok()
}

/// `signers`. One signer twice is fine only with the same key: Portieris let the last win (PORTIERIS.md, fault 8).
fn read_signers(trust: &Node, problems: &mut Problems) -> Vec<RequiredSigner> {
    const INSIDE: &str = "an entry of policy.trust.signers";
    let mut signers: Vec<(usize, RequiredSigner)> = Vec::new();
    for entry in problems.list(trust, "signers") {
        if problems.mapping(entry, INSIDE, &["name", "publicKey"]).is_none() {
            continue;
        }
        let role = problems.required(entry, "name", INSIDE).and_then(|(at, name)| {
            let role = RoleName::of_signer(name);
            if role.is_none() {
                problems.report(at, Fault::SignerName { found: name.to_owned() });
            }
            role
        });
        let key = problems.required(entry, "publicKey", INSIDE).and_then(|(at, pem)| {
            SignerKey::from_pem(pem).map_err(|error| problems.report(at, Fault::SignerKey(error))).ok()
        });
        let (Some(role), Some(key)) = (role, key) else { continue };
        match signers.iter().find(|(_, signer)| signer.role == role) {
            None => signers.push((entry.at.line, RequiredSigner { role, keys: vec![key] })),
            Some((_, signer)) if signer.keys.contains(&key) => {}
            Some(&(first, _)) => {
                problems.report(entry.at, Fault::SignerTwice { name: role.signer().to_owned(), first });
            }
        }
    }
    signers.into_iter().map(|(_, signer)| signer).collect()
}

fn read_signer_secrets(trust: &Node, problems: &mut Problems) -> Vec<String> {
    const INSIDE: &str = "an entry of policy.trust.signerSecrets";
    let mut secrets: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in problems.list(trust, "signerSecrets") {
        if problems.mapping(entry, INSIDE, &["name"]).is_none() {
            continue;
        }
        let Some((at, name)) = problems.required(entry, "name", INSIDE) else { continue };
        // It becomes part of a path below the mounted secrets.
        if !is_dns_subdomain(name) {
            problems.report(at, Fault::Name { field: "name", found: name.to_owned() });
        } else if seen.insert(name) {
            secrets.push(name.to_owned());
        }
    }
    secrets
}

fn read_roots(trust: &Node, problems: &mut Problems) -> Vec<RootPin> {
    const FIELDS: &[&str] = &["certificate", "keyId", "ca"];
    let mut pins = Vec::new();
    for entry in problems.list(trust, "roots") {
        if problems.mapping(entry, "an entry of policy.trust.roots", FIELDS).is_none() {
            continue;
        }
        let given: Vec<_> = FIELDS.iter().copied().filter(|field| entry.get(field).is_some()).collect();
        let &[field] = given.as_slice() else {
            problems.report(entry.at, Fault::RootKinds { found: given.len() });
            continue;
        };
        let Some((at, text)) = problems.text(entry, field) else { continue };
        let pin = match field {
            "certificate" => RootPin::certificate_from_pem(text).map_err(Fault::Pin),
            "ca" => RootPin::ca_from_pem(text).map_err(Fault::Pin),
            _ => KeyId::from_hex(text).map(RootPin::KeyId).ok_or_else(|| Fault::Value {
                field: "keyId",
                found: text.to_owned(),
                expected: "64 lowercase hexadecimal digits",
            }),
        };
        match pin {
            Ok(pin) if pins.contains(&pin) => {}
            Ok(pin) => pins.push(pin),
            Err(fault) => problems.report(at, fault),
        }
    }
    pins
}

fn read_remap(trust: &Node, problems: &mut Problems) -> Option<Remap> {
    const INSIDE: &str = "policy.trust.remap";
    let remap = problems.mapping(trust.get("remap")?, INSIDE, &["prefix", "signedPrefix"])?;
    let prefix = read_prefix(remap, "prefix", problems);
    let signed_prefix = read_prefix(remap, "signedPrefix", problems);
    Some(Remap { prefix: prefix?, signed_prefix: signed_prefix? })
}

/// A prefix of normalised names. It ends in a slash, so that `reg.io/team` never speaks for `reg.io/team-evil`.
fn read_prefix(remap: &Node, field: &'static str, problems: &mut Problems) -> Option<String> {
    let (at, text) = problems.required(remap, field, "policy.trust.remap")?;
    let normal = text.strip_suffix('/').and_then(|name| {
        let (host, path) = name.split_once('/').map_or((name, None), |(host, path)| (host, Some(path)));
        let host = normal_host(host).ok()?;
        let host = one_spelling(&host);
        match path {
            None => Some(format!("{host}/")),
            Some(path) => check_path(path).is_ok().then(|| format!("{host}/{path}/")),
        }
    });
    let normal = normal.filter(|prefix| prefix.len() < MAX_NAME);
    if normal.is_none() {
        problems.report(at, Fault::RemapPrefix { field, found: text.to_owned() });
    }
    normal
}

/// `maxStale`, which only says something where stored data may stand in.
fn read_max_stale(trust: &Node, problems: &mut Problems) -> Option<Duration> {
    let (at, text) = problems.text(trust, "maxStale")?;
    let Some(duration) = duration(text) else {
        problems.report(at, Fault::Duration { found: text.to_owned() });
        return None;
    };
    if duration.is_zero() {
        problems.report(at, Fault::StaleZero);
    }
    if trust.get("whenUnavailable").and_then(Node::text) != Some("useCached") {
        problems.report(at, Fault::StaleWithoutCached);
    }
    Some(duration)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use portreeve_test_support::certificates::{Authority, Leaf};
    use portreeve_test_support::signer::Key;

    use super::*;

    /// Reads the text of a `policy`.
    fn read(text: &str) -> Result<Requirement, Vec<String>> {
        let nodes = crate::yaml::tree::parse(text, crate::yaml::tree::Caps::FILE).unwrap();
        let mut problems = Problems::new(Path::new("f"));
        let requirement = read_requirement(&nodes[0], &mut problems);
        let problems: Vec<_> = problems.into_list().iter().map(ToString::to_string).collect();
        if problems.is_empty() { Ok(requirement.unwrap()) } else { Err(problems) }
    }

    fn trust(text: &str) -> TrustRule {
        match read(text).unwrap() {
            Requirement::Trust(rule) => *rule,
            other => panic!("{text}: {other:?}"),
        }
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
        let rule = trust(&with_signers(&[("alice", &alice.public_pem()), ("bob", &bob.public_pem())]));
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
        let rule = trust(&with_signers(&[("alice", &one.public_pem()), ("alice", &certificate)]));
        assert_eq!(rule.signers.len(), 1);
        let problems =
            read(&with_signers(&[("alice", &one.public_pem()), ("alice", &other.public_pem())])).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].contains("signer \"alice\" stands twice with different keys, first on line 4"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_key_that_cannot_be_read_is_told_with_its_line() {
        for (pem, expected) in [
            (Key::p256().private_pem(), "private key"),
            ("rubbish".into(), ""),
            ("-----BEGIN PUBLIC KEY-----".into(), ""),
        ] {
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
        let roots = trust(&text).roots;
        assert_eq!(roots[0], RootPin::certificate_from_pem(&leaf).unwrap());
        assert_eq!(roots[1], RootPin::Ca(authority.der()));
        assert_eq!(roots[2], RootPin::KeyId(KeyId::from_hex(id).unwrap()));
        assert_eq!(roots.len(), 3);
        assert_eq!(trust(&format!("{head}{0}{0}", block("ca", &authority.pem()))).roots.len(), 1, "the same one twice");
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

    fn remap(prefix: &str, signed_prefix: &str) -> Result<Requirement, Vec<String>> {
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
            let Requirement::Trust(rule) = remap(prefix, signed_prefix).unwrap() else { panic!("{prefix}") };
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
        let Ok(Requirement::Trust(rule)) = remap("a.io/", "b.io/a/very/long/way/") else { panic!("it is a prefix") };
        let image = portreeve_verify::image::Reference::parse(&format!("a.io/{}", "x".repeat(245))).unwrap();
        assert!(rule.remap.unwrap().signed(&image).is_err());
    }

    #[test]
    fn a_secret_s_name_is_one_that_kubernetes_takes() {
        assert!(read("trust: {enabled: true, signerSecrets: [{name: alice.key-1}]}").is_ok());
        for name in ["x..y.-z", "a.-b", "a-.b", "a..b", ".a", "a_b"] {
            let problems =
                read(&format!("trust: {{enabled: true, signerSecrets: [{{name: \"{name}\"}}]}}")).unwrap_err();
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

    #[test]
    fn a_denial_stands_alone_and_has_a_message() {
        let denied = |text: &str| match read(text) {
            Ok(Requirement::Denied(why)) => why,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(denied("deny: {message: \" use the site's mirror \"}"), "use the site's mirror");
        assert_eq!(denied(&format!("deny: {{message: {}}}", "x".repeat(MAX_DENIAL))).len(), MAX_DENIAL);
        for (text, expected) in [
            ("deny: {}", "\"message\" is missing from policy.deny; say why"),
            ("deny: {message: \"\"}", "\"message\" is missing from policy.deny"),
            ("deny: {message: \"  \"}", "\"message\" is missing from policy.deny"),
            ("deny: {message: null}", "\"message\" is missing"),
            ("deny: {message: 7}", "\"message\" must be a string"),
            ("deny:", "\"policy.deny\" must be a mapping, and is nothing"),
            ("deny: true", "\"policy.deny\" must be a mapping"),
            ("deny: {message: x, mode: warn}", "\"mode\" does not belong in policy.deny"),
            ("{deny: {message: x}, mode: warn}", "\"mode\" stands beside a denial"),
            ("{deny: {message: x}, mode: enforce}", "\"mode\" stands beside a denial"),
            ("{deny: {message: x}, mutateImage: false}", "\"mutateImage\" stands beside a denial"),
            ("{deny: {message: x}, trust: {enabled: true}}", "\"trust\" stands beside a denial"),
            ("{deny: {message: x}, simple: {}}", "\"simple\" stands beside a denial"),
            ("message: x", "\"message\" does not belong in policy; it belongs under policy.deny"),
        ] {
            let problems = read(text).unwrap_err();
            assert!(problems[0].contains(expected), "{text}: {problems:?}");
        }
        let long = format!("deny: {{message: {}}}", "x".repeat(MAX_DENIAL + 1));
        assert!(read(&long).unwrap_err()[0].contains("more than 500 characters"));
    }

    /// What Portieris refuses every image by.
    #[test]
    fn the_requirement_reject_denies() {
        for text in [
            "simple: {requirements: [{type: reject}]}",
            "simple: {requirements: [{type: insecureAcceptAnything}, {type: reject}]}",
            "{simple: {requirements: [{type: reject}]}, mode: enforce, mutateImage: false}",
            "{simple: {requirements: [{type: reject}], storeURL: x}, trust: {enabled: true}, vulnerability: {}}",
            "{simple: {requirements: [{type: reject}]}, trust: {enabled: false}}",
        ] {
            assert!(matches!(read(text), Ok(Requirement::Denied(_))), "{text}: {:?}", read(text));
        }
        for (text, expected) in [
            ("{simple: {requirements: [{type: reject}]}, mode: warn}", "\"mode\" stands beside a denial"),
            ("simple: {requirements: [{type: reject}, {type: signedBy}]}", "\"simple: signedBy\" asks for a check"),
            ("{simple: {requirements: [{type: reject}]}, trust: {tust: 1}}", "unknown field"),
        ] {
            let problems = read(text).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}: {problems:?}");
        }
    }

    /// Whoever follows an advice must know what it leaves unchecked.
    #[test]
    fn no_advice_leads_to_less_without_saying_so() {
        for text in [
            "simple: {requirements: [{type: signedBy, keySecret: k}]}",
            "simple: {requirements: [{}]}",
            "va: {enabled: true}",
            "vulnerability: {ICCRVA: {enabled: true}}",
            "trust: {enabled: false, signers: [{name: a, publicKey: b}]}",
            "trust: {signerSecrets: [{name: a}]}",
            "mode: enforce",
            "trust: {}",
        ] {
            let problems = read(text).unwrap_err();
            let advice = problems.iter().find(|problem| problem.contains("unchecked"));
            assert!(advice.is_some(), "{text}: {problems:?}");
            assert!(!problems.iter().any(|problem| problem.contains("remove it;") || problem.ends_with("remove it")));
        }
    }

    #[test]
    fn trust_without_a_body_is_not_trust_switched_off() {
        for text in ["trust:", "trust: {}", "trust: {enabled: null}"] {
            let problems = read(text).unwrap_err();
            assert!(problems[0].contains("\"enabled\" is missing from policy.trust"), "{problems:?}");
        }
        assert_eq!(read("trust: {enabled: false}"), Ok(Requirement::Nothing));
        assert_eq!(read("mutateImage: false"), Ok(Requirement::Nothing));
    }
}
