//! URLs of trust servers and of token services: read strictly, so that what is shown, what is compared and what is
//! connected to are one and the same. Refuses user information, fragments, dot segments and anything that is not
//! plain ASCII; never resolves a name and never opens a file.

use std::fmt;
use std::path::Path;

use portreeve_verify::text::printable;
use portreeve_verify::tuf::rejection::SourceKind;

/// Longest URL that is looked at.
const MAX_URL: usize = 2048;

/// The trust server of Docker Hub.
pub(crate) const DOCKER_HUB: &str = "https://notary.docker.io";
/// How the URL of a directory begins.
const FILE: &str = "file://";

/// Parameters of the token protocol: what a token is for, and who asks for it how.
const OURS: [&str; 11] = [
    "scope",
    "service",
    "account",
    "client_id",
    "offline_token",
    "grant_type",
    "access_type",
    "username",
    "password",
    "refresh_token",
    "access_token",
];

/// Where trust data comes from: `https://host[:port][/path]` (`http` only where the operator switched plain HTTP on), or
/// `file:///absolute/directory`, for which no network is used at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustServer(String);

impl TrustServer {
    /// Checks a URL: scheme, host, no user, no query, no fragment; a trailing slash is dropped. A directory's has an
    /// absolute path and no host.
    pub fn parse(url: &str, plain_http: PlainHttp) -> Result<Self, TrustServerError> {
        if url.get(..FILE.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(FILE)) {
            return Self::parse_file(url);
        }
        let parsed = HttpUrl::parse(url, plain_http)?;
        if parsed.query.is_some() {
            return Err(TrustServerError::NotAllowed { url: shown(url), part: "a query (?…)" });
        }
        let path = parsed.path.trim_end_matches('/');
        Ok(Self(format!("{}://{}{path}", parsed.scheme.as_str(), parsed.authority)))
    }

    fn parse_file(url: &str) -> Result<Self, TrustServerError> {
        let refuse = |part| Err(TrustServerError::NotAllowed { url: shown(url), part });
        let path = url.get(FILE.len()..).unwrap_or_default();
        if url.len() > MAX_URL {
            return refuse("more than 2048 bytes");
        }
        if !path.starts_with('/') {
            return Err(TrustServerError::NoDirectory { url: shown(url) });
        }
        // No %, for nothing is unescaped: what is shown is what is opened.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~!&'()+,;=:@".contains(c);
        let path = path.trim_end_matches('/');
        let dotted = |component: &str| component == "." || component == "..";
        if !path.chars().all(plain) || path.contains("//") || path.split('/').any(dotted) {
            return refuse("a path that is not plain");
        }
        if path.is_empty() {
            return Err(TrustServerError::NoDirectory { url: shown(url) });
        }
        Ok(Self(format!("{FILE}{path}")))
    }

    /// The directory that it is, if it is one.
    pub fn directory(&self) -> Option<&Path> {
        self.0.strip_prefix(FILE).map(Path::new)
    }

    /// What it is, for the words of a rejection.
    pub fn source_kind(&self) -> SourceKind {
        if self.directory().is_some() { SourceKind::Directory } else { SourceKind::Server }
    }

    /// The URL, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is legal in it and will not do: Notary's own path, which is added to the address; Docker Hub's server.
    pub fn slip(&self) -> Option<&'static str> {
        if self.0 == DOCKER_HUB || self.0 == format!("{DOCKER_HUB}:443") {
            return Some("notary.docker.io ends on 8 December 2026: sign these images on a trust server of your own");
        }
        self.holds_notarys_path().then_some("a trust server's address ends before /v2, which is added to it")
    }

    /// Is Notary's own path, which is added to every address, in this one already?
    pub(crate) fn holds_notarys_path(&self) -> bool {
        let path = self.0.split_once("://").and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
        let path = path.filter(|_| self.directory().is_none()).unwrap_or_default();
        path.ends_with("/v2") || path.contains("/_trust")
    }
}

impl fmt::Display for TrustServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// May a trust server be spoken to without TLS? For tests on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// https only.
    Refused,
    /// `http://` URLs are taken as well. Dangerous: everything but signatures is then open to whoever listens.
    DangerouslyAllowed,
}

/// The address of a token service, as a challenge names it: unlike a trust server's it may have a query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realm {
    base: String,
    query: Option<String>,
}

impl Realm {
    /// Checks the realm of a Bearer challenge. Passwords go there, so it is https or nothing. What we ask for is ours to
    /// say: a realm that brings a scope of its own would have a trust server sent a token for more than reading.
    pub fn parse(url: &str, plain_http: PlainHttp) -> Result<Self, TrustServerError> {
        let parsed = HttpUrl::parse(url, plain_http)?;
        if parsed.query.is_some_and(asks_for_itself) {
            return Err(TrustServerError::NotAllowed {
                url: shown(url), part: "a parameter (scope, …) that is ours"
            });
        }
        let path = if parsed.path.is_empty() { "/" } else { parsed.path };
        Ok(Self {
            base: format!("{}://{}{path}", parsed.scheme.as_str(), parsed.authority),
            query: parsed.query.map(str::to_owned),
        })
    }

    /// The URL without its query: for requests by form, and for people.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The URL that asks with these parameters, after those that it has already.
    pub fn with_query(&self, parameters: &[(&str, &str)]) -> String {
        let asked = form(parameters);
        match self.query.as_deref() {
            None | Some("") => format!("{}?{asked}", self.base),
            Some(query) => format!("{}?{query}&{asked}", self.base),
        }
    }

    /// The URL as the challenge gave it.
    pub fn whole(&self) -> String {
        self.query.as_ref().map_or_else(|| self.base.clone(), |query| format!("{}?{query}", self.base))
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

/// Parameters in `application/x-www-form-urlencoded`: everything but unreserved characters is escaped.
pub(crate) fn form(parameters: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in parameters {
        if !out.is_empty() {
            out.push('&');
        }
        escape(name, &mut out);
        out.push('=');
        escape(value, &mut out);
    }
    out
}

fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Does a query hold a parameter of the token protocol? Anything that some reader might take for one counts: in any
/// case, escaped, or behind a semicolon.
fn asks_for_itself(query: &str) -> bool {
    query.split(['&', ';']).any(|parameter| {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        // Nobody needs escapes to name a parameter; so whoever uses them hides one.
        name.contains(['%', '+']) || OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours))
    })
}

/// The parts of an absolute http(s) URL.
struct HttpUrl<'a> {
    scheme: Scheme,
    /// Host and port, in lower case.
    authority: String,
    /// Empty, or with its leading slash.
    path: &'a str,
    query: Option<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl<'a> HttpUrl<'a> {
    fn parse(url: &'a str, plain_http: PlainHttp) -> Result<Self, TrustServerError> {
        let refuse = |part| Err(TrustServerError::NotAllowed { url: shown(url), part });
        if url.len() > MAX_URL {
            return refuse("more than 2048 bytes");
        }
        if !url.bytes().all(|b| b.is_ascii_graphic()) {
            return refuse("white space or a character that is not ASCII");
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(TrustServerError::NoScheme { url: shown(url) });
        };
        let scheme = if scheme.eq_ignore_ascii_case("https") {
            Scheme::Https
        } else if scheme.eq_ignore_ascii_case("http") {
            Scheme::Http
        } else {
            return Err(TrustServerError::NoScheme { url: shown(url) });
        };
        if scheme == Scheme::Http && plain_http == PlainHttp::Refused {
            return Err(TrustServerError::PlainHttp { url: shown(url) });
        }
        if rest.contains('#') {
            return refuse("a fragment (#…)");
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at_checked(at).unwrap_or((rest, "")),
            None => (rest, ""),
        };
        if authority.contains('@') {
            // RFC 9110 §4.2.4: user information in a URL is how one host is made to look like another.
            return refuse("a user name (…@)");
        }
        if !is_authority(authority) {
            return Err(TrustServerError::Host { url: shown(url) });
        }
        let path_char = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:@".contains(c);
        if !path.chars().all(path_char) || path.split('/').any(|segment| segment == "." || segment == "..") {
            return refuse("a path that is not plain");
        }
        Ok(Self { scheme, authority: authority.to_ascii_lowercase(), path, query })
    }
}

/// `host`, `host:port` or `[v6]:port`.
fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let Some((address, after)) = rest.split_once(']') else { return false };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (None, if after.is_empty() { None } else { Some(after.strip_prefix(':').unwrap_or("")) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(authority), None),
        },
    };
    let host_fits = host.is_none_or(|host| {
        let label = |l: &str| {
            !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        host.len() <= 253 && host.split('.').all(label)
    });
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|number| number != 0)
    });
    host_fits && port_fits
}

fn shown(url: &str) -> String {
    // What stands before an @ may be a password; it is not repeated to anybody.
    match url.rsplit_once('@') {
        Some((_, after)) => format!("…@{}", printable(after, 200)),
        None => printable(url, 200),
    }
}

/// A URL that cannot be a trust server's, or a token service's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustServerError {
    /// It does not begin with `https://`.
    NoScheme {
        /// The URL, safe to print.
        url: String,
    },
    /// It is a directory's, without an absolute path.
    NoDirectory {
        /// The URL, safe to print.
        url: String,
    },
    /// It is http, which is switched off.
    PlainHttp {
        /// The URL, safe to print.
        url: String,
    },
    /// Its host or port is not one.
    Host {
        /// The URL, safe to print.
        url: String,
    },
    /// It has something that such a URL may not have.
    NotAllowed {
        /// The URL, safe to print.
        url: String,
        /// What it has.
        part: &'static str,
    },
}

impl fmt::Display for TrustServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme { url } => {
                write!(f, "\"{url}\" does not begin with https:// (or file:///, for a directory)")
            }
            Self::NoDirectory { url } => {
                write!(f, "\"{url}\" names no directory by its absolute path, as in file:///etc/portreeve/trust")
            }
            Self::PlainHttp { url } => write!(f, "\"{url}\" is plain http, and only https is allowed"),
            Self::Host { url } => write!(f, "\"{url}\" names no host[:port] that could be connected to"),
            Self::NotAllowed { url, part } => write!(f, "\"{url}\" has {part}, which is not allowed there"),
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

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        let error = TrustServer::parse("https://user:secret@h", PlainHttp::Refused).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn realms_keep_their_query() {
        let realm = Realm::parse("https://harbor.local/service/token?x=1", PlainHttp::Refused).unwrap();
        assert_eq!(realm.base(), "https://harbor.local/service/token");
        assert_eq!(
            realm.with_query(&[("service", "a b"), ("scope", "repository:r:5000/x:pull")]),
            "https://harbor.local/service/token?x=1&service=a%20b&scope=repository%3Ar%3A5000%2Fx%3Apull"
        );
        for query in
            ["scope=x", "x=1&SCOPE=x", "x;scope=y", "%73cope=x", "+scope=x", "service", "account=a", "a&&scope"]
        {
            let realm = Realm::parse(&format!("https://h/token?{query}"), PlainHttp::Refused);
            assert!(matches!(realm, Err(TrustServerError::NotAllowed { .. })), "{query}");
        }
        assert!(Realm::parse("https://h/token?x=scope&myscope=1&y=%20", PlainHttp::Refused).is_ok());
        assert_eq!(Realm::parse("https://h", PlainHttp::Refused).unwrap().with_query(&[("a", "b")]), "https://h/?a=b");
        assert!(matches!(Realm::parse("http://h/t", PlainHttp::Refused), Err(TrustServerError::PlainHttp { .. })));
    }
}
