//! The reader of trust data and its canonical form, compared with a reference on another parser: both accept the same
//! documents and give the same bytes.

use crate::strict_json;

pub fn check(data: &[u8]) {
    let expected = strict_json::read(data).map(|json| strict_json::canonical(&json));
    let found = portreeve::fuzzing::canonical_json(data);
    assert_eq!(found.as_deref().map(lossy), expected.as_deref().map(lossy));
    let Some(canonical) = found else { return };
    // The canonical form of a canonical text is the same text. Canonical JSON has raw control characters, which are not
    // JSON, so they are escaped first. They occur in strings only, so this changes nothing else.
    let wire: String = (String::from_utf8(canonical.clone()).expect("UTF-8").chars())
        .map(|c| if c < ' ' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })
        .collect();
    assert_eq!(portreeve::fuzzing::canonical_json(wire.as_bytes()), Some(canonical));
    assert_eq!(strict_json::read(wire.as_bytes()).map(sorted), strict_json::read(data).map(sorted));
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn sorted(json: strict_json::Json) -> strict_json::Json {
    use strict_json::Json::{List, Object};
    match json {
        List(items) => List(items.into_iter().map(sorted).collect()),
        Object(mut members) => {
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Object(members.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        other => other,
    }
}
