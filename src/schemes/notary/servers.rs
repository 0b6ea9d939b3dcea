//! The trust server of a registry, for policies that name none: exact hosts first, then the longest `*.suffix` wildcard.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::http::url::PlainHttp;
use crate::schemes::notary::trust_server::{TrustServer, TrustServerError};
use portreeve_verify::image::{one_spelling, split_port};
use portreeve_verify::ordered::Map;
use portreeve_verify::text::printable;

/// The map from registry hosts to trust servers. A value may hold `{registry}` (the host with its port, if that is not
/// the default one) and `{host}` (without any port).
#[derive(Clone, Debug)]
pub struct TrustServers {
    entries: Map<String, Entry>,
    plain_http: PlainHttp,
}

/// The value for one registry, or for all that a wildcard matches.
#[derive(Clone, Debug)]
enum Entry {
    /// One server, whatever the host.
    Server(TrustServer),
    /// A URL with a place for the host.
    Template(String),
}

impl TrustServers {
    /// The defaults of Portieris 0.5.3 and 0.14.
    pub const DEFAULTS: [(&str, &str); 4] = [
        ("docker.io", "https://notary.docker.io"),
        ("quay.io", "https://quay.io:443"),
        ("icr.io", "https://{registry}:4443"),
        ("*.icr.io", "https://{registry}:4443"),
    ];

    /// Checks every entry, so that a mistake is reported at start and not by the first denial. Hosts that no entry names
    /// have the server of [`Self::DEFAULTS`].
    pub fn new(entries: BTreeMap<String, String>, plain_http: PlainHttp) -> Result<Self, TrustServersError> {
        let mut checked = Map::new();
        for (pattern, url) in entries {
            let host = pattern.strip_prefix("*.").unwrap_or(&pattern);
            if host.is_empty() || host.contains(['*', '/', '{', '}']) && pattern != "*" {
                return Err(TrustServersError::Pattern { pattern });
            }
            let bad = |source| TrustServersError::Url { pattern: pattern.clone(), source };
            TrustServer::parse(&fill(&url, "registry.invalid"), plain_http).map_err(bad)?;
            let host = one_spelling(&pattern.to_ascii_lowercase()).into_owned();
            let entry = Entry::new(&host, url, plain_http);
            if checked.insert(host, entry).is_some() {
                return Err(TrustServersError::Twice { pattern });
            }
        }
        for (host, url) in Self::DEFAULTS {
            checked.get_or_insert(host.to_owned(), Entry::new(host, url.to_owned(), plain_http));
        }
        Ok(Self { entries: checked, plain_http })
    }

    /// The trust server for a registry's host; `None` where nothing is configured for it.
    pub fn for_host(&self, host: &str) -> Option<Result<TrustServer, TrustServerError>> {
        // The hosts of images have their one spelling already, and so have the keys.
        if let Some(Entry::Server(server)) = self.entries.get(host) {
            return Some(Ok(server.clone()));
        }
        let host = &*one_spelling(host);
        let exact = self.entries.get(host);
        let entry = exact.or_else(|| {
            let matching = self.entries.iter().filter(|(pattern, _)| match pattern.strip_prefix('*') {
                Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
                None => false,
            });
            matching.max_by_key(|(pattern, _)| pattern.len()).map(|(_, entry)| entry)
        })?;
        Some(match entry {
            Entry::Server(server) => Ok(server.clone()),
            Entry::Template(url) => TrustServer::parse(&fill(url, host), self.plain_http),
        })
    }

    /// The entries of the configuration that name one server, without the defaults.
    pub(crate) fn configured(&self) -> impl Iterator<Item = (&str, &TrustServer)> {
        let is_default = |host: &str, url: &str| {
            Self::DEFAULTS.iter().any(|(known, default)| *known == host && fill(default, known) == url)
        };
        self.entries.iter().filter_map(move |(pattern, entry)| match entry {
            Entry::Server(server) if !is_default(pattern, server.as_str()) => Some((pattern.as_str(), server)),
            Entry::Server(_) | Entry::Template(_) => None,
        })
    }

    /// The directories with trust data that it names.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.configured().filter_map(|(_, server)| server.directory())
    }
}

impl Entry {
    /// The entry for a host or a wildcard. Only the URL of a wildcard can depend on the host, and only a URL with a host in it
    /// can fail later.
    fn new(pattern: &str, url: String, plain_http: PlainHttp) -> Self {
        let is_fixed = !pattern.starts_with('*') || !url.contains(['{', '}']);
        let server = is_fixed.then(|| TrustServer::parse(&fill(&url, pattern), plain_http).ok()).flatten();
        server.map_or(Self::Template(url), Self::Server)
    }
}

fn fill(url: &str, registry: &str) -> String {
    url.replace("{registry}", registry).replace("{host}", split_port(registry).0)
}

/// An entry that cannot be used.
#[derive(Debug)]
pub enum TrustServersError {
    /// The key is neither a host nor `*.suffix` nor `*`.
    Pattern {
        /// The key.
        pattern: String,
    },
    /// Another key is the same registry.
    Twice {
        /// One of the two.
        pattern: String,
    },
    /// The value is not a trust server's URL.
    Url {
        /// The key.
        pattern: String,
        /// What is wrong with it.
        source: TrustServerError,
    },
}

impl fmt::Display for TrustServersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern { pattern } => {
                let pattern = printable(pattern, 120);
                write!(
                    f,
                    "\"{pattern}\" is not a registry: write a host such as registry.local:9001, *.example.com or *"
                )
            }
            Self::Twice { pattern } => write!(
                f,
                "\"{}\" stands there twice: a registry is the same with and without its default port, 443",
                printable(pattern, 120)
            ),
            Self::Url { pattern, source } => write!(f, "the trust server of \"{}\": {source}", printable(pattern, 120)),
        }
    }
}

impl std::error::Error for TrustServersError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pattern { .. } | Self::Twice { .. } => None,
            Self::Url { source, .. } => Some(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(entries: &[(&str, &str)]) -> Result<TrustServers, TrustServersError> {
        let entries = entries.iter().map(|&(host, url)| (host.to_owned(), url.to_owned())).collect();
        TrustServers::new(entries, PlainHttp::Refused)
    }

    #[test]
    fn the_nearest_entry_decides() {
        let servers = servers(&[
            ("registry.local:9001", "https://{host}:4443"),
            ("*.de.icr.io", "https://notary.de"),
            ("[fd00:0::1]:9001", "https://{host}:4443"),
            ("harbor.local:443", "https://{registry}:4443"),
        ])
        .unwrap();
        for (host, url) in [
            ("docker.io", Some("https://notary.docker.io")),
            ("quay.io", Some("https://quay.io:443")),
            ("icr.io", Some("https://icr.io:4443")),
            ("uk.icr.io", Some("https://uk.icr.io:4443")),
            ("uk.icr.io:443", Some("https://uk.icr.io:4443")),
            ("uk.icr.io:5000", None),
            ("index.docker.io:443", Some("https://notary.docker.io")),
            ("[fd00::1]:9001", Some("https://[fd00::1]:4443")),
            ("[fd00::1]", None),
            ("harbor.local", Some("https://harbor.local:4443")),
            ("a.de.icr.io", Some("https://notary.de")),
            ("registry.local:9001", Some("https://registry.local:4443")),
            ("registry.local", None),
            ("evilicr.io", None),
            (".icr.io", None),
            ("icr.io.evil.com", None),
        ] {
            let found = servers.for_host(host).map(|server| server.unwrap().as_str().to_owned());
            assert_eq!(found.as_deref(), url, "{host}");
        }
    }

    #[test]
    fn defaults_are_not_of_the_configuration() {
        let servers = servers(&[
            ("registry.local:9001", "https://notary.local:4443"),
            ("docker.io", "https://notary.local"),
            ("carried.local", "file:///etc/portreeve/trust"),
            ("*.plant", "https://{host}:4443"),
        ])
        .unwrap();
        let found: Vec<_> = servers.configured().map(|(host, server)| (host, server.as_str())).collect();
        let expected = [
            ("carried.local", "file:///etc/portreeve/trust"),
            ("docker.io", "https://notary.local"),
            ("registry.local:9001", "https://notary.local:4443"),
        ];
        assert_eq!(found, expected);
        assert_eq!(servers.directories().collect::<Vec<_>>(), [Path::new("/etc/portreeve/trust")]);
    }

    #[test]
    fn a_bad_entry_is_told_at_once() {
        for (host, url) in
            [("", "https://a"), ("a/b", "https://a"), ("*a", "https://a"), ("a", "ftp://a"), ("a", "http://a")]
        {
            assert!(servers(&[(host, url)]).is_err(), "{host} {url}");
        }
        let twice = servers(&[("reg.io", "https://a"), ("reg.io:443", "https://b")]);
        assert!(matches!(twice, Err(TrustServersError::Twice { .. })));
    }

    #[test]
    fn a_default_gives_way_to_an_entry_in_any_spelling() {
        for own in ["docker.io", "docker.io:443", "Docker.io", "index.docker.io"] {
            let servers = servers(&[(own, "https://notary.local")]).unwrap();
            assert_eq!(servers.for_host("docker.io").unwrap().unwrap().as_str(), "https://notary.local", "{own}");
            assert!(servers.for_host("quay.io").is_some());
        }
    }
}
