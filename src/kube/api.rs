//! A client of the Kubernetes API, no larger than needed: a GET of one Secret, one ServiceAccount or one owner by name, with
//! the service-account token of Portreeve's own pod. Only `review --cluster` lists ([`super::lists`]). It watches nothing, follows no redirect, trusts no CA but the
//! cluster's, accepts no object but the one that was asked for, and never logs a header or a body.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::CertificateError;

use super::error::{ApiError, ApiErrorKind, ApiSetupError};
use super::object_name::{Kind, Resource, check_names};
use super::objects::{AccountObject, Object, OwnerObject, SecretObject, Status};
use crate::base::context::Deadline;
use crate::base::files::read_text_capped;
use crate::base::json_limits::JsonSize;
use crate::base::secret::Secret;
use crate::http::authorization::{bearer, is_token};
use crate::http::client::{Http, HttpError, HttpSetupError, JSON, Peer, Response};
use crate::http::url::{PlainHttp, ServerUrl};
use crate::metrics::{self, Metrics};
use portreeve_verify::text::printable;

/// Largest response. A Secret holds at most 1 MiB; base64 and metadata add to that.
const MAX_RESPONSE: usize = 3 << 20;
/// Most values in a response. A tenant writes it, and a megabyte of empty values would take ten in memory.
pub(super) const MAX_VALUES: usize = 20_000;
/// Longest token: it must fit into the head of a request.
const MAX_TOKEN: usize = 16 << 10;

/// The address of an API server: `https://host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUrl(ServerUrl);

impl ApiUrl {
    /// Checks an address; `None` if it is not the address of a server, or not https.
    pub fn parse(url: &str) -> Option<Self> {
        ServerUrl::parse(url, PlainHttp::Refused).ok().map(Self)
    }

    /// The address that kubelet tells every container (client-go: `rest.InClusterConfig`).
    fn in_cluster(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
        match host.parse::<Ipv6Addr>() {
            Ok(address) => Self::parse(&format!("https://[{address}]:{port}")),
            Err(_) => Self::parse(&format!("https://{host}:{port}")),
        }
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How the API server is reached.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Its address; `None`: the address that kubelet tells.
    pub server: Option<ApiUrl>,
    /// The file with the token; read for every request, because kubelet replaces it.
    pub token: PathBuf,
    /// The file with the CA of the API server's certificate; read again when it changes.
    pub ca: PathBuf,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            server: None,
            token: "/var/run/secrets/kubernetes.io/serviceaccount/token".into(),
            ca: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt".into(),
        }
    }
}

/// What a client of the API is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Pull secrets and the keys of signers.
    Credentials,
    /// Owners of objects.
    Owners,
    /// What a cluster runs.
    Review,
}

impl Purpose {
    /// The component below `manifests/components` that grants the rights.
    pub(super) fn component(self) -> &'static str {
        match self {
            Self::Credentials => "api-credentials",
            Self::Owners => "compare-children",
            Self::Review => "review-cronjob",
        }
    }

    fn objects(self) -> &'static str {
        match self {
            Self::Credentials => "pull secrets",
            Self::Owners => "owners",
            Self::Review => "workloads",
        }
    }
}

/// The API server. Shared by all workers.
pub struct Api {
    http: Arc<Http>,
    server: ApiUrl,
    /// The URL of a probe: the API server answers it whatever the token may do.
    probe: String,
    token: PathBuf,
    ca: PathBuf,
    purpose: Purpose,
}

impl Api {
    /// A client of the API server. Sends no request yet, but logs a token that cannot be used: better at the start than
    /// with the first denial.
    pub fn new(settings: &ApiSettings, purpose: Purpose, metrics: Arc<Metrics>) -> Result<Arc<Self>, ApiSetupError> {
        let ApiSettings { server, token, ca } = settings.clone();
        let known = server.or_else(|| ApiUrl::in_cluster(|name| std::env::var(name).ok()));
        let server = known.ok_or(ApiSetupError::NoServer)?;
        let http = Http::under_only(ca.clone(), metrics).map_err(|error| match error {
            HttpSetupError::Ca(error) => ApiSetupError::Ca(error),
            HttpSetupError::Proxy(error) => ApiSetupError::Proxy(error),
        })?;
        let probe = format!("{server}/livez");
        let api = Self { http: Arc::new(http), server, probe, token, ca, purpose };
        match api.token() {
            Ok(_) => log::info!("{} are read from the Kubernetes API server {}", purpose.objects(), api.server),
            Err(kind) => log::warn!("{} {}", purpose.objects(), api.error(kind)),
        }
        Ok(Arc::new(api))
    }

    pub(crate) fn server(&self) -> &ApiUrl {
        &self.server
    }

    /// One Secret.
    pub(crate) fn secret(&self, namespace: &str, name: &str, deadline: Deadline) -> Result<SecretObject, ApiError> {
        self.get(Kind::Secret, namespace, name, deadline)
    }

    /// The names in the `imagePullSecrets` of a ServiceAccount.
    pub(crate) fn pull_secrets_of(
        &self,
        namespace: &str,
        account: &str,
        deadline: Deadline,
    ) -> Result<Vec<String>, ApiError> {
        let account: AccountObject = self.get(Kind::ServiceAccount, namespace, account, deadline)?;
        Ok(account.into_pull_secrets())
    }

    /// What `read` makes of the object with this name and uid. The version can be empty, if the resource names one.
    pub(crate) fn owner<T>(
        &self,
        (resource, version): (Resource, &str),
        (namespace, name, uid): (&str, &str, &str),
        read: &dyn Fn(&[u8]) -> Option<T>,
        deadline: Deadline,
    ) -> Result<T, ApiError> {
        let body =
            self.fetch(Kind::Owner(resource), version, (namespace, name), deadline).map_err(|kind| self.error(kind))?;
        let head: Option<OwnerObject> = serde_json::from_slice(&body).ok();
        let head = head.filter(|head| head.is_named(resource.kind, namespace, name));
        let Some(head) = head else { return Err(self.error(ApiErrorKind::OtherObject)) };
        if head.uid() != Some(uid) {
            return Err(self.error(ApiErrorKind::OtherUid));
        }
        read(&body).ok_or_else(|| self.error(ApiErrorKind::OtherObject))
    }

    pub(super) fn error(&self, kind: ApiErrorKind) -> ApiError {
        ApiError { server: self.server.clone(), purpose: self.purpose, kind }
    }

    fn get<T: Object>(&self, kind: Kind, namespace: &str, name: &str, deadline: Deadline) -> Result<T, ApiError> {
        let body = self.fetch(kind, "", (namespace, name), deadline).map_err(|kind| self.error(kind))?;
        let object: Option<T> = serde_json::from_slice(&body).ok();
        object.filter(|object| object.is_named(namespace, name)).ok_or_else(|| self.error(ApiErrorKind::OtherObject))
    }

    /// The bytes of one object.
    fn fetch(
        &self,
        kind: Kind,
        version: &str,
        (namespace, name): (&str, &str),
        deadline: Deadline,
    ) -> Result<Vec<u8>, ApiErrorKind> {
        // A tenant writes the name, and it becomes part of a URL.
        check_names(kind, namespace, name).map_err(ApiErrorKind::InvalidName)?;
        let Resource { api, plural, .. } = kind.resource();
        let slash = if version.is_empty() { "" } else { "/" };
        let path = format!("{api}{slash}{version}/namespaces/{namespace}/{plural}/{name}");
        let response = self.send(&path, MAX_RESPONSE, deadline)?;
        if response.status != 200 {
            return Err(refusal(response.status, &response.body, ("get", plural, Some(namespace))));
        }
        if JsonSize::of(&response.body).values > MAX_VALUES {
            return Err(ApiErrorKind::TooManyValues(MAX_VALUES));
        }
        Ok(response.body)
    }

    /// GETs a path. Returns its status, which is 200, or 410 for a list that cannot go on as it was begun, and its body. `asked` is
    /// the verb, the resource and the namespace that RBAC must allow.
    pub(super) fn get_path(
        &self,
        path: &str,
        asked: (&'static str, &'static str, Option<&str>),
        cap: usize,
        deadline: Deadline,
    ) -> Result<(u16, Vec<u8>), ApiError> {
        let response = self.send(path, cap, deadline).map_err(|kind| self.error(kind))?;
        match response.status {
            200 | 410 => Ok((response.status, response.body)),
            status => Err(self.error(refusal(status, &response.body, asked))),
        }
    }

    fn send(&self, path: &str, cap: usize, deadline: Deadline) -> Result<Response, ApiErrorKind> {
        let token = self.token()?;
        let url = format!("{}/{path}", self.server);
        let peer = Peer { kind: metrics::Peer::KubernetesApi, probe: &self.probe, permit: None };
        self.http.get(&url, JSON, Some(&token), cap, deadline, peer).map_err(|error| match error {
            HttpError::Certificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                ApiErrorKind::OtherCa { ca: self.ca.clone() }
            }
            other => ApiErrorKind::Http(other),
        })
    }

    /// The `Authorization` header, with the token as it is now.
    fn token(&self) -> Result<Secret, ApiErrorKind> {
        let file = || self.token.clone();
        let text = read_text_capped(&self.token, MAX_TOKEN)
            .map_err(|source| ApiErrorKind::TokenFile { file: file(), source })?;
        let token = text.trim();
        if !is_token(token) {
            return Err(ApiErrorKind::NotAToken { file: file() });
        }
        Ok(bearer(&Secret::new(token)))
    }
}

/// The error of any status but 200. The body counts only if it is a `Status`: a proxy's 404 says nothing about a Secret.
fn refusal(
    status: u16,
    body: &[u8],
    (verb, resource, namespace): (&'static str, &'static str, Option<&str>),
) -> ApiErrorKind {
    let said: Option<Status> = serde_json::from_slice(body).ok();
    let said = said.filter(|said| said.kind.as_deref() == Some("Status"));
    let reason = said.and_then(|said| said.reason).unwrap_or_default();
    match (status, reason.as_str()) {
        (401, "Unauthorized") => ApiErrorKind::Unauthorized,
        (403, "Forbidden") => ApiErrorKind::Forbidden { verb, resource, namespace: namespace.map(str::to_owned) },
        (404, "NotFound") => ApiErrorKind::NotFound,
        (status, _) => ApiErrorKind::Status { status, reason: printable(&reason, 60) },
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("server", &self.server).field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
