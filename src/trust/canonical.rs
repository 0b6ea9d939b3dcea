//! Canonical JSON: the one form of a value that signatures are made over.
//!
//! Notary's form: keys sorted by their UTF-8 bytes at every level, no white space, only `\` and `"` escaped,
//! everything else raw. The wire escapes other characters too, so the signed bytes are never cut out of the file.

use super::json::Value;

/// The canonical bytes of a value. Object members are sorted by the reader already.
pub(super) fn canonical(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (index, (key, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write(member, out);
            }
            out.push(b'}');
        }
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(text: &str) -> String {
        String::from_utf8(canonical(&Value::read(text.as_bytes()).unwrap())).unwrap()
    }

    #[test]
    fn row_092_one_form_whatever_the_wire_looks_like() {
        for (wire, form) in [
            (r#" {"b":1, "a":[true , null,false,-7]} "#, r#"{"a":[true,null,false,-7],"b":1}"#),
            (r#"{"\u0061":"\u003cb\u003e \u0026 \/"}"#, r#"{"a":"<b> & /"}"#),
            (r#""\u2028\n\u0001\"\\""#, "\"\u{2028}\n\u{1}\\\"\\\\\""),
            // By UTF-8 bytes: U+10000 after U+FFFD, which UTF-16 order would turn round.
            ("{\"\u{10000}\":1,\"\u{fffd}\":2,\"Z\":3,\"a\":4}", "{\"Z\":3,\"a\":4,\"\u{fffd}\":2,\"\u{10000}\":1}"),
            ("{}", "{}"),
            ("[]", "[]"),
        ] {
            assert_eq!(canonical_of(wire), form, "{wire}");
        }
    }
}
