//! Finds values in a JSON text without reading it as a whole: the text of the value at a path, and the path of the value at a
//! position. The text was parsed before, so its syntax is not checked. In a text with an error of syntax less is found.

use portreeve_verify::text::printable;

/// The most characters of a path, and of one of its keys.
const MAX_PATH: usize = 200;
const MAX_KEY: usize = 63;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'t> {
    /// Nothing: a key of the path is missing, or its value is null.
    Nothing,
    /// A value, and how many keys of the path lead to it. If these are not all keys, the value is no object, and so has no
    /// further key.
    Value(&'t str, usize),
}

/// A key of the path has two values, and another reader could take the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Twice;

/// The text of the value at a path of keys.
pub(crate) fn find<'t>(text: &'t str, path: &[&str]) -> Result<Found<'t>, Twice> {
    let mut value = text.trim_ascii();
    for (depth, key) in path.iter().enumerate() {
        if !value.starts_with('{') {
            return Ok(if value == "null" { Found::Nothing } else { Found::Value(value, depth) });
        }
        let mut found = None;
        for member in Members::of(value) {
            if member.is(key) && found.replace(member.value).is_some() {
                return Err(Twice);
            }
        }
        match found {
            Some(member) => value = member,
            None => return Ok(Found::Nothing),
        }
    }
    Ok(if value == "null" { Found::Nothing } else { Found::Value(value, path.len()) })
}

/// The path of the innermost value at the place that an error names: `spec.containers[0]`. Empty for the whole text.
pub(crate) fn path_of(text: &str, error: &serde_json::Error) -> String {
    if !error.is_data() {
        return String::new();
    }
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let read = before + error.column();
    // A list or an object of which nothing was read, or else the last byte that was read.
    let is_next = matches!(text.as_bytes().get(read), Some(byte) if !b",:]}".contains(byte));
    let place = if is_next { read } else { read.saturating_sub(1) };
    let (mut path, mut value) = (String::new(), text);
    while path.len() < MAX_PATH {
        let here = |slice: &str| place.checked_sub(offset(text, slice)).is_some_and(|within| within < slice.len());
        let Some((index, member)) = Members::of(value).enumerate().find(|(_, member)| here(member.whole)) else {
            break;
        };
        if member.key.is_empty() {
            path.push('[');
            path.push_str(&index.to_string());
            path.push(']');
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&printable(&member.name(), MAX_KEY));
        }
        value = member.value;
    }
    path
}

/// Where a part of a text begins.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(text.as_ptr().addr())
}

/// A member of an object, or an element of a list.
#[derive(Clone, Copy)]
struct Member<'t> {
    /// The key as it is written, with its quotes; empty in a list.
    key: &'t str,
    value: &'t str,
    /// Both, and what is between them.
    whole: &'t str,
}

impl Member<'_> {
    fn name(&self) -> String {
        serde_json::from_str(self.key).unwrap_or_default()
    }

    fn is(&self, key: &str) -> bool {
        self.key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(key)
            || (self.key.contains('\\') && self.name() == key)
    }
}

/// The members of an object, or the elements of a list; none for any other value.
struct Members<'t> {
    rest: &'t str,
    has_keys: bool,
}

impl<'t> Members<'t> {
    fn of(value: &'t str) -> Self {
        let value = value.trim_ascii_start();
        let has_keys = value.starts_with('{');
        let rest = value.strip_prefix(['{', '[']).unwrap_or_default();
        Self { rest, has_keys }
    }
}

impl<'t> Iterator for Members<'t> {
    type Item = Member<'t>;

    fn next(&mut self) -> Option<Member<'t>> {
        let whole = self.rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        let (key, value) = if self.has_keys {
            let (key, after) = whole.split_at_checked(length(whole)).filter(|(key, _)| key.starts_with('"'))?;
            (key, after.trim_ascii_start().strip_prefix(':')?.trim_ascii_start())
        } else {
            ("", whole)
        };
        let (value, rest) = value.split_at_checked(length(value)).filter(|(value, _)| !value.is_empty())?;
        self.rest = rest;
        Some(Member { key, value, whole: whole.get(..whole.len() - rest.len())? })
    }
}

/// The bytes of the value that a text begins with.
fn length(text: &str) -> usize {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            if !in_string && depth == 0 {
                return at + 1;
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b']' if depth == 1 => return at + 1,
            b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const TEXT: &str = r#" { "a" : {"b":[1, {"c":null,"d":"x\"},{"}], "e\u0066":{"g":  7 }} ,
        "n":null,"s":"{\"b\":1}","t":[] } "#;

    #[test]
    fn a_value_is_found_by_its_path() {
        use Found::{Nothing, Value};
        for (path, expected) in [
            (&["a", "b"][..], Value(r#"[1, {"c":null,"d":"x\"},{"}]"#, 2)),
            (&["a", "ef"], Value(r#"{"g":  7 }"#, 2)),
            (&["a", "ef", "g"], Value("7", 3)),
            (&["a", "ef", "g", "h", "i"], Value("7", 3)),
            (&["a", "b", "0"], Value(r#"[1, {"c":null,"d":"x\"},{"}]"#, 2)),
            (&["s", "b"], Value(r#""{\"b\":1}""#, 1)),
            (&["t"], Value("[]", 1)),
            (&["n"], Nothing),
            (&["n", "m"], Nothing),
            (&["x"], Nothing),
            (&["a", "x", "y"], Nothing),
            (&["a", "g"], Nothing),
        ] {
            assert_eq!(find(TEXT, path), Ok(expected), "{path:?}");
        }
        assert_eq!(find(TEXT, &[]), Ok(Value(TEXT.trim(), 0)));
        assert_eq!(find(r#"{"a":1,"\u0061":{"b":1}}"#, &["a", "b"]), Err(Twice));
        assert_eq!(find(r#"{"b":{},"b":{},"a":1}"#, &["a"]), Ok(Value("1", 1)));
    }

    /// Each value of a text is found where a reader finds it.
    #[test]
    fn it_agrees_with_a_parser() {
        let whole: Value = serde_json::from_str(TEXT).unwrap();
        fn compare(text: &str, value: &Value, path: &mut Vec<String>) {
            if let Value::Object(members) = value {
                for (key, member) in members {
                    path.push(key.clone());
                    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
                    match find(text, &keys).unwrap() {
                        Found::Nothing => assert!(member.is_null(), "{path:?}"),
                        Found::Value(found, depth) => {
                            assert_eq!(
                                (serde_json::from_str::<Value>(found).unwrap(), depth),
                                (member.clone(), path.len())
                            )
                        }
                    }
                    compare(text, member, path);
                    path.pop();
                }
            }
        }
        compare(TEXT, &whole, &mut Vec::new());
        compare(&whole.to_string(), &whole, &mut Vec::new());
    }

    #[test]
    fn no_text_is_too_broken() {
        for end in 0..TEXT.len() {
            for path in [&["a", "b"][..], &["a", "ef", "g"], &["t"]] {
                let _ = find(TEXT.get(..end).unwrap(), path);
            }
            for inner in [TEXT.get(end..).unwrap(), &TEXT.replace(['{', '"'], "]")] {
                let _ = find(inner, &["a", "b"]);
                assert!(Members::of(inner).count() <= inner.len());
            }
        }
    }

    #[test]
    fn an_error_is_at_its_value() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only the errors count")]
        struct Outer {
            first: String,
            list: Option<Vec<Inner>>,
        }
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only the errors count")]
        struct Inner {
            name: Option<String>,
            more: Option<Box<Inner>>,
            number: Option<u8>,
        }
        for (text, expected) in [
            (r#"{"first":7}"#, "first"),
            (r#"{"list":[]}"#, ""),
            (r#"{"first":"x","list":{}}"#, "list"),
            (r#"{"first":[1]}"#, "first"),
            (r#"{"first": [1]}"#, "first"),
            (r#"{"first":"x","list":["y",{}]}"#, "list[0]"),
            (r#"{"first":"x","list":[{},{"more":{"name":[]}}]}"#, "list[1].more.name"),
            (r#"{"first":"x","list":[{},{"name":"b","more":{"name":{}}}]}"#, "list[1].more.name"),
            ("{\"first\":\"x\",\n  \"list\":[{},\n\n {\"number\": 12345}]}", "list[1].number"),
            (r#"{"first":"x","list":[{"name":"a"},7]}"#, "list[1]"),
            (r#"{"first":"x","list":[{"name":"a","name":"b"}]}"#, "list[0].name"),
            (r#"{"first":"x","list":[{"new\u001b":"a"}]}"#, "list[0].new\u{fffd}"),
            (r#"{"first":"x","list":[{"name":}]}"#, ""),
            ("[", ""),
            ("", ""),
        ] {
            let error = serde_json::from_str::<Outer>(text).unwrap_err();
            assert_eq!(path_of(text, &error), expected, "{text}: {error}");
        }
    }
}
