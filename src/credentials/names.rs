//! Names of Kubernetes' objects, before they become part of a path or a URL: what passes holds no `/`, no `%` and no `..`.

use std::fmt;

use crate::text::printable;

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A DNS-1123 label.
    Namespace,
    /// A DNS-1123 subdomain.
    Secret,
    /// The same.
    ServiceAccount,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace => "namespace",
            Self::Secret => "Secret",
            Self::ServiceAccount => "ServiceAccount",
        })
    }
}

/// Can an object of this kind have this name?
pub(super) fn check(kind: Kind, name: &str) -> Result<(), NotAName> {
    let is_label = kind == Kind::Namespace;
    if is_dns_subdomain(name) && !(is_label && (name.len() > 63 || name.contains('.'))) {
        return Ok(());
    }
    Err(NotAName { kind, name: printable(name, 80) })
}

/// DNS-1123: labels of lower-case letters, digits and `-`, beginning and ending with a letter or digit.
fn is_dns_subdomain(name: &str) -> bool {
    let label = |l: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        edge(l.as_bytes().first())
            && edge(l.as_bytes().last())
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
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
    fn names_are_kubernetes_own() {
        let (long, longest) = ("a".repeat(64), "a".repeat(253));
        for (name, of_namespace, of_secret) in [
            ("line-1", true, true),
            ("0", true, true),
            ("a.b-c.d", false, true),
            (&long, false, true),
            (&longest, false, true),
            (&format!("{longest}a"), false, false),
            ("", false, false),
            (".", false, false),
            ("..", false, false),
            ("a..b", false, false),
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
            assert_eq!(check(Kind::Namespace, name).is_ok(), of_namespace, "{name}");
            assert_eq!(check(Kind::Secret, name).is_ok(), of_secret, "{name}");
            assert_eq!(check(Kind::ServiceAccount, name).is_ok(), of_secret, "{name}");
        }
        let words = check(Kind::Secret, "\u{1b}[2J").unwrap_err().to_string();
        assert_eq!(words, "\"\u{fffd}[2J\" cannot be the name of a Secret in Kubernetes");
    }
}
