//! Names of Kubernetes' objects, before they become part of a path or a URL: what passes holds no `/`, no `%` and no `..`.

use std::fmt;

use crate::kube::object_name::{is_dns_label, is_dns_subdomain};
use portreeve_verify::text::printable;

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A DNS-1123 label.
    Namespace,
    /// A DNS-1123 subdomain.
    Secret,
    /// The same.
    ServiceAccount,
    /// The same: what made another object.
    Owner(Resource),
}

/// A resource of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The first part of its URLs: `api/v1`, `apis/apps/v1`.
    pub api: &'static str,
    /// Its name there, and in RBAC: `replicasets`.
    pub plural: &'static str,
    /// `ReplicaSet`.
    pub kind: &'static str,
}

impl Kind {
    /// Where such objects are.
    pub(crate) fn resource(self) -> Resource {
        let of_core = |plural, kind| Resource { api: "api/v1", plural, kind };
        match self {
            Self::Namespace => of_core("namespaces", "Namespace"),
            Self::Secret => of_core("secrets", "Secret"),
            Self::ServiceAccount => of_core("serviceaccounts", "ServiceAccount"),
            Self::Owner(resource) => resource,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace => "namespace",
            Self::Secret => "Secret",
            Self::ServiceAccount => "ServiceAccount",
            Self::Owner(resource) => resource.kind,
        })
    }
}

/// Can an object of this kind have this name?
pub(crate) fn check(kind: Kind, name: &str) -> Result<(), NotAName> {
    let fits = match kind {
        Kind::Namespace => is_dns_label(name),
        Kind::Secret | Kind::ServiceAccount | Kind::Owner(_) => is_dns_subdomain(name),
    };
    if fits { Ok(()) } else { Err(NotAName { kind, name: printable(name, 80) }) }
}

/// No object of Kubernetes can be called that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAName {
    kind: Kind,
    /// Safe to print.
    name: String,
}

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" cannot be the name of a {} in Kubernetes", self.name, self.kind)
    }
}

impl std::error::Error for NotAName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_rule() {
        for (name, of_namespace, of_secret) in [("line-1", true, true), ("a.b", false, true), ("a..b", false, false)] {
            assert_eq!(check(Kind::Namespace, name).is_ok(), of_namespace, "{name}");
            assert_eq!(check(Kind::Secret, name).is_ok(), of_secret, "{name}");
            assert_eq!(check(Kind::ServiceAccount, name).is_ok(), of_secret, "{name}");
        }
        let words = check(Kind::Secret, "\u{1b}[2J").unwrap_err().to_string();
        assert_eq!(words, "\"\u{fffd}[2J\" cannot be the name of a Secret in Kubernetes");
    }
}
