//! Writes JSON at the end of a text, without a tree and without a copy of its strings. For what is written at every admission:
//! the log line and the response.

use portreeve_verify::text::{plain_run, visible};

/// What becomes of a character that a terminal obeys or hides, where JSON itself would not escape it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// It stays.
    Kept,
    /// It is escaped, and so nothing is lost.
    Escaped,
    /// U+FFFD takes its place.
    Replaced,
}

/// An object or array that is being written. Commas are written where they belong.
pub(crate) struct JsonWriter<'a> {
    out: &'a mut Vec<u8>,
    hidden: Hidden,
}

impl<'a> JsonWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, hidden: Hidden) -> Self {
        Self { out, hidden }
    }

    /// What was written so far: UTF-8.
    pub(crate) fn text(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Begins an object or array, by its bracket: as a value after [`Self::key`], or as the next element of an array.
    pub(crate) fn begin(&mut self, bracket: u8) {
        self.separate();
        self.out.push(bracket);
    }

    /// Ends an object or array.
    pub(crate) fn end(&mut self, bracket: u8) {
        self.out.push(bracket);
    }

    /// The key of the next value: a word of ours, which needs no escape.
    pub(crate) fn key(&mut self, key: &str) {
        self.out.reserve(key.len() + 4);
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A string as the next element of an array.
    pub(crate) fn element(&mut self, text: &str) {
        self.separate();
        push_string(self.out, text, self.hidden);
    }

    /// A field with a string.
    pub(crate) fn string(&mut self, key: &str, text: &str) {
        self.key(key);
        push_string(self.out, text, self.hidden);
    }

    /// A field with a string, if there is one.
    pub(crate) fn optional(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.string(key, text);
        }
    }

    /// A field with a number.
    pub(crate) fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        push_number(self.out, number, 1);
    }

    /// A field with a truth value.
    pub(crate) fn truth(&mut self, key: &str, truth: bool) {
        self.key(key);
        self.out.extend_from_slice(if truth { b"true" } else { b"false" });
    }

    /// A comma, unless this is the first of its object or array, or the value of a key. A string that ends in such a character
    /// ends in a quote here.
    fn separate(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }
}

/// A JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str, hidden: Hidden) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    loop {
        let run = plain_run(rest.as_bytes());
        if run == rest.len() {
            out.extend_from_slice(rest.as_bytes());
            break;
        }
        let (plain, left) = rest.split_at_checked(run).unwrap_or((rest, ""));
        out.extend_from_slice(plain.as_bytes());
        let mut characters = left.chars();
        let Some(c) = characters.next() else { break };
        push_special(out, c, hidden);
        rest = characters.as_str();
    }
    out.push(b'"');
}

/// A character that is not plain.
fn push_special(out: &mut Vec<u8>, c: char, hidden: Hidden) {
    let escape = match c {
        '"' => b'"',
        '\\' => b'\\',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        _ => {
            let is_hidden = c < ' ' || (hidden != Hidden::Kept && visible(c) != c);
            return match hidden {
                Hidden::Replaced if is_hidden && c >= ' ' => push_char(out, '\u{fffd}'),
                _ if is_hidden => push_units(out, c),
                _ => push_char(out, c),
            };
        }
    };
    out.extend_from_slice(&[b'\\', escape]);
}

/// A character as it is.
pub(crate) fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// A character by the numbers of its UTF-16 units.
fn push_units(out: &mut Vec<u8>, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            push_char(out, char::from_digit(u32::from(*unit >> shift) & 15, 16).unwrap_or_default());
        }
    }
}

/// A number in decimal digits, at least as many as `digits`.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64, digits: usize) {
    let mut text = [b'0'; 20];
    let mut left = number;
    let mut begin = text.len();
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
        begin -= 1;
        if left == 0 {
            break;
        }
    }
    let begin = begin.min(text.len().saturating_sub(digits));
    out.extend_from_slice(text.get(begin..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str, hidden: Hidden) -> String {
        let mut out = Vec::new();
        push_string(&mut out, text, hidden);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_written_as_serde_json_writes_them() {
        let every: String = ('\0'..='\u{2ff}').chain(['\u{2028}', '\u{e0041}', '\u{10ffff}', '\u{fffd}']).collect();
        for text in [every.as_str(), "", "a", "\"", "\\", "12345678", "1234567\"9", "ä\u{1b}\u{1b}"] {
            assert_eq!(string(text, Hidden::Kept), serde_json::to_string(text).unwrap());
            let escaped = string(text, Hidden::Escaped);
            assert!(escaped.chars().all(|c| visible(c) == c), "{escaped:?}");
            assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
            let replaced = string(text, Hidden::Replaced);
            assert_eq!(replaced, serde_json::to_string(text).unwrap().chars().map(visible).collect::<String>());
        }
    }

    #[test]
    fn objects_and_arrays_have_their_commas() {
        let mut out = Vec::new();
        let mut json = JsonWriter::new(&mut out, Hidden::Kept);
        json.begin(b'{');
        json.string("a", "x:");
        json.optional("none", None);
        json.key("b");
        json.begin(b'[');
        json.element("{");
        json.element("[");
        json.begin(b'{');
        json.end(b'}');
        json.begin(b'{');
        json.number("n", 7);
        json.end(b'}');
        json.end(b']');
        json.truth("c", true);
        json.key("d");
        json.begin(b'[');
        json.end(b']');
        json.end(b'}');
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":"x:","b":["{","[",{},{"n":7}],"c":true,"d":[]}"#);
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for (number, digits) in [(0, 1), (7, 1), (10, 1), (7, 3), (1_234, 2), (u64::MAX, 1), (u64::MAX, 30)] {
            let mut out = Vec::new();
            push_number(&mut out, number, digits);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{number:00$}", digits.min(20)));
        }
    }
}
