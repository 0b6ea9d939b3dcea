//! A strict JSON reader for trust data: bytes in, one [`Value`] out, in one pass and linear time.
//!
//! It refuses what two readers might understand differently: duplicate keys anywhere (one layer would take the last,
//! another would merge), fractions, exponents and integers past 2^53 (a float would round them), lone surrogates and
//! bad UTF-8 (they would be replaced), a byte order mark, trailing bytes, and nesting deep enough to hurt a stack.
//! Signatures are checked over the canonical form of this very value, and the typed views are built from it; there
//! is no second parse that could see something else.

use std::borrow::Cow;
use std::fmt;

/// Nesting at which reading stops: one more than the deepest that is taken (TRUST.md, row 98).
const DEPTH: usize = 128;

/// The largest magnitude that every reader of JSON holds exactly (TRUST.md, row 95).
const EXACT: i64 = 1 << 53;

/// The most values in one document. Small values take many times their bytes in memory, and files are read before
/// their signatures are known; 75,000 targets are well below half of this.
const VALUES: usize = 1 << 20;

/// A JSON value. Strings borrow from the input wherever it holds no escape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    String(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    /// Sorted by the keys' UTF-8 bytes, each key once.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// Reads one document.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, JsonError> {
        #[cfg(test)]
        BYTES_READ.with(|read| read.set(read.get() + bytes.len()));
        let text = std::str::from_utf8(bytes).map_err(|e| JsonError { at: e.valid_up_to(), fault: Fault::Utf8 })?;
        let mut reader = Reader { text, at: 0, values: 0 };
        reader.space();
        let value = reader.value(0)?;
        reader.space();
        if reader.at == text.len() { Ok(value) } else { Err(reader.error(Fault::Trailing)) }
    }

    /// The member with exactly this key, if this is an object that has one.
    pub(super) fn get(&self, key: &str) -> Option<&Value<'a>> {
        let members = self.object()?;
        let index = members.binary_search_by(|(name, _)| name.as_bytes().cmp(key.as_bytes())).ok()?;
        members.get(index).map(|(_, value)| value)
    }

    pub(super) fn object(&self) -> Option<&[(Cow<'a, str>, Value<'a>)]> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    pub(super) fn array(&self) -> Option<&[Value<'a>]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    pub(super) fn string(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        self.values += 1;
        if self.values > VALUES {
            return Err(self.error(Fault::Values));
        }
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.integer().map(Value::Integer),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.error(Fault::Syntax)),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        self.open(depth)?;
        // Most objects of trust data are a target or its hashes, and a repository has 75,000 of each.
        let mut members = Vec::with_capacity(2);
        if !self.take_after_space(b'}') {
            loop {
                self.space();
                let key = self.string()?;
                self.space();
                self.expect(b':')?;
                self.space();
                members.push((key, self.value(depth)?));
                if self.take_after_space(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        members.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        // Escaped keys are compared as what they mean: "a" and "\u0061" are the same key (TRUST.md, row 90).
        if members.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
            return Err(self.error(Fault::DuplicateKey));
        }
        Ok(Value::Object(members))
    }

    fn array(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        self.open(depth)?;
        let mut items = Vec::new();
        if !self.take_after_space(b']') {
            loop {
                self.space();
                items.push(self.value(depth)?);
                if self.take_after_space(b']') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        Ok(Value::Array(items))
    }

    fn open(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth >= DEPTH {
            return Err(self.error(Fault::Depth));
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.expect(b'"')?;
        let mut out = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let plain = rest
                .bytes()
                .position(|b| b == b'"' || b == b'\\' || b < 0x20)
                .ok_or_else(|| self.error(Fault::Syntax))?;
            // A quote, a backslash and a control character are one byte each, so this is a character's border.
            let run = rest.get(..plain).unwrap_or_default();
            if out.is_empty() {
                out = Cow::Borrowed(run);
            } else {
                out.to_mut().push_str(run);
            }
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    let escaped = self.escape()?;
                    out.to_mut().push(escaped);
                }
                _ => return Err(self.error(Fault::Control)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let byte = self.peek().ok_or_else(|| self.error(Fault::Syntax))?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex4()?;
                if !(0xd800..0xe000).contains(&unit) {
                    return char::from_u32(unit).ok_or_else(|| self.error(Fault::Surrogate));
                }
                // The upper half must be followed by the lower; char::from_u32 refuses every other mix.
                if unit >= 0xdc00 || !self.rest().starts_with("\\u") {
                    return Err(self.error(Fault::Surrogate));
                }
                self.at += 2;
                let low = self.hex4()?;
                if !(0xdc00..0xe000).contains(&low) {
                    return Err(self.error(Fault::Surrogate));
                }
                let scalar = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                return char::from_u32(scalar).ok_or_else(|| self.error(Fault::Surrogate));
            }
            _ => return Err(self.error(Fault::Syntax)),
        })
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.rest().get(..4).filter(|four| four.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|four| u32::from_str_radix(four, 16).ok());
        self.at += 4;
        unit.ok_or_else(|| self.error(Fault::Syntax))
    }

    fn integer(&mut self) -> Result<i64, JsonError> {
        let start = self.at;
        let negative = self.take(b'-');
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let leading_zero = self.peek() == Some(b'0');
        self.at += digits;
        // `-0` is no integer: what is read back from it differs between readers.
        if digits == 0 || (leading_zero && (digits > 1 || negative)) {
            return Err(self.error(Fault::Number));
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return Err(self.error(Fault::Number));
        }
        let number = self.text.get(start..self.at).and_then(|text| text.parse::<i64>().ok());
        number.filter(|number| number.unsigned_abs() <= EXACT.unsigned_abs()).ok_or_else(|| self.error(Fault::Number))
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, JsonError> {
        if !self.rest().starts_with(word) {
            return Err(self.error(Fault::Syntax));
        }
        self.at += word.len();
        Ok(value)
    }

    fn space(&mut self) {
        self.at += self.rest().bytes().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    fn take_after_space(&mut self, byte: u8) -> bool {
        self.space();
        self.take(byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(self.error(Fault::Syntax)) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, fault: Fault) -> JsonError {
        JsonError { at: self.at.min(self.text.len()), fault }
    }
}

/// Bytes that are not the JSON we take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    at: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Utf8,
    Syntax,
    Trailing,
    Control,
    Surrogate,
    Number,
    Depth,
    Values,
    DuplicateKey,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::Utf8 => "bytes that are not UTF-8",
            Fault::Syntax => "something that is not JSON",
            Fault::Trailing => "more bytes after the end of the document",
            Fault::Control => "a raw control character",
            Fault::Surrogate => "half of a surrogate pair",
            Fault::Number => "a number that is not an integer within 2^53",
            Fault::Depth => "nesting 128 levels deep",
            Fault::Values => "more than a million values",
            Fault::DuplicateKey => "an object with the same key twice",
        };
        write!(f, "{what} at byte {}", self.at)
    }
}

impl std::error::Error for JsonError {}

#[cfg(test)]
thread_local! {
    /// Bytes that this thread has read: what is verified once is not read again, and a test can see so.
    pub(super) static BYTES_READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_exact() {
        let value = Value::read(b" { \"b\" : [1, -2,\t9007199254740992, -9007199254740992, 0],\r\n\"a\":\"x\\u0041\\n\\ud83d\\ude00/\\/\", \"c\":{}, \"d\":[], \"e\":[true,false,null,\"\"]} ").unwrap();
        assert_eq!(value.get("a").unwrap().string(), Some("xA\n😀//"));
        let numbers: Vec<_> = value.get("b").unwrap().array().unwrap().iter().map(|n| n.integer().unwrap()).collect();
        assert_eq!(numbers, [1, -2, EXACT, -EXACT, 0]);
        assert_eq!(value.get("A"), None);
        let keys: Vec<_> = value.object().unwrap().iter().map(|(key, _)| key.as_ref()).collect();
        assert_eq!(keys, ["a", "b", "c", "d", "e"]);
        assert_eq!(Value::read(br#""\"\\\b\f\r\t""#).unwrap().string(), Some("\"\\\u{8}\u{c}\r\t"));
        assert_eq!(Value::read("\"\u{7f}é\u{2028}\"".as_bytes()).unwrap().string(), Some("\u{7f}é\u{2028}"));
    }

    #[test]
    fn row_090_duplicate_keys_are_refused_anywhere() {
        for bad in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":2,"\u0061":3}"#, r#"[{"x":{"a":{},"a":{}}}]"#, r#"{"":1,"":2}"#] {
            assert_eq!(Value::read(bad.as_bytes()).unwrap_err().fault, Fault::DuplicateKey, "{bad}");
        }
        assert!(Value::read(br#"{"a":{"a":1},"b":{"a":1},"A":1}"#).is_ok());
    }

    #[test]
    fn row_093_only_one_whole_document() {
        for (bad, fault) in [
            ("{} x", Fault::Trailing),
            ("{}{}", Fault::Trailing),
            ("{},", Fault::Trailing),
            ("\u{feff}{}", Fault::Syntax),
            ("", Fault::Syntax),
            (" ", Fault::Syntax),
            ("{", Fault::Syntax),
            ("[1,]", Fault::Syntax),
            ("{\"a\":1,}", Fault::Syntax),
            ("{\"a\" 1}", Fault::Syntax),
            ("{a:1}", Fault::Syntax),
            ("[1 2]", Fault::Syntax),
            ("'a'", Fault::Syntax),
            ("\"a", Fault::Syntax),
            ("\"\\x\"", Fault::Syntax),
            ("\"\\u00g0\"", Fault::Syntax),
            ("\"\\u+123\"", Fault::Syntax),
            ("\"\\u12", Fault::Syntax),
            ("tru", Fault::Syntax),
            ("True", Fault::Syntax),
            ("NaN", Fault::Syntax),
            ("\u{b}1", Fault::Syntax),
            ("\"a\u{1}\"", Fault::Control),
            ("\"a\n\"", Fault::Control),
            ("{\"a\u{0}\":1}", Fault::Control),
        ] {
            assert_eq!(Value::read(bad.as_bytes()).unwrap_err().fault, fault, "{bad:?}");
        }
    }

    #[test]
    fn row_094_only_integers() {
        for bad in [
            "01",
            "-01",
            "-",
            "-0",
            "1.0",
            "1.",
            "1e2",
            "1E2",
            "0e0",
            "1e400",
            "0.5",
            "9223372036854775808",
            "99999999999999999999999999",
            "+1",
        ] {
            let fault = Value::read(bad.as_bytes()).unwrap_err().fault;
            assert_eq!(fault, if bad == "+1" { Fault::Syntax } else { Fault::Number }, "{bad}");
        }
    }

    #[test]
    fn row_095_only_exact_integers() {
        for bad in ["9007199254740993", "-9007199254740993", "9223372036854775807"] {
            assert_eq!(Value::read(bad.as_bytes()).unwrap_err().fault, Fault::Number, "{bad}");
        }
    }

    #[test]
    fn row_097_strings_are_unicode() {
        for bad in
            [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800\ud800""#, r#""\ud800x""#, r#"{"\ud800":1}"#]
        {
            assert_eq!(Value::read(bad.as_bytes()).unwrap_err().fault, Fault::Surrogate, "{bad}");
        }
        for bad in [&b"\"\xff\""[..], b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"\"\xe2\x82\""] {
            assert_eq!(Value::read(bad).unwrap_err().fault, Fault::Utf8, "{bad:?}");
        }
    }

    #[test]
    fn row_098_nesting_ends_below_128() {
        let nested = |open: &str, close: &str, depth: usize| open.repeat(depth) + close.repeat(depth).as_str();
        assert!(Value::read(nested("[", "]", 127).as_bytes()).is_ok());
        assert_eq!(Value::read(nested("[", "]", 128).as_bytes()).unwrap_err().fault, Fault::Depth);
        let objects = "{\"a\":".repeat(127) + "{}" + &"}".repeat(127);
        assert_eq!(Value::read(objects.as_bytes()).unwrap_err().fault, Fault::Depth);
        let flat = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        assert!(Value::read(flat(VALUES).as_bytes()).is_ok());
        assert_eq!(Value::read(flat(VALUES + 1).as_bytes()).unwrap_err().fault, Fault::Values);
        assert_eq!(Value::read("[".repeat(1 << 20).as_bytes()).unwrap_err().fault, Fault::Depth);
    }
}
