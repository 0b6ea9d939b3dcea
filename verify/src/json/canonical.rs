//! Canonical JSON: the form of a value over which signatures are made.
//!
//! This is Notary's form: keys sorted by their UTF-8 bytes at every level, no white space, and no escapes but `\\` and `\"`. A
//! file may escape other characters too, so its bytes are never taken as the signed bytes unchecked. If the reader has proven
//! that the file has the form's very bytes, they are used where they stand. Otherwise the form is written from the value.

use std::ops::Range;

use super::{Allowance, Content, JsonError, Value};

/// The deadline is checked once for this many values.
const CHECK_EVERY: usize = 4096;

/// The canonical form of a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The file has these bytes, in this range.
    InFile(Range<usize>),
    /// The file has the value in another form.
    Written(Vec<u8>),
}

impl Form {
    /// The bytes. `file` is the file of the value.
    pub(crate) fn bytes<'f>(&'f self, file: &'f [u8]) -> &'f [u8] {
        match self {
            Self::InFile(range) => file.get(range.clone()).unwrap_or_default(),
            Self::Written(bytes) => bytes,
        }
    }
}

/// The canonical form of a value, in at most the allowed memory.
pub(crate) fn canonical(value: Value<'_>, allowance: Allowance<'_>) -> Result<Form, JsonError> {
    if let Some(range) = value.in_text() {
        return Ok(Form::InFile(range));
    }
    let mut walk = Walk { out: Vec::new(), most: allowance.memory, values: 0, is_late: allowance.is_late };
    walk.write(value)?;
    Ok(Form::Written(walk.out))
}

/// A string in canonical form.
pub(crate) fn canonical_string(text: &str) -> Vec<u8> {
    let mut walk = Walk { out: Vec::new(), most: usize::MAX, values: 0, is_late: &|| false };
    let _ = walk.string(text); // this has no limit
    walk.out
}

/// Writes the form, in at most so many bytes.
struct Walk<'b> {
    out: Vec<u8>,
    most: usize,
    values: usize,
    is_late: &'b dyn Fn() -> bool,
}

impl Walk<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), JsonError> {
        if bytes.len() > self.most - self.out.len() {
            return Err(JsonError::TOO_LARGE);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn write(&mut self, value: Value<'_>) -> Result<(), JsonError> {
        self.values += 1;
        if self.values.is_multiple_of(CHECK_EVERY) && (self.is_late)() {
            return Err(JsonError::LATE);
        }
        match value.content() {
            Content::Literal(word) => self.put(word.as_bytes()),
            Content::Integer(number) => self.integer(number),
            Content::Plain(text) => {
                self.put(b"\"")?;
                self.put(text.as_bytes())?;
                self.put(b"\"")
            }
            Content::String(text) => self.string(text),
            Content::Array(items) => {
                self.put(b"[")?;
                for (index, item) in items.enumerate() {
                    if index > 0 {
                        self.put(b",")?;
                    }
                    self.write(item)?;
                }
                self.put(b"]")
            }
            Content::Object(mut members) => {
                let mut before: &[u8] = b"{";
                while let Some((name, member)) = members.next_pair() {
                    self.put(before)?;
                    self.write(name)?;
                    self.put(b":")?;
                    self.write(member)?;
                    before = b",";
                }
                self.put(if before == b"{" { b"{}" } else { b"}" })
            }
        }
    }

    fn integer(&mut self, number: i64) -> Result<(), JsonError> {
        let (mut digits, mut rest) = ([0; 20], number.unsigned_abs());
        let mut length = 0;
        for digit in digits.iter_mut().rev() {
            // The last digit of the rest, which fits.
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            (rest, length) = (rest / 10, length + 1);
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            self.put(b"-")?;
        }
        self.put(digits.get(digits.len() - length..).unwrap_or_default())
    }

    fn string(&mut self, text: &str) -> Result<(), JsonError> {
        self.put(b"\"")?;
        // Runs without escapes are written at once. Most strings are one run.
        let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\');
        for run in text.as_bytes().split_inclusive(is_escaped) {
            match run.split_last() {
                Some((last, plain)) if is_escaped(last) => {
                    self.put(plain)?;
                    self.put(&[b'\\', *last])?;
                }
                _ => self.put(run)?,
            }
        }
        self.put(b"\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Document;

    const ANY: Allowance<'static> = Allowance { values: usize::MAX, memory: usize::MAX, is_late: &|| false };

    fn canonical_of(text: &str) -> String {
        let document = Document::of(text.as_bytes()).unwrap();
        let form = canonical(document.root(), ANY).unwrap();
        String::from_utf8(form.bytes(text.as_bytes()).to_vec()).unwrap()
    }

    #[test]
    fn a_file_that_is_canonical_already_is_not_written_once_more() {
        let form = |text: &str, most: usize| {
            let document = Document::of(text.as_bytes()).unwrap();
            let signed = document.root().get("signed").unwrap();
            let form = canonical(signed, Allowance { memory: most, ..ANY })?;
            let bytes = form.bytes(text.as_bytes()).to_vec();
            Ok::<_, JsonError>((matches!(form, Form::InFile(_)), String::from_utf8(bytes).unwrap()))
        };
        let same = r#"{"a":[1,-2,"<\"\\>",true,null,{}],"b":{"":{}}}"#;
        assert_eq!(form(&format!(r#"{{"signed":{same},"signatures":[]}}"#), 0), Ok((true, same.to_owned())));
        for wire in [
            r#"{"b":{"":{}},"a":[1,-2,"<\"\\>",true,null,{}]}"#,
            r#"{"a":[1,-2,"<\"\\>",true,null,{} ],"b":{"":{}}}"#,
            r#"{"a":[1,-2,"\u003c\"\\>",true,null,{}],"b":{"":{}}}"#,
            r#"{"\u0061":[1,-2,"<\"\\>",true,null,{}],"b":{"":{}}}"#,
        ] {
            let text = format!(r#"{{"signed":{wire},"signatures":[]}}"#);
            assert_eq!(form(&text, same.len()), Ok((false, same.to_owned())), "{wire}");
            assert_eq!(form(&text, same.len() - 1), Err(JsonError::TOO_LARGE), "{wire}");
        }
        let items = format!("[{}0]", "0,".repeat(2 * CHECK_EVERY));
        let document = Document::of(items.as_bytes()).unwrap();
        assert_eq!(canonical(document.root(), Allowance { is_late: &|| true, ..ANY }), Err(JsonError::LATE));
    }

    /// A value, apart from any text.
    #[derive(Clone, Debug, PartialEq)]
    enum Tree {
        Word(String),
        Text(String),
        List(Vec<Tree>),
        Object(Vec<(String, Tree)>),
    }

    impl Tree {
        fn of(value: Value<'_>) -> Self {
            match value.content() {
                Content::Literal(word) => Self::Word(word.to_owned()),
                Content::Integer(number) => Self::Word(number.to_string()),
                Content::Plain(text) | Content::String(text) => Self::Text(text.to_owned()),
                Content::Array(items) => Self::List(items.map(Self::of).collect()),
                Content::Object(members) => {
                    Self::Object(members.map(|(name, member)| (name.to_owned(), Self::of(member))).collect())
                }
            }
        }

        fn read(text: &str) -> Option<Self> {
            Document::of(text.as_bytes()).ok().map(|document| Self::of(document.root()))
        }
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

    fn value(state: &mut u64, depth: usize) -> Tree {
        match random(state, if depth == 0 { 4 } else { 6 }) {
            0 => Tree::Word("null".to_owned()),
            1 => Tree::Word((random(state, 2) == 0).to_string()),
            2 => Tree::Word((i64::try_from(random(state, 30)).unwrap() - 15).to_string()),
            3 => Tree::Text(text(state)),
            4 => Tree::List((0..random(state, 4)).map(|_| value(state, depth - 1)).collect()),
            _ => {
                let members: std::collections::BTreeMap<_, _> =
                    (0..random(state, 4)).map(|_| (text(state), value(state, depth - 1))).collect();
                Tree::Object(members.into_iter().collect())
            }
        }
    }

    /// As some other writer might put it: other orders, spaces and escapes.
    fn wire(value: &Tree, state: &mut u64) -> String {
        let space = |state: &mut u64| [" ", "", "\n", ""][random(state, 4)];
        match value {
            Tree::Text(text) => {
                let escaped = |c: char, state: &mut u64| match c {
                    '"' | '\\' if random(state, 2) == 0 => format!("\\{c}"),
                    c if c < ' ' || c == '"' || c == '\\' || random(state, 3) == 0 => {
                        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                    }
                    c => c.to_string(),
                };
                format!("\"{}\"", text.chars().map(|c| escaped(c, state)).collect::<String>())
            }
            Tree::List(items) => {
                let items: Vec<_> = items.iter().map(|item| space(state).to_owned() + &wire(item, state)).collect();
                format!("[{}{}]", items.join(","), space(state))
            }
            Tree::Object(members) => {
                let mut members: Vec<_> = (members.iter())
                    .map(|(key, value)| {
                        let key = wire(&Tree::Text(key.clone()), state);
                        format!("{}{key}{}:{}{}", space(state), space(state), space(state), wire(value, state))
                    })
                    .collect();
                for last in (1..members.len()).rev() {
                    members.swap(last, random(state, last + 1));
                }
                format!("{{{}{}}}", members.join(","), space(state))
            }
            Tree::Word(word) => word.clone(),
        }
    }

    #[test]
    fn a_value_and_its_canonical_form_are_one_to_one() {
        let mut state = 3;
        let mut forms = std::collections::BTreeMap::new();
        for _ in 0..20_000 {
            let value = value(&mut state, 3);
            // Whatever it looks like on the wire, it is this value, and has one form.
            let wire = wire(&value, &mut state);
            assert_eq!(Tree::read(&wire).as_ref(), Some(&value), "{wire}");
            let form = canonical_of(&wire);
            // The form itself is JSON, but for raw control characters, and reads as the value again.
            let as_json: String = (form.chars())
                .map(|c| if c < ' ' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })
                .collect();
            assert_eq!(Tree::read(&as_json).as_ref(), Some(&value), "{form}");
            assert_eq!(canonical_of(&as_json), form, "{form}");
            assert_eq!(Tree::read(&form).is_some(), as_json == form, "{form}");
            // Different values have different forms.
            let known = forms.entry(form).or_insert_with(|| value.clone());
            assert_eq!(*known, value);
        }
        assert!(forms.len() > 1_000, "{} different ones", forms.len());
    }
}
