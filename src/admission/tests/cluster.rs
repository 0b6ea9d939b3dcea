//! Pull secrets and signers' keys from the Kubernetes API, from the review to the verdict.

use portreeve_test_support::api_server::ApiServer;

use super::*;

const REGISTRY: &str = "registry.local:9001";

/// A trust server that lets in `robot` alone, and an API server to find its password at.
fn world() -> (World, ApiServer) {
    let (mut world, api) = (World::new(), ApiServer::start("t"));
    world.server.require(SignIn::Bearer(TokenService::of("robot", "right")));
    world.write("api/token", "t").write("api/ca.crt", api.ca_pem());
    let at = |name: &str| world.directory.path().join("api").join(name);
    let server = json!({ "server": api.url(), "token": at("token"), "ca": at("ca.crt") });
    let mounted = world.directory.path().join("registries");
    world.more_config = json!({ "credentials": { "mounted": mounted, "kubernetes": true, "api": server } });
    (world, api)
}

fn with_pull_secrets(names: &[&str]) -> Value {
    let mut pod = pod(&[&tagged("v1")]);
    pod["request"]["object"]["spec"]["imagePullSecrets"] = names.iter().map(|name| json!({ "name": name })).collect();
    pod
}

fn v1() -> [(&'static str, String); 1] {
    [(FIRST, pinned("v1"))]
}

#[test]
fn a_pod_s_pull_secrets_open_the_trust_server() {
    let (world, api) = world();
    api.pull_secret("line-1", "harbor", REGISTRY, "robot", "right");
    assert_allowed(&admit(&world.simple(&json!({})), &with_pull_secrets(&["harbor"])), &v1());
    assert_eq!(api.asked(), ["line-1/secrets/harbor"]);
    // A template that names none has its ServiceAccount's.
    api.service_account("line-1", "plc", &["harbor"]);
    api.forget_requests();
    let mut spec = pod_spec(&[&tagged("v1")]);
    spec["serviceAccountName"] = "plc".into();
    let deployment = review("apps", "Deployment", json!({ "spec": { "template": { "spec": spec } } }));
    let at = "/spec/template/spec/containers/0/image";
    assert_allowed(&admit(&world.simple(&json!({})), &deployment), &[(at, pinned("v1"))]);
    assert_eq!(api.asked(), ["line-1/serviceaccounts/plc", "line-1/secrets/harbor"]);
}

#[test]
fn the_first_bad_the_second_good_and_all_bad_ones_told() {
    let (world, api) = world();
    api.pull_secret("line-1", "old", REGISTRY, "robot", "hidden-word");
    api.pull_secret("line-1", "new", REGISTRY, "robot", "right");
    let heard = admit(&world.simple(&json!({})), &with_pull_secrets(&["old", "gone"]));
    assert_denied(&heard, &["unavailable", "line-1/old (\"registry.local:9001\")", "line-1/gone does not exist"]);
    assert!(!heard.message.contains("hidden-word"), "{}", heard.message);
    assert_allowed(&admit(&world.simple(&json!({})), &with_pull_secrets(&["old", "gone", "new"])), &v1());
}

#[test]
fn a_pod_s_own_come_before_the_mounted_ones() {
    let (world, api) = world();
    api.pull_secret("line-1", "harbor", REGISTRY, "tenant", "wrong");
    let config = json!({ "auths": { "registry.local:9001/plant": { "username": "site", "password": "wrong" } } });
    world.write("registries/harbor/.dockerconfigjson", &config.to_string());
    let heard = admit(&world.simple(&json!({})), &with_pull_secrets(&["harbor"]));
    assert_denied(&heard, &["line-1/harbor", "registries/harbor"]);
    assert!(heard.message.find("line-1/harbor") < heard.message.find("registries/harbor"), "{}", heard.message);
}

#[test]
fn nobody_is_asked_before_the_trust_server_wants_to_know_who_we_are() {
    let (world, api) = world();
    let unchecked = world.engine(&[document(None, json!([{ "name": "*" }]))]);
    assert_allowed(&admit(&unchecked, &with_pull_secrets(&["harbor"])), &[]);
    world.server.require(SignIn::No);
    assert_allowed(&admit(&world.simple(&json!({})), &with_pull_secrets(&["harbor"])), &v1());
    assert!(api.requests().is_empty(), "{:?}", api.asked());
}

#[test]
fn many_images_of_a_pod_cost_one_request_a_secret() {
    let (world, api) = world();
    api.pull_secret("line-1", "harbor", REGISTRY, "robot", "right");
    let images: Vec<String> = (0..20).map(|n| format!("registry.local:9001/plant/x{n}:v1")).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let mut pod = pod(&images);
    pod["request"]["object"]["spec"]["imagePullSecrets"] = json!([{ "name": "harbor" }]);
    assert_denied(&admit(&world.simple(&json!({})), &pod), &["20 of 20"]);
    assert_eq!(api.asked(), ["line-1/secrets/harbor"]);
}

#[test]
fn the_namespace_is_the_request_s_and_the_key_must_fit() {
    let (world, api) = world();
    api.pull_secret("line-2", "harbor", REGISTRY, "robot", "right");
    let mut pod = with_pull_secrets(&["harbor"]);
    pod["request"]["object"]["metadata"] = json!({ "namespace": "line-2" });
    assert_denied(&admit(&world.simple(&json!({})), &pod), &["pull secret line-1/harbor does not exist"]);
    assert_eq!(api.asked(), ["line-1/secrets/harbor"]);
    // A tenant's own Secret may say what it likes: it goes only where kubelet would send it.
    for key in ["registry.local", "registry.local:9002", "*", "registry.local:9001/plant/plcs", "127.0.0.1"] {
        let (world, api) = self::world();
        api.pull_secret("line-1", "harbor", key, "robot", "right");
        assert_denied(&admit(&world.simple(&json!({})), &with_pull_secrets(&["harbor"])), &["anonymously"]);
        let sent = world.server.requests().into_iter().filter_map(|request| request.authorization);
        assert_eq!(sent.count(), 0, "{key}");
    }
}

#[test]
fn what_could_not_be_had_is_told_and_the_rest_is_tried() {
    let (world, mut api) = world();
    let denied = |words: &str| {
        let heard = admit(&world.simple(&json!({})), &with_pull_secrets(&["harbor"]));
        assert_denied(&heard, &["unavailable", "refused every sign-in", "pull secret line-1/harbor", words]);
        assert_eq!(heard.message.matches("line-1/harbor").count(), 1, "{}", heard.message);
    };
    api.forbid("line-1", "secrets");
    denied("\"get\" \"secrets\" in namespace line-1 (403 Forbidden): apply manifests/components/api-credentials");
    api.misbehave("", Fault::Redirect);
    denied("answered 302");
    api.stop();
    denied("could not be read: the Kubernetes API server https://127.0.0.1:");
    let config = json!({ "auths": { REGISTRY: { "username": "robot", "password": "right" } } });
    world.write("registries/harbor/.dockerconfigjson", &config.to_string());
    assert_allowed(&admit(&world.simple(&json!({})), &with_pull_secrets(&["harbor"])), &v1());
}

/// The trust server is let wait, but not for ever.
#[test]
fn an_api_server_that_hangs_leaves_time_for_the_rest() {
    let (world, api) = world();
    let config = json!({ "auths": { REGISTRY: { "username": "robot", "password": "right" } } });
    world.write("registries/harbor/.dockerconfigjson", &config.to_string());
    for fault in [Fault::Stall, Fault::Drip, Fault::DripHead] {
        api.misbehave("", fault);
        assert_allowed(&admit(&world.simple(&json!({})), &with_pull_secrets(&["a", "b", "c", "d"])), &v1());
    }
}

#[test]
fn signer_secrets_come_from_the_cluster_where_none_is_mounted() {
    let (world, mut api) = world();
    world.server.require(SignIn::No);
    let secrets = json!({ "signerSecrets": [{ "name": "alice-key" }] });
    let cluster = || world.simple(&secrets);
    let own = || world.engine(&[world.policy(Some("line-1"), "*", &secrets)]);
    // Fault 7: a tenant puts a key of its own where a cluster policy might look.
    api.secret("line-1", "alice-key", "Opaque", &[("name", "bob"), ("publicKey", &world.bob)]);
    let heard = admit(&cluster(), &pod(&[&tagged("v1")]));
    assert_denied(&heard, &["rejected", "portreeve/alice-key cannot be used: it does not exist"]);
    api.secret("portreeve", "alice-key", "Opaque", &[("name", "alice"), ("publicKey", &world.alice)]);
    let heard = admit(&cluster(), &pod(&[&tagged("v1")]));
    assert_allowed(&heard, &v1());
    assert!(heard.audit["signers"].as_str().unwrap().ends_with("=alice"), "{heard:?}");
    assert_eq!(api.asked(), ["portreeve/secrets/alice-key"; 2]);
    assert_denied(&admit(&own(), &pod(&[&tagged("v1")])), &["rejected", "bob"]);
    assert_eq!(api.asked().last().unwrap(), "line-1/secrets/alice-key");

    api.secret("portreeve", "alice-key", "Opaque", &[("name", "alice"), ("publicKey", "no key")]);
    assert_denied(&admit(&cluster(), &pod(&[&tagged("v1")])), &["rejected", "portreeve/alice-key cannot be used"]);
    api.forbid("portreeve", "secrets");
    let heard = admit(&cluster(), &pod(&[&tagged("v1")]));
    assert_denied(&heard, &["unavailable", "the signer's secret portreeve/alice-key could not be read", "403"]);
    api.stop();
    assert_denied(
        &admit(&cluster(), &pod(&[&tagged("v1")])),
        &["unavailable", "portreeve/alice-key could not be read"],
    );
    // A mounted one comes first, and is all that is needed.
    world.write("secrets/portreeve/alice-key/name", "alice");
    assert_denied(&admit(&cluster(), &pod(&[&tagged("v1")])), &["rejected", "publicKey"]);
    world.write("secrets/portreeve/alice-key/publicKey", &world.alice);
    assert_allowed(&admit(&cluster(), &pod(&[&tagged("v1")])), &v1());
}

#[test]
fn without_an_api_server_there_is_no_start() {
    let (world, _api) = world();
    let config = |ca: &str| {
        let api = json!({ "server": "https://127.0.0.1:1", "ca": world.directory.path().join(ca) });
        let config = json!({ "credentials": { "kubernetes": true, "api": api } });
        Config::parse(&config.to_string(), Path::new("test")).unwrap()
    };
    assert!(setup::standalone_engine(&config("api/ca.crt")).is_ok());
    let error = setup::standalone_engine(&config("absent")).unwrap_err().to_string();
    assert!(error.contains("credentials.kubernetes") && error.contains("absent"), "{error}");
}
