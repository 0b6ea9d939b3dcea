//! Image references as people write them, parsed by Docker's grammar and normalised as Docker and containerd do: `nginx` is
//! `docker.io/library/nginx:latest`.
//!
//! References that a container runtime refuses are refused, and so are a few that it accepts and that only look different, such
//! as a port with leading zeros.

use std::borrow::Cow;
use std::fmt;

use super::host::{DOCKER_HUB, is_host, normal_host, one_spelling};
use super::{Digest, DigestError, Sha256};
use crate::text::printable;

/// The namespace of Docker Hub's images with a single word as name.
pub(crate) const OFFICIAL: &str = "library";
/// The longest name, host and path, that registries accept.
pub const MAX_NAME: usize = 255;
/// The longest tag.
pub const MAX_TAG: usize = 128;
/// Longer than any name with a tag and a SHA-512 digest. Longer texts are refused unread.
const MAX_TEXT: usize = 1024;

/// Names that a runtime reads as the beginning of an image ID. For `sha256:0123…` it runs the image on the node whose ID begins
/// so, whatever repository that image comes from.
const DIGEST_ALGORITHMS: [&str; 4] = ["sha256", "sha384", "sha512", "blake3"];

/// A normalised image reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The name, and the tag behind a colon.
    text: String,
    /// The length of the name.
    name: usize,
    /// [`Reference::repository`], if it is not the name.
    repository: Option<String>,
    /// The length of the host in [`Reference::repository`].
    host: usize,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > MAX_TEXT {
            return Err(ReferenceError::TooLong { length: text.len(), limit: MAX_TEXT });
        }
        if let Some((scheme, name)) = text.split_once("://") {
            return Err(ReferenceError::Scheme { scheme: scheme.to_owned(), name: name.to_owned() });
        }
        // Docker reads this as an image ID in one place and as a name in another, so it is refused as a name.
        if Sha256::from_hex(text).is_some() {
            return Err(ReferenceError::BareHash);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).map_err(ReferenceError::Digest)?)),
            None => (text, None),
        };
        let (typed_name, typed_tag) = split_tag(rest);
        if typed_tag.is_some() && DIGEST_ALGORITHMS.contains(&typed_name) {
            return Err(ReferenceError::BareHash);
        }
        if let Some(tag) = typed_tag {
            check_tag(tag)?;
        }
        let (host, path) = split_host(typed_name);
        let host = normal_host(host)?;
        check_path(path)?;
        // Only a reference without tag and digest means `latest`. A digest alone has no tag.
        let tag = typed_tag.or(digest.is_none().then_some("latest"));
        let mut text = joined(&host, path, tag.map_or(0, |tag| 1 + tag.len()));
        let name = text.len();
        if name > MAX_NAME {
            return Err(ReferenceError::TooLong { length: name, limit: MAX_NAME });
        }
        let spelling = one_spelling(&host);
        let repository = (*spelling != *host).then(|| joined(&spelling, path, 0));
        if let Some(tag) = tag {
            text.push(':');
            text.push_str(tag);
        }
        Ok(Self { text, name, repository, host: spelling.len(), digest })
    }

    /// Normalised name, with the port that was typed: `docker.io/library/nginx`, `reg.io:443/app`.
    pub fn name(&self) -> &str {
        self.text.get(..self.name).unwrap_or_default()
    }

    /// The name by which the repository is compared, with its host in one spelling: `reg.io/app`.
    pub fn repository(&self) -> &str {
        self.repository.as_deref().unwrap_or_else(|| self.name())
    }

    /// The registry's host in its one spelling.
    pub fn host(&self) -> &str {
        self.repository().get(..self.host).unwrap_or_default()
    }

    /// The path of [`Self::repository`], without host.
    pub fn path(&self) -> &str {
        self.repository().get(self.host + 1..).unwrap_or_default()
    }

    /// The tag that is given, or `latest` if neither tag nor digest is given.
    pub fn tag(&self) -> Option<&str> {
        self.text.get(self.name + 1..)
    }

    /// The digest, if one is given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// `<name>:<tag>@sha256:<hex>`, or without a tag if the reference has none. People still see the tag, and a rule with this tag
    /// in its pattern still matches.
    pub fn pinned_to(&self, digest: Sha256) -> String {
        let mut out = String::with_capacity(self.text.len() + "@sha256:".len() + 64);
        out.push_str(&self.text);
        out.push('@');
        digest.push_to(&mut out);
        out
    }
}

/// The normalised reference: `docker.io/library/nginx:latest`, `reg.io/app@sha256:…`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// Splits `name:tag`. A colon before the last slash belongs to a port.
pub fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Splits `host/path`. Without a host the name is Docker Hub's. As in Docker, the first component is a host if it has a dot, a
/// colon or an uppercase letter, or is `localhost`.
fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (first, rest),
        _ => (DOCKER_HUB, name),
    }
}

/// The name of this path on this host. `more` is room for what is added to it.
fn joined(host: &str, path: &str, more: usize) -> String {
    let path = normal_path(host, path);
    let mut out = String::with_capacity(host.len() + 1 + path.len() + more);
    out.push_str(host);
    out.push('/');
    out.push_str(&path);
    out
}

/// Checks a repository's path.
pub fn check_path(path: &str) -> Result<(), ReferenceError> {
    path.split('/').try_for_each(check_component)
}

/// One component of a path: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn check_component(component: &str) -> Result<(), ReferenceError> {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bad = || ReferenceError::Component { component: component.to_owned() };
    if component.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::Uppercase { component: component.to_owned() });
    }
    let mut rest = component;
    loop {
        let word = rest.bytes().take_while(|&b| alphanumeric(b)).count();
        let (_, after) = rest.split_at_checked(word).filter(|_| word > 0).ok_or_else(bad)?;
        if after.is_empty() {
            return Ok(());
        }
        let separator = after.bytes().take_while(|&b| !alphanumeric(b)).count();
        let (separator, next) = after.split_at_checked(separator).ok_or_else(bad)?;
        let fits = matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
        if !fits {
            return Err(bad());
        }
        rest = next; // an empty rest has no word and is refused above
    }
}

/// The path on this host. On Docker Hub a single word is an official image.
pub fn normal_path<'a>(host: &str, path: &'a str) -> Cow<'a, str> {
    if host == DOCKER_HUB && !path.contains('/') { format!("{OFFICIAL}/{path}").into() } else { path.into() }
}

/// A tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
pub fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fits = tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if fits { Ok(()) } else { Err(ReferenceError::Tag { tag: tag.to_owned() }) }
}

/// Why a reference was refused. Its `Display` is safe to print; its fields hold untrusted text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    /// The text is empty.
    Empty,
    /// The text or the normalised name is too long.
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The most bytes that it may have.
        limit: usize,
    },
    /// 64 hexadecimal digits, alone or behind `sha256:`, which are an image ID or a digest.
    BareHash,
    /// The host is invalid.
    Host {
        /// As written.
        host: String,
    },
    /// It is a host only because of its uppercase letters, so it has no normalised form.
    HostByCase {
        /// As written.
        host: String,
    },
    /// The port is invalid.
    Port {
        /// As written.
        port: String,
    },
    /// A part of the path is invalid.
    Component {
        /// As written.
        component: String,
    },
    /// A part of the path has uppercase letters.
    Uppercase {
        /// As written.
        component: String,
    },
    /// It is a URL.
    Scheme {
        /// The scheme.
        scheme: String,
        /// What stands after it.
        name: String,
    },
    /// The tag is invalid.
    Tag {
        /// As written.
        tag: String,
    },
    /// The digest is invalid.
    Digest(DigestError),
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| printable(text, 80);
        match self {
            Self::Empty => f.write_str("the image name is empty"),
            Self::TooLong { length, limit } => {
                write!(f, "the image name has {length} bytes, {limit} is the most there may be")
            }
            Self::Scheme { scheme, name } => {
                write!(f, "an image name has no {}://: write {}", quoted(scheme), quoted(name))
            }
            Self::BareHash => f.write_str(
                "an image ID, or a digest alone, is no image name; a digest is written <name>@sha256:<digits>",
            ),
            Self::Host { host } => write!(f, "\"{}\" is no registry host", quoted(host)),
            Self::HostByCase { host } => write!(
                f,
                "\"{}\" is a host only by its uppercase letters; write it with a domain or a port",
                quoted(host)
            ),
            Self::Port { port } => write!(f, "\"{}\" is no port from 1 to 65535", quoted(port)),
            Self::Component { component } if component.is_empty() => {
                f.write_str("a part of the repository's name is empty")
            }
            Self::Component { component } => write!(
                f,
                "\"{}\" cannot be part of a repository's name: lowercase letters and digits, separated by \
                 single dots, one or two underscores, or hyphens",
                quoted(component)
            ),
            Self::Uppercase { component } => {
                write!(f, "\"{}\" has uppercase letters, a repository's name has none", quoted(component))
            }
            Self::Tag { tag } => write!(
                f,
                "\"{}\" is no tag: 1 to {MAX_TAG} letters, digits, '_', '.' and '-', the first neither '.' nor '-'",
                quoted(tag)
            ),
            Self::Digest(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReferenceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Digest(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// Text (`#` stands for a sha256 digest), name, tag, has a digest.
    const GOOD: &[(&str, &str, Option<&str>, bool)] = &[
        ("nginx", "docker.io/library/nginx", Some("latest"), false),
        ("ubuntu:v1@#", "docker.io/library/ubuntu", Some("v1"), true),
        ("namespace/name", "docker.io/namespace/name", Some("latest"), false),
        ("docker.io/nginx", "docker.io/library/nginx", Some("latest"), false),
        ("index.docker.io/nginx:1", "docker.io/library/nginx", Some("1"), false),
        ("Index.Docker.IO/a/b", "docker.io/a/b", Some("latest"), false),
        ("test.com:8080/namespace/name@#", "test.com:8080/namespace/name", None, true),
        ("test.com:8080/namespace/name", "test.com:8080/namespace/name", Some("latest"), false),
        ("test.com:8080/namespace/name:v2", "test.com:8080/namespace/name", Some("v2"), false),
        ("REG.Example.com/a/b:C", "reg.example.com/a/b", Some("C"), false),
        ("LOCALHOST/x", "localhost/x", Some("latest"), false),
        ("REG:80/a:b", "reg:80/a", Some("b"), false),
        ("localhost/x", "localhost/x", Some("latest"), false),
        ("localhost:5000", "docker.io/library/localhost", Some("5000"), false),
        ("localhost:5000/x", "localhost:5000/x", Some("latest"), false),
        ("[::1]:5000/x:t", "[::1]:5000/x", Some("t"), false),
        ("[2001:DB8::1]/x", "[2001:db8::1]/x", Some("latest"), false),
        ("a/b__c/d---e/f.g_h", "docker.io/a/b__c/d---e/f.g_h", Some("latest"), false),
        ("reg.io:65535/x:_", "reg.io:65535/x", Some("_"), false),
    ];

    const BAD: &[&str] = &[
        "",
        "?",
        "Invalid&Image%Name",
        "Nginx",
        "a/Nginx",
        "nginx:",
        "nginx@",
        "@",
        ":",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a b",
        " nginx",
        "nginx\n",
        "nginx\0",
        "nginx:v 1",
        "nginx:-1",
        "nginx:.1",
        "nginx:é",
        "ñginx",
        "аpp",
        "a:b/c:d",
        "a:b:c",
        "reg.io:0/x",
        "reg.io:65536/x",
        "reg.io:080/x",
        "reg.io:+1/x",
        "reg.io:/x",
        "-a.io/x",
        "a-.io/x",
        "a..io/x",
        "a.io./x",
        "re_g.io/x",
        "[::1/x",
        "[::1]x/y",
        "[::1]:/x",
        "[fe80::1%eth0]/x",
        "[1.2.3.4]/x",
        "[]/x",
        "[::1]",
        "a___b",
        "a._b",
        "a-",
        "_a",
        "a.",
        "nginx@sha256:12",
        "nginx@md5:00",
        "nginx@sha256",
        "nginx:v1@",
        "nginx@v1@sha256",
        "*",
        "a/*",
        "http://reg.io/x",
        "user@reg.io/x",
        "\u{202e}nginx",
    ];

    #[test]
    fn reads_and_normalises() {
        for &(text, name, tag, digest) in GOOD {
            let text = text.replace('#', &format!("sha256:{HEX}"));
            let reference = Reference::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(reference.name(), name, "{text}");
            assert_eq!(reference.tag(), tag, "{text}");
            assert_eq!(reference.digest().is_some(), digest, "{text}");
            assert_eq!(format!("{}/{}", reference.host(), reference.path()), name);
            assert_eq!(Reference::parse(&reference.to_string()), Ok(reference), "what it prints is what it reads");
        }
    }

    #[test]
    fn refuses_what_is_no_reference() {
        for bad in BAD {
            let error = Reference::parse(bad).expect_err(bad).to_string();
            assert!(!error.chars().any(char::is_control), "{error}");
        }
        for digits in [63, 65] {
            let text = format!("nginx@sha256:{}", "a".repeat(digits));
            assert_eq!(
                Reference::parse(&text),
                Err(ReferenceError::Digest(DigestError::Malformed { expected: 64 })),
                "{text}"
            );
        }
        assert!(Reference::parse(&format!("nginx@sha256:{}", HEX.to_uppercase())).is_err());
        assert!(Reference::parse(&format!("nginx@sha256:{HEX}@sha256:{HEX}")).is_err());
        assert!(Reference::parse(&format!("nginx@sha256:{HEX}:v1")).is_err());
    }

    #[test]
    fn a_url_is_no_name() {
        for (text, expected) in [
            ("https://registry.local/x", "an image name has no https://: write registry.local/x"),
            ("docker://nginx:1.27", "an image name has no docker://: write nginx:1.27"),
        ] {
            assert_eq!(Reference::parse(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_bare_hash_is_no_name() {
        assert_eq!(Reference::parse(HEX), Err(ReferenceError::BareHash));
        assert!(Reference::parse(HEX.get(1..).unwrap()).is_ok(), "63 digits are a name, as Docker has it");
        assert!(Reference::parse(&format!("reg.io/{HEX}")).is_ok());
        // A runtime looks for an image of this ID on the node, or of one that begins so, and not on Docker Hub.
        for id in [HEX, "e3b0c442", "0", "latest"] {
            for algorithm in DIGEST_ALGORITHMS {
                assert_eq!(Reference::parse(&format!("{algorithm}:{id}")), Err(ReferenceError::BareHash));
                assert!(Reference::parse(&format!("library/{algorithm}:{id}")).is_ok());
            }
        }
        assert_eq!(Reference::parse(&format!("sha256:{HEX}@sha256:{HEX}")), Err(ReferenceError::BareHash));
    }

    #[test]
    fn lengths_end() {
        let fits = "a".repeat(MAX_NAME - "docker.io/library/".len());
        assert!(Reference::parse(&fits).is_ok());
        assert_eq!(Reference::parse(&format!("{fits}a")), Err(ReferenceError::TooLong { length: 256, limit: 255 }));
        assert!(Reference::parse(&format!("a:{}", "t".repeat(128))).is_ok());
        assert!(matches!(Reference::parse(&format!("a:{}", "t".repeat(129))), Err(ReferenceError::Tag { .. })));
        assert!(Reference::parse(&"a/".repeat(1 << 20)).is_err());
    }

    #[test]
    fn uppercase_is_told_from_nonsense() {
        assert_eq!(Reference::parse("REG/a"), Err(ReferenceError::HostByCase { host: "REG".into() }));
        assert!(matches!(Reference::parse("Nginx"), Err(ReferenceError::Uppercase { .. })));
        assert!(matches!(Reference::parse("reg.io/App"), Err(ReferenceError::Uppercase { .. })));
    }

    #[test]
    fn pins_to_a_digest() {
        let reference = Reference::parse("nginx:1.25").unwrap();
        assert_eq!(reference.pinned_to(Sha256::of(b"")), format!("docker.io/library/nginx:1.25@sha256:{HEX}"));
        let pinned = |text: &str| Reference::parse(text).unwrap().pinned_to(Sha256::of(b""));
        assert_eq!(
            pinned("nginx"),
            format!("docker.io/library/nginx:latest@sha256:{HEX}"),
            "an implied tag is written"
        );
        let again = format!("reg.io:443/a:v1@sha256:{HEX}");
        assert_eq!(
            (pinned("reg.io:443/a:v1"), pinned(&again)),
            (again.clone(), again),
            "what is pinned stays as it is"
        );
    }

    /// Nothing that can be typed makes it panic, and what it takes it prints and reads again.
    #[test]
    fn random_text_never_panics() {
        const PIECES: &[&str] = &[
            "a",
            "0",
            "A",
            ".",
            "_",
            "-",
            "/",
            ":",
            "@",
            "[",
            "]",
            "sha256:",
            "é",
            "\0",
            "docker.io",
            "5000",
            "*",
            " ",
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % 1_000_003).unwrap()
        };
        let mut taken = 0;
        for _ in 0..50_000 {
            let text: String = (0..next() % 9).map(|_| PIECES[next() % PIECES.len()]).collect();
            if let Ok(reference) = Reference::parse(&text) {
                taken += 1;
                assert_eq!(Reference::parse(&reference.to_string()), Ok(reference), "{text}");
            }
        }
        assert!(taken > 1000, "the loop reaches good references too: {taken}");
    }
}
