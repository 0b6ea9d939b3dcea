//! How much there is in a JSON text, counted before it is read: `{},` costs a client three bytes and us a container,
//! so that eight megabytes of them would take hundreds. It knows nothing of reviews, and judges no syntax.

/// Many times what the largest real workload has, old and new together: a thousand variables make about 10,000.
pub(super) const MOST_PARTS: usize = 100_000;

/// How many values there are at most: every one but the first of its list or mapping follows a comma, and the first
/// stands behind a bracket. What is within strings does not count.
pub(super) fn parts(json: &[u8]) -> usize {
    let mut parts = 0;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' | b'{' | b'[' => parts += 1,
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    parts
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            // Whatever is escaped, a quote above all.
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

/// The fuzz target's door.
#[cfg(feature = "fuzzing")]
pub fn fuzz_parts(json: &[u8]) -> usize {
    parts(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_structure_counts() {
        const CASES: [(&str, usize); 8] = [
            ("", 0),
            ("7", 0),
            ("{}", 1),
            ("[1,2,[3]]", 4),
            (r#"{"a":1,"b":[{},{}]}"#, 6),
            (r#"["{,[\\\",{"]"#, 1),
            (r#"["\\",1]"#, 2),
            (r#"["never ended,,,"#, 1),
        ];
        for (json, count) in CASES {
            assert_eq!(parts(json.as_bytes()), count, "{json}");
        }
    }
}
