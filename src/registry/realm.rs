//! The address of a token service, as a Bearer challenge names it. Refuses a query that names a parameter of the token
//! protocol: those are ours to set.

use std::fmt;

use crate::http::url::{HttpUrl, PlainHttp, UrlError, form, printable_url};

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

/// The address of a token service, as a challenge names it: unlike a trust server's it may have a query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Realm {
    base: String,
    query: Option<String>,
}

impl Realm {
    /// Checks the realm of a Bearer challenge. Passwords go there, so it is https or nothing. What we ask for is ours to
    /// say: a realm that brings a scope of its own would have a trust server sent a token for more than reading.
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

    /// The URL without its query: for requests by form, and for people.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The URL that asks with these parameters, after those that it has already.
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

/// Does a query hold a parameter of the token protocol? Anything that some reader might take for one counts: in any
/// case, escaped, or behind a semicolon.
fn asks_for_itself(query: &str) -> bool {
    query.split(['&', ';']).any(|parameter| {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        // Nobody needs escapes to name a parameter; so whoever uses them hides one.
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
