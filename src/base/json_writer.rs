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
    out: &'a mut String,
    hidden: Hidden,
}

impl<'a> JsonWriter<'a> {
    pub(crate) fn new(out: &'a mut String, hidden: Hidden) -> Self {
        Self { out, hidden }
    }

    /// What was written so far.
    pub(crate) fn text(&mut self) -> &mut String {
        self.out
    }

    /// Begins an object or array, by its bracket: as a value after [`Self::key`], or as the next element of an array.
    pub(crate) fn begin(&mut self, bracket: char) {
        self.separate();
        self.out.push(bracket);
    }

    /// Ends an object or array.
    pub(crate) fn end(&mut self, bracket: char) {
        self.out.push(bracket);
    }

    /// The key of the next value: a word of ours, which needs no escape.
    pub(crate) fn key(&mut self, key: &str) {
        self.separate();
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
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
        self.out.push_str(if truth { "true" } else { "false" });
    }

    /// A comma, unless this is the first of its object or array, or the value of a key. A string that ends in such a character
    /// ends in a quote here.
    fn separate(&mut self) {
        if !matches!(self.out.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(',');
        }
    }
}

/// A JSON string.
pub(crate) fn push_string(out: &mut String, text: &str, hidden: Hidden) {
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    loop {
        let (plain, left) = rest.split_at_checked(plain_run(rest)).unwrap_or((rest, ""));
        out.push_str(plain);
        let mut characters = left.chars();
        let Some(c) = characters.next() else { break };
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..' ' => push_escape(out, c),
            c if hidden == Hidden::Kept || visible(c) == c => out.push(c),
            c if hidden == Hidden::Escaped => push_escape(out, c),
            _ => out.push('\u{fffd}'),
        }
        rest = characters.as_str();
    }
    out.push('"');
}

fn push_escape(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str("\\u");
        for shift in [12, 8, 4, 0] {
            out.extend(char::from_digit(u32::from(*unit >> shift) & 15, 16));
        }
    }
}

/// A number in decimal digits, at least as many as `digits`.
pub(crate) fn push_number(out: &mut String, number: u64, digits: usize) {
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
    out.push_str(text.get(begin..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str, hidden: Hidden) -> String {
        let mut out = String::new();
        push_string(&mut out, text, hidden);
        out
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
        let mut out = String::new();
        let mut json = JsonWriter::new(&mut out, Hidden::Kept);
        json.begin('{');
        json.string("a", "x:");
        json.optional("none", None);
        json.key("b");
        json.begin('[');
        json.element("{");
        json.element("[");
        json.begin('{');
        json.end('}');
        json.begin('{');
        json.number("n", 7);
        json.end('}');
        json.end(']');
        json.truth("c", true);
        json.key("d");
        json.begin('[');
        json.end(']');
        json.end('}');
        assert_eq!(out, r#"{"a":"x:","b":["{","[",{},{"n":7}],"c":true,"d":[]}"#);
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for (number, digits) in [(0, 1), (7, 1), (10, 1), (7, 3), (1_234, 2), (u64::MAX, 1), (u64::MAX, 30)] {
            let mut out = String::new();
            push_number(&mut out, number, digits);
            assert_eq!(out, format!("{number:00$}", digits.min(20)));
        }
    }
}
