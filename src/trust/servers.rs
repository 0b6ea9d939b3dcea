//! Which trust server speaks for a registry, where policy names none: exact hosts first, then `*.suffix` wildcards,
//! the longest first.

use std::collections::BTreeMap;
use std::fmt;

use super::notary::{PlainHttp, TrustServer, TrustServerError};
use crate::text::printable;

/// The map from registry hosts to trust servers. A value may hold `{registry}` (the host as it stands in the image,
/// with its port) and `{host}` (without the port).
#[derive(Clone, Debug)]
pub struct TrustServers {
    entries: BTreeMap<String, String>,
    plain_http: PlainHttp,
}

impl TrustServers {
    /// What Portieris knows, both of 0.5.3 and of 0.14.
    pub const DEFAULTS: [(&str, &str); 4] = [
        ("docker.io", "https://notary.docker.io"),
        ("quay.io", "https://quay.io:443"),
        ("icr.io", "https://{registry}:4443"),
        ("*.icr.io", "https://{registry}:4443"),
    ];

    /// Checks every entry, so that a mistake is told at start and not in the first denial.
    pub fn new(entries: BTreeMap<String, String>, plain_http: PlainHttp) -> Result<Self, TrustServersError> {
        let mut checked = BTreeMap::new();
        for (pattern, url) in entries {
            let host = pattern.strip_prefix("*.").unwrap_or(&pattern);
            if host.is_empty() || host.contains(['*', '/', '{', '}']) && pattern != "*" {
                return Err(TrustServersError::Pattern { pattern });
            }
            TrustServer::parse(&fill(&url, "registry.invalid"), plain_http)
                .map_err(|source| TrustServersError::Url { pattern: pattern.clone(), source })?;
            checked.insert(pattern.to_ascii_lowercase(), url);
        }
        Ok(Self { entries: checked, plain_http })
    }

    /// The trust server for a registry's host; `None` where nothing is configured for it.
    pub fn for_host(&self, host: &str) -> Option<Result<TrustServer, TrustServerError>> {
        let exact = self.entries.get(host);
        let url = exact.or_else(|| {
            let matching = self.entries.iter().filter(|(pattern, _)| match pattern.strip_prefix('*') {
                Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
                None => false,
            });
            matching.max_by_key(|(pattern, _)| pattern.len()).map(|(_, url)| url)
        })?;
        Some(TrustServer::parse(&fill(url, host), self.plain_http))
    }
}

fn fill(url: &str, registry: &str) -> String {
    let host = match registry.rsplit_once(':') {
        // The last colon of a bare IPv6 address is no port's.
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    };
    url.replace("{registry}", registry).replace("{host}", host)
}

/// An entry that cannot be used.
#[derive(Debug)]
pub enum TrustServersError {
    /// The key is neither a host nor `*.suffix` nor `*`.
    Pattern {
        /// The key.
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
            Self::Url { pattern, source } => write!(f, "the trust server of \"{}\": {source}", printable(pattern, 120)),
        }
    }
}

impl std::error::Error for TrustServersError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pattern { .. } => None,
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
        let mut entries = TrustServers::DEFAULTS.to_vec();
        entries.push(("registry.local:9001", "https://{host}:4443"));
        entries.push(("*.de.icr.io", "https://notary.de"));
        let servers = servers(&entries).unwrap();
        for (host, url) in [
            ("docker.io", Some("https://notary.docker.io")),
            ("quay.io", Some("https://quay.io:443")),
            ("icr.io", Some("https://icr.io:4443")),
            ("uk.icr.io", Some("https://uk.icr.io:4443")),
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
    fn a_bad_entry_is_told_at_once() {
        for (host, url) in
            [("", "https://a"), ("a/b", "https://a"), ("*a", "https://a"), ("a", "ftp://a"), ("a", "http://a")]
        {
            assert!(servers(&[(host, url)]).is_err(), "{host} {url}");
        }
    }
}
