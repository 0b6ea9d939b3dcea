//! Against a server that answers as kube-apiserver does, over real TLS, and against one that does not.

use std::time::Duration;

use portreeve_test_support::api_server::ApiServer;
use portreeve_test_support::certificates::Authority;
use portreeve_test_support::trust_server::Fault;
use serde_json::json;

use super::*;
use crate::base::files::scratch::Scratch;

const LONG: Duration = Duration::from_secs(20);
const AT: &str = "/api/v1/namespaces/line-1/secrets/harbor";

struct Bench {
    server: ApiServer,
    scratch: Scratch,
    api: Arc<Api>,
}

impl Bench {
    fn new() -> Self {
        let (server, scratch) = (ApiServer::start("first.token"), Scratch::new());
        let token = scratch.write("token", "first.token\n");
        let ca = scratch.write("ca.crt", server.ca_pem());
        let api = Api::new(
            &ApiSettings { server: ApiUrl::parse(&server.url()), token, ca },
            Purpose::Credentials,
            Arc::default(),
        )
        .unwrap();
        server.secret("line-1", "harbor", "Opaque", &[("key", "hunter2"), ("empty", "")]);
        Self { server, scratch, api }
    }

    fn ask(&self) -> Result<SecretObject, ApiError> {
        self.api.secret("line-1", "harbor", Deadline::after(LONG))
    }

    /// Why the Secret was not had, in words.
    #[track_caller]
    fn words(&self) -> String {
        self.ask().unwrap_err().to_string()
    }
}

#[test]
fn kubelet_tells_every_container_where_the_api_server_is() {
    for (host, port, expected) in [
        (Some("10.96.0.1"), Some("443"), Some("https://10.96.0.1:443")),
        (Some("fd00::1"), Some("6443"), Some("https://[fd00::1]:6443")),
        (Some("FD00:0::1"), Some("443"), Some("https://[fd00::1]:443")),
        (Some("kubernetes.default.svc"), Some("443"), Some("https://kubernetes.default.svc:443")),
        (Some("10.96.0.1"), None, None),
        (None, Some("443"), None),
        (Some(""), Some("443"), None),
        (Some("10.96.0.1"), Some("x"), None),
        (Some("a@b"), Some("443"), None),
        (Some("h h"), Some("443"), None),
        (Some("fe80::1%eth0"), Some("443"), None),
    ] {
        let variable = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => host.map(str::to_owned),
            "KUBERNETES_SERVICE_PORT" => port.map(str::to_owned),
            other => panic!("{other}"),
        };
        let found = ApiUrl::in_cluster(variable).map(|url| url.to_string());
        assert_eq!(found.as_deref(), expected, "{host:?} {port:?}");
    }
    for bad in ["http://10.96.0.1", "file:///etc", "10.96.0.1", "https://u:p@h", "https://h?x", "https://h#x", ""] {
        assert_eq!(ApiUrl::parse(bad), None, "{bad}");
    }
}

#[test]
fn gets_one_object_with_the_token_as_it_is_now() {
    let bench = Bench::new();
    let secret = bench.ask().unwrap();
    assert_eq!(secret.secret_type(), "Opaque");
    assert_eq!(secret.value("key").as_deref(), Some(&b"hunter2"[..]));
    assert_eq!((secret.value("empty").as_deref(), secret.value("absent")), (Some(&b""[..]), None));
    assert!(!format!("{secret:?}").contains("hunter2") && !format!("{secret:?}").contains("aHVudGVyMg"));
    let request = &bench.server.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", AT));
    assert_eq!(request.authorization.as_deref(), Some("Bearer first.token"));

    // kubelet replaces the token long before the old one ends.
    bench.server.accept_only("second.token");
    let words = bench.words();
    assert!(words.contains("did not accept") && words.contains("401"), "{words}");
    bench.scratch.write("token", "second.token");
    bench.ask().unwrap();
}

#[test]
fn reads_the_pull_secrets_of_a_service_account() {
    let bench = Bench::new();
    let of = |name| bench.api.pull_secrets_of("line-1", name, Deadline::after(LONG));
    bench.server.service_account("line-1", "plc", &["harbor", "quay"]).service_account("line-1", "default", &[]);
    assert_eq!(of("plc").unwrap(), ["harbor", "quay"]);
    assert!(of("default").unwrap().is_empty());
    assert!(of("absent").unwrap_err().is_absence());
    assert_eq!(bench.server.asked()[0], "line-1/serviceaccounts/plc");
}

#[test]
fn refusals_are_told_apart() {
    let bench = Bench::new();
    bench.server.forbid("line-1", "secrets");
    let error = bench.ask().unwrap_err();
    assert!(!error.is_absence(), "{error}");
    for word in ["\"get\" \"secrets\"", "namespace line-1", "403", "manifests/components/api-credentials"] {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    bench.server.forbid_nothing();
    bench.server.remove("line-1", "secrets", "harbor");
    let error = bench.ask().unwrap_err();
    assert!(error.is_absence());
    assert_eq!(error.to_string(), "does not exist");

    // A refusal that is none of kube-apiserver's says nothing about the Secret.
    for (fault, words) in [
        (Fault::Status(404), "answered 404"),
        (Fault::Status(403), "answered 403"),
        (Fault::Status(500), "answered 500"),
        (Fault::Unauthorized, "answered 401"),
        (Fault::Redirect, "answered 302, a redirect, and those are not followed"),
    ] {
        bench.server.misbehave("", fault);
        let error = bench.ask().unwrap_err();
        assert!(error.to_string().ends_with(words) && !error.is_absence(), "{fault:?}: {error}");
    }
    assert_eq!(bench.server.asked().len(), 7, "nothing was followed, and nothing asked twice");
}

#[test]
fn a_refusal_counts_only_as_a_status_that_fits() {
    for (status, body, expected) in [
        (404, r#"{"kind":"Status","reason":"NotFound","details":{"kind":"secrets"}}"#, "does not exist"),
        (404, r#"{"reason":"NotFound"}"#, "answered 404"),
        (404, r#"{"kind":"Problem","reason":"NotFound"}"#, "answered 404"),
        (404, r#"{"errors":[{"code":"NOT_FOUND"}]}"#, "answered 404"),
        (403, r#"{"kind":"Status","reason":"NotFound"}"#, "answered 403 NotFound"),
        (503, r#"{"kind":"Status","reason":"NotFound"}"#, "answered 503 NotFound"),
        (429, r#"{"kind":"Status","reason":"TooManyRequests\u001b[2J"}"#, "answered 429 TooManyRequests\u{fffd}[2J"),
        (204, "", "answered 204"),
    ] {
        let kind = refusal(status, body.as_bytes(), ("get", "secrets", Some("line-1")));
        let words =
            ApiError { server: ApiUrl::parse("https://h").unwrap(), purpose: Purpose::Credentials, kind }.to_string();
        assert!(words.ends_with(expected), "{status} {body}: {words}");
    }
}

#[test]
fn nothing_counts_but_the_object_that_was_asked_for() {
    let bench = Bench::new();
    let object = |kind: &str, namespace: &str, name: &str| json!({ "kind": kind, "apiVersion": "v1", "metadata": { "namespace": namespace, "name": name }, "data": {} });
    bench.server.put("line-1", "secrets", "harbor", object("Secret", "line-1", "harbor"));
    bench.ask().unwrap();
    for other in [
        object("Secret", "line-2", "harbor"),
        object("Secret", "line-1", "quay"),
        object("ConfigMap", "line-1", "harbor"),
        json!({ "kind": "Secret", "data": {} }),
        json!({ "kind": "SecretList", "items": [object("Secret", "line-1", "harbor")] }),
        json!([]),
    ] {
        bench.server.put("line-1", "secrets", "harbor", other);
        let words = bench.words();
        assert!(words.ends_with("answered with something that is not this object"), "{words}");
    }
}

/// A tenant's Secret or ServiceAccount of a megabyte of next to nothing.
#[test]
fn what_would_take_many_times_its_bytes_is_not_read() {
    let bench = Bench::new();
    let keys: Vec<String> = (0..=MAX_VALUES).map(|n| format!("k{n}")).collect();
    let data: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "")).collect();
    bench.server.secret("line-1", "harbor", "Opaque", &data[..MAX_VALUES / 2]);
    bench.ask().unwrap();
    bench.server.secret("line-1", "harbor", "Opaque", &data);
    let error = bench.ask().unwrap_err();
    assert!(error.to_string().contains("more than 20000 values") && !error.is_absence(), "{error}");
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    bench.server.service_account("line-1", "plc", &names);
    let error = bench.api.pull_secrets_of("line-1", "plc", Deadline::after(LONG)).unwrap_err();
    assert!(error.to_string().contains("more than 20000 values"), "{error}");
}

#[test]
fn hostile_answers_are_cut_and_told() {
    let bench = Bench::new();
    for (fault, words) in [
        (Fault::Html, "something that is not this object"),
        (Fault::Body("{\"kind\":\"Secret\",\"data\":\"hunter2\"}"), "something that is not this object"),
        (Fault::Body(""), "something that is not this object"),
        (Fault::Huge(1 << 40), "sent more than 3145728 bytes"),
        (Fault::HugeChunked(1 << 40), "sent more than 3145728 bytes"),
        (Fault::NoLength, "without a length"),
        (Fault::Gzip, "compressed"),
        (Fault::ShortBody, "closed the connection"),
        (Fault::Reset, "closed the connection"),
    ] {
        bench.server.misbehave("", fault);
        let error = bench.ask().unwrap_err();
        assert!(error.to_string().contains(words) && !error.is_absence(), "{fault:?}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    for fault in [Fault::Stall, Fault::Drip, Fault::DripHead] {
        bench.server.misbehave("", fault);
        let error = bench.api.secret("line-1", "harbor", Deadline::after(Duration::from_millis(200))).unwrap_err();
        assert!(error.is_timeout(), "{fault:?}: {error}");
    }
    bench.server.behave();
    bench.ask().unwrap();
}

#[test]
fn only_the_cluster_s_own_ca_is_believed() {
    let bench = Bench::new();
    bench.scratch.write("other.crt", Authority::new().pem());
    let settings = |ca: &str| ApiSettings {
        server: ApiUrl::parse(&bench.server.url()),
        token: bench.scratch.path().join("token"),
        ca: bench.scratch.path().join(ca),
    };
    let api = Api::new(&settings("other.crt"), Purpose::Credentials, Arc::default()).unwrap();
    let words = api.secret("line-1", "harbor", Deadline::after(LONG)).unwrap_err().to_string();
    assert!(words.contains("is not under the CA in") && words.contains("other.crt"), "{words}");
    assert!(bench.server.requests().is_empty(), "the token was sent to nobody");
    // Public CAs do not replace a CA that is missing.
    assert!(matches!(Api::new(&settings("absent"), Purpose::Credentials, Arc::default()), Err(ApiSetupError::Ca(_))));
}

#[test]
fn a_server_that_is_away_is_told() {
    let mut bench = Bench::new();
    bench.server.stop();
    let words = bench.words();
    assert!(words.starts_with("could not be read") && words.contains(&bench.server.url()), "{words}");
}

#[test]
fn nothing_but_a_name_becomes_part_of_a_url() {
    let bench = Bench::new();
    let (api, soon) = (&bench.api, Deadline::after(LONG));
    for name in ["", "..", "a/b", "harbor?x", "harbor%2f", "../../../nodes", "A", "a\r\nb", "harbor#"] {
        assert!(api.secret("line-1", name, soon).unwrap_err().is_absence(), "{name}");
        assert!(api.secret(name, "harbor", soon).unwrap_err().is_absence(), "{name}");
        assert!(api.pull_secrets_of("line-1", name, soon).unwrap_err().is_absence(), "{name}");
    }
    assert!(bench.server.requests().is_empty());
}

#[test]
fn a_token_that_is_none_is_sent_to_nobody() {
    let bench = Bench::new();
    for bad in ["", "\n", "a b", "a\r\nX: y", "\u{e4}"] {
        bench.scratch.write("token", bad);
        assert!(bench.words().contains("holds no service-account token"), "{bad:?}");
    }
    bench.scratch.write("token", "x".repeat(MAX_TOKEN + 1));
    assert!(bench.words().contains("larger than its cap"), "{}", bench.words());
    std::fs::remove_file(bench.scratch.path().join("token")).unwrap();
    let words = bench.words();
    assert!(words.contains("manifests/components/api-credentials"), "{words}");
    assert!(bench.server.requests().is_empty());
}
