//! One registry is one registry in each spelling of its host, and credentials go only where policy or configuration
//! sends those of their registry.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::*;

/// A repository with `v1`, whose digest is that of `content`.
fn repository(gun: &str, content: &str) -> portreeve_test_support::signer::Repo {
    Signer::new(gun).release("v1", sha256(content.as_bytes()), 100, &[]).publish()
}

fn by_digest(image: &str, content: &str) -> [(&'static str, String); 1] {
    [(FIRST, format!("{image}@sha256:{}", sha256_hex(content.as_bytes())))]
}

/// Everything is allowed that is signed, and the configuration has the server for these registries.
fn without_server(world: &mut World, registries: &[&str], trust: &Value) -> Engine {
    let servers: serde_json::Map<_, _> =
        registries.iter().map(|host| ((*host).to_owned(), world.server.url().into())).collect();
    let ca = world.directory.path().join("ca.pem");
    world.more_config = json!({ "trust": { "ca": ca, "refreshAfter": "0s", "servers": servers } });
    let mut rule = json!({ "enabled": true });
    rule.as_object_mut().unwrap().extend(trust.as_object().unwrap().clone());
    world.engine(&[document(None, json!([{ "name": "*", "policy": { "trust": rule } }]))])
}

/// The owner has signed `reg.local/plant/plc`; an attacker has initialised `reg.local:443/plant/plc`.
#[test]
fn the_default_port_names_no_second_repository() {
    let mut world = World::new();
    for (gun, content) in [
        ("reg.local/plant/plc", "owner"),
        ("reg.local:443/plant/plc", "other"),
        ("docker.io/library/nginx", "owner"),
        ("index.docker.io:443/library/nginx", "other"),
        ("docker.io:443/library/nginx", "other"),
    ] {
        world.server.publish(&repository(gun, content));
    }
    let images = [
        "reg.local/plant/plc:v1",
        "reg.local:443/plant/plc:v1",
        "index.docker.io:443/library/nginx:v1",
        "docker.io:443/nginx:v1",
    ];
    let engine = world.simple(&json!({}));
    let configured = without_server(&mut world, &["reg.local:443", "docker.io"], &json!({}));
    for image in images {
        // The patch has the host as it was typed.
        assert_allowed(&admit(&engine, &pod(&[image])), &by_digest(image, "owner"));
        assert_allowed(&admit(&configured, &pod(&[image])), &by_digest(image, "owner"));
    }
    // Nor does it escape a remap.
    world.server.publish(&repository("upstream.io/plant/plc", "upstream"));
    let remap = json!({ "remap": { "prefix": "reg.local:443/plant/", "signedPrefix": "upstream.io:443/plant/" } });
    let engine = world.simple(&remap);
    for image in ["reg.local/plant/plc:v1", "reg.local:443/plant/plc:v1"] {
        assert_allowed(&admit(&engine, &pod(&[image])), &by_digest(image, "upstream"));
    }
}

#[test]
fn an_ipv6_address_is_a_host() {
    let world = World::new();
    world.server.publish(&repository("[fd00::1]:9001/plant/plc", "v6"));
    let engine = world.engine(&[world.policy(None, "[fd00::1]:9001/plant/*", &json!({}))]);
    for image in ["[fd00::1]:9001/plant/plc:v1", "[fd00:0:0::1]:9001/plant/plc:v1"] {
        assert_allowed(&admit(&engine, &pod(&[image])), &by_digest(image, "v6"));
    }
    assert_denied(&admit(&engine, &pod(&["[fd00::2]:9001/plant/plc:v1"])), &["no repository pattern"]);
}

#[test]
fn a_remapped_name_is_normalised() {
    let mut world = World::new();
    world.server.publish(&repository("docker.io/library/nginx", "nginx"));
    let remap = json!({ "remap": { "prefix": "harbor.local/proxy/", "signedPrefix": "docker.io/" } });
    let engine = without_server(&mut world, &["docker.io"], &remap);
    for image in ["harbor.local/proxy/nginx:v1", "harbor.local/proxy/library/nginx:v1"] {
        assert_allowed(&admit(&engine, &pod(&[image])), &by_digest(image, "nginx"));
    }
    let long = json!({ "remap": { "prefix": "a.io/", "signedPrefix": "harbor.local/proxied/" } });
    let image = format!("a.io/{}:v1", "x".repeat(240));
    assert_denied(&admit(&without_server(&mut world, &[], &long), &pod(&[&image])), &["remap", "255"]);
}

/// A mirror on site; the server that wants a token is a third party's, and each registry has a password of its own.
fn mirror() -> World {
    let world = World::new();
    world.server.publish(&repository("docker.io/library/nginx", "nginx"));
    let passwords = [("site", "site-word"), ("hub", "hub-word")];
    let users = passwords.map(|(user, password)| (user.to_owned(), password.to_owned())).to_vec();
    world.server.require(SignIn::Bearer(TokenService { users, ..TokenService::default() }));
    world
}

fn mount(world: &World, registry: &str, user: &str) {
    let config = json!({ "auths": { registry: { "username": user, "password": format!("{user}-word") } } });
    world.write(&format!("registries/{user}/.dockerconfigjson"), &config.to_string());
}

/// The users whose passwords the server and its token service were shown, in order.
fn shown(world: &World) -> Vec<String> {
    let user = |authorization: String| {
        let decoded = BASE64_STANDARD.decode(authorization.strip_prefix("Basic ")?).unwrap();
        Some(String::from_utf8(decoded).unwrap().split(':').next().unwrap().to_owned())
    };
    world.server.requests().into_iter().filter_map(|request| request.authorization.and_then(user)).collect()
}

#[test]
fn a_server_that_was_found_by_the_signed_name_is_not_sent_the_mirrors_credentials() {
    let remap = json!({ "remap": { "prefix": "harbor.local/proxy/", "signedPrefix": "docker.io/" } });
    let image = "harbor.local/proxy/nginx:v1";
    for host in ["harbor.local", "harbor.local:443", "*.local", "https://harbor.local/v2/"] {
        let mut world = mirror();
        mount(&world, host, "site");
        let engine = without_server(&mut world, &["docker.io"], &remap);
        let words = ["credentials for harbor.local are not sent to", "set trustServer"];
        assert_denied(&admit(&engine, &pod(&[image])), &words);
        assert!(shown(&world).is_empty(), "{host}: {:?}", shown(&world));
        // Those of the registry that it was found by are.
        mount(&world, "https://index.docker.io/v1/", "hub");
        let engine = without_server(&mut world, &["docker.io"], &remap);
        assert_allowed(&admit(&engine, &pod(&[image])), &by_digest(image, "nginx"));
        assert_eq!(shown(&world), ["hub"], "{host}");
    }
    // A wildcard that covers both registries names one server for each of them by name, where it holds {registry}.
    let mut world = mirror();
    mount(&world, "harbor.local", "site");
    let url = world.server.url().replace("localhost", "{host}").replace("127.0.0.1", "{host}");
    without_server(&mut world, &[], &json!({}));
    world.more_config["trust"]["servers"] = json!({ "*.local": url, "docker.io": world.server.url() });
    let rule = json!({ "enabled": true, "remap": remap["remap"] });
    let engine = world.engine(&[document(None, json!([{ "name": "*", "policy": { "trust": rule } }]))]);
    assert_denied(&admit(&engine, &pod(&[image])), &["credentials for harbor.local are not sent to"]);
    assert!(shown(&world).is_empty(), "{:?}", shown(&world));
}

#[test]
fn a_server_that_is_named_for_the_mirror_is_sent_its_credentials_first() {
    let remap = json!({ "remap": { "prefix": "harbor.local/proxy/", "signedPrefix": "docker.io/" } });
    let image = "harbor.local/proxy/nginx:v1";
    for how in ["by policy", "by configuration", "by a wildcard"] {
        let mut world = mirror();
        mount(&world, "harbor.local", "site");
        mount(&world, "docker.io", "hub");
        let engine = match how {
            "by policy" => world.simple(&remap),
            "by configuration" => without_server(&mut world, &["docker.io", "harbor.local:443"], &remap),
            _ => without_server(&mut world, &["docker.io", "*"], &remap),
        };
        assert_allowed(&admit(&engine, &pod(&[image])), &by_digest(image, "nginx"));
        assert_eq!(shown(&world), ["site"], "{how}");
    }
}
