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
    // By runs: most strings are a single one.
    let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\');
    for run in text.as_bytes().split_inclusive(is_escaped) {
        match run.split_last() {
            Some((last, plain)) if is_escaped(last) => {
                out.extend_from_slice(plain);
                out.extend_from_slice(&[b'\\', *last]);
            }
            _ => out.extend_from_slice(run),
        }
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

    /// Marsaglia's xorshift64, with a fixed seed.
    fn random(state: &mut u64, limit: usize) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 33).unwrap() % limit
    }

    fn text(state: &mut u64) -> String {
        const PIECES: [&str; 12] =
            ["a", "b", "A", "\"", "\\", "/", "<", "\n", "\u{1}", "\u{2028}", "\u{fffd}", "\u{10000}"];
        (0..random(state, 4)).map(|_| PIECES[random(state, PIECES.len())]).collect()
    }

    fn value(state: &mut u64, depth: usize) -> Value<'static> {
        match random(state, if depth == 0 { 4 } else { 6 }) {
            0 => Value::Null,
            1 => Value::Bool(random(state, 2) == 0),
            2 => Value::Integer(i64::try_from(random(state, 30)).unwrap() - 15),
            3 => Value::String(text(state).into()),
            4 => Value::Array((0..random(state, 4)).map(|_| value(state, depth - 1)).collect()),
            _ => {
                let members: std::collections::BTreeMap<_, _> =
                    (0..random(state, 4)).map(|_| (text(state), value(state, depth - 1))).collect();
                Value::Object(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
            }
        }
    }

    /// As some other writer might put it: other orders, spaces and escapes.
    fn wire(value: &Value<'_>, state: &mut u64) -> String {
        let space = |state: &mut u64| [" ", "", "\n", ""][random(state, 4)];
        match value {
            Value::String(text) => {
                let escaped = |c: char, state: &mut u64| match c {
                    '"' | '\\' if random(state, 2) == 0 => format!("\\{c}"),
                    c if c < ' ' || c == '"' || c == '\\' || random(state, 3) == 0 => {
                        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                    }
                    c => c.to_string(),
                };
                format!("\"{}\"", text.chars().map(|c| escaped(c, state)).collect::<String>())
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| space(state).to_owned() + &wire(item, state)).collect();
                format!("[{}{}]", items.join(","), space(state))
            }
            Value::Object(members) => {
                let mut members: Vec<_> = (members.iter())
                    .map(|(key, value)| {
                        let key = wire(&Value::String(key.clone()), state);
                        format!("{}{key}{}:{}{}", space(state), space(state), space(state), wire(value, state))
                    })
                    .collect();
                for last in (1..members.len()).rev() {
                    members.swap(last, random(state, last + 1));
                }
                format!("{{{}{}}}", members.join(","), space(state))
            }
            plain => String::from_utf8(canonical(plain)).unwrap(),
        }
    }

    #[test]
    fn a_value_and_its_canonical_form_are_one_to_one() {
        let mut state = 3;
        let mut forms = std::collections::BTreeMap::new();
        for _ in 0..20_000 {
            let value = value(&mut state, 3);
            let form = canonical(&value);
            // Whatever it looks like on the wire, it is this value, and has this form.
            let wire = wire(&value, &mut state);
            assert_eq!(Value::read(wire.as_bytes()).as_ref(), Ok(&value), "{wire}");
            // The form itself is JSON, but for raw control characters, and reads as the value again.
            let text = String::from_utf8(form.clone()).unwrap();
            let as_json: String = (text.chars())
                .map(|c| if c < ' ' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })
                .collect();
            assert_eq!(Value::read(as_json.as_bytes()).as_ref(), Ok(&value), "{text}");
            assert_eq!(canonical(&Value::read(as_json.as_bytes()).unwrap()), form, "{text}");
            assert_eq!(Value::read(&form).is_ok(), as_json == text, "{text}");
            // Different values have different forms.
            let known = forms.entry(form).or_insert_with(|| value.clone());
            assert_eq!(*known, value);
        }
        assert!(forms.len() > 1_000, "{} different ones", forms.len());
    }
}
