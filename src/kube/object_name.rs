//! The rules of Kubernetes for the names of objects (RFC 1123). A name that passes holds no `/`, no `%` and no `..`, so that
//! it can be part of a path or a URL.

/// A DNS label: 1 to 63 lowercase letters, digits and `-`, with a letter or digit at both ends. Names of namespaces are.
pub(crate) fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_label(name)
}

/// A DNS subdomain: labels with dots between them, 253 characters at most. Names of most other objects are. As in Kubernetes,
/// one of the labels may be longer than 63 characters.
pub(crate) fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = [label.as_bytes().first(), label.as_bytes().last()];
    ends.into_iter().all(|b| b.is_some_and(word)) && label.bytes().all(|b| word(&b) || b == b'-')
}

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
}
