//! Hosts of registries. A registry has one host, whichever way it is spelled: upper case, the default port, Docker Hub's old
//! name and the zeros of an IPv6 address make no difference. Code that compares hosts, or keeps data by host, uses
//! [`one_spelling`]. The name of an image keeps the port that was typed.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use super::ReferenceError;

/// The registry of names without a host.
pub const DOCKER_HUB: &str = "docker.io";
/// Docker Hub's old name, which Docker still reads as [`DOCKER_HUB`].
const LEGACY_DOCKER_HUB: &str = "index.docker.io";
/// The port of https.
const DEFAULT_PORT: &str = "443";

/// Is this first component of a name a host?
pub fn is_host(first: &str) -> bool {
    first.bytes().any(|b| matches!(b, b'.' | b':')) || first == "localhost" || first.chars().any(char::is_uppercase)
}

/// Checks a host and converts it to lower case. DNS ignores case, so a policy must ignore it too: otherwise the rule for
/// `reg.io` would not match `REG.io/app`.
pub fn normal_host(host: &str) -> Result<Cow<'_, str>, ReferenceError> {
    let bad = || ReferenceError::Host { host: host.to_owned() };
    let port = if let Some(rest) = host.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or_else(bad)?;
        // Docker's grammar has hexadecimal digits and colons only: no zones, no dotted decimals.
        if !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') || address.parse::<Ipv6Addr>().is_err() {
            return Err(bad());
        }
        match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(bad()),
        }
    } else {
        let (domain, port) = host.split_once(':').map_or((host, None), |(domain, port)| (domain, Some(port)));
        if !is_domain(domain) {
            return Err(bad());
        }
        port
    };
    if let Some(port) = port {
        check_port(port).ok_or_else(|| ReferenceError::Port { port: port.to_owned() })?;
    }
    let is_lower = !host.bytes().any(|b| b.is_ascii_uppercase());
    let lower = if is_lower { Cow::Borrowed(host) } else { host.to_ascii_lowercase().into() };
    if !is_host(&lower) {
        // `REG/app` is on the host `reg`. In lower case it would be Docker Hub's `reg/app`, which is another image.
        return Err(ReferenceError::HostByCase { host: host.to_owned() });
    }
    Ok(if lower == LEGACY_DOCKER_HUB { DOCKER_HUB.into() } else { lower })
}

/// The spelling by which a host in lower case is compared: `reg.io:443` is `reg.io`, `[fd00:0::1]:9001` is
/// `[fd00::1]:9001`.
pub fn one_spelling(host: &str) -> Cow<'_, str> {
    let (name, port) = split_port(host);
    if port.is_none() && !is_host(name) {
        return host.into(); // `reg:443` is a host only because of its port: `reg/x` is on Docker Hub
    }
    let name: Cow<'_, str> = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        None if port.is_none() && name == LEGACY_DOCKER_HUB => DOCKER_HUB.into(),
        None => name.into(),
        Some(address) => address.parse::<Ipv6Addr>().map_or(name.into(), spelled).into(),
    };
    match port {
        None => name,
        Some(port) if host.len() == name.len() + 1 + port.len() && host.starts_with(&*name) => host.into(),
        Some(port) => format!("{name}:{port}").into(),
    }
}

/// Splits off the port, unless it is the default port. An IPv6 address keeps its brackets.
pub fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port).filter(|port| *port != DEFAULT_PORT)),
        _ => (host, None),
    }
}

/// RFC 5952, but without dotted decimals at the end, which the name of an image cannot have.
fn spelled(address: Ipv6Addr) -> String {
    let text = address.to_string();
    if !text.contains('.') {
        return format!("[{text}]");
    }
    format!("[{}]", address.segments().map(|segment| format!("{segment:x}")).join(":"))
}

/// Components of letters, digits and hyphens with a dot between each two. None is empty, and none begins or ends with a hyphen.
fn is_domain(text: &str) -> bool {
    let mut before = b'.';
    text.bytes().all(|b| {
        let before = std::mem::replace(&mut before, b);
        match b {
            b'.' => before != b'.' && before != b'-',
            b'-' => before != b'.',
            b => b.is_ascii_alphanumeric(),
        }
    }) && before != b'.'
        && before != b'-'
}

/// 1 to 65535, without sign and without leading zero: a port has one spelling.
fn check_port(port: &str) -> Option<()> {
    let digits = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
    (digits && port.parse::<u16>().is_ok()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling() {
        for (typed, expected) in [
            ("reg.io", "reg.io"),
            ("reg.io:443", "reg.io"),
            ("REG.io:443", "reg.io"),
            ("reg.io:4430", "reg.io:4430"),
            ("reg.io:80", "reg.io:80"),
            ("localhost:443", "localhost"),
            // Without its port it would be no host.
            ("reg:443", "reg:443"),
            ("index.docker.io", "docker.io"),
            ("Index.Docker.io:443", "docker.io"),
            ("index.docker.io:5000", "index.docker.io:5000"),
            ("registry-1.docker.io:443", "registry-1.docker.io"),
            ("[fd00::1]", "[fd00::1]"),
            ("[fd00::1]:443", "[fd00::1]"),
            ("[FD00:0:0::0001]:9001", "[fd00::1]:9001"),
            ("[fd00:0:0:0:0:0:0:443]", "[fd00::443]"),
            ("[::ffff:0a01:2]:9001", "[0:0:0:0:0:ffff:a01:2]:9001"),
        ] {
            let host = normal_host(typed).unwrap();
            assert_eq!(one_spelling(&host), expected, "{typed}");
            assert_eq!(one_spelling(expected), expected, "it stays as it is");
            assert_eq!(normal_host(expected).as_deref(), Ok(expected), "it is a host");
        }
    }
}
