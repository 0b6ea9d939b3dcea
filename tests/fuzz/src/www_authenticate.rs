//! `WWW-Authenticate`: up to three fields, one a line. A parsed challenge that is written and parsed again is the same.

use portreeve::fuzzing::challenges;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(found) = challenges(text.splitn(3, '\n')) else { return };
    assert!(found.len() <= 16);
    let mut fields = Vec::new();
    for (scheme, realm, service) in &found {
        assert!(!scheme.is_empty() && !scheme.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_whitespace()));
        assert!(scheme != "bearer" || realm.is_some());
        // Each value occurs in the input, apart from escapes.
        for value in [realm, service].into_iter().flatten() {
            assert!(text.replace('\\', "").contains(&value.replace('\\', "")), "{value:?}");
            assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
        }
        let mut parameters = Vec::new();
        for (name, value) in [("realm", realm), ("service", service)] {
            parameters.extend(value.as_ref().map(|value| format!("{name}=\"{}\"", escaped(value))));
        }
        fields.push(format!("{scheme} {}", parameters.join(", ")).trim_end().to_owned());
    }
    let written = fields.join(", ");
    if written.len() <= 8 << 10 {
        assert_eq!(challenges([written.as_str()]).as_ref(), Some(&found), "{written:?}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}
