//! The names of trust data: the GUN (globally unique name) of a repository, and the names of delegations.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::image::{Reference, normal_host, one_spelling};
use crate::text::printable;

/// The most bytes of a GUN.
const MAX_GUN: usize = 255;

/// The name of a repository in trust data: the normalised image name without tag, `docker.io/library/nginx`. Its host has one
/// spelling, so `reg.io:443/x` and `reg.io/x` have the same trust data (TRUST.md, row 103). It becomes part of URLs and of file
/// names, so it may hold only the characters of an image name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gun(Arc<str>);

impl Gun {
    /// Checks a name: 1 to 255 bytes, components of letters, digits, `.`, `_`, `-` (in the first also a port, or an IPv6
    /// address in brackets), none empty, `.` or `..`.
    pub fn new(name: &str) -> Result<Self, GunError> {
        let error = || GunError { name: printable(name, 300) };
        let (first, below) = name.split_once('/').map_or((name, None), |(first, below)| (first, Some(below)));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(allowed);
        let is_address = first.starts_with('[') && normal_host(first).is_ok();
        if !(is_address || fits(&first.replace(':', ""))) || !below.is_none_or(|below| below.split('/').all(fits)) {
            return Err(error());
        }
        let host = one_spelling(first);
        let name = below.map_or_else(|| host.to_string(), |below| format!("{host}/{below}"));
        if name.len() > MAX_GUN { Err(error()) } else { Ok(Self(name.into())) }
    }

    /// The name of an image as people write it: `nginx` is `docker.io/library/nginx`.
    pub fn of(image: &Reference) -> Result<Self, GunError> {
        let name = image.repository();
        // Only its length is left to check: the grammar of references is stricter, and the host has its one spelling.
        if name.len() > MAX_GUN { Err(GunError { name: printable(name, 300) }) } else { Ok(Self(name.into())) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The registry's host.
    pub fn host(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(host, _)| host)
    }
}

impl fmt::Display for Gun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that cannot be a GUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GunError {
    name: String,
}

impl fmt::Display for GunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" cannot be the name of a repository in trust data", self.name)
    }
}

impl std::error::Error for GunError {}

/// A direct child of `targets`: `targets/<name>`. By Notary's rule the name has lowercase letters, digits, `-` and `_`
/// (TRUST.md, row 73).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(Arc<str>);

impl RoleName {
    /// `targets/releases`, the role that Docker publishes tags in.
    pub const RELEASES: &str = "targets/releases";

    /// The role [`Self::RELEASES`].
    pub fn releases() -> Self {
        Self(Self::RELEASES.into())
    }

    /// The rule for the names of signers.
    pub const SIGNER_RULE: &str = "a signer's name has lowercase letters, digits, '-' and '_', and is not \"releases\", \
                                   the role in which every signer's tags are released";

    /// The role of the signer `name`. `releases` is no signer: otherwise every released image would be signed by it.
    pub fn of_signer(name: &str) -> Option<Self> {
        Self::child_of_targets(name).filter(|role| role.as_str() != Self::RELEASES)
    }

    /// The role `targets/<name>`, of a signer or `releases`.
    pub(crate) fn child_of_targets(name: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        (!name.is_empty() && name.len() <= 128 && name.bytes().all(allowed))
            .then(|| Self(format!("targets/{name}").into()))
    }

    /// From a whole role name, `targets/<name>`.
    pub fn parse(role: &str) -> Option<Self> {
        role.strip_prefix("targets/").and_then(Self::child_of_targets)
    }

    /// The whole role name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The signer's name, without `targets/`.
    pub fn signer(&self) -> &str {
        self.0.strip_prefix("targets/").unwrap_or(&self.0)
    }
}

/// Maps by role are searched by the whole role name.
impl Borrow<str> for RoleName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guns_are_safe_in_urls_and_paths() {
        for good in
            ["docker.io/library/nginx", "registry.local:9001/plant/plc", "a", "localhost/x_y.z-1", "[fd00::1]:9001/x"]
        {
            assert_eq!(Gun::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(256);
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "a/../b",
            "..",
            "a/./b",
            "a b",
            "a%2fb",
            "a?b",
            "a/b:c",
            "ä",
            &long,
            ":/a",
            "[fd00::1/x",
            "[fd00::1]x/y",
            "[..]/x",
            "[::1]/[::1]",
            "a/[x]",
            "[/../]/x",
        ] {
            assert!(Gun::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn row_103_one_host_with_and_without_its_default_port() {
        for (one, other) in [
            ("reg.io:443/x", "reg.io/x"),
            ("[FD00:0::1]:443/x", "[fd00::1]/x"),
            ("index.docker.io:443/library/nginx", "nginx"),
            ("docker.io:443/nginx:1", "docker.io/library/nginx"),
            ("Reg.io:443/x", "reg.io/x"),
        ] {
            let of = |image: &str| Gun::of(&Reference::parse(image).unwrap()).unwrap();
            assert_eq!(of(one), of(other), "{one}");
            assert_eq!(of(one).as_str(), Gun::new(of(one).as_str()).unwrap().as_str());
        }
        for image in
            ["REG.io/a/b__c:1", "LOCALHOST/x-y", "[::ffff:0a01:2]:9001/x", "reg:443/a.b", "docker.io:443/a", "a/b/c"]
        {
            let image = Reference::parse(image).unwrap();
            assert_eq!(Gun::of(&image), Gun::new(image.repository()), "{image}");
        }
        // With `library/` it is longer than the name.
        let long = Reference::parse(&format!("docker.io:443/{}", "a".repeat(240))).unwrap();
        assert_eq!(Gun::of(&long), Gun::new(long.repository()));
        assert!(Gun::of(&long).is_err());
        assert_eq!(Gun::new("reg.io:443/x"), Gun::new("reg.io/x"));
        assert_ne!(Gun::new("reg.io:5000/x"), Gun::new("reg.io/x"));
        assert_eq!(Gun::new("reg:443/x").unwrap().host(), "reg:443");
    }

    #[test]
    fn role_names_are_direct_children_of_targets() {
        assert_eq!(RoleName::of_signer("alice").unwrap().as_str(), "targets/alice");
        assert_eq!(RoleName::parse("targets/releases"), Some(RoleName::releases()));
        for bad in ["", "Alice", "a/b", "..", "a b", "a.", "releases"] {
            assert_eq!(RoleName::of_signer(bad), None, "{bad}");
        }
        for bad in ["targets", "targets/", "root", "snapshot/x", "targets/a/b"] {
            assert_eq!(RoleName::parse(bad), None, "{bad}");
        }
    }
}
