//! Names in trust data: the GUN (globally unique name) of a repository, and the names of delegations.

use std::fmt;

use crate::text::printable;

/// A repository's name in trust data: the normalised image name without tag, `docker.io/library/nginx`.
/// It goes into URLs and file names, so nothing but what an image name may hold is let in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gun(String);

impl Gun {
    /// Checks a name: 1 to 255 bytes, components of letters, digits, `.`, `_`, `-` (and a port in the first),
    /// none empty, `.` or `..`.
    pub fn new(name: &str) -> Result<Self, GunError> {
        let error = || GunError { name: printable(name, 300) };
        if name.is_empty() || name.len() > 255 {
            return Err(error());
        }
        for (index, component) in name.split('/').enumerate() {
            let allowed =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') || (c == ':' && index == 0);
            if component.is_empty() || component == "." || component == ".." || !component.chars().all(allowed) {
                return Err(error());
            }
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
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

/// A direct child of `targets`: `targets/<name>`, the name being lowercase letters, digits, `-` and `_` as Notary's
/// own rule for delegations has it (TRUST.md, row 73).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(String);

impl RoleName {
    /// `targets/releases`, the role that Docker publishes tags in.
    pub fn releases() -> Self {
        Self("targets/releases".to_owned())
    }

    /// The role of the signer called `name`.
    pub fn of_signer(name: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        (!name.is_empty() && name.len() <= 128 && name.bytes().all(allowed)).then(|| Self(format!("targets/{name}")))
    }

    /// From a whole role name, `targets/<name>`.
    pub fn parse(role: &str) -> Option<Self> {
        role.strip_prefix("targets/").and_then(Self::of_signer)
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
        for good in ["docker.io/library/nginx", "registry.local:9001/plant/plc", "a", "localhost/x_y.z-1"] {
            assert_eq!(Gun::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(256);
        for bad in ["", "/", "a/", "/a", "a//b", "a/../b", "..", "a/./b", "a b", "a%2fb", "a?b", "a/b:c", "ä", &long] {
            assert!(Gun::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn role_names_are_direct_children_of_targets() {
        assert_eq!(RoleName::of_signer("alice").unwrap().as_str(), "targets/alice");
        assert_eq!(RoleName::parse("targets/releases"), Some(RoleName::releases()));
        for bad in ["", "Alice", "a/b", "..", "a b", "a."] {
            assert_eq!(RoleName::of_signer(bad), None, "{bad}");
        }
        for bad in ["targets", "targets/", "root", "snapshot/x", "targets/a/b"] {
            assert_eq!(RoleName::parse(bad), None, "{bad}");
        }
    }
}
