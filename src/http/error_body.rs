//! The error body that registries, Notary servers and token services send: `{"errors":[{"code":…}]}`. Only the code is
//! read; the message and the detail beside it are ignored.

use serde::Deserialize;

use portreeve_verify::text::printable;

/// Longest code that a message shows.
const MAX_CODE: usize = 60;

/// The code of the first error, safe to print.
pub(crate) fn error_code(body: &[u8]) -> Option<String> {
    let body: ErrorBody = serde_json::from_slice(body).ok()?;
    let first = body.errors?.into_iter().next()?;
    first.code.filter(|code| !code.is_empty()).map(|code| printable(&code, MAX_CODE))
}

/// Is this a Notary server's response for a file or a repository that it does not have? A 404 of an ingress, a registry or
/// a proxy is about the path, and says nothing about trust data (TRUST.md, row 108).
pub(crate) fn is_absence(status: u16, body: &[u8]) -> bool {
    status == 404 && error_code(body).as_deref() == Some("METADATA_NOT_FOUND")
}

/// Wire type.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
struct ErrorBody {
    errors: Option<Vec<ErrorEntry>>,
}

/// Wire type.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
struct ErrorEntry {
    code: Option<String>,
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
    }

    #[test]
    fn miniserde_reads_the_same() {
        let text = r#"{"errors":[{"code":"A","message":"m","detail":{"x":[1]}},{"message":"n"}]}"#;
        let a: ErrorBody = serde_json::from_str(text).unwrap();
        let b: ErrorBody = miniserde::json::from_str(text).unwrap();
        let codes = |body: ErrorBody| body.errors.unwrap().into_iter().map(|e| e.code).collect::<Vec<_>>();
        assert_eq!(codes(a), codes(b));
    }
}
