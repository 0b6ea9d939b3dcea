//! The address of a token service, as a Bearer challenge names it. Refuses a query with a parameter of the token protocol:
//! only a session sets those.

use std::fmt;

use crate::http::url::{HttpUrl, PlainHttp, UrlError, form, printable_url};

/// The parameters of the token protocol.
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

/// The address of a token service. Unlike a server's, it may have a query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Realm {
    base: String,
    query: Option<String>,
}

impl Realm {
    /// Checks the realm of a Bearer challenge. Passwords are sent there, so that it must be https. A realm with a scope of
    /// its own is refused: the server would be sent a token for more than the session needs.
    pub(crate) fn parse(url: &str, plain_http: PlainHttp) -> Result<Self, UrlError> {
        let parsed = HttpUrl::parse(url, plain_http)?;
        if parsed.query.is_some_and(asks_for_itself) {
            return Err(UrlError::NotAllowed {
                url: printable_url(url), part: "a parameter (scope, …) that is ours"
            });
        }
        let path = if parsed.path.is_empty() { "/" } else { parsed.path };
        Ok(Self { base: format!("{}{path}", parsed.origin()), query: parsed.query.map(str::to_owned) })
    }

    /// The URL without its query, for probes and for messages.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The URL with these parameters appended to its query.
    pub(crate) fn with_query(&self, parameters: &[(&str, &str)]) -> String {
        let asked = form(parameters);
        match self.query.as_deref() {
            None | Some("") => format!("{}?{asked}", self.base),
            Some(query) => format!("{}?{query}&{asked}", self.base),
        }
    }

    /// The URL as the challenge gave it.
    pub(crate) fn whole(&self) -> String {
        self.query.as_ref().map_or_else(|| self.base.clone(), |query| format!("{}?{query}", self.base))
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

/// Does a query have a parameter of the token protocol? So does a query that some parser could read that way: in another
/// case, escaped, or behind a semicolon.
fn asks_for_itself(query: &str) -> bool {
    query.split(['&', ';']).any(|parameter| {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        // No legitimate parameter needs an escape in its name.
        name.contains(['%', '+']) || OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(matches!(realm, Err(UrlError::NotAllowed { .. })), "{query}");
        }
        assert!(Realm::parse("https://h/token?x=scope&myscope=1&y=%20", PlainHttp::Refused).is_ok());
        assert_eq!(Realm::parse("https://h", PlainHttp::Refused).unwrap().with_query(&[("a", "b")]), "https://h/?a=b");
        assert!(matches!(Realm::parse("http://h/t", PlainHttp::Refused), Err(UrlError::PlainHttp { .. })));
    }
}
