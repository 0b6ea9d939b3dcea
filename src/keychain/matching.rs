//! The repositories that a key of a docker config applies to, by kubelet's rules. Keys are `registry.local:9001`,
//! `https://registry.local:9001/v2/`, `*.example.com/team`, `https://index.docker.io/v1/`.
//!
//! There are two differences. A path covers whole components, so that the credentials for `registry.local/team` are not sent
//! for `registry.local/team-of-others`. And `registry.local` and `registry.local:443` are the same registry.

use std::cmp::Reverse;

use portreeve_verify::image::{Glob, one_spelling, split_port};

/// Docker Hub under its many names.
const DOCKER_HUB: [&str; 4] = ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.docker.io"];

/// The longest key: no image has a longer host (253) and repository (255). A tenant can write longer ones.
const MAX_KEY: usize = 600;

/// A parsed key of a docker config. It has few allocations, because there may be a thousand of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegistryPattern {
    /// The host. Each label may have `*` in it.
    host: String,
    port: Option<String>,
    /// The first components of the path; empty for the whole registry.
    path: String,
}

impl RegistryPattern {
    /// Parses a key; `None` if it can match nothing.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        let key = key.trim();
        if key.len() > MAX_KEY {
            return None;
        }
        let rest = strip_scheme(key);
        let (host_port, path) = rest.split_once('/').unwrap_or((rest, ""));
        // Kubelet parses the key as a URL, in which a user is no part of the host.
        let host_port = host_port.rsplit_once('@').map_or(host_port, |(_, host_port)| host_port).to_ascii_lowercase();
        let host_port = one_spelling(&host_port);
        let (host, port) = split_port(&host_port);
        if host.is_empty() || host.len() > 253 {
            return None;
        }
        // A key is often the address of the registry's API. The API's version is no repository.
        let path = match path.split_once('/').unwrap_or((path, "")) {
            ("v1" | "v2", below) => below,
            _ => path,
        };
        let host = if DOCKER_HUB.contains(&host) && port.is_none() { "docker.io" } else { host };
        Some(Self {
            host: host.to_owned(),
            port: port.map(str::to_owned),
            path: components(path).collect::<Vec<_>>().join("/"),
        })
    }

    /// Does it apply to this repository? `name` is normalised and without tag: `registry.local:9001/plant/plc`.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let (host_port, path) = name.split_once('/').unwrap_or((name, ""));
        let host_port = host_port.to_ascii_lowercase();
        let host_port = one_spelling(&host_port);
        let (host, port) = split_port(&host_port);
        // A star matches within one label: `*.io` does not match `evil.example.io`.
        let mut of_image = path.split('/');
        self.port.as_deref() == port
            && self.host.split('.').count() == host.split('.').count()
            && self.host.split('.').zip(host.split('.')).all(|(pattern, label)| label_matches(pattern, label))
            && components(&self.path).all(|component| of_image.next() == Some(component))
    }

    /// Orders keys: more path, then more literal characters in the host, then fewer stars. Greater is more specific.
    pub(crate) fn specificity(&self) -> (usize, usize, Reverse<usize>) {
        let count = |wanted: fn(&u8) -> bool| self.host.bytes().filter(wanted).count();
        let literal = count(|b| !b"*.".contains(b));
        (components(&self.path).count(), literal, Reverse(count(|b| *b == b'*')))
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|component| !component.is_empty())
}

fn strip_scheme(key: &str) -> &str {
    for scheme in ["https://", "http://"] {
        if let Some((start, rest)) = key.split_at_checked(scheme.len())
            && start.eq_ignore_ascii_case(scheme)
        {
            return rest;
        }
    }
    key
}

/// Whether a label of a host matches. `*` matches any characters, also none. Most labels have no star, and need no glob.
fn label_matches(pattern: &str, label: &str) -> bool {
    if pattern.contains('*') { Glob::new(pattern).matches(label) } else { pattern == label }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_as_kubelet_has_it() {
        const TABLE: [(&str, &str, bool); 51] = [
            ("registry.local:9001", "registry.local:9001/plant/plc", true),
            ("https://registry.local:9001", "registry.local:9001/plant/plc", true),
            ("https://registry.local:9001/", "registry.local:9001/plant/plc", true),
            ("http://registry.local:9001/v2/", "registry.local:9001/plant/plc", true),
            ("HTTPS://Registry.Local:9001", "registry.local:9001/plant/plc", true),
            ("registry.local", "registry.local:9001/plant/plc", false),
            ("registry.local:9001", "registry.local/plant/plc", false),
            ("registry.local:9002", "registry.local:9001/plant/plc", false),
            ("https://index.docker.io/v1/", "docker.io/library/nginx", true),
            ("index.docker.io/v1/", "docker.io/library/nginx", true),
            ("index.docker.io", "docker.io/library/nginx", true),
            ("docker.io", "docker.io/library/nginx", true),
            ("registry-1.docker.io", "docker.io/library/nginx", true),
            ("https://index.docker.io/v1/", "index.docker.io.evil.com/x", false),
            ("quay.io/team", "quay.io/team/app", true),
            ("quay.io/team/app", "quay.io/team/app", true),
            ("quay.io/v2/team", "quay.io/team/app", true),
            ("quay.io/team", "quay.io/team-of-others/app", false),
            ("quay.io/team/app/more", "quay.io/team/app", false),
            ("quay.io/team", "quay.io/other/team", false),
            ("quay.io//team/", "quay.io/team/app", true),
            ("a:b@quay.io/team", "quay.io/team/app", true),
            ("us.example", "us.example.com/x", false),
            ("*.example.com", "us.example.com/x", true),
            ("*.example.com", "example.com/x", false),
            ("*.example.com", "a.b.example.com/x", false),
            ("*.*.example.com", "a.b.example.com/x", true),
            ("registry*.example.com", "registry01.example.com/x", true),
            ("*-eu.example.com:5000", "a-eu.example.com:5000/x", true),
            ("*-eu.example.com", "a-us.example.com/x", false),
            ("*", "localhost/x", true),
            ("*", "quay.io/x", false),
            ("*.example.com", "evil.io/us.example.com/x", false),
            ("example.com", "example.com.evil.io/x", false),
            ("[::1]:5000", "[::1]:5000/x", true),
            ("v2", "v2/x", true),
            ("localhost", "localhost/x", true),
            // One registry with and without the default port.
            ("reg.io", "reg.io:443/x", true),
            ("reg.io:443", "reg.io/x", true),
            ("https://reg.io:443/v2/", "reg.io/x", true),
            ("reg.io:443/team", "reg.io/team/x", true),
            ("reg.io:443", "reg.io:5000/x", false),
            ("reg.io:5000", "reg.io/x", false),
            ("*.reg.io:443", "a.reg.io/x", true),
            ("reg:443", "reg:443/x", true),
            ("*:443", "localhost/x", true),
            ("https://index.docker.io:443/v1/", "docker.io/library/nginx", true),
            ("registry-1.docker.io:443", "docker.io/library/nginx", true),
            ("index.docker.io:5000", "index.docker.io:5000/x", true),
            ("[FD00:0::1]:9001", "[fd00::1]:9001/x", true),
            ("[fd00::1]:9002", "[fd00::1]:9001/x", false),
        ];
        for (key, name, expected) in TABLE {
            let pattern = RegistryPattern::parse(key).unwrap();
            assert_eq!(pattern.matches(name), expected, "{key} {name}");
        }
        let longest = format!("registry.local/{}", "x".repeat(MAX_KEY - 15));
        assert!(RegistryPattern::parse(&longest).is_some());
        for key in ["", "  ", "https://", "/x", ":9001", &format!("{longest}x")] {
            assert_eq!(RegistryPattern::parse(key), None, "{key}");
        }
    }

    #[test]
    fn narrower_keys_are_more_specific() {
        let specificity = |key: &str| RegistryPattern::parse(key).unwrap().specificity();
        let order = ["*.example.com", "us*.example.com", "us.example.com", "us.example.com/a", "*.example.com/a/b"];
        for pair in order.windows(2) {
            assert!(specificity(pair[0]) < specificity(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn many_stars_do_not_make_it_slow() {
        let pattern = "*a".repeat(100);
        assert!(!label_matches(&pattern, &format!("{}b", "a".repeat(5_000))));
        assert!(
            label_matches("**a**", "bab") && label_matches("", "") && !label_matches("", "a") && label_matches("*", "")
        );
    }
}
