//! `WWW-Authenticate` (RFC 9110 §11.6.1): how a server wants to be signed in to. A field may hold several challenges, and a
//! response several fields. A field that cannot be parsed to its end is refused. Nothing is recognised by searching text,
//! and no input makes the parser panic.

use std::fmt;

/// The longest field, and the most fields of one response.
const MAX_FIELD: usize = 8 << 10;
const MAX_FIELDS: usize = 16;
/// Most challenges in one response, and parameters in one challenge.
const MAX_CHALLENGES: usize = 16;
const MAX_PARAMETERS: usize = 32;

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Docker's token protocol.
    Bearer {
        /// The address of the token service. Not checked yet.
        realm: String,
        /// The name of the server that accepts the token.
        service: Option<String>,
    },
    /// User name and password.
    Basic {
        /// The protected area, for people.
        realm: Option<String>,
    },
    /// A scheme that is not supported.
    Other {
        /// The scheme, in lower case.
        scheme: String,
    },
}

impl Challenge {
    /// Parses all fields of one response.
    pub(crate) fn parse_all<'a>(fields: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, ChallengeError> {
        let mut challenges = Vec::new();
        for (index, field) in fields.into_iter().enumerate() {
            if index >= MAX_FIELDS || field.len() > MAX_FIELD {
                return Err(ChallengeError::TooLong);
            }
            parse_field(field, &mut challenges)?;
        }
        Ok(challenges)
    }
}

/// `challenge *( OWS "," OWS challenge )`, empty list members allowed (RFC 9110 §5.6.1.2).
fn parse_field(field: &str, challenges: &mut Vec<Challenge>) -> Result<(), ChallengeError> {
    let mut cursor = Cursor { bytes: field.as_bytes(), at: 0 };
    cursor.skip_separators();
    while !cursor.is_done() {
        if challenges.len() >= MAX_CHALLENGES {
            return Err(ChallengeError::TooLong);
        }
        let scheme = cursor.token()?.to_ascii_lowercase();
        let parameters = parse_parameters(&mut cursor)?;
        challenges.push(build(scheme, parameters)?);
        cursor.skip_separators();
    }
    Ok(())
}

/// The part after a scheme: nothing, a token68, or parameters up to the next scheme. The cursor is behind the scheme.
fn parse_parameters(cursor: &mut Cursor<'_>) -> Result<Vec<(String, String)>, ChallengeError> {
    let mut parameters = Vec::new();
    if cursor.is_done() || cursor.peek() == Some(b',') {
        return Ok(parameters);
    }
    if cursor.skip_space() == 0 {
        return Err(ChallengeError::Malformed { at: cursor.at });
    }
    if cursor.skip_token68() {
        return Ok(parameters);
    }
    loop {
        // The same comma separates parameters and challenges: `name =` is a parameter, and `name` before anything else is
        // the next scheme.
        let before = cursor.at;
        cursor.skip_separators();
        if cursor.is_done() || !cursor.at_parameter() {
            cursor.at = before;
            return if cursor.is_done() || parameters.is_empty() || cursor.next_is_comma() {
                Ok(parameters)
            } else {
                Err(ChallengeError::Malformed { at: cursor.at })
            };
        }
        if !parameters.is_empty() && !cursor.came_over_comma(before) {
            return Err(ChallengeError::Malformed { at: cursor.at });
        }
        if parameters.len() >= MAX_PARAMETERS {
            return Err(ChallengeError::TooLong);
        }
        let name = cursor.token()?.to_ascii_lowercase();
        cursor.skip_space();
        cursor.expect(b'=')?;
        cursor.skip_space();
        let value = if cursor.peek() == Some(b'"') { cursor.quoted()? } else { cursor.token()?.to_owned() };
        // RFC 9110 §11.2: a parameter's name occurs once in a challenge.
        if parameters.iter().any(|(known, _)| *known == name) {
            return Err(ChallengeError::Repeated);
        }
        parameters.push((name, value));
    }
}

fn build(scheme: String, parameters: Vec<(String, String)>) -> Result<Challenge, ChallengeError> {
    let mut realm = None;
    let mut service = None;
    for (name, value) in parameters {
        match name.as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            _ => {}
        }
    }
    match scheme.as_str() {
        "bearer" => Ok(Challenge::Bearer { realm: realm.ok_or(ChallengeError::NoRealm)?, service }),
        "basic" => Ok(Challenge::Basic { realm }),
        _ => Ok(Challenge::Other { scheme }),
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        self.at - start
    }

    fn skip_space(&mut self) -> usize {
        self.skip_while(|b| b == b' ' || b == b'\t')
    }

    /// White space and commas between list members.
    fn skip_separators(&mut self) {
        self.skip_while(|b| matches!(b, b' ' | b'\t' | b','));
    }

    fn next_is_comma(&self) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.iter().find(|b| !matches!(b, b' ' | b'\t')).is_none_or(|b| *b == b',')
    }

    fn came_over_comma(&self, from: usize) -> bool {
        self.bytes.get(from..self.at).is_some_and(|skipped| skipped.contains(&b','))
    }

    fn expect(&mut self, byte: u8) -> Result<(), ChallengeError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(ChallengeError::Malformed { at: self.at })
    }

    /// A token (RFC 9110 §5.6.2).
    fn token(&mut self) -> Result<&'a str, ChallengeError> {
        let start = self.at;
        if self.skip_while(is_tchar) == 0 {
            return Err(ChallengeError::Malformed { at: start });
        }
        let token = self.bytes.get(start..self.at).unwrap_or_default();
        std::str::from_utf8(token).map_err(|_| ChallengeError::Malformed { at: start })
    }

    /// Does a parameter begin here? The cursor does not move.
    fn at_parameter(&self) -> bool {
        let mut ahead = Cursor { bytes: self.bytes, at: self.at };
        if ahead.skip_while(is_tchar) == 0 {
            return false;
        }
        ahead.skip_space();
        ahead.peek() == Some(b'=')
    }

    /// Skips a token68 (RFC 9110 §11.2), if one is alone here.
    fn skip_token68(&mut self) -> bool {
        let start = self.at;
        let some =
            self.skip_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')) > 0;
        self.skip_while(|b| b == b'=');
        if some && self.next_is_comma() {
            return true;
        }
        self.at = start;
        false
    }

    /// A quoted string (RFC 9110 §5.6.4), unescaped.
    fn quoted(&mut self) -> Result<String, ChallengeError> {
        self.expect(b'"')?;
        let start = self.at;
        let mut value = Vec::new();
        loop {
            let Some(byte) = self.peek() else { return Err(ChallengeError::Malformed { at: start }) };
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => {
                    let Some(escaped) = self.peek().filter(|b| is_quotable(*b)) else {
                        return Err(ChallengeError::Malformed { at: self.at });
                    };
                    self.at += 1;
                    value.push(escaped);
                }
                byte if is_quotable(byte) => value.push(byte),
                _ => return Err(ChallengeError::Malformed { at: self.at }),
            }
        }
        String::from_utf8(value).map_err(|_| ChallengeError::Malformed { at: start })
    }
}

fn is_tchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn is_quotable(b: u8) -> bool {
    b == b'\t' || (b >= b' ' && b != 0x7f)
}

/// A challenge that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChallengeError {
    /// It does not have the syntax of RFC 9110.
    Malformed {
        /// The position of the first wrong byte.
        at: usize,
    },
    /// One challenge has the same parameter twice.
    Repeated,
    /// A Bearer challenge names no token service.
    NoRealm,
    /// More or longer fields, challenges or parameters than are parsed.
    TooLong,
}

impl fmt::Display for ChallengeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { at } => write!(f, "its WWW-Authenticate cannot be read (at byte {at})"),
            Self::Repeated => f.write_str("its WWW-Authenticate has the same parameter twice"),
            Self::NoRealm => f.write_str("its WWW-Authenticate asks for a Bearer token without naming a realm"),
            Self::TooLong => f.write_str("its WWW-Authenticate is too long"),
        }
    }
}

impl std::error::Error for ChallengeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    fn basic(realm: &str) -> Challenge {
        Challenge::Basic { realm: Some(realm.to_owned()) }
    }

    fn other(scheme: &str) -> Challenge {
        Challenge::Other { scheme: scheme.to_owned() }
    }

    #[test]
    fn reads_what_servers_send() {
        type Row = (&'static [&'static str], Vec<Challenge>);
        let table: [Row; 14] = [
            (&[], vec![]),
            (&["", " , ,"], vec![]),
            (
                &[r#"Bearer realm="https://h/token",service="notary",scope="repository:x:pull""#],
                vec![bearer("https://h/token", Some("notary"))],
            ),
            (&[r#"bEaReR   realm = "r" ,	service	=s"#], vec![bearer("r", Some("s"))]),
            (&[r#"Bearer REALM="a\"b\\c,d=e""#], vec![bearer("a\"b\\c,d=e", None)]),
            (&[r#"Basic realm="x""#, r#"Bearer realm="y""#], vec![basic("x"), bearer("y", None)]),
            (&[r#"Basic realm="x", Bearer realm="y", service="z""#], vec![basic("x"), bearer("y", Some("z"))]),
            (&[r#"Bearer realm="y",, Basic realm="x","#], vec![bearer("y", None), basic("x")]),
            (&["Basic"], vec![Challenge::Basic { realm: None }]),
            (&["Negotiate, Basic realm=x"], vec![other("negotiate"), basic("x")]),
            (&["NTLM TlRMTVNTUAAC==, Basic realm=x"], vec![other("ntlm"), basic("x")]),
            (&[r#"Digest realm="Bearer realm=\"https://evil\"", nonce=1"#], vec![other("digest")]),
            // RFC 9110 §11.6.1's own example.
            (
                &[r#"Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"""#],
                vec![basic("simple"), other("newauth")],
            ),
            (&[r#"Bearer realm="https://h/401?v401""#], vec![bearer("https://h/401?v401", None)]),
        ];
        for (fields, expected) in table {
            assert_eq!(Challenge::parse_all(fields.iter().copied()).as_ref(), Ok(&expected), "{fields:?}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_read_to_its_end() {
        use ChallengeError::{Malformed, NoRealm, Repeated, TooLong};
        type Check = fn(&ChallengeError) -> bool;
        const BAD: [(&str, Check); 14] = [
            ("Bearer", |e| *e == NoRealm),
            ("Bearer service=\"x\"", |e| *e == NoRealm),
            ("Bearer realm=\"x", |e| matches!(e, Malformed { .. })),
            ("Bearer realm=\"x\\", |e| matches!(e, Malformed { .. })),
            ("Bearer realm=\"x\ny\"", |e| matches!(e, Malformed { .. })),
            ("Bearer realm=", |e| matches!(e, NoRealm | Malformed { .. })),
            ("Bearer realm=\"a\" service=\"b\"", |e| matches!(e, Malformed { .. })),
            ("Bearer realm=\"a\"x", |e| matches!(e, Malformed { .. })),
            ("Bearer realm=a, realm=b", |e| *e == Repeated),
            ("Bearer realm=a, REALM=b", |e| *e == Repeated),
            ("=", |e| matches!(e, Malformed { .. })),
            ("Bearer\"x\"", |e| matches!(e, Malformed { .. })),
            ("Basic realm=\"x\", \"", |e| matches!(e, Malformed { .. })),
            ("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", |e| *e == TooLong),
        ];
        for (field, expected) in BAD {
            let error = Challenge::parse_all([field]).unwrap_err();
            assert!(expected(&error), "{field}: {error:?}");
        }
        assert_eq!(Challenge::parse_all([&*"x".repeat(MAX_FIELD + 1)]), Err(TooLong));
        assert_eq!(Challenge::parse_all(["Basic"; MAX_FIELDS + 1]), Err(TooLong));
        let many = (0..=MAX_PARAMETERS).map(|n| format!("p{n}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(Challenge::parse_all([&*format!("Bearer {many}")]), Err(TooLong));
    }

    /// Every string of a few awkward pieces, so that no order of them makes the parser panic or spin.
    #[test]
    fn nothing_makes_it_panic() {
        const PIECES: [&str; 11] = ["Bearer", "Basic", " ", ",", "=", "\"", "\\", "realm", "x", "ä", "\u{0}"];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            texts = texts.iter().flat_map(|text| PIECES.iter().map(move |piece| format!("{text}{piece}"))).collect();
            for text in &texts {
                let _ = Challenge::parse_all([text.as_str()]);
            }
        }
    }
}
