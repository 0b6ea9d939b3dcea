//! URLs of servers, parsed strictly: the URL that is shown, the URL that is compared and the URL that is connected to are
//! the same text. Refuses user information, fragments, dot segments and characters that are not ASCII. Resolves no name.

use std::fmt;
use std::sync::Arc;

use ureq::http::Uri;

use portreeve_verify::text::printable;

/// Longest URL that is parsed.
pub(crate) const MAX_URL: usize = 2048;
/// Longest URL that a redirect may name. A storage that is asked without a password has its permission in the URL.
const MAX_REDIRECT: usize = 8192;

/// The URL of a server: `https://host[:port][/path]`, or `http` where the operator allows plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerUrl(Arc<str>);

impl ServerUrl {
    /// Checks a URL: scheme, host, no user, no query, no fragment. A trailing slash is dropped.
    pub fn parse(url: &str, plain_http: PlainHttp) -> Result<Self, UrlError> {
        let parsed = HttpUrl::parse(url, plain_http)?;
        if parsed.query.is_some() {
            return Err(UrlError::NotAllowed { url: printable_url(url), part: "a query (?…)" });
        }
        Ok(Self(format!("{}{}", parsed.origin(), parsed.path.trim_end_matches('/')).into()))
    }

    /// The URL of the registry with this host, which comes from an image's name.
    pub(crate) fn of_registry(host: &str) -> Self {
        Self(format!("https://{host}").into())
    }

    /// The URL, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Are URLs without TLS accepted? For tests on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// https only.
    Refused,
    /// `http://` URLs as well. Dangerous: the network can then read everything and change everything that is not signed.
    DangerouslyAllowed,
}

/// The host of a URL, without the brackets of an IPv6 address.
pub(super) fn host(uri: &Uri) -> &str {
    without_brackets(uri.host().unwrap_or_default())
}

/// The port of an http(s) URL.
pub(super) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

pub(super) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Parameters as `application/x-www-form-urlencoded`. Every character that is not unreserved is escaped.
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

/// The parts of an absolute http(s) URL.
pub(crate) struct HttpUrl<'a> {
    scheme: Scheme,
    /// Host and port, in lower case.
    authority: String,
    /// Empty, or with its leading slash.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
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
    /// Splits a URL and checks its parts.
    pub(crate) fn parse(url: &'a str, plain_http: PlainHttp) -> Result<Self, UrlError> {
        if url.len() > MAX_URL {
            return Err(UrlError::NotAllowed { url: printable_url(url), part: "more than 2048 bytes" });
        }
        Self::parse_redirect(url, plain_http)
    }

    /// The same for the URL that a redirect names, which may be longer.
    pub(crate) fn parse_redirect(url: &'a str, plain_http: PlainHttp) -> Result<Self, UrlError> {
        let refuse = |part| Err(UrlError::NotAllowed { url: printable_url(url), part });
        if url.len() > MAX_REDIRECT {
            return refuse("more than 8192 bytes");
        }
        if !url.bytes().all(|b| b.is_ascii_graphic()) {
            return refuse("white space or a character that is not ASCII");
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(UrlError::NoScheme { url: printable_url(url) });
        };
        let scheme = if scheme.eq_ignore_ascii_case("https") {
            Scheme::Https
        } else if scheme.eq_ignore_ascii_case("http") {
            Scheme::Http
        } else {
            return Err(UrlError::NoScheme { url: printable_url(url) });
        };
        if scheme == Scheme::Http && plain_http == PlainHttp::Refused {
            return Err(UrlError::PlainHttp { url: printable_url(url) });
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
            // RFC 9110 §4.2.4: user information can make one host look like another.
            return refuse("a user name (…@)");
        }
        if !is_authority(authority) {
            return Err(UrlError::Host { url: printable_url(url) });
        }
        let path_char = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:@".contains(c);
        if !path.chars().all(path_char) || path.split('/').any(|segment| segment == "." || segment == "..") {
            return refuse("a path that is not plain");
        }
        Ok(Self { scheme, authority: authority.to_ascii_lowercase(), path, query })
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority)
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

/// A URL as messages show it. What stands before an @ may be a password; it is not repeated.
pub(crate) fn printable_url(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, after)) => format!("…@{}", printable(after, 200)),
        None => printable(url, 200),
    }
}

/// A URL that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// It does not begin with `https://`.
    NoScheme {
        /// The URL, safe to print.
        url: String,
    },
    /// It is plain http, which is not allowed.
    PlainHttp {
        /// The URL, safe to print.
        url: String,
    },
    /// Its host or port is invalid.
    Host {
        /// The URL, safe to print.
        url: String,
    },
    /// It has a part that is not allowed.
    NotAllowed {
        /// The URL, safe to print.
        url: String,
        /// The part.
        part: &'static str,
    },
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme { url } => write!(f, "\"{url}\" does not begin with https://"),
            Self::PlainHttp { url } => write!(f, "\"{url}\" is plain http, and only https is allowed"),
            Self::Host { url } => write!(f, "\"{url}\" names no host[:port] that could be connected to"),
            Self::NotAllowed { url, part } => write!(f, "\"{url}\" has {part}, which is not allowed there"),
        }
    }
}

impl std::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        let error = ServerUrl::parse("https://user:secret@h", PlainHttp::Refused).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
