//! The error body that registries, Notary servers and token services send: `{"errors":[{"code":…}]}`. Only the code is
//! read; the message and the detail beside it are ignored.

use serde_json::Value;

use portreeve_verify::text::printable;

/// Longest code that a message shows.
const MAX_CODE: usize = 60;
/// The longest body that is read: a value of three bytes takes fifty times as much memory.
const MAX_BODY: usize = 64 << 10;

/// The code of the first error, safe to print.
pub(crate) fn error_code(body: &[u8]) -> Option<String> {
    if body.len() > MAX_BODY {
        return None;
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    let code = body.get("errors")?.as_array()?.first()?.get("code")?.as_str()?;
    Some(code).filter(|code| !code.is_empty()).map(|code| printable(code, MAX_CODE))
}

/// Is this a Notary server's response for a file or a repository that it does not have? A 404 of an ingress, a registry or
/// a proxy is about the path, and says nothing about trust data (TRUST.md, row 108).
pub(crate) fn is_absence(status: u16, body: &[u8]) -> bool {
    status == 404 && error_code(body).as_deref() == Some("METADATA_NOT_FOUND")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_code_and_nothing_else() {
        const TABLE: [(&str, Option<&str>); 8] = [
            (r#"{"errors":[{"code":"UNAUTHORIZED","message":"m","detail":null}]}"#, Some("UNAUTHORIZED")),
            (r#"{"errors":[{"code":"A"},{"code":"B"}]}"#, Some("A")),
            ("{\"errors\":[{\"code\":\"A\\u001b[31m\"}]}", Some("A\u{fffd}[31m")),
            (r#"{"errors":[]}"#, None),
            (r#"{"errors":null}"#, None),
            (r#"{"errors":[{"code":401}]}"#, None),
            ("<html>", None),
            ("", None),
        ];
        for (body, expected) in TABLE {
            assert_eq!(error_code(body.as_bytes()).as_deref(), expected, "{body}");
        }
        let long = format!(r#"{{"errors":[{{"code":"{}"}}]}}"#, "x".repeat(1000));
        assert!(error_code(long.as_bytes()).unwrap().chars().count() <= MAX_CODE + 1);
        let huge = |length: usize| format!(r#"{{"errors":[{{"code":"A"}}]}}{}"#, " ".repeat(length));
        assert_eq!([MAX_BODY / 2, MAX_BODY].map(|length| error_code(huge(length).as_bytes()).is_some()), [true, false]);
    }
}
