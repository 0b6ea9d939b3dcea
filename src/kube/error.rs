//! Why an object could not be read from the Kubernetes API. The words follow the object's description:
//! `pull secret line-1/harbor does not exist`. No error contains a token, a header or a body.

use std::fmt;
use std::path::PathBuf;

use super::api::{ApiUrl, Purpose};
use super::object_name::InvalidName;
use crate::base::files::FileError;
use crate::http::client::HttpError;
use crate::http::proxy::ProxyError;
use crate::http::roots::CaError;
use portreeve_verify::{Unavailable, UnavailableCause};

/// An object that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectError {
    /// It does not exist, or its content cannot be used.
    Unusable(String),
    /// The API server was not asked, could not be reached, or refused. The object may exist.
    Unavailable(Unavailable),
}

impl ObjectError {
    /// Whether only the time of the request ran out.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Unavailable(error) if error.cause == UnavailableCause::OutOfTime)
    }
}

impl From<InvalidName> for ObjectError {
    fn from(error: InvalidName) -> Self {
        Self::Unusable(format!("cannot exist: {error}"))
    }
}

impl From<ApiError> for ObjectError {
    fn from(error: ApiError) -> Self {
        let message = error.to_string();
        if error.is_absence() {
            return Self::Unusable(message);
        }
        let cause = if error.is_timeout() { UnavailableCause::OutOfTime } else { UnavailableCause::Other };
        Self::Unavailable(Unavailable::new(cause, message))
    }
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(message) => f.write_str(message),
            Self::Unavailable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ObjectError {}

/// A request to the API server that gave no object.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(super) server: ApiUrl,
    pub(super) purpose: Purpose,
    pub(super) kind: ApiErrorKind,
}

#[derive(Debug)]
pub(super) enum ApiErrorKind {
    /// No object can have this name.
    InvalidName(InvalidName),
    /// The API server says that there is no such object.
    NotFound,
    /// The file with the token cannot be read.
    TokenFile { file: PathBuf, source: FileError },
    /// The file contains no token.
    NotAToken { file: PathBuf },
    /// There was no HTTP response.
    Http(HttpError),
    /// The server's certificate was issued by another CA.
    OtherCa { ca: PathBuf },
    /// The token was not accepted.
    Unauthorized,
    /// RBAC does not allow the request.
    Forbidden { verb: &'static str, resource: &'static str, namespace: Option<String> },
    /// Another status.
    Status { status: u16, reason: String },
    /// The response has more values than this, which is all that is read.
    TooManyValues(usize),
    /// The response is not the object that was asked for.
    OtherObject,
    /// The object of that name has another uid: it was deleted and created again.
    OtherUid,
}

impl ApiError {
    /// Whether it is certain that there is no such object. Every other error leaves that open.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self.kind, ApiErrorKind::NotFound | ApiErrorKind::InvalidName(_))
    }

    /// Whether RBAC does not allow the request.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self.kind, ApiErrorKind::Forbidden { .. })
    }

    /// Whether only the time of the request ran out.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(&self.kind, ApiErrorKind::Http(error) if error.is_timeout())
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, purpose, kind } = self;
        let component = purpose.component();
        match kind {
            ApiErrorKind::InvalidName(error) => return write!(f, "cannot exist: {error}"),
            ApiErrorKind::NotFound => return f.write_str("does not exist"),
            _ => f.write_str("could not be read: ")?,
        }
        let api = format!("the Kubernetes API server {server}");
        match kind {
            ApiErrorKind::InvalidName(_) | ApiErrorKind::NotFound => Ok(()),
            ApiErrorKind::TooManyValues(limit) => write!(f, "{api}: the object has more than {limit} values"),
            ApiErrorKind::TokenFile { file, source } => write!(
                f,
                "Portreeve's own service-account token {} {source}: apply manifests/components/{component}",
                file.display()
            ),
            ApiErrorKind::NotAToken { file } => write!(f, "{} holds no service-account token", file.display()),
            ApiErrorKind::Http(error) => write!(f, "{api}: {error}"),
            ApiErrorKind::OtherCa { ca } => write!(f, "{api}: its certificate is not under the CA in {}", ca.display()),
            ApiErrorKind::Unauthorized => {
                write!(f, "{api} did not accept Portreeve's service-account token (401 Unauthorized)")
            }
            ApiErrorKind::Forbidden { verb, resource, namespace } => {
                let (place, role) = match namespace {
                    Some(namespace) => (["in namespace ", namespace].concat(), ", or a Role there"),
                    None => ("in the cluster".to_owned(), ""),
                };
                write!(
                    f,
                    "{api} does not let Portreeve \"{verb}\" \"{resource}\" {place} (403 Forbidden): apply \
                     manifests/components/{component}{role}"
                )
            }
            ApiErrorKind::Status { status, reason } => {
                let redirect =
                    if (300..400).contains(status) { ", a redirect, and those are not followed" } else { "" };
                let blank = if reason.is_empty() { "" } else { " " };
                write!(f, "{api} answered {status}{blank}{reason}{redirect}")
            }
            ApiErrorKind::OtherObject => write!(f, "{api} answered with something that is not this object"),
            ApiErrorKind::OtherUid => write!(f, "{api} has another object of this name by now"),
        }
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ApiErrorKind::InvalidName(error) => Some(error),
            ApiErrorKind::TokenFile { source, .. } => Some(source),
            ApiErrorKind::Http(error) => Some(error),
            _ => None,
        }
    }
}

/// The Kubernetes API cannot be used at all.
#[derive(Debug)]
pub enum ApiSetupError {
    /// Neither the configuration nor the environment names an API server.
    NoServer,
    /// The file with its CA cannot be used.
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
