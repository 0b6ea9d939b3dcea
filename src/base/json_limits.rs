//! Counts the values of a JSON text before parsing it. `{},` is three bytes on the wire and about 170 in memory, so 8 MB of it
//! would need hundreds of megabytes. Measures the longest string as well: where a string is not expected, an error quotes
//! it, escaped and so up to six times as long. The syntax is not checked.

/// What a JSON text contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JsonSize {
    /// The largest possible number of values: the first value of a list or mapping follows a bracket, and every other
    /// value a comma. The content of strings does not count.
    pub(crate) values: usize,
    /// The bytes of the longest string, as it is written.
    pub(crate) longest_string: usize,
}

/// Most values of an admission review: many times what the largest real workload has, with its old and its new object. A
/// thousand variables make about 10,000.
pub(crate) const MAX_VALUES: usize = 100_000;

/// The longest string in a workload. All annotations together have at most 256 KiB before JSON escapes them, and Linux
/// accepts no argument or variable longer than 128 KiB.
pub(crate) const MAX_STRING: usize = 512 << 10;

impl JsonSize {
    pub(crate) fn of(json: &[u8]) -> Self {
        let mut size = Self { values: 0, longest_string: 0 };
        let mut bytes = json.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b',' | b'{' | b'[' => size.values += 1,
                b'"' => {
                    let before = bytes.len();
                    skip_string(&mut bytes);
                    size.longest_string = size.longest_string.max(before - bytes.len());
                }
                _ => {}
            }
        }
        size
    }
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            // The next byte is escaped: it may be a quote.
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

/// The entry point of the fuzz target.
#[cfg(feature = "fuzzing")]
pub fn fuzz_values(json: &[u8]) -> usize {
    JsonSize::of(json).values
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
            assert_eq!(JsonSize::of(json.as_bytes()).values, count, "{json}");
        }
    }

    #[test]
    fn the_longest_string_is_found() {
        // With its closing quote, if it has one.
        const CASES: [(&str, usize); 6] =
            [("", 0), ("7", 0), (r#""""#, 1), (r#"["ab","c"]"#, 3), (r#"{"a":"\"bc\\"}"#, 7), (r#"["a","bcd"#, 3)];
        for (json, longest) in CASES {
            assert_eq!(JsonSize::of(json.as_bytes()).longest_string, longest, "{json}");
        }
    }
}
