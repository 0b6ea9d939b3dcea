//! Docker's credential files: `.dockerconfigjson` (`{"auths":{…}}`) and the older `.dockercfg`. Parses bytes. Opens no file
//! and runs no credential helper.

use std::fmt;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::matching::RegistryPattern;
use crate::base::json_limits::JsonSize;
use crate::base::secret::Secret;
use portreeve_verify::text::printable;

/// Docker's user name for an entry whose password is an identity token (an OAuth2 refresh token).
pub const TOKEN_USER: &str = "<token>";

/// Most registries in one file.
pub(super) const MAX_ENTRIES: usize = 1_000;
/// Most JSON values in one file. An entry of Docker has some four. Without this limit, a megabyte of `"a":{},` would take
/// twenty megabytes while it is parsed.
const MAX_VALUES: usize = 20 * MAX_ENTRIES;
/// Longest user name or password.
const MAX_FIELD: usize = 16 << 10;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `.dockerconfigjson`
    Json,
    /// `.dockercfg`
    Cfg,
}

/// The content of one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DockerConfig {
    /// Entries that can be used.
    pub(crate) entries: Vec<Entry>,
    /// Why other entries cannot be used. Contains no secrets.
    pub(crate) problems: Vec<String>,
}

/// Credentials for one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key as written, safe to print.
    pub(crate) registry: String,
    /// The repositories that it applies to.
    pub(crate) pattern: RegistryPattern,
    /// The user.
    pub(crate) username: String,
    /// The password, or the identity token where the user is [`TOKEN_USER`].
    pub(crate) password: Secret,
}

/// Parses a file.
pub(crate) fn parse(bytes: &[u8], format: Format) -> Result<DockerConfig, DockerConfigError> {
    if JsonSize::of(bytes).values > MAX_VALUES {
        return Err(DockerConfigError::TooMuch);
    }
    let file: Value = serde_json::from_slice(bytes).map_err(|error| DockerConfigError::json(bytes, &error))?;
    if !file.is_object() {
        return Err(DockerConfigError::Shape);
    }
    let is_there = |key: &str| file.get(key).is_some_and(|value| !value.is_null());
    let is_helped = format == Format::Json && (is_there("credsStore") || is_there("credHelpers"));
    let auths = match format {
        Format::Cfg => &file,
        Format::Json => match file.get("auths") {
            None | Some(Value::Null) => return Err(DockerConfigError::NoAuths { is_helped }),
            Some(auths) => auths,
        },
    };
    let auths = auths.as_object().ok_or(DockerConfigError::Shape)?;
    if auths.len() > MAX_ENTRIES {
        return Err(DockerConfigError::TooMany { found: auths.len() });
    }
    let mut config = DockerConfig::default();
    for (key, auth) in auths {
        // A key may be `https://user:password@registry`.
        let registry = match key.rsplit_once('@') {
            None => printable(key, 200),
            Some((_, rest)) => format!("…@{}", printable(rest, 200)),
        };
        let auth = AuthEntry::of(auth).ok_or(DockerConfigError::Shape)?;
        let Some(pattern) = RegistryPattern::parse(key) else {
            config.problems.push(format!("\"{registry}\" is not the name of a registry"));
            continue;
        };
        match auth.sign_in() {
            Ok(Some((username, password))) => {
                config.entries.push(Entry { registry, pattern, username, password: Secret::new(password) });
            }
            // Docker writes `{}` where a credential helper has the password.
            Ok(None) if is_helped => config.problems.push(format!("\"{registry}\": {HELPED}")),
            Ok(None) => config.problems.push(format!("\"{registry}\" has neither auth nor username and password")),
            Err(problem) => config.problems.push(format!("\"{registry}\": {problem}")),
        }
    }
    if is_helped && config.entries.is_empty() && config.problems.is_empty() {
        config.problems.push(format!("holds no password: {HELPED}"));
    }
    Ok(config)
}

/// Why an entry without a password is of no use.
const HELPED: &str = "the password is with a credential helper of docker (credsStore or credHelpers), and none is run \
                      here; make the Secret with kubectl create secret docker-registry";

/// An entry. Other keys (`email`, …) are not used. Credential helpers are only reported.
struct AuthEntry<'a> {
    auth: Option<&'a str>,
    username: Option<&'a str>,
    password: Option<&'a str>,
    identity_token: Option<&'a str>,
}

impl<'a> AuthEntry<'a> {
    /// `None`: it is no entry.
    fn of(value: &'a Value) -> Option<Self> {
        let object = value.as_object()?;
        let text = |key: &str| match object.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(value) => value.as_str().map(Some),
        };
        Some(Self {
            auth: text("auth")?,
            username: text("username")?,
            password: text("password")?,
            identity_token: text("identitytoken")?,
        })
    }

    /// `auth` takes precedence over `username` and `password`, which are used where it cannot be decoded.
    fn sign_in(self) -> Result<Option<(String, String)>, &'static str> {
        let is_given = |text: &&str| !text.is_empty();
        let decoded = self.auth.map(str::trim).filter(is_given).map(decode_auth);
        let owned = |text: Option<&str>| text.filter(is_given).map(str::to_owned);
        let username = match &decoded {
            Some(Ok((username, _))) => Some(username.clone()),
            _ => owned(self.username),
        };
        // An identity token replaces the password (docker login to an OAuth2 registry writes both).
        if let Some(token) = owned(self.identity_token) {
            return within_caps((TOKEN_USER.to_owned(), token)).map(Some);
        }
        let password = match &decoded {
            Some(Ok((_, password))) => Some(password.clone()),
            _ => owned(self.password),
        };
        match (username, password, decoded) {
            (Some(username), Some(password), _) => within_caps((username, password)).map(Some),
            (_, _, Some(Err(problem))) => Err(problem),
            _ => Ok(None),
        }
    }
}

fn within_caps(found: (String, String)) -> Result<(String, String), &'static str> {
    if found.0.len() > MAX_FIELD || found.1.len() > MAX_FIELD {
        return Err("the user name or the password is too long");
    }
    // RFC 7617 §2: no control characters in either, and no colon in the user name.
    if found.0.contains(':') || [&found.0, &found.1].iter().any(|text| text.chars().any(char::is_control)) {
        return Err("the user name or the password has characters that cannot be sent");
    }
    Ok(found)
}

/// Padded or not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// base64 of `user:password`.
fn decode_auth(auth: &str) -> Result<(String, String), &'static str> {
    if auth.len() > 2 * MAX_FIELD {
        return Err("auth is too long");
    }
    let bytes = LENIENT.decode(auth).map_err(|_| "auth is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "auth is not base64 of UTF-8 text")?;
    let (username, password) = text.split_once(':').ok_or_else(|| match LENIENT.decode(text.trim()) {
        Ok(again) if again.contains(&b':') => "auth is base64 of base64; encode user:password once",
        _ => "auth is not base64 of user:password",
    })?;
    if username.is_empty() {
        return Err("auth names no user");
    }
    // Docker's own writer pads with NUL bytes.
    Ok((username.to_owned(), password.trim_matches('\0').to_owned()))
}

/// A file that cannot be used.
#[derive(Debug)]
pub(crate) enum DockerConfigError {
    /// It is not JSON.
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// It is JSON of another shape.
    Shape,
    /// `.dockerconfigjson` without `auths`.
    NoAuths {
        /// Does it name a credential helper instead?
        is_helped: bool,
    },
    /// It begins with a byte order mark.
    ByteOrderMark,
    /// It is base64 of a docker config.
    TwiceBase64,
    /// It has more JSON values than are parsed.
    TooMuch,
    /// It has more registries than are used.
    TooMany {
        /// How many there are.
        found: usize,
    },
}

impl DockerConfigError {
    /// serde_json's message may quote the file, which is secret, so only the position is kept.
    fn json(bytes: &[u8], error: &serde_json::Error) -> Self {
        if [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| bytes.starts_with(mark)) {
            return Self::ByteOrderMark;
        }
        // Lines of 76, as the command `base64` makes them.
        let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        if LENIENT.decode(text).is_ok_and(|inner| inner.trim_ascii_start().starts_with(b"{")) {
            return Self::TwiceBase64;
        }
        Self::Json { line: error.line(), column: error.column() }
    }
}

impl fmt::Display for DockerConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { line, column } => write!(f, "is not JSON (line {line}, column {column})"),
            Self::Shape => f.write_str("is JSON, but not a docker config"),
            Self::NoAuths { is_helped: true } => write!(f, "has no \"auths\": {HELPED}"),
            Self::NoAuths { is_helped: false } => f.write_str("has no \"auths\""),
            Self::ByteOrderMark => {
                f.write_str("begins with a byte order mark, and so is not JSON; save it as UTF-8 without one")
            }
            Self::TwiceBase64 => f.write_str(
                "is a docker config in base64, encoded once too often; in a Secret, plain text stands under stringData and \
                 its base64 under data",
            ),
            Self::TooMuch => write!(f, "has far more in it than {MAX_ENTRIES} registries need"),
            Self::TooMany { found } => write!(f, "has {found} registries, the most is {MAX_ENTRIES}"),
        }
    }
}

impl std::error::Error for DockerConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(entry: &str) -> DockerConfig {
        parse(format!(r#"{{"auths":{{"registry.local:9001":{entry}}}}}"#).as_bytes(), Format::Json).unwrap()
    }

    /// A tenant writes them. Longer ones are never sent.
    #[test]
    fn neither_user_nor_password_is_too_long() {
        for (field, other) in
            [("username", ",\"password\":\"x\""), ("password", ",\"username\":\"x\""), ("identitytoken", "")]
        {
            let with = |length: usize| one(&format!("{{\"{field}\":\"{}\"{other}}}", "a".repeat(length)));
            assert_eq!(with(MAX_FIELD).entries.len(), 1, "{field}");
            let config = with(MAX_FIELD + 1);
            assert!(config.entries.is_empty() && config.problems[0].contains("too long"), "{field}: {config:?}");
        }
    }

    #[test]
    fn reads_auth_or_username_and_password() {
        const TABLE: [(&str, Option<(&str, &str)>); 18] = [
            (r#"{"auth":"YWxpY2U6c2VjcmV0"}"#, Some(("alice", "secret"))),
            (r#"{"auth":"YWxpY2U6c2VjcmV0cw=="}"#, Some(("alice", "secrets"))),
            (r#"{"auth":"YWxpY2U6c2VjcmV0cw"}"#, Some(("alice", "secrets"))),
            (r#"{"auth":" YWxpY2U6c2VjcmV0cw==\n"}"#, Some(("alice", "secrets"))),
            // alice:a:b:c
            (r#"{"auth":"YWxpY2U6YTpiOmM="}"#, Some(("alice", "a:b:c"))),
            (r#"{"auth":"YWxpY2U6c2VjcmV0","username":"bob","password":"x"}"#, Some(("alice", "secret"))),
            (r#"{"auth":"%%%","username":"bob","password":"x"}"#, Some(("bob", "x"))),
            // "alice" without a colon
            (r#"{"auth":"YWxpY2U=","username":"bob","password":"x"}"#, Some(("bob", "x"))),
            (r#"{"auth":"","username":"bob","password":"x:y","email":"e"}"#, Some(("bob", "x:y"))),
            (r#"{"username":"bob","password":"x","auth":null}"#, Some(("bob", "x"))),
            (r#"{"auth":"YWxpY2U6","identitytoken":"t0k"}"#, Some((TOKEN_USER, "t0k"))),
            (r#"{"auth":"YWxpY2U6c2VjcmV0","identitytoken":""}"#, Some(("alice", "secret"))),
            (r#"{"auth":"%%%"}"#, None),
            (r#"{}"#, None),
            (r#"{"username":"bob"}"#, None),
            (r#"{"password":"x"}"#, None),
            (r#"{"username":"b:ob","password":"x"}"#, None),
            (r#"{"username":"bob","password":"x\r\ny"}"#, None),
        ];
        for (entry, expected) in TABLE {
            let config = one(entry);
            let found = config.entries.first().map(|e| (e.username.as_str(), e.password.reveal()));
            assert_eq!(found, expected, "{entry}");
            assert_eq!(config.problems.len(), usize::from(expected.is_none()), "{entry}");
        }
    }

    #[test]
    fn one_bad_entry_leaves_the_others() {
        let text = br#"{"auths":{"":{"username":"a","password":"b"},"quay.io":{"auth":"!"},"docker.io":{"username":"a","password":"b"}}}"#;
        let config = parse(text, Format::Json).unwrap();
        assert_eq!(config.entries.len(), 1);
        assert_eq!(config.problems.len(), 2);
        assert!(config.problems.iter().any(|p| p.contains("quay.io") && p.contains("base64")), "{:?}", config.problems);
    }

    #[test]
    fn what_stands_in_a_key_s_address_is_told_to_nobody() {
        for key in
            ["https://alice:hunter2@registry.local/v2/", "alice:hunter2@registry.local", "a:hunter2/@registry.local"]
        {
            for (entry, is_good) in
                [("{}", false), (r#"{"auth":"!"}"#, false), (r#"{"username":"a","password":"b"}"#, true)]
            {
                let config = parse(format!(r#"{{"auths":{{"{key}":{entry}}}}}"#).as_bytes(), Format::Json).unwrap();
                assert_eq!((config.entries.len(), config.problems.is_empty()), (usize::from(is_good), is_good));
                let told: Vec<_> = config.entries.iter().map(|entry| &entry.registry).chain(&config.problems).collect();
                assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
                assert!(told[0].contains("@registry.local"), "{told:?}");
            }
        }
    }

    #[test]
    fn what_would_take_many_times_its_bytes_is_not_read() {
        let flood = |start: &str, one: &str, end: &str| format!("{start}{}{end}", one.repeat(50_000));
        for text in [flood(r#"{"auths":{"a":{}"#, r#","a":{}"#, "}}"), flood(r#"{"auths":{},"x":[0"#, ",0", "]}")] {
            assert!(matches!(parse(text.as_bytes(), Format::Json), Err(DockerConfigError::TooMuch)));
        }
        let most: Vec<String> = (0..MAX_ENTRIES)
            .map(|n| {
                format!(r#""r{n}.local":{{"auth":"YTpi","username":"a","password":"b","email":"a@b","x":{{"y":1}}}}"#)
            })
            .collect();
        let most = |more: &str| parse(format!(r#"{{"auths":{{{}{more}}}}}"#, most.join(",")).as_bytes(), Format::Json);
        assert_eq!(most("").unwrap().entries.len(), MAX_ENTRIES);
        assert!(matches!(most(r#","z":{}"#), Err(DockerConfigError::TooMany { .. })));
    }

    #[test]
    fn the_older_shape_has_no_auths() {
        let text = br#"{"https://index.docker.io/v1/":{"auth":"YWxpY2U6c2VjcmV0","email":"x"}}"#;
        assert_eq!(parse(text, Format::Cfg).unwrap().entries.len(), 1);
        assert!(matches!(parse(text, Format::Json), Err(DockerConfigError::NoAuths { is_helped: false })));
    }

    #[test]
    fn what_is_often_mistaken_for_a_docker_config_is_called_by_its_name() {
        let good = r#"{"auths":{"quay.io":{"auth":"YWxpY2U6c2VjcmV0"}}}"#;
        let twice = base64::prelude::BASE64_STANDARD.encode(good);
        let wrapped = format!("{}\n{}\n", &twice.get(..20).unwrap(), &twice.get(20..).unwrap());
        let utf_16: Vec<u8> = [0xff, 0xfe].into_iter().chain(good.bytes().flat_map(|byte| [byte, 0])).collect();
        for (bytes, words) in [
            (r#"{"credsStore":"desktop"}"#.into(), "credential helper"),
            (r#"{"credHelpers":{"quay.io":"ecr-login"}}"#.into(), "credential helper"),
            (format!("\u{feff}{good}").into_bytes(), "byte order mark"),
            (utf_16, "byte order mark"),
            (twice.into_bytes(), "once too often"),
            (wrapped.into_bytes(), "once too often"),
            (r#"{"HttpHeaders":{}}"#.into(), "has no \"auths\""),
        ] {
            let error = parse(&bytes, Format::Json).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        // A helper for other registries takes nothing away.
        let some = r#"{"auths":{"quay.io":{},"a.io":{"auth":"YWxpY2U6c2VjcmV0"}},"credsStore":"desktop"}"#;
        let config = parse(some.as_bytes(), Format::Json).unwrap();
        assert_eq!(config.entries.len(), 1);
        assert!(config.problems[0].contains("\"quay.io\": the password is with a credential helper"), "{config:?}");
        let config = parse(br#"{"auths":{},"credHelpers":{"a.io":"x"}}"#, Format::Json).unwrap();
        assert!(config.problems[0].starts_with("holds no password: "), "{config:?}");
        let config =
            parse(br#"{"auths":{"a.io":{"auth":"YWxpY2U6c2VjcmV0"}},"credsStore":"x"}"#, Format::Json).unwrap();
        assert_eq!((config.entries.len(), config.problems.len()), (1, 0));
        // base64 of base64 of alice:secret
        let config = one(r#"{"auth":"WVd4cFkyVTZjMlZqY21WMA=="}"#);
        assert!(config.problems[0].contains("base64 of base64"), "{config:?}");
    }

    #[test]
    fn errors_never_repeat_what_the_file_holds() {
        const SECRET: &str = "hunter2";
        for text in [
            r#"{"auths":{"h":{"password":hunter2}}}"#,
            r#"{"auths":{"h":"hunter2"}}"#,
            r#"{"auths":"hunter2"}"#,
            r#"{"auths":{"h":{"username":"u","password":["hunter2"]}}}"#,
            "hunter2",
            "",
            "\u{0}",
            "[]",
        ] {
            let error = parse(text.as_bytes(), Format::Json).unwrap_err();
            assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
        }
        let config = one(&format!(r#"{{"username":"u","password":"{SECRET}"}}"#));
        assert!(!format!("{config:?}").contains(SECRET));
        let config = one(&format!(r#"{{"auth":"{SECRET}"}}"#));
        assert!(!format!("{config:?}").contains(SECRET));
    }

    #[test]
    fn json_of_another_shape_is_no_docker_config() {
        for text in [
            "[]",
            r#"{"auths":[]}"#,
            r#"{"auths":{"a.io":"x"}}"#,
            r#"{"auths":{"a.io":["x"]}}"#,
            r#"{"auths":{"a.io":{"auth":7}}}"#,
            r#"{"auths":{"a.io":{"username":{}}}}"#,
        ] {
            let error = parse(text.as_bytes(), Format::Json).unwrap_err();
            assert_eq!(error.to_string(), "is JSON, but not a docker config", "{text}");
        }
    }
}
