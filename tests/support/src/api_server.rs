//! kube-apiserver as a client with a service-account token sees it: GETs of Secrets and ServiceAccounts, bodies and
//! `Status` objects in its own form, one valid token, and resources that are forbidden. It has the same faults as the
//! trust server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::certificates::Authority;
use crate::trust_server::{Fault, Request, TrustServer};

/// The client's name in a refusal.
const USER: &str = "system:serviceaccount:portreeve:portreeve";

/// The running server.
pub struct ApiServer {
    server: TrustServer,
    cluster: Arc<Mutex<Cluster>>,
}

#[derive(Default)]
struct Cluster {
    token: String,
    /// By path.
    objects: BTreeMap<String, Value>,
    /// The items of lists, by path.
    lists: BTreeMap<String, Vec<Value>>,
    /// The token of a next page that is too old.
    expired: Option<String>,
    /// Namespace and resource.
    forbidden: BTreeSet<(String, String)>,
}

impl ApiServer {
    /// Starts on a free loopback port under a CA of its own. This token is valid.
    pub fn start(token: &str) -> Self {
        let cluster = Arc::new(Mutex::new(Cluster { token: token.to_owned(), ..Cluster::default() }));
        let server = TrustServer::start_under(&Authority::named("kubernetes"));
        let answering = Arc::clone(&cluster);
        server.answer_others(move |request| {
            let (status, body) = answering.lock().unwrap_or_else(PoisonError::into_inner).answer(request);
            (status, format!("{body}\n").into_bytes())
        });
        Self { server, cluster }
    }

    /// The URL: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The CA of its certificate.
    pub fn ca_pem(&self) -> &str {
        self.server.ca_pem()
    }

    /// From now on only this token is valid.
    pub fn accept_only(&self, token: &str) {
        self.with(|cluster| token.clone_into(&mut cluster.token));
    }

    /// Stores a Secret.
    pub fn secret(&self, namespace: &str, name: &str, kind: &str, data: &[(&str, &str)]) -> &Self {
        let data: BTreeMap<_, _> = data.iter().map(|(key, value)| (*key, BASE64_STANDARD.encode(value))).collect();
        let fields = json!({ "f:data": {}, "f:type": {} });
        let mut object = object("Secret", namespace, name, &fields);
        object["data"] = json!(data);
        object["type"] = json!(kind);
        self.put(namespace, "secrets", name, object)
    }

    /// Stores a pull secret for one registry.
    pub fn pull_secret(&self, namespace: &str, name: &str, registry: &str, user: &str, password: &str) -> &Self {
        let auth = BASE64_STANDARD.encode(format!("{user}:{password}"));
        let config = json!({ "auths": { registry: { "username": user, "password": password, "auth": auth } } });
        let data = [(".dockerconfigjson", config.to_string())];
        self.secret(namespace, name, "kubernetes.io/dockerconfigjson", &[(data[0].0, &data[0].1)])
    }

    /// Stores a ServiceAccount with these pull secrets.
    pub fn service_account(&self, namespace: &str, name: &str, pull_secrets: &[&str]) -> &Self {
        let mut object = object("ServiceAccount", namespace, name, &json!({ "f:imagePullSecrets": {} }));
        if !pull_secrets.is_empty() {
            object["imagePullSecrets"] = pull_secrets.iter().map(|name| json!({ "name": name })).collect();
        }
        self.put(namespace, "serviceaccounts", name, object)
    }

    /// Stores a list under its path, `/api/v1/pods`. It is served in pages of at most `limit` items.
    pub fn list(&self, path: &str, items: Vec<Value>) -> &Self {
        self.with(|cluster| cluster.lists.insert(path.to_owned(), items));
        self
    }

    /// Stores an object that belongs to no namespace, under its path.
    pub fn put_at(&self, path: &str, object: Value) -> &Self {
        self.with(|cluster| cluster.objects.insert(path.to_owned(), object));
        self
    }

    /// Refuses this token of a next page once, as one that is too old. The refusal has another token.
    pub fn expire(&self, token: &str) {
        self.with(|cluster| cluster.expired = Some(token.to_owned()));
    }

    /// Stores any object under a name.
    pub fn put(&self, namespace: &str, resource: &str, name: &str, object: Value) -> &Self {
        self.with(|cluster| cluster.objects.insert(path(namespace, resource, name), object));
        self
    }

    /// Stores an owner of other objects, with this Pod template: `apis/apps/v1`, `replicasets`, `ReplicaSet`.
    pub fn owner(&self, (api, resource, kind): (&str, &str, &str), at: (&str, &str), uid: &str, spec: Value) -> &Self {
        let (namespace, name) = at;
        let mut object = object(kind, namespace, name, &json!({ "f:spec": {} }));
        object["apiVersion"] = json!(api.split_once('/').map_or(api, |(_, version)| version));
        object["metadata"]["uid"] = json!(uid);
        object["spec"] = spec;
        self.with(|cluster| cluster.objects.insert(path_in(api, namespace, resource, name), object));
        self
    }

    /// Removes an object.
    pub fn remove(&self, namespace: &str, resource: &str, name: &str) {
        self.with(|cluster| cluster.objects.remove(&path(namespace, resource, name)));
    }

    /// Forbids a resource of a namespace.
    pub fn forbid(&self, namespace: &str, resource: &str) {
        self.with(|cluster| cluster.forbidden.insert((namespace.to_owned(), resource.to_owned())));
    }

    /// Forbids nothing any more.
    pub fn forbid_nothing(&self) {
        self.with(|cluster| cluster.forbidden.clear());
    }

    /// Shows this fault if the path contains `part`.
    pub fn misbehave(&self, part: &str, fault: Fault) {
        self.server.misbehave(part, fault);
    }

    /// Ends all faults.
    pub fn behave(&self) {
        self.server.behave();
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// The requested objects so far: `line-1/secrets/harbor`.
    pub fn asked(&self) -> Vec<String> {
        let short = |request: Request| match request.target.strip_prefix("/api/v1/namespaces/") {
            Some(object) => object.to_owned(),
            None => request.target,
        };
        self.requests().into_iter().map(short).collect()
    }

    /// Empties the log.
    pub fn forget_requests(&self) {
        self.server.forget_requests();
    }

    /// Stops the server. Connections are refused afterwards.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    fn with<R>(&self, change: impl FnOnce(&mut Cluster) -> R) {
        change(&mut self.cluster.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Cluster {
    fn answer(&mut self, request: &Request) -> (u16, Value) {
        if request.authorization.as_deref() != Some(&format!("Bearer {}", self.token)) {
            return status(401, "Unauthorized", "Unauthorized", None);
        }
        if let Some((path, query)) = request.target.split_once('?') {
            return self.answer_list(path, query);
        }
        if let Some(object) = self.objects.get(&request.target) {
            let parts: Vec<&str> = request.target.split('/').collect();
            if !parts.contains(&"namespaces") || parts.len() == 5 {
                return (200, object.clone());
            }
        }
        let parts: Vec<&str> = request.target.split('/').skip(1).collect();
        let (["api", "v1", "namespaces", namespace, resource, name]
        | ["apis", _, _, "namespaces", namespace, resource, name]) = parts[..]
        else {
            return status(404, "NotFound", "the server could not find the requested resource", Some(json!({})));
        };
        let details = Some(json!({ "name": name, "kind": resource }));
        if request.method != "GET" {
            return status(405, "MethodNotAllowed", "the server does not allow this method", Some(json!({})));
        }
        if self.forbidden.contains(&(namespace.to_owned(), resource.to_owned())) {
            let message = format!(
                "{resource} \"{name}\" is forbidden: User \"{USER}\" cannot get resource \"{resource}\" in API group \"\" \
                 in the namespace \"{namespace}\""
            );
            return status(403, "Forbidden", &message, details);
        }
        match self.objects.get(&request.target) {
            Some(object) => (200, object.clone()),
            None => status(404, "NotFound", &format!("{resource} \"{name}\" not found"), details),
        }
    }
}

impl Cluster {
    /// A page of a list. The token of a page is the number of its first item.
    fn answer_list(&mut self, path: &str, query: &str) -> (u16, Value) {
        let resource = path.rsplit('/').next().unwrap_or_default();
        if self.forbidden.contains(&(String::new(), resource.to_owned())) {
            return status(403, "Forbidden", &format!("{resource} is forbidden: User \"{USER}\" cannot list"), None);
        }
        let Some(items) = self.lists.get(path) else {
            return status(404, "NotFound", "the server could not find the requested resource", Some(json!({})));
        };
        let value = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let limit: usize = value("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
        let token = value("continue").unwrap_or("0").replace("%3D", "");
        if self.expired.as_deref() == Some(&token) {
            self.expired = None;
            let (status, mut body) = status(410, "Expired", "The provided continue parameter is too old", None);
            body["metadata"]["continue"] = json!(format!("{token}="));
            return (status, body);
        }
        let first: usize = token.parse().unwrap_or(usize::MAX);
        let page: Vec<Value> = items.iter().skip(first).take(limit).cloned().collect();
        let next = first.saturating_add(limit);
        let token = if next < items.len() { next.to_string() } else { String::new() };
        (200, json!({ "apiVersion": "v1", "kind": "List", "metadata": { "continue": token }, "items": page }))
    }
}

fn path(namespace: &str, resource: &str, name: &str) -> String {
    path_in("api/v1", namespace, resource, name)
}

fn path_in(api: &str, namespace: &str, resource: &str, name: &str) -> String {
    format!("/{api}/namespaces/{namespace}/{resource}/{name}")
}

fn object(kind: &str, namespace: &str, name: &str, fields: &Value) -> Value {
    json!({
        "kind": kind,
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": "0f0c9a3e-7f4e-4d5d-9f58-1f6f4f0d2a11",
            "resourceVersion": "1234",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{
                "manager": "kubectl-create", "operation": "Update", "apiVersion": "v1",
                "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields,
            }],
        },
    })
}

/// A refusal, as `meta/v1.Status`.
fn status(code: u16, reason: &str, message: &str, details: Option<Value>) -> (u16, Value) {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code,
    });
    if let Some(details) = details {
        status["details"] = details;
    }
    (code, status)
}
