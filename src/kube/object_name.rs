//! The rules of Kubernetes for the names of objects (RFC 1123), the only copy of them. They are checked before a name
//! becomes part of a path or a URL: a valid name contains no `/`, no `%` and no `..`.

use std::fmt;

use portreeve_verify::text::printable;

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its name is a DNS label.
    Namespace,
    /// Its name is a DNS subdomain.
    Secret,
    /// Its name is a DNS subdomain.
    ServiceAccount,
    /// The owner of another object. Its name is a DNS subdomain.
    Owner(Resource),
}

/// A resource of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The first part of its URLs: `api/v1`, `apis/apps/v1`.
    pub api: &'static str,
    /// Its name in URLs and in RBAC: `replicasets`.
    pub plural: &'static str,
    /// Its kind: `ReplicaSet`.
    pub kind: &'static str,
}

impl Kind {
    /// The resource that objects of this kind belong to.
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

/// Checks the name of an object of this kind.
pub(crate) fn check_name(kind: Kind, name: &str) -> Result<(), InvalidName> {
    let is_valid = match kind {
        Kind::Namespace => is_dns_label(name),
        Kind::Secret | Kind::ServiceAccount | Kind::Owner(_) => is_dns_subdomain(name),
    };
    if is_valid { Ok(()) } else { Err(InvalidName { kind, name: printable(name, 80) }) }
}

/// Checks the namespace and the name of an object of this kind.
pub(crate) fn check_names(kind: Kind, namespace: &str, name: &str) -> Result<(), InvalidName> {
    check_name(Kind::Namespace, namespace).and_then(|()| check_name(kind, name))
}

/// A DNS label: 1 to 63 lowercase letters, digits and `-`, with a letter or digit at both ends. The name of a namespace
/// is one.
pub(crate) fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_label(name)
}

/// A DNS subdomain: labels with dots between them, 253 characters at most. The names of most other objects are. As in
/// Kubernetes, one of the labels may be longer than 63 characters.
pub(crate) fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = [label.as_bytes().first(), label.as_bytes().last()];
    ends.into_iter().all(|b| b.is_some_and(word)) && label.bytes().all(|b| word(&b) || b == b'-')
}

/// A name that no object of Kubernetes can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidName {
    kind: Kind,
    /// Safe to print.
    name: String,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" cannot be the name of a {} in Kubernetes", self.name, self.kind)
    }
}

impl std::error::Error for InvalidName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kubernetes_own() {
        let (long, longest) = ("a".repeat(64), "a".repeat(253));
        for (name, label, subdomain) in [
            ("line-1", true, true),
            ("0", true, true),
            (&"a".repeat(63), true, true),
            ("a.b-c.d", false, true),
            (&long, false, true),
            (&longest, false, true),
            (&format!("{longest}a"), false, false),
            ("", false, false),
            (".", false, false),
            ("..", false, false),
            ("a..b", false, false),
            ("x..y.-z", false, false),
            ("a.-b", false, false),
            ("a-.b", false, false),
            ("a.", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a_b", false, false),
            ("A", false, false),
            ("\u{e4}", false, false),
            ("a/b", false, false),
            ("a%2fb", false, false),
            ("a?b", false, false),
            ("a\0", false, false),
            ("a\nb", false, false),
        ] {
            assert_eq!(is_dns_label(name), label, "{name}");
            assert_eq!(is_dns_subdomain(name), subdomain, "{name}");
        }
    }

    #[test]
    fn each_kind_has_its_rule() {
        for (name, of_namespace, of_secret) in [("line-1", true, true), ("a.b", false, true), ("a..b", false, false)] {
            assert_eq!(check_name(Kind::Namespace, name).is_ok(), of_namespace, "{name}");
            assert_eq!(check_name(Kind::Secret, name).is_ok(), of_secret, "{name}");
            assert_eq!(check_name(Kind::ServiceAccount, name).is_ok(), of_secret, "{name}");
        }
        let words = check_name(Kind::Secret, "\u{1b}[2J").unwrap_err().to_string();
        assert_eq!(words, "\"\u{fffd}[2J\" cannot be the name of a Secret in Kubernetes");
    }
}
