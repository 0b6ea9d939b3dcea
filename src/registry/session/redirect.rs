//! Redirects of blobs to a storage (OCI distribution specification, "Pulling blobs"). Each target is asked by the same client,
//! under the same deadline and cap. It never sees credentials, unless it is at the registry's own scheme, host and port. It has
//! a circuit breaker of its own, so that a storage that is down does not make the registry unavailable.

use std::time::Instant;

use super::{Session, SessionError};
use crate::http::client::{Peer, Response};
use crate::http::url::{HttpUrl, PlainHttp, printable_url};
use portreeve_verify::Unavailable;

/// Most redirects of one request.
const MAX_REDIRECTS: usize = 3;
/// A blob has no media type of its own.
const ANY: &str = "*/*";

/// A response, and the server that sent it, if the request was redirected there: `https://storage.local`.
pub(crate) struct Redirected {
    pub(crate) response: Response,
    pub(crate) from: Option<String>,
}

impl Session<'_> {
    /// GETs a blob, and follows redirects. Gives every response but a redirect, and the session's server's 401 and 403.
    pub(crate) fn get_redirected(&mut self, path: &str, cap: usize) -> Result<Redirected, SessionError> {
        let mut response = self.get_as(path, ANY, cap)?;
        let home = origin(self.server.url.as_str());
        // http only where the operator allows it, and the registry itself is asked so.
        let plain_http = if home.starts_with("http://") { self.client.plain_http } else { PlainHttp::Refused };
        let (mut at, mut is_home) = (home.clone(), true);
        let mut redirects = 0;
        while is_redirect(response.status) {
            redirects += 1;
            if redirects > MAX_REDIRECTS {
                let why = format!("{} redirects a blob more than {MAX_REDIRECTS} times", self.server);
                return Err(Unavailable::other(why).into());
            }
            let target = target(&at, response.field("location"), plain_http)
                .map_err(|why| Unavailable::other(format!("{} redirects a blob {why}", self.server)))?;
            at = origin(&target);
            // A server that was redirected to may not choose what is asked with credentials.
            is_home = is_home && at == home;
            response = self.send_to(&target, &at, is_home, path, cap)?;
        }
        Ok(Redirected { response, from: (redirects > 0).then_some(at) })
    }

    fn send_to(
        &self,
        url: &str,
        origin: &str,
        is_home: bool,
        path: &str,
        cap: usize,
    ) -> Result<Response, SessionError> {
        let probe = format!("{origin}/");
        let peer = Peer { kind: self.server.peer, probe: &probe, permit: self.permit };
        let authorization = self.access.as_ref().filter(|_| is_home).map(|access| &access.authorization);
        let asked = Instant::now();
        let response = self.client.http.get(url, ANY, authorization, cap, self.deadline, peer);
        response.map_err(|error| self.failed(error, &format!("{origin}, to which it redirects a blob: "), asked, path))
    }
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Scheme, host and port of a URL that was parsed before. The port is there also where it is the default one.
fn origin(url: &str) -> String {
    let origin = HttpUrl::parse_redirect(url, PlainHttp::DangerouslyAllowed).map(|url| url.origin());
    let origin = origin.unwrap_or_default();
    origin.strip_suffix(if origin.starts_with("https") { ":443" } else { ":80" }).map(str::to_owned).unwrap_or(origin)
}

/// The URL that a redirect of this origin leads to, or why it is not followed. What follows the `?` of a URL may be a
/// permission, and is not repeated.
fn target(origin: &str, location: Option<&str>, plain_http: PlainHttp) -> Result<String, String> {
    let location = location.ok_or("without saying where to")?;
    let url = match location.strip_prefix('/') {
        Some(rest) if !rest.starts_with('/') => format!("{origin}{location}"),
        _ => location.to_owned(),
    };
    if HttpUrl::parse_redirect(&url, plain_http).is_ok() {
        return Ok(url);
    }
    let shown = printable_url(location.split('?').next().unwrap_or_default());
    Err(format!("to \"{shown}\", which is not followed: only whole https:// URLs without a user and a fragment are"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_row_025_only_https_is_followed() {
        let https = |location: &str| target("https://r.io:5000", Some(location), PlainHttp::Refused);
        for (location, expected) in [
            ("https://s3.local/a/b?X=y%2F", "https://s3.local/a/b?X=y%2F"),
            ("/v2/x/blobs?a=b", "https://r.io:5000/v2/x/blobs?a=b"),
            ("https://s3.local", "https://s3.local"),
        ] {
            assert_eq!(https(location).as_deref(), Ok(expected), "{location}");
        }
        for location in [
            "http://s3.local/a?secret",
            "//s3.local/a",
            "a/b",
            "",
            "ftp://s3.local/a",
            "https://u:secret@s3.local/a",
            "https://s3.local/a#b",
            "https://s3.local/../a",
            "https://s3.local/a b",
            "\u{0}",
        ] {
            let why = https(location).unwrap_err();
            assert!(why.contains("is not followed") && !why.contains("secret"), "{location}: {why}");
        }
        assert!(https(&format!("https://s3.local/{}", "a".repeat(9000))).is_err());
        assert!(https(&format!("https://s3.local/?{}", "a".repeat(4000))).is_ok());
        assert!(target("https://r.io", None, PlainHttp::Refused).unwrap_err().contains("without saying where to"));
        assert!(target("http://r.io", Some("http://s3.local/a"), PlainHttp::DangerouslyAllowed).is_ok());
    }

    #[test]
    fn an_origin_has_one_spelling() {
        for (url, expected) in [
            ("https://R.io/v2", "https://r.io"),
            ("https://r.io:443", "https://r.io"),
            ("http://r.io:80/a?b", "http://r.io"),
            ("http://r.io:443", "http://r.io:443"),
            ("https://r.io:80", "https://r.io:80"),
            ("https://[::1]:5000/x", "https://[::1]:5000"),
        ] {
            assert_eq!(origin(url), expected, "{url}");
        }
    }
}
