//! How much there is in a JSON text, counted before it is read: `{},` costs a client three bytes and us a container,
//! so that eight megabytes of them would take hundreds; and a long string where none belongs is quoted in an error, up
//! to six times as long. It knows nothing of reviews, and judges no syntax.

/// What a JSON text holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Density {
    /// How many values there are at most: every one but the first of its list or mapping follows a comma, and the
    /// first stands behind a bracket. What is within strings does not count.
    pub(crate) parts: usize,
    /// The bytes of the longest string, as it is written.
    pub(crate) longest: usize,
}

/// Many times what the largest real workload has, old and new together: a thousand variables make about 10,000.
pub(crate) const MOST_PARTS: usize = 100_000;

/// The longest string in a workload. All annotations together have at most 256 KiB, before JSON escapes them, and Linux
/// takes no longer argument or variable than 128 KiB.
pub(crate) const LONGEST_STRING: usize = 512 << 10;

impl Density {
    pub(crate) fn of(json: &[u8]) -> Self {
        let mut density = Self { parts: 0, longest: 0 };
        let mut bytes = json.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b',' | b'{' | b'[' => density.parts += 1,
                b'"' => {
                    let before = bytes.len();
                    skip_string(&mut bytes);
                    density.longest = density.longest.max(before - bytes.len());
                }
                _ => {}
            }
        }
        density
    }
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
    Density::of(json).parts
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
            assert_eq!(Density::of(json.as_bytes()).parts, count, "{json}");
        }
    }

    #[test]
    fn the_longest_string_is_found() {
        // With its closing quote, if it has one.
        const CASES: [(&str, usize); 6] =
            [("", 0), ("7", 0), (r#""""#, 1), (r#"["ab","c"]"#, 3), (r#"{"a":"\"bc\\"}"#, 7), (r#"["a","bcd"#, 3)];
        for (json, longest) in CASES {
            assert_eq!(Density::of(json.as_bytes()).longest, longest, "{json}");
        }
    }
}
