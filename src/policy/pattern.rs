//! Patterns of policies: which images a rule matches.
//!
//! A pattern is `[host/]path[:tag][@digest]`, normalised as references are, and matched part by part: the host part
//! against the image's host alone and whole, the path against the path, the tag against the tag. `*` stands for any
//! run of characters within its part. In the path, the run can contain `/`. `reg.io` and `reg.io:443` are the same host.
//!
//! - Without a tag (or with `:*`) every tag and every digest matches.
//! - With a tag, the image must name a matching tag. An image without a tag could have any tag, so it matches. `selection` says
//!   which of several such rules decides.
//! - With a digest, the image must name that digest. The digest must be complete.
//!
//! A pattern that could never match an image is refused when policies are loaded. A pattern is never compared with an image as
//! it was typed.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use portreeve_verify::image::{
    DOCKER_HUB, Digest, DigestError, Glob, MAX_NAME, MAX_TAG, Reference, ReferenceError, check_path, check_tag,
    is_host, normal_host, normal_path, one_spelling, split_tag,
};
use portreeve_verify::text::printable;

/// The most stars of a pattern of the site's. Each costs time for every image that the pattern is compared with.
const MAX_STARS: usize = 32;
/// The most stars of a pattern in a namespace's own ConfigMap.
const MAX_OWN_STARS: usize = 8;

/// A normalised pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    host: Glob,
    path: Glob,
    tag: Option<Glob>,
    digest: Option<Digest>,
}

impl Pattern {
    /// Reads and normalises a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(PatternError::Scheme { scheme: scheme.to_owned() });
        }
        if text.bytes().all(|b| b == b'*') {
            return Ok(Self { host: Glob::new("*"), path: Glob::new("*"), tag: None, digest: None });
        }
        let (rest, digest) = match text.split_once('@') {
            Some((_, digest)) if digest.contains('*') => return Err(PatternError::DigestStar),
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).map_err(PatternError::Digest)?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        let (host, path) = split_host(name);
        check_path_pattern(path)?;
        let (host, path) = match host {
            None => (DOCKER_HUB.to_owned(), normal_path(DOCKER_HUB, path)),
            Some(host) => {
                let host = normal_host_pattern(host)?;
                let path = normal_path_pattern(&host, path);
                (host, path)
            }
        };
        if host.len() + 1 + path.len() > MAX_NAME {
            return Err(PatternError::TooLong { length: host.len() + 1 + path.len(), limit: MAX_NAME });
        }
        tag.map_or(Ok(()), check_tag_pattern)?;
        let tag = tag.map(Glob::new).filter(|tag| !tag.is_everything());
        let pattern = Self { host: Glob::new(&host), path: Glob::new(&path), tag, digest };
        pattern.check_stars(MAX_STARS)?;
        Ok(pattern)
    }

    /// Refuses a pattern with more stars than a namespace's own ConfigMap may have in one.
    pub(super) fn check_own(&self) -> Result<(), PatternError> {
        self.check_stars(MAX_OWN_STARS)
    }

    fn check_stars(&self, limit: usize) -> Result<(), PatternError> {
        let found = self.parts().map(Glob::stars).sum();
        if found > limit { Err(PatternError::TooManyStars { found, limit }) } else { Ok(()) }
    }

    /// Does the image match? An image without a tag matches every tag of a pattern.
    pub fn matches(&self, image: &Reference) -> bool {
        let (host, path) = compared(image);
        let matches_tag = match (&self.tag, image.tag()) {
            (Some(tag), Some(given)) => tag.matches(given),
            _ => true,
        };
        matches_tag
            && self.matches_host(host)
            && self.path.matches(path)
            && self.digest.is_none_or(|digest| image.digest() == Some(digest))
    }

    /// Does it match every tag?
    pub(super) fn matches_every_tag(&self) -> bool {
        self.tag.is_none()
    }

    /// The tags that it matches; `None` for all.
    pub(super) fn tags(&self) -> Option<&Glob> {
        self.tag.as_ref()
    }

    /// Does it match everything?
    pub(super) fn is_everything(&self) -> bool {
        self.parts().all(Glob::is_everything) && self.digest.is_none()
    }

    /// Does it match all of a registry, or more than one registry?
    pub(super) fn is_wide(&self) -> bool {
        (self.path.is_everything() || self.host.literal().is_none()) && self.tag.is_none() && self.digest.is_none()
    }

    /// Does it match every image of that name that the other matches?
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.covers_tags_of(other) && self.digest.is_none_or(|digest| other.digest == Some(digest))
    }

    /// An image with a name that it matches and this tag, if it does not match the tag.
    pub(super) fn sibling(&self, tag: &str) -> Option<Reference> {
        let other = self.tag.as_ref().is_some_and(|own| !own.matches(tag)) && self.digest.is_none();
        let name = format!("{}/{}", self.host.filled("x"), self.path.filled("x"));
        Reference::parse(&format!("{name}:{tag}")).ok().filter(|image| other && image.name() == name)
    }

    /// Does it match every tag that the other matches?
    pub(super) fn covers_tags_of(&self, other: &Self) -> bool {
        match (&self.tag, &other.tag) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(tag), Some(other)) => tag.covers(other),
        }
    }

    /// Does it match this host, with or without the default port? Only a pattern with a star could tell the two apart.
    fn matches_host(&self, host: &str) -> bool {
        let has_port = || host.rsplit_once(']').map_or(host, |(_, after)| after).contains(':');
        let has_star = self.host.literal().is_none();
        self.host.matches(host) || (has_star && !has_port() && self.host.matches(&format!("{host}:443")))
    }

    /// Could an image that it matches have a name with this prefix, which ends in `/`? A star is assumed to match anything.
    pub(super) fn reaches(&self, prefix: &str) -> bool {
        let (host, under) = prefix.split_once('/').unwrap_or((prefix, ""));
        let path = self.path.before_star();
        let more = self.path.literal().is_none() && under.starts_with(path);
        self.matches_host(host) && (more || path.starts_with(under))
    }

    /// The host, if it has no star.
    pub fn exact_host(&self) -> Option<&str> {
        self.host.literal()
    }

    /// The folder of all images that it matches, from the path before its first star: `a/b` for `a/b/c*`, empty for `a*`.
    pub(super) fn folder(&self) -> &str {
        let before_star = self.path.before_star();
        before_star.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The path, if it has no star.
    pub fn exact_path(&self) -> Option<&str> {
        self.path.literal()
    }

    /// `Less` if this pattern precedes the other: exact before wildcard, then more literal characters. Different patterns are
    /// never equal, so the order of files never decides.
    pub fn precedence(&self, other: &Self) -> Ordering {
        let specific = |pattern: &Self| (pattern.is_exact(), pattern.literals());
        let names = || (&self.host, &self.path, &self.tag).cmp(&(&other.host, &other.path, &other.tag));
        let digest = |pattern: &Self| pattern.digest.map(|digest| digest.to_string());
        specific(other).cmp(&specific(self)).then_with(names).then_with(|| digest(self).cmp(&digest(other)))
    }

    /// Are the two equally specific?
    pub fn ties_with(&self, other: &Self) -> bool {
        (self.is_exact(), self.literals()) == (other.is_exact(), other.literals())
    }

    fn is_exact(&self) -> bool {
        self.parts().all(|part| part.literal().is_some())
    }

    /// The number of characters that are not stars.
    fn literals(&self) -> usize {
        self.parts().map(Glob::literals).sum::<usize>() + self.digest.map_or(0, |digest| digest.to_string().len())
    }

    fn parts(&self) -> impl Iterator<Item = &Glob> {
        [&self.host, &self.path].into_iter().chain(&self.tag)
    }
}

/// The host and path of an image that patterns are compared with.
pub(crate) fn compared(image: &Reference) -> (&str, &str) {
    (image.host(), image.path())
}

/// The normalised pattern.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// Splits `host/path` as in a reference. A first part with a star is a host too: `*.icr.io/x` is not on Docker Hub. Without a
/// slash there is no host: `icr.io*` names a repository on Docker Hub, and does not match `icr.io.evil.com`.
fn split_host(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest)) if first.contains('*') || is_host(first) => (Some(first), rest),
        _ => (None, name),
    }
}

fn normal_host_pattern(host: &str) -> Result<String, PatternError> {
    if !host.contains('*') {
        let host = normal_host(host).map_err(PatternError::Reference)?;
        return Ok(one_spelling(&host).into_owned());
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'*' | b'.' | b'-' | b':' | b'[' | b']');
    if !host.bytes().all(allowed) || host.contains("..") || host.starts_with('.') {
        return Err(PatternError::Host { host: host.to_owned() });
    }
    let host = host.to_ascii_lowercase();
    let Some(end) = host.find(']') else { return Ok(host) };
    // The star is in the port. A star in the address could miss an address, because each has several spellings.
    let (address, port) = host.split_at(end + 1);
    match address {
        "[*]" => return Ok(host),
        _ if address.contains('*') => return Err(PatternError::AddressStar),
        _ => {}
    }
    let address = normal_host(address).map_err(PatternError::Reference)?;
    Ok(format!("{}{port}", one_spelling(&address)))
}

/// Checks a path with stars: it has no character and no empty component that a name cannot have.
fn check_path_pattern(path: &str) -> Result<(), PatternError> {
    if path.is_empty() || path.ends_with('/') {
        return Err(PatternError::EndsInSlash);
    }
    if !path.contains('*') {
        return check_path(path).map_err(PatternError::Reference);
    }
    for component in path.split('/') {
        if component.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(PatternError::Reference(ReferenceError::Uppercase { component: component.to_owned() }));
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'*' | b'.' | b'_' | b'-');
        if component.is_empty() || !component.bytes().all(allowed) {
            return Err(PatternError::Reference(ReferenceError::Component { component: component.to_owned() }));
        }
    }
    Ok(())
}

/// As in a reference, a single word is an official image. `docker.io/*` is all of Docker Hub.
fn normal_path_pattern<'a>(host: &str, path: &'a str) -> Cow<'a, str> {
    if path.bytes().all(|b| b == b'*') { path.into() } else { normal_path(host, path) }
}

fn check_tag_pattern(tag: &str) -> Result<(), PatternError> {
    let bad = || PatternError::Reference(ReferenceError::Tag { tag: tag.to_owned() });
    if tag.is_empty() || tag.len() > MAX_TAG {
        return Err(bad());
    }
    // It must be a tag when a letter replaces each star.
    check_tag(&tag.replace('*', "x")).map_err(|_| bad())
}

/// Why a pattern was refused: it could never match an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It is empty.
    Empty,
    /// The path is empty or ends in `/`.
    EndsInSlash,
    /// Host and path are too long together.
    TooLong {
        /// Their length in bytes.
        length: usize,
        /// The longest name.
        limit: usize,
    },
    /// The host has a star, and a character that no host has.
    Host {
        /// As written.
        host: String,
    },
    /// It has too many stars.
    TooManyStars {
        /// Their number.
        found: usize,
        /// The most stars.
        limit: usize,
    },
    /// It is a URL.
    Scheme {
        /// Its scheme.
        scheme: String,
    },
    /// There is a star in an IPv6 address.
    AddressStar,
    /// There is a star in the digest.
    DigestStar,
    /// The digest is invalid.
    Digest(DigestError),
    /// A part without a star is invalid in a reference.
    Reference(ReferenceError),
}

impl PatternError {
    /// What to write instead, if there is advice.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Empty => "\"*\" matches every image",
            Self::EndsInSlash => "end it in \"/*\" to match everything below",
            Self::AddressStar => "write the whole address, or \"*\" for every host",
            Self::DigestStar => "leave the digest out to match every tag and every digest",
            Self::Reference(ReferenceError::Uppercase { .. }) => "write it in lowercase",
            Self::TooManyStars { .. } => "write several patterns with fewer stars",
            Self::Scheme { .. } => "write it as images are named: registry.local:9001/plant/*",
            Self::Reference(_) | Self::Host { .. } => {
                "a pattern is [host[:port]/]repository[:tag], with * for any run of characters"
            }
            Self::TooLong { .. } | Self::Digest(_) => return None,
        })
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the pattern is empty"),
            Self::EndsInSlash => f.write_str("the pattern names no repository after its last slash"),
            Self::TooLong { length, limit } => {
                write!(f, "the pattern has {length} bytes, an image name has {limit} at most")
            }
            Self::Host { host } => write!(f, "\"{}\" can match no registry host", printable(host, 80)),
            Self::TooManyStars { found, limit } => {
                write!(f, "the pattern has {found} stars, the most is {limit}")
            }
            Self::Scheme { scheme } => {
                write!(f, "the pattern begins with \"{}://\", which no image name does", printable(scheme, 40))
            }
            Self::AddressStar => f.write_str("a star cannot stand for a part of an IPv6 address"),
            Self::DigestStar => f.write_str("a digest in a pattern must be a whole one"),
            Self::Digest(error) => error.fmt(f),
            Self::Reference(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PatternError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Digest(error) => Some(error),
            Self::Reference(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
