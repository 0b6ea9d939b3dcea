//! The Kubernetes API, as far as it is needed: plain GETs of one Secret, one ServiceAccount or one owner by name, with the
//! pod's own service-account token. It lists and watches nothing, follows no redirect, believes only the cluster's own CA, takes no
//! object but the one that was asked for, and never logs a header or a body.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::CertificateError;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::names::{Kind, NotAName, Resource, check};
use crate::base::context::Deadline;
use crate::base::files::{FileError, read_text_capped};
use crate::base::json_limits::Density;
use crate::base::secret::Secret;
use crate::http::client::{Http, HttpError, HttpSetupError, Peer};
use crate::http::proxy::ProxyError;
use crate::http::roots::CaError;
use crate::http::url::{PlainHttp, TrustServer};
use crate::metrics::{self, Metrics};
use portreeve_verify::text::printable;

/// Largest answer. A Secret holds at most 1 MiB, which base64 and its metadata make more of.
const MAX_ANSWER: usize = 3 << 20;
/// Most values in it. A tenant writes it, and a megabyte of empty ones would take ten while it is read.
const MAX_PARTS: usize = 20_000;
/// Longest token: it must fit into a request's head.
const MAX_TOKEN: usize = 16 << 10;

/// The address of an API server: `https://host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUrl(String);

impl ApiUrl {
    /// Checks an address; `None` for one that is no server's, or not https.
    pub fn parse(url: &str) -> Option<Self> {
        let server = TrustServer::parse(url, PlainHttp::Refused).ok()?;
        server.directory().is_none().then(|| Self(server.as_str().to_owned()))
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
        f.write_str(&self.0)
    }
}

/// How the API server is reached.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Its address; `None`: as kubelet tells it.
    pub server: Option<ApiUrl>,
    /// The file with the token that says who we are; read for every request, for kubelet replaces it.
    pub token: PathBuf,
    /// The file with the CA of the API server's certificate; re-read when it changes.
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

/// The API server. Shared by all workers.
pub(crate) struct Api {
    http: Arc<Http>,
    server: ApiUrl,
    /// What it answers to everybody.
    door: String,
    token: PathBuf,
    ca: PathBuf,
    /// What has to be applied for this use of it to be allowed.
    component: &'static str,
}

impl Api {
    /// `component` below `manifests/components` gives the rights for what is asked.
    pub(crate) fn new(
        settings: &ApiSettings,
        component: &'static str,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ApiSetupError> {
        let ApiSettings { server, token, ca } = settings.clone();
        let known = server.or_else(|| ApiUrl::in_cluster(|name| std::env::var(name).ok()));
        let server = known.ok_or(ApiSetupError::NoServer)?;
        let http = Http::under_only(ca.clone(), metrics).map_err(|error| match error {
            HttpSetupError::Ca(error) => ApiSetupError::Ca(error),
            HttpSetupError::Proxy(error) => ApiSetupError::Proxy(error),
        })?;
        let door = format!("{server}/livez");
        Ok(Self { http: Arc::new(http), server, door, token, ca, component })
    }

    pub(crate) fn server(&self) -> &ApiUrl {
        &self.server
    }

    /// What is wrong with our token now, if anything is: better told at the start than by the first denial.
    pub(crate) fn trouble_with_token(&self) -> Option<ApiError> {
        self.token().err().map(|trouble| self.error(trouble))
    }

    /// One Secret.
    pub(crate) fn secret(&self, namespace: &str, name: &str, deadline: Deadline) -> Result<SecretObject, ApiError> {
        self.get(Kind::Secret, namespace, name, deadline)
    }

    /// The names in a ServiceAccount's `imagePullSecrets`.
    pub(crate) fn pull_secrets_of(
        &self,
        namespace: &str,
        account: &str,
        deadline: Deadline,
    ) -> Result<Vec<String>, ApiError> {
        let account: AccountObject = self.get(Kind::ServiceAccount, namespace, account, deadline)?;
        Ok(account.image_pull_secrets.into_iter().flatten().filter_map(|secret| secret.name).collect())
    }

    /// The object of this name and uid: what `read` makes of its bytes.
    pub(crate) fn owner<T>(
        &self,
        kind: Resource,
        (namespace, name, uid): (&str, &str, &str),
        read: &dyn Fn(&[u8]) -> Option<T>,
        deadline: Deadline,
    ) -> Result<T, ApiError> {
        let body = self.fetch(Kind::Owner(kind), namespace, name, deadline).map_err(|trouble| self.error(trouble))?;
        let head: Option<OwnerObject> = serde_json::from_slice(&body).ok();
        let head =
            head.filter(|head| is_called(head.kind.as_deref(), head.metadata.as_ref(), kind.kind, namespace, name));
        let Some(metadata) = head.and_then(|head| head.metadata) else { return Err(self.error(Trouble::NotThat)) };
        if metadata.uid.as_deref() != Some(uid) {
            return Err(self.error(Trouble::OtherUid));
        }
        read(&body).ok_or_else(|| self.error(Trouble::NotThat))
    }

    fn error(&self, trouble: Trouble) -> ApiError {
        ApiError { server: self.server.clone(), component: self.component, trouble }
    }

    fn get<T: Object>(&self, kind: Kind, namespace: &str, name: &str, deadline: Deadline) -> Result<T, ApiError> {
        let body = self.fetch(kind, namespace, name, deadline).map_err(|trouble| self.error(trouble))?;
        let object: Option<T> = serde_json::from_slice(&body).ok();
        object.filter(|object| object.is_called(namespace, name)).ok_or_else(|| self.error(Trouble::NotThat))
    }

    /// The bytes of one object.
    fn fetch(&self, kind: Kind, namespace: &str, name: &str, deadline: Deadline) -> Result<Vec<u8>, Trouble> {
        // Nothing but a name becomes part of the URL: a tenant writes it.
        check(Kind::Namespace, namespace).and_then(|()| check(kind, name)).map_err(Trouble::NotAName)?;
        let token = self.token()?;
        let Resource { api, plural, .. } = kind.resource();
        let url = format!("{}/{api}/namespaces/{namespace}/{plural}/{name}", self.server);
        let peer = Peer { kind: metrics::Peer::KubernetesApi, door: &self.door, answered: &|| () };
        let answer = self.http.get(&url, Some(&token), MAX_ANSWER, deadline, peer).map_err(|error| match error {
            HttpError::Certificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Trouble::OtherCa { ca: self.ca.clone() }
            }
            other => Trouble::Http(other),
        })?;
        if answer.status != 200 {
            return Err(refusal(answer.status, &answer.body, plural, namespace));
        }
        if Density::of(&answer.body).parts > MAX_PARTS {
            return Err(Trouble::TooDense);
        }
        Ok(answer.body)
    }

    /// `Authorization`, with the token as it is now.
    fn token(&self) -> Result<Secret, Trouble> {
        let file = || self.token.clone();
        let text =
            read_text_capped(&self.token, MAX_TOKEN).map_err(|source| Trouble::Token { file: file(), source })?;
        let token = text.trim();
        // RFC 6750 §2.1: b64token. Nothing else gets into a header.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        if token.is_empty() || !token.bytes().all(allowed) {
            return Err(Trouble::NotAToken { file: file() });
        }
        Ok(Secret::new(format!("Bearer {token}")))
    }
}

/// Anything but a 200. What the body says is believed only where it is a `Status`: a proxy's 404 says nothing about a
/// Secret.
fn refusal(status: u16, body: &[u8], resource: &'static str, namespace: &str) -> Trouble {
    let said: Option<Status> = serde_json::from_slice(body).ok();
    let said = said.filter(|said| said.kind.as_deref() == Some("Status"));
    let reason = said.and_then(|said| said.reason).unwrap_or_default();
    match (status, reason.as_str()) {
        (401, "Unauthorized") => Trouble::Unauthorized,
        (403, "Forbidden") => Trouble::Forbidden { resource, namespace: namespace.to_owned() },
        (404, "NotFound") => Trouble::NotFound,
        (status, _) => Trouble::Status { status, reason: printable(&reason, 60) },
    }
}

/// What can be asked for.
trait Object: DeserializeOwned {
    const KIND: &'static str;
    fn head(&self) -> (Option<&str>, Option<&ObjectMeta>);

    /// Is it the object of this kind and name?
    fn is_called(&self, namespace: &str, name: &str) -> bool {
        let (kind, metadata) = self.head();
        is_called(kind, metadata, Self::KIND, namespace, name)
    }
}

fn is_called(kind: Option<&str>, metadata: Option<&ObjectMeta>, wanted: &str, namespace: &str, name: &str) -> bool {
    let is = |found: &Option<String>, wanted: &str| found.as_deref() == Some(wanted);
    kind == Some(wanted)
        && metadata.is_some_and(|metadata| is(&metadata.namespace, namespace) && is(&metadata.name, name))
}

/// Wire type: the head of what made another object.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
struct OwnerObject {
    kind: Option<String>,
    metadata: Option<ObjectMeta>,
}

/// Wire type: a Secret. Its values are base64.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
pub(crate) struct SecretObject {
    kind: Option<String>,
    metadata: Option<ObjectMeta>,
    #[serde(rename = "type")]
    kind_of_secret: Option<String>,
    data: Option<BTreeMap<String, Option<String>>>,
}

impl SecretObject {
    /// `type`; a Secret without one is `Opaque`.
    pub(crate) fn kind_of_secret(&self) -> &str {
        self.kind_of_secret.as_deref().unwrap_or("Opaque")
    }

    /// The bytes under a key; `None` where there are none, or what stands there is not base64.
    pub(crate) fn value(&self, key: &str) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(self.data.as_ref()?.get(key)?.as_ref()?).ok()
    }
}

impl Object for SecretObject {
    const KIND: &'static str = "Secret";
    fn head(&self) -> (Option<&str>, Option<&ObjectMeta>) {
        (self.kind.as_deref(), self.metadata.as_ref())
    }
}

impl fmt::Debug for SecretObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretObject").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

/// Wire type: a ServiceAccount.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
struct AccountObject {
    kind: Option<String>,
    metadata: Option<ObjectMeta>,
    #[serde(rename = "imagePullSecrets")]
    image_pull_secrets: Option<Vec<LocalReference>>,
}

impl Object for AccountObject {
    const KIND: &'static str = "ServiceAccount";
    fn head(&self) -> (Option<&str>, Option<&ObjectMeta>) {
        (self.kind.as_deref(), self.metadata.as_ref())
    }
}

/// Wire type.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
struct LocalReference {
    name: Option<String>,
}

/// Wire type: as much of `metadata` as says whose it is.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
struct ObjectMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
}

/// Wire type: `meta/v1.Status`, the body of every refusal.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
struct Status {
    kind: Option<String>,
    reason: Option<String>,
}

/// An object that was not had. In words it follows what the object is called: `pull secret line-1/harbor does not exist`.
#[derive(Debug)]
pub(crate) struct ApiError {
    server: ApiUrl,
    component: &'static str,
    trouble: Trouble,
}

#[derive(Debug)]
enum Trouble {
    /// It cannot be there.
    NotAName(NotAName),
    /// The API server says that it is not there.
    NotFound,
    /// Our token cannot be read.
    Token { file: PathBuf, source: FileError },
    /// What is read is no token.
    NotAToken { file: PathBuf },
    /// There was no answer.
    Http(HttpError),
    /// The server is under another CA.
    OtherCa { ca: PathBuf },
    /// Our token was not accepted.
    Unauthorized,
    /// We have not the right.
    Forbidden { resource: &'static str, namespace: String },
    /// Another refusal.
    Status { status: u16, reason: String },
    /// There is more in it than is read.
    TooDense,
    /// The answer is not the object.
    NotThat,
    /// Another object has that name by now.
    OtherUid,
}

impl ApiError {
    /// Is it certain that there is no such object? Everything else is that nobody could say.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self.trouble, Trouble::NotFound | Trouble::NotAName(_))
    }

    /// Was it only that time was up?
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self.trouble, Trouble::Http(HttpError::Timeout))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, component, trouble } = self;
        match trouble {
            Trouble::NotAName(error) => return write!(f, "cannot exist: {error}"),
            Trouble::NotFound => return f.write_str("does not exist"),
            _ => f.write_str("could not be had: ")?,
        }
        let api = format!("the Kubernetes API server {server}");
        match trouble {
            Trouble::NotAName(_) | Trouble::NotFound => Ok(()),
            Trouble::TooDense => write!(f, "{api}: the object has more than {MAX_PARTS} values"),
            Trouble::Token { file, source } => {
                let file = file.display();
                write!(
                    f,
                    "Portreeve's own service-account token {file} {source}: apply manifests/components/{component}"
                )
            }
            Trouble::NotAToken { file } => write!(f, "{} holds no service-account token", file.display()),
            Trouble::Http(error) => write!(f, "{api}: {error}"),
            Trouble::OtherCa { ca } => write!(f, "{api}: its certificate is not under the CA in {}", ca.display()),
            Trouble::Unauthorized => {
                write!(f, "{api} did not accept Portreeve's service-account token (401 Unauthorized)")
            }
            Trouble::Forbidden { resource, namespace } => write!(
                f,
                "{api} does not let Portreeve \"get\" \"{resource}\" in namespace {namespace} (403 Forbidden): apply \
                 manifests/components/{component}, or a Role there"
            ),
            Trouble::Status { status, reason } => {
                let redirect =
                    if (300..400).contains(status) { ", a redirect, and those are not followed" } else { "" };
                let blank = if reason.is_empty() { "" } else { " " };
                write!(f, "{api} answered {status}{blank}{reason}{redirect}")
            }
            Trouble::NotThat => write!(f, "{api} answered with something that is not this object"),
            Trouble::OtherUid => write!(f, "{api} has another object of this name by now"),
        }
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.trouble {
            Trouble::NotAName(error) => Some(error),
            Trouble::Token { source, .. } => Some(source),
            Trouble::Http(error) => Some(error),
            _ => None,
        }
    }
}

/// The API cannot be used at all.
#[derive(Debug)]
pub enum ApiSetupError {
    /// Nobody says where the API server is.
    NoServer,
    /// Its CA cannot be used.
    Ca(CaError),
    /// The environment's proxy cannot be used.
    Proxy(ProxyError),
}

impl fmt::Display for ApiSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("credentials.kubernetes and admission.children need the Kubernetes API: ")?;
        match self {
            Self::NoServer => f.write_str(
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT do not say where the API server is, so this is no \
                 pod: set credentials.api.server, or credentials.kubernetes to false and admission.children to trust",
            ),
            Self::Ca(error) => error.fmt(f),
            Self::Proxy(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ApiSetupError {}

#[cfg(test)]
mod tests;
