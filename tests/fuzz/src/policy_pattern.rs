//! Patterns. The input is a pattern, a line's end and an image. The product is compared with a slow and obvious
//! matcher. A pattern's host never matches a part of the path.

use portreeve::policy::Pattern;
use portreeve_verify::image::Reference;

use crate::glob;

pub fn check(data: &[u8]) {
    // The slow matcher is exponential in the stars.
    if data.len() > 300 || data.iter().filter(|byte| **byte == b'*').count() > 6 {
        return;
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (typed, image) = text.split_once('\n').unwrap_or((text, "docker.io/library/nginx"));
    let pattern = match Pattern::parse(typed) {
        Ok(pattern) => pattern,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let normal = pattern.to_string();
    assert_eq!(Pattern::parse(&normal).map(|again| again.to_string()).as_ref(), Ok(&normal), "{typed}");
    let Ok(image) = Reference::parse(image) else { return };
    let host = host_of(&normal);
    assert_eq!(pattern.matches(&image), matches(&normal, &image), "{typed} ({normal}) and {image}");
    if !typed.bytes().all(|byte| byte == b'*') && !typed.split('/').next().is_some_and(|first| first.contains('*')) {
        assert!(!host.contains('*'), "{typed} has a host that was not written: {host}");
    }
    // The same image on another host, with its whole name in the path: a pattern with a host does not match it.
    let path = image.name().replace([':', '['], "-").replace(']', "");
    for elsewhere in [
        format!("attacker.test/{path}"),
        format!("attacker.test:443/{path}"),
        format!("attacker.test/{}", image.path()),
    ] {
        let Ok(moved) = Reference::parse(&elsewhere) else { continue };
        if pattern.matches(&moved) {
            assert!(host_matches(host, moved.host()), "{typed} lets {elsewhere} in");
        }
    }
}

fn matches(normal: &str, image: &Reference) -> bool {
    let (rest, digest) = normal.split_once('@').map_or((normal, None), |(rest, digest)| (rest, Some(digest)));
    let host = host_of(normal);
    let rest = &rest[host.len() + 1..];
    let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
    host_matches(host, image.host())
        && glob::matches(path.as_bytes(), image.path().as_bytes())
        && tag.is_none_or(|tag| image.tag().is_none_or(|given| glob::matches(tag.as_bytes(), given.as_bytes())))
        && digest.is_none_or(|digest| image.digest().is_some_and(|given| given.to_string() == digest))
}

/// For the image's host with the default port and without it.
fn host_matches(pattern: &str, host: &str) -> bool {
    let bare = host.strip_suffix(":443").unwrap_or(host);
    let has_port = bare.rsplit_once(']').map_or(bare, |(_, after)| after).contains(':');
    let with_port = format!("{bare}:443");
    let spellings = if has_port { vec![bare] } else { vec![bare, &with_port] };
    spellings.iter().any(|spelling| glob::matches(pattern.as_bytes(), spelling.as_bytes()))
}

fn host_of(normal: &str) -> &str {
    normal.split_once('/').expect("a normal pattern has a host").0
}
