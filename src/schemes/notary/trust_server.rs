//! Where a repository's trust data comes from: a Notary server's URL, or a directory's, for which no network is used. A
//! directory's URL is taken as it stands: nothing in it is unescaped, so that the path that is shown is the path that is
//! opened. Opens no file itself.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::http::url::{MAX_URL, PlainHttp, ServerUrl, UrlError, printable_url};
use portreeve_verify::tuf::SourceKind;

/// The trust server of Docker Hub.
pub(crate) const DOCKER_HUB: &str = "https://notary.docker.io";
/// What ends there, and what to do. In denials and in notes on policies.
pub(crate) const DOCKER_HUB_ENDS: &str = "Docker's Notary server, notary.docker.io, ends on 8 December 2026: sign these \
                                          images on a trust server of your own and name it in trustServer, or sign them \
                                          with cosign (docs/migrating.md)";
/// How the URL of a directory begins.
const FILE: &str = "file://";

/// Where trust data comes from: `https://host[:port][/path]` (`http` only where the operator switched plain HTTP on), or
/// `file:///absolute/directory`, for which no network is used at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustServer {
    /// A directory with the files of a Notary server.
    Directory(DirectoryUrl),
    /// A Notary server.
    Remote(ServerUrl),
}

/// The URL of a directory: `file:///` and an absolute path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryUrl(Arc<str>);

impl DirectoryUrl {
    fn parse(url: &str) -> Result<Self, TrustServerError> {
        let refuse = |part| Err(UrlError::NotAllowed { url: printable_url(url), part }.into());
        let path = url.get(FILE.len()..).unwrap_or_default();
        if url.len() > MAX_URL {
            return refuse("more than 2048 bytes");
        }
        if !path.starts_with('/') {
            return Err(TrustServerError::NoDirectory { url: printable_url(url) });
        }
        // No %, because nothing is unescaped: the path that is shown is the path that is opened.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~!&'()+,;=:@".contains(c);
        let path = path.trim_end_matches('/');
        let dotted = |component: &str| component == "." || component == "..";
        if !path.chars().all(plain) || path.contains("//") || path.split('/').any(dotted) {
            return refuse("a path that is not plain");
        }
        if path.is_empty() {
            return Err(TrustServerError::NoDirectory { url: printable_url(url) });
        }
        Ok(Self(format!("{FILE}{path}").into()))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        Path::new(self.0.strip_prefix(FILE).unwrap_or(&self.0))
    }
}

impl TrustServer {
    /// Checks a URL: scheme, host, no user, no query, no fragment; a trailing slash is dropped. A directory's has an
    /// absolute path and no host.
    pub fn parse(url: &str, plain_http: PlainHttp) -> Result<Self, TrustServerError> {
        if Self::is_directory_url(url) {
            return DirectoryUrl::parse(url).map(Self::Directory);
        }
        Ok(Self::Remote(ServerUrl::parse(url, plain_http)?))
    }

    /// Does the URL name a directory?
    pub(crate) fn is_directory_url(url: &str) -> bool {
        url.get(..FILE.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(FILE))
    }

    /// The directory, if it is one.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(directory) => Some(directory.path()),
            Self::Remote(_) => None,
        }
    }

    /// The server's URL, unless it is a directory.
    pub(crate) fn remote(&self) -> Option<&ServerUrl> {
        match self {
            Self::Directory(_) => None,
            Self::Remote(url) => Some(url),
        }
    }

    /// The URL, without a trailing slash.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Directory(directory) => &directory.0,
            Self::Remote(url) => url.as_str(),
        }
    }

    /// The kind of source, for the message of a rejection.
    pub fn source_kind(&self) -> SourceKind {
        if self.directory().is_some() { SourceKind::Directory } else { SourceKind::Server }
    }

    /// A mistake in a valid URL: it contains Notary's own path, which is added to it, or is Docker Hub's server.
    pub fn slip(&self) -> Option<&'static str> {
        if self.as_str() == DOCKER_HUB || self.as_str() == format!("{DOCKER_HUB}:443") {
            return Some(DOCKER_HUB_ENDS);
        }
        self.holds_notarys_path().then_some("a trust server's address ends before /v2, which is added to it")
    }

    /// Does it contain Notary's own path, which is added to every server's URL?
    pub(crate) fn holds_notarys_path(&self) -> bool {
        let address = self.remote().and_then(|url| url.as_str().split_once("://"));
        let path = address.and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..))).unwrap_or_default();
        path.ends_with("/v2") || path.contains("/_trust")
    }
}

impl fmt::Display for TrustServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A URL that cannot be a trust server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustServerError {
    /// It is a directory's, without an absolute path.
    NoDirectory {
        /// The URL, safe to print.
        url: String,
    },
    /// It is refused whatever it is for.
    Url(UrlError),
}

impl From<UrlError> for TrustServerError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl fmt::Display for TrustServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDirectory { url } => {
                write!(f, "\"{url}\" names no directory by its absolute path, as in file:///etc/portreeve/trust")
            }
            Self::Url(error @ UrlError::NoScheme { .. }) => write!(f, "{error} (or file:///, for a directory)"),
            Self::Url(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TrustServerError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_servers_have_a_scheme_a_host_and_maybe_a_path() {
        const GOOD: [(&str, &str); 7] = [
            ("https://notary.docker.io", "https://notary.docker.io"),
            ("https://quay.io:443", "https://quay.io:443"),
            ("HTTPS://Notary.Local:4443/", "https://notary.local:4443"),
            ("https://h/notary/", "https://h/notary"),
            ("https://127.0.0.1:4443", "https://127.0.0.1:4443"),
            ("https://[::1]:4443", "https://[::1]:4443"),
            ("https://notary", "https://notary"),
        ];
        for (url, expected) in GOOD {
            assert_eq!(TrustServer::parse(url, PlainHttp::Refused).unwrap().as_str(), expected, "{url}");
        }
        const BAD: [&str; 26] = [
            "",
            "notary.local:4443",
            "ftp://notary.local",
            "http://notary.local",
            "https://",
            "https:///x",
            "https://:4443",
            "https://h:",
            "https://h:0",
            "https://h:65536",
            "https://h:+80",
            "https://h:4443:4443",
            "https://a..b",
            "https://[::1",
            "https://[::1]4443",
            "https://[zz]:1",
            "https://user@h",
            "https://user:secret@h",
            "https://h/a?b",
            "https://h/a#b",
            "https://h#b",
            "https://h/a/../b",
            "https://h/a b",
            "https://h/ä",
            "https://h\\evil",
            "https://h/\u{7f}",
        ];
        for url in BAD {
            assert!(TrustServer::parse(url, PlainHttp::Refused).is_err(), "{url}");
        }
        assert_eq!(TrustServer::parse("http://h:1", PlainHttp::DangerouslyAllowed).unwrap().as_str(), "http://h:1");
    }

    #[test]
    fn notarys_own_path_in_an_address_is_a_slip() {
        for (url, is_slip) in [
            ("https://n.io/v2/", true),
            ("https://n.io/notary/v2", true),
            ("https://n.io/v2/x/_trust/tuf", true),
            ("https://notary.docker.io", true),
            ("https://notary.docker.io:443", true),
            ("https://notary.docker.io.n.io", false),
            ("https://n.io/notary", false),
            ("https://v2", false),
            ("https://n.io", false),
            ("file:///trust/v2", false),
        ] {
            let server = TrustServer::parse(url, PlainHttp::Refused).unwrap();
            assert_eq!(server.slip().is_some(), is_slip, "{url}");
        }
    }

    #[test]
    fn a_directory_has_an_absolute_plain_path() {
        for (url, expected) in [
            ("file:///etc/trust", "/etc/trust"),
            ("FILE:///etc/trust/", "/etc/trust"),
            ("file:///srv/registry.local:9001", "/srv/registry.local:9001"),
        ] {
            let server = TrustServer::parse(url, PlainHttp::Refused).unwrap();
            assert_eq!(server.directory(), Some(Path::new(expected)), "{url}");
            assert_eq!(server.as_str(), format!("file://{expected}"));
        }
        for bad in [
            "file://",
            "file:///",
            "file://host/etc",
            "file://etc/trust",
            "file:///etc/../root",
            "file:///etc/./x",
            "file:///etc//x",
            "file:///etc/%2e%2e/x",
            "file:///etc/a b",
            "file:///etc/ä",
            "file:///etc?x",
            "file:///etc#x",
            "file:/etc",
        ] {
            assert!(TrustServer::parse(bad, PlainHttp::DangerouslyAllowed).is_err(), "{bad}");
        }
        assert_eq!(TrustServer::parse("https://h/etc", PlainHttp::Refused).unwrap().directory(), None);
    }
}
