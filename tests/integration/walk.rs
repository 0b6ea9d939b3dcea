//! Every decision through both webhooks, in the API server's order: `/admit`, the patch applied, `/validate`, `/admit`
//! again, then updates of the stored object. One table: each kind of pattern, each kind of reference, pinned or not.

use std::cell::RefCell;

use portreeve_test_support::signer::{Signer, sha256, sha256_hex};
use portreeve_test_support::trust_server::TrustServer;
use serde_json::{Value, json};

use crate::https::{TlsStream, read_response, send_review};
use crate::pki::Pki;
use crate::product::{Serving, Site};
use crate::review::{in_namespace, patch, pod_review, policy_for};

/// Which tags a pattern matches.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tags {
    All,
    /// `v1`, and other tags that begin with `v`.
    V1,
    /// No tag: the pattern matches the digest of `v1`.
    Digest,
}

/// A pattern, and the images that are tried under it.
struct Row {
    /// `@v1` is replaced by the digest of `v1`.
    pattern: &'static str,
    tags: Tags,
    /// The image's name in the workload.
    typed: &'static str,
    /// Its name in the patch.
    name: &'static str,
    /// Its name in trust data, where `v1` and `latest` are signed.
    signed: &'static str,
    remap: Option<(&'static str, &'static str)>,
}

const PLC: &str = "registry.local:9001/plant/plc";
const BARE: &str = "registry.local/plant/plc";
const NGINX: &str = "docker.io/library/nginx";
const HUB_PLC: &str = "docker.io/plant/plc";
const MIRRORED: &str = "mirror.local:9001/hub/library/nginx";
const MIRROR: Option<(&str, &str)> = Some(("mirror.local:9001/hub/", "docker.io/"));

/// A row whose image has one name everywhere.
const fn row(pattern: &'static str, tags: Tags, name: &'static str) -> Row {
    Row { pattern, tags, typed: name, name, signed: name, remap: None }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Names, tags, digests, stars.
    row("registry.local:9001/plant/plc", Tags::All, PLC),
    row("registry.local:9001/plant/plc:v1", Tags::V1, PLC),
    row("registry.local:9001/plant/plc:v*", Tags::V1, PLC),
    row("registry.local:9001/plant/plc:*", Tags::All, PLC),
    row("registry.local:9001/plant/plc@v1", Tags::Digest, PLC),
    row("registry.local:9001/plant/*", Tags::All, PLC),
    row("registry.local:9001/plant/p*:v*", Tags::V1, PLC),
    row("registry.local:*/plant/plc", Tags::All, PLC),
    row("*:9001/plant/plc:v1", Tags::V1, PLC),
    row("*", Tags::All, PLC),
    // One host with and without its default port, and in upper case.
    row("registry.local/plant/plc:v*", Tags::V1, BARE),
    Row { typed: "registry.local:443/plant/plc", name: "registry.local:443/plant/plc", ..row("registry.local/plant/plc:v1", Tags::V1, BARE) },
    row("registry.local:443/plant/*", Tags::All, BARE),
    Row { typed: "Registry.LOCAL/plant/plc", ..row("REGISTRY.local/plant/plc", Tags::All, BARE) },
    // Docker Hub in short and in full.
    Row { typed: "nginx", ..row("nginx", Tags::All, NGINX) },
    Row { typed: "nginx", ..row("docker.io/nginx:v1", Tags::V1, NGINX) },
    Row { typed: "docker.io/nginx", ..row("library/*:v*", Tags::V1, NGINX) },
    Row { typed: "library/nginx", ..row("index.docker.io/*", Tags::All, NGINX) },
    Row { typed: "index.docker.io/library/nginx", ..row("nginx@v1", Tags::Digest, NGINX) },
    Row { typed: "plant/plc", ..row("plant/plc:v*", Tags::V1, HUB_PLC) },
    // A mirror whose images are signed under another name.
    Row { signed: NGINX, remap: MIRROR, ..row("mirror.local:9001/hub/*", Tags::All, MIRRORED) },
    Row { signed: NGINX, remap: MIRROR, ..row("mirror.local:9001/hub/library/nginx:v*", Tags::V1, MIRRORED) },
];

/// A reference: the text behind the name. `@TAG` is replaced by the digest that was signed under TAG.
struct Typed {
    suffix: &'static str,
    tag: Option<&'static str>,
    digest: Option<&'static str>,
    signed: bool,
}

#[rustfmt::skip]
const REFERENCES: &[Typed] = &[
    Typed { suffix: "", tag: Some("latest"), digest: None, signed: true },
    Typed { suffix: ":v1", tag: Some("v1"), digest: None, signed: true },
    Typed { suffix: ":v1@v1", tag: Some("v1"), digest: Some("v1"), signed: true },
    Typed { suffix: "@v1", tag: None, digest: Some("v1"), signed: true },
    Typed { suffix: ":v1@latest", tag: Some("v1"), digest: Some("latest"), signed: false },
    Typed { suffix: "@latest", tag: None, digest: Some("latest"), signed: true },
    Typed { suffix: "@evil", tag: None, digest: Some("evil"), signed: false },
    Typed { suffix: ":v-evil", tag: Some("v-evil"), digest: None, signed: false },
];

impl Row {
    /// Replaces `@TAG` by a digest.
    fn resolve(&self, text: &str) -> String {
        match text.rsplit_once('@') {
            Some((before, tag)) => format!("{before}@sha256:{}", sha256_hex(content(self.signed, tag).as_bytes())),
            None => text.to_owned(),
        }
    }

    fn matches(&self, reference: &Typed) -> bool {
        match self.tags {
            Tags::All => true,
            // A digest alone is judged by the rule for tags, and must be released under one of them.
            Tags::V1 => match reference.tag {
                Some(tag) => tag == "v1" || (tag == "v-evil" && self.pattern.ends_with("v*")),
                None => reference.digest == Some("v1"),
            },
            Tags::Digest => reference.digest == Some("v1"),
        }
    }

    fn policy(&self, server: &TrustServer, mutate: bool) -> Value {
        let mut trust = json!({ "enabled": true, "trustServer": server.url() });
        if let Some((prefix, signed_prefix)) = self.remap {
            trust["remap"] = json!({ "prefix": prefix, "signedPrefix": signed_prefix });
        }
        let mut policy = policy_for(&self.resolve(self.pattern), trust);
        policy["spec"]["repositories"][0]["policy"]["mutateImage"] = json!(mutate);
        policy
    }
}

/// The content of the image with this tag. Its hash is the digest.
fn content(name: &str, tag: &str) -> String {
    format!("{name}:{tag}")
}

/// The kinds that are created, and the place of their image.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Pod,
    Deployment,
}

impl Kind {
    fn image(self) -> &'static str {
        match self {
            Self::Pod => "/spec/containers/0/image",
            Self::Deployment => "/spec/template/spec/containers/0/image",
        }
    }

    fn object(self, image: &str) -> Value {
        let spec = json!({ "containers": [{ "name": "plc", "image": image }] });
        match self {
            Self::Pod => json!({ "metadata": { "name": "plc" }, "spec": spec }),
            Self::Deployment => {
                json!({ "metadata": { "name": "plc" }, "spec": { "replicas": 2, "template": { "spec": spec } } })
            }
        }
    }

    fn review(self, namespace: &str, old: Option<&Value>, object: &Value) -> Value {
        let mut review = pod_review("");
        let (group, kind) = match self {
            Self::Pod => ("", "Pod"),
            Self::Deployment => ("apps", "Deployment"),
        };
        let request = &mut review["request"];
        request["kind"] = json!({ "group": group, "version": "v1", "kind": kind });
        request["namespace"] = json!(namespace);
        request["object"] = object.clone();
        if let Some(old) = old {
            request["operation"] = json!("UPDATE");
            request["oldObject"] = old.clone();
        }
        review
    }
}

/// A kept connection, as the API server has.
struct Line {
    serving: Serving,
    stream: TlsStream,
}

impl Line {
    fn to(serving: Serving) -> Self {
        let stream = serving.connect().unwrap();
        Self { serving, stream }
    }

    fn admit(&mut self, endpoint: &str, review: &Value) -> Value {
        send_review(&mut self.stream, &format!("{endpoint}?timeout=10s"), review).unwrap();
        let response = read_response(&mut self.stream).unwrap_or_else(|| panic!("no answer:\n{}", self.serving.log()));
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }
}

/// One image, from `/admit` to the stored object.
struct Walk<'a> {
    line: &'a RefCell<Line>,
    namespace: String,
    kind: Kind,
    label: String,
}

impl Walk<'_> {
    /// Calls one of the webhooks, and applies the patch.
    fn ask(&self, endpoint: &str, old: Option<&Value>, object: &Value) -> Result<(Value, Value), String> {
        let answer = self.line.borrow_mut().admit(endpoint, &self.kind.review(&self.namespace, old, object));
        let response = &answer["response"];
        if response["allowed"] != true {
            return Err(response["status"]["message"].as_str().unwrap_or_default().to_owned());
        }
        let operations = patch(&answer);
        let mut patched = object.clone();
        for operation in operations.as_array().into_iter().flatten() {
            assert_eq!(operation["op"], "replace", "{}", self.label);
            *patched.pointer_mut(operation["path"].as_str().unwrap()).unwrap() = operation["value"].clone();
        }
        Ok((operations, patched))
    }

    /// Both webhooks allow the object and change nothing.
    fn passes_untouched(&self, step: &str, old: Option<&Value>, object: &Value) {
        for endpoint in ["/admit", "/validate"] {
            let answer = self.ask(endpoint, old, object);
            assert_eq!(answer, Ok((Value::Null, object.clone())), "{}: {step}, {endpoint}", self.label);
        }
    }

    fn is_denied(&self, step: &str, old: Option<&Value>, object: &Value) {
        for endpoint in ["/admit", "/validate"] {
            let answer = self.ask(endpoint, old, object);
            assert!(answer.is_err(), "{}: {step}, {endpoint}: {answer:?}", self.label);
        }
    }
}

#[test]
fn every_decision_holds_through_both_webhooks() {
    let server = TrustServer::start();
    for name in [PLC, BARE, NGINX, HUB_PLC] {
        let signed =
            |signer: Signer, tag: &str| signer.release(tag, sha256(content(name, tag).as_bytes()), 100, &["alice"]);
        server.publish(&["v1", "latest"].into_iter().fold(Signer::new(name).signer("alice"), signed).publish());
    }
    let mut site = Site::with_server(&Pki::new(), &server.url());
    site.config["trust"]["ca"] = json!(site.file("trust-ca.pem", server.ca_pem()));
    let namespace = |row: usize, mutate: bool| format!("row-{row}-{mutate}");
    let policies = ROWS.iter().enumerate().flat_map(|(number, row)| {
        [true, false].map(|mutate| in_namespace(row.policy(&server, mutate), &namespace(number, mutate)))
    });
    site.policies(&policies.collect::<Vec<_>>());
    let line = RefCell::new(Line::to(site.serve()));

    let (mut let_in, mut denied) = (0, 0);
    for (number, row) in ROWS.iter().enumerate() {
        for (reference, mutate) in REFERENCES.iter().flat_map(|reference| [(reference, true), (reference, false)]) {
            for kind in [Kind::Pod, Kind::Deployment] {
                let image = row.resolve(&format!("{}{}", row.typed, reference.suffix));
                let label = format!("{} under {}, {kind:?}, mutateImage {mutate}", image, row.pattern);
                let walk = Walk { line: &line, namespace: namespace(number, mutate), kind, label };
                let created = kind.object(&image);
                if !(row.matches(reference) && reference.signed) {
                    walk.is_denied("created", None, &created);
                    denied += 1;
                    continue;
                }
                let pinned = reference.tag.filter(|_| mutate && reference.digest.is_none());
                let expected = match pinned {
                    Some(tag) => kind.object(&row.resolve(&format!("{}:{tag}@{tag}", row.name))),
                    None => created.clone(),
                };
                let (_, stored) =
                    walk.ask("/admit", None, &created).unwrap_or_else(|why| panic!("{}: {why}", walk.label));
                assert_eq!(stored, expected, "{}", walk.label);
                let unpatched = walk.ask("/validate", None, &created);
                assert_eq!(unpatched, Ok((Value::Null, created)), "{}: without the patch", walk.label);

                walk.passes_untouched("patched", None, &stored);
                let mut labelled = stored.clone();
                labelled["metadata"]["labels"] = json!({ "shift": "night" });
                labelled["spec"]["replicas"] = json!(0);
                walk.passes_untouched("labelled", Some(&stored), &labelled);
                let mut changed = stored.clone();
                *changed.pointer_mut(kind.image()).unwrap() = json!(format!("{}:evil", row.typed));
                walk.is_denied("changed", Some(&stored), &changed);
                *changed.pointer_mut(kind.image()).unwrap() = json!(row.resolve(&format!("{}@evil", row.typed)));
                walk.is_denied("changed to a digest", Some(&stored), &changed);
                let_in += 1;
            }
        }
    }
    // Images were allowed, and images were denied.
    assert!(let_in > 150 && denied > 250, "{let_in} allowed, {denied} denied");
}
