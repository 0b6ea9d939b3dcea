//! A strict JSON reader for trust data: bytes in, one [`Document`] out, in one pass.
//!
//! It refuses what two readers might understand differently: duplicate keys anywhere (one layer would take the last,
//! another would merge), fractions, exponents and integers past 2^53 (a float would round them), lone surrogates and
//! bad UTF-8 (they would be replaced), a byte order mark, trailing bytes, and nesting deep enough to hurt a stack.
//! Signatures are checked over the canonical form of this very document, and the typed views are built from it; there
//! is no second parse that could see something else.
//!
//! A document is read before its signatures are known, so a value costs little: eight bytes in one flat list, beside the
//! text that it points into. A tree would take twenty times the bytes of `{},`. [`Allowance`] bounds the list.

pub(crate) mod canonical;

use std::cmp::Ordering;
use std::fmt;

/// Nesting at which reading stops: one more than the deepest that is taken (TRUST.md, row 98).
const DEPTH: usize = 128;

/// The largest magnitude that every reader of JSON holds exactly (TRUST.md, row 95).
const EXACT: i64 = 1 << 53;

/// The time is looked at once for so many values.
const CHECK_EVERY: usize = 4096;

/// What reading one file may take.
#[derive(Clone, Copy)]
pub(crate) struct Allowance<'a> {
    /// The most values and names.
    pub(crate) values: usize,
    /// The most bytes of memory, beside the file's own.
    pub(crate) memory: usize,
    /// Is the time up? The reader has no clock.
    pub(crate) is_late: &'a dyn Fn() -> bool,
}

/// A JSON text that was read. Values are in the order of the text; each container is followed by what is in it.
pub(crate) struct Document<'a> {
    text: &'a str,
    nodes: Vec<Node>,
    /// The strings that have escapes, without them, one after the other.
    unescaped: String,
}

/// A value, or the name of the member that follows it.
///
/// `place` is the kind and where the value begins, `size` the bytes of a string or a number, or the nodes in a container.
#[derive(Clone, Copy)]
struct Node {
    place: u32,
    size: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A number, or one of the three words.
    Word,
    /// A string as it stands in the text.
    Text,
    /// A string of `unescaped`.
    Unescaped,
    Array,
    /// The names come sorted.
    Object,
    /// The names come in another order. Behind the members stand as many nodes with the places of the names in order,
    /// and one with their number.
    Unsorted,
}

/// Bits of `place` that say where: half a gigabyte, far more than any file may have.
const PLACE_BITS: u32 = 29;

impl Node {
    fn new(kind: Kind, at: usize, size: usize) -> Option<Self> {
        let at = u32::try_from(at).ok().filter(|at| at >> PLACE_BITS == 0)?;
        Some(Self { place: (kind as u32) << PLACE_BITS | at, size: u32::try_from(size).ok()? })
    }

    fn kind(self) -> Kind {
        match self.place >> PLACE_BITS {
            0 => Kind::Word,
            1 => Kind::Text,
            2 => Kind::Unescaped,
            3 => Kind::Array,
            4 => Kind::Object,
            _ => Kind::Unsorted,
        }
    }

    fn at(self) -> usize {
        index(self.place & ((1 << PLACE_BITS) - 1))
    }

    fn size(self) -> usize {
        index(self.size)
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl<'a> Document<'a> {
    /// Reads one document.
    pub(crate) fn read(bytes: &'a [u8], allowance: Allowance<'_>) -> Result<Self, JsonError> {
        #[cfg(test)]
        BYTES_READ.with(|read| read.set(read.get() + bytes.len()));
        let text = std::str::from_utf8(bytes).map_err(|e| JsonError { at: e.valid_up_to(), fault: Fault::Utf8 })?;
        let document = Self { text, nodes: Vec::new(), unescaped: String::new() };
        let mut reader = Reader { document, at: 0, allowance };
        reader.space();
        reader.value(0)?;
        reader.space();
        if reader.at == text.len() { Ok(reader.document) } else { Err(reader.error(Fault::Trailing)) }
    }

    /// The same, whatever it takes.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, JsonError> {
        Self::read(bytes, Allowance { values: usize::MAX, memory: usize::MAX, is_late: &|| false })
    }

    /// The value that the document is.
    pub(crate) fn root(&self) -> Value<'_> {
        Value { document: self, index: 0 }
    }

    /// What it takes in memory beside the text.
    pub(crate) fn memory(&self) -> usize {
        self.nodes.len() * size_of::<Node>() + self.unescaped.len()
    }

    fn node(&self, index: usize) -> Node {
        self.nodes.get(index).copied().unwrap_or(Node { place: 0, size: 0 }) // indices come from the reader
    }

    fn string(&self, node: Node) -> Option<&str> {
        let from = match node.kind() {
            Kind::Text => self.text,
            Kind::Unescaped => &self.unescaped,
            Kind::Word | Kind::Array | Kind::Object | Kind::Unsorted => return None,
        };
        from.get(node.at()..node.at() + node.size())
    }

    /// The name that stands at this index.
    fn name(&self, index: usize) -> &str {
        self.string(self.node(index)).unwrap_or_default() // the reader puts nothing else there
    }

    /// The index behind this value and all that is in it.
    fn after(&self, index: usize) -> usize {
        let node = self.node(index);
        let inner = if matches!(node.kind(), Kind::Array | Kind::Object | Kind::Unsorted) { node.size() } else { 0 };
        index + 1 + inner
    }
}

/// A value of a document.
#[derive(Clone, Copy)]
pub(crate) struct Value<'d> {
    document: &'d Document<'d>,
    index: usize,
}

/// What a value is.
pub(crate) enum Content<'d> {
    /// A number or `true`, `false`, `null`: each has only the one spelling that it has in the text.
    Word(&'d str),
    /// A string without escapes: neither quotes nor backslashes are in it.
    Plain(&'d str),
    /// Any string.
    String(&'d str),
    Array(Items<'d>),
    Object(Members<'d>),
}

impl<'d> Value<'d> {
    pub(crate) fn content(self) -> Content<'d> {
        let node = self.node();
        match node.kind() {
            Kind::Word => Content::Word(self.word()),
            Kind::Text => Content::Plain(self.string().unwrap_or_default()),
            Kind::Unescaped => Content::String(self.string().unwrap_or_default()),
            Kind::Array => Content::Array(self.items()),
            Kind::Object | Kind::Unsorted => Content::Object(self.members()),
        }
    }

    /// Where an object or an array begins in the text.
    pub(crate) fn start(self) -> Option<usize> {
        matches!(self.node().kind(), Kind::Array | Kind::Object | Kind::Unsorted).then(|| self.node().at())
    }

    /// The whole text that the value is of.
    pub(crate) fn text(self) -> &'d str {
        self.document.text
    }

    /// The member with exactly this name, if this is an object that has one.
    pub(crate) fn get(self, name: &str) -> Option<Self> {
        // Short objects, but for tags and keys, which are looked for in another way.
        for (known, value) in self.object()? {
            match known.as_bytes().cmp(name.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => return Some(value),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The members, sorted by the names' UTF-8 bytes, each name once.
    pub(crate) fn object(self) -> Option<Members<'d>> {
        matches!(self.node().kind(), Kind::Object | Kind::Unsorted).then(|| self.members())
    }

    pub(crate) fn array(self) -> Option<Items<'d>> {
        (self.node().kind() == Kind::Array).then(|| self.items())
    }

    pub(crate) fn string(self) -> Option<&'d str> {
        self.document.string(self.node())
    }

    pub(crate) fn integer(self) -> Option<i64> {
        if self.node().kind() == Kind::Word { self.word().parse().ok() } else { None }
    }

    pub(crate) fn is_null(self) -> bool {
        self.node().kind() == Kind::Word && self.word() == "null"
    }

    fn node(self) -> Node {
        self.document.node(self.index)
    }

    fn word(self) -> &'d str {
        let node = self.node();
        self.document.text.get(node.at()..node.at() + node.size()).unwrap_or_default()
    }

    fn items(self) -> Items<'d> {
        Items { document: self.document, next: self.index + 1, end: self.document.after(self.index) }
    }

    fn members(self) -> Members<'d> {
        let (document, first, end) = (self.document, self.index + 1, self.document.after(self.index));
        match self.node().kind() {
            Kind::Unsorted => {
                let count = document.node(end - 1).size();
                Members { document, next: end - 1 - count, end: end - 1, is_indirect: true }
            }
            _ => Members { document, next: first, end, is_indirect: false },
        }
    }
}

/// The items of an array.
#[derive(Clone)]
pub(crate) struct Items<'d> {
    document: &'d Document<'d>,
    next: usize,
    end: usize,
}

impl<'d> Iterator for Items<'d> {
    type Item = Value<'d>;

    fn next(&mut self) -> Option<Value<'d>> {
        let index = (self.next < self.end).then_some(self.next)?;
        self.next = self.document.after(index);
        Some(Value { document: self.document, index })
    }
}

/// The members of an object, in order.
#[derive(Clone)]
pub(crate) struct Members<'d> {
    document: &'d Document<'d>,
    next: usize,
    end: usize,
    /// Are these the places of the names, rather than the names?
    is_indirect: bool,
}

impl<'d> Members<'d> {
    /// The next member, with its name as a value.
    pub(crate) fn next_pair(&mut self) -> Option<(Value<'d>, Value<'d>)> {
        let here = (self.next < self.end).then_some(self.next)?;
        let name = if self.is_indirect { self.document.node(here).size() } else { here };
        self.next = if self.is_indirect { here + 1 } else { self.document.after(name + 1) };
        let value = |index| Value { document: self.document, index };
        Some((value(name), value(name + 1)))
    }
}

impl<'d> Iterator for Members<'d> {
    type Item = (&'d str, Value<'d>);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_pair().map(|(name, value)| (name.string().unwrap_or_default(), value))
    }
}

struct Reader<'a, 'b> {
    document: Document<'a>,
    at: usize,
    allowance: Allowance<'b>,
}

impl<'a> Reader<'a, '_> {
    fn value(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => Err(self.error(Fault::Syntax)),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), JsonError> {
        let object = self.open(Kind::Object, depth)?;
        let (mut previous, mut is_sorted) = (None, true);
        if !self.take_after_space(b'}') {
            loop {
                self.space();
                let name = self.document.nodes.len();
                self.string()?;
                // Escaped names are compared as what they mean: "a" and "\u0061" are the same (TRUST.md, row 90).
                match previous.map_or(Ordering::Less, |previous| self.compare(previous, name)) {
                    Ordering::Less => {}
                    Ordering::Equal => return Err(self.error(Fault::DuplicateKey)),
                    Ordering::Greater => is_sorted = false,
                }
                previous = Some(name);
                self.space();
                self.expect(b':')?;
                self.space();
                self.value(depth)?;
                if self.take_after_space(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        if !is_sorted {
            self.sort(object)?;
        }
        self.close(object)
    }

    /// Puts the places of an object's names behind its members, in order.
    fn sort(&mut self, object: usize) -> Result<(), JsonError> {
        let (first, end) = (object + 1, self.document.nodes.len());
        let mut name = first;
        while name < end {
            self.push(Kind::Word, 0, name)?;
            name = self.document.after(name + 1);
        }
        let mut places = self.document.nodes.split_off(end);
        places.sort_unstable_by(|a, b| self.compare(a.size(), b.size()));
        if places.windows(2).any(|pair| matches!(pair, [a, b] if self.compare(a.size(), b.size()).is_eq())) {
            return Err(self.error(Fault::DuplicateKey));
        }
        let count = places.len();
        self.document.nodes.append(&mut places);
        self.push(Kind::Word, 0, count)?;
        if let Some(node) = self.document.nodes.get_mut(object) {
            let sorted = Node::new(Kind::Unsorted, node.at(), 0);
            *node = sorted.unwrap_or(*node);
        }
        Ok(())
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        self.document.name(a).as_bytes().cmp(self.document.name(b).as_bytes())
    }

    fn array(&mut self, depth: usize) -> Result<(), JsonError> {
        let array = self.open(Kind::Array, depth)?;
        if !self.take_after_space(b']') {
            loop {
                self.space();
                self.value(depth)?;
                if self.take_after_space(b']') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.close(array)
    }

    fn open(&mut self, kind: Kind, depth: usize) -> Result<usize, JsonError> {
        if depth >= DEPTH {
            return Err(self.error(Fault::Depth));
        }
        let container = self.document.nodes.len();
        self.push(kind, self.at, 0)?;
        self.at += 1;
        Ok(container)
    }

    fn close(&mut self, container: usize) -> Result<(), JsonError> {
        let inside = u32::try_from(self.document.nodes.len() - container - 1);
        match (inside, self.document.nodes.get_mut(container)) {
            (Ok(inside), Some(node)) => node.size = inside,
            _ => return Err(self.error(Fault::Values)),
        }
        Ok(())
    }

    fn push(&mut self, kind: Kind, at: usize, size: usize) -> Result<(), JsonError> {
        let number = self.document.nodes.len();
        if number >= self.allowance.values {
            return Err(self.error(Fault::Values));
        }
        if number.is_multiple_of(CHECK_EVERY) && (self.allowance.is_late)() {
            return Err(self.error(Fault::Late));
        }
        if self.document.memory() > self.allowance.memory {
            return Err(self.error(Fault::Memory));
        }
        self.document.nodes.push(Node::new(kind, at, size).ok_or_else(|| self.error(Fault::Memory))?);
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.expect(b'"')?;
        let (start, run) = (self.at, self.run()?);
        if self.take(b'"') {
            return self.push(Kind::Text, start, run.len());
        }
        let out = self.document.unescaped.len();
        if self.document.unescaped.capacity() == 0 {
            // At most what is left of the text; what is not written to takes no memory.
            self.document.unescaped.reserve_exact(self.document.text.len() - start);
        }
        self.document.unescaped.push_str(run);
        while !self.take(b'"') {
            if !self.take(b'\\') {
                return Err(self.error(Fault::Control));
            }
            let escaped = self.escape()?;
            self.document.unescaped.push(escaped);
            let run = self.run()?;
            self.document.unescaped.push_str(run);
        }
        self.push(Kind::Unescaped, out, self.document.unescaped.len() - out)
    }

    /// What stands in a string before the next quote, escape or control character.
    fn run(&mut self) -> Result<&'a str, JsonError> {
        let rest = self.rest();
        let plain = rest.bytes().position(|b| b == b'"' || b == b'\\' || b < 0x20);
        let plain = plain.ok_or_else(|| self.error(Fault::Syntax))?;
        self.at += plain;
        // A quote, a backslash and a control character are one byte each, so this is a character's border.
        Ok(rest.get(..plain).unwrap_or_default())
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

    fn integer(&mut self) -> Result<(), JsonError> {
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
        let number = self.document.text.get(start..self.at).and_then(|text| text.parse::<i64>().ok());
        if number.is_none_or(|number| number.unsigned_abs() > EXACT.unsigned_abs()) {
            return Err(self.error(Fault::Number));
        }
        self.push(Kind::Word, start, self.at - start)
    }

    fn word(&mut self, word: &str) -> Result<(), JsonError> {
        if !self.rest().starts_with(word) {
            return Err(self.error(Fault::Syntax));
        }
        let start = self.at;
        self.at += word.len();
        self.push(Kind::Word, start, word.len())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
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
        self.document.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.document.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, fault: Fault) -> JsonError {
        JsonError { at: self.at.min(self.document.text.len()), fault }
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
    Memory,
    DuplicateKey,
    Late,
}

impl JsonError {
    /// The time was up: nothing is wrong with the bytes, as far as they were read.
    pub(crate) fn is_late(&self) -> bool {
        self.fault == Fault::Late
    }

    /// The canonical form does not fit into the memory that there is for it.
    pub(crate) const TOO_LARGE: Self = Self { at: 0, fault: Fault::Memory };
    /// The time was up while the canonical form was made.
    pub(crate) const LATE: Self = Self { at: 0, fault: Fault::Late };
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
            Fault::Values => "more values than a file of this kind may have",
            Fault::Memory => "values or escapes that take too much memory for its size",
            Fault::DuplicateKey => "an object with the same key twice",
            Fault::Late => "so much that the time was up",
        };
        write!(f, "{what} at byte {}", self.at)
    }
}

impl std::error::Error for JsonError {}

#[cfg(test)]
thread_local! {
    /// Bytes that this thread has read: what is verified once is not read again, and a test can see so.
    pub(crate) static BYTES_READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(bytes: &[u8]) -> Fault {
        Document::of(bytes).err().unwrap().fault
    }

    #[test]
    fn reads_what_is_exact() {
        let document = Document::of(b" { \"b\" : [1, -2,\t9007199254740992, -9007199254740992, 0],\r\n\"a\":\"x\\u0041\\n\\ud83d\\ude00/\\/\", \"c\":{}, \"d\":[], \"e\":[true,false,null,\"\"]} ").unwrap();
        let value = document.root();
        assert_eq!(value.get("a").unwrap().string(), Some("xA\n😀//"));
        let numbers: Vec<_> = value.get("b").unwrap().array().unwrap().map(|n| n.integer().unwrap()).collect();
        assert_eq!(numbers, [1, -2, EXACT, -EXACT, 0]);
        assert!(value.get("A").is_none() && value.get("f").is_none() && value.get("e").unwrap().get("a").is_none());
        let keys: Vec<_> = value.object().unwrap().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a", "b", "c", "d", "e"]);
        let words = value.get("e").unwrap().array().unwrap().map(|word| word.is_null());
        assert_eq!(words.collect::<Vec<_>>(), [false, false, true, false]);
        for (text, string) in [(r#""\"\\\b\f\r\t""#, "\"\\\u{8}\u{c}\r\t"), ("\"\u{7f}é\u{2028}\"", "\u{7f}é\u{2028}")]
        {
            assert_eq!(Document::of(text.as_bytes()).unwrap().root().string(), Some(string));
        }
    }

    #[test]
    fn row_090_duplicate_keys_are_refused_anywhere() {
        for bad in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":2,"\u0061":3}"#, r#"[{"x":{"a":{},"a":{}}}]"#, r#"{"":1,"":2}"#] {
            assert_eq!(fault_of(bad.as_bytes()), Fault::DuplicateKey, "{bad}");
        }
        assert!(Document::of(br#"{"a":{"a":1},"b":{"a":1},"A":1}"#).is_ok());
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
            assert_eq!(fault_of(bad.as_bytes()), fault, "{bad:?}");
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
            let fault = fault_of(bad.as_bytes());
            assert_eq!(fault, if bad == "+1" { Fault::Syntax } else { Fault::Number }, "{bad}");
        }
    }

    #[test]
    fn row_095_only_exact_integers() {
        for bad in ["9007199254740993", "-9007199254740993", "9223372036854775807"] {
            assert_eq!(fault_of(bad.as_bytes()), Fault::Number, "{bad}");
        }
    }

    #[test]
    fn row_097_strings_are_unicode() {
        for bad in
            [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800\ud800""#, r#""\ud800x""#, r#"{"\ud800":1}"#]
        {
            assert_eq!(fault_of(bad.as_bytes()), Fault::Surrogate, "{bad}");
        }
        for bad in [&b"\"\xff\""[..], b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"\"\xe2\x82\""] {
            assert_eq!(fault_of(bad), Fault::Utf8, "{bad:?}");
        }
    }

    #[test]
    fn row_098_nesting_ends_below_128() {
        let nested = |open: &str, close: &str, depth: usize| open.repeat(depth) + close.repeat(depth).as_str();
        assert!(Document::of(nested("[", "]", 127).as_bytes()).is_ok());
        assert_eq!(fault_of(nested("[", "]", 128).as_bytes()), Fault::Depth);
        let objects = "{\"a\":".repeat(127) + "{}" + &"}".repeat(127);
        assert_eq!(fault_of(objects.as_bytes()), Fault::Depth);
        assert_eq!(fault_of("[".repeat(1 << 20).as_bytes()), Fault::Depth);
    }

    #[test]
    fn members_are_found_and_sorted_whatever_their_order_and_spelling() {
        let text = br#"{"signed":{"b":[{"z":1,"\u0061":{"y":2,"x":3}}],"a":0},"signatures":[],"":{}}"#;
        let document = Document::of(text).unwrap();
        let names = |value: Value<'_>| value.object().unwrap().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        let root = document.root();
        assert_eq!(names(root), ["", "signatures", "signed"]);
        assert_eq!(
            (root.get("signatures").unwrap().array().unwrap().count(), names(root.get("").unwrap()).len()),
            (0, 0)
        );
        let signed = root.get("signed").unwrap();
        assert_eq!(
            (names(signed), signed.get("a").unwrap().integer()),
            (vec!["a".to_owned(), "b".to_owned()], Some(0))
        );
        let inner = signed.get("b").unwrap().array().unwrap().next().unwrap();
        assert_eq!((names(inner), inner.get("z").unwrap().integer()), (vec!["a".to_owned(), "z".to_owned()], Some(1)));
        let innermost = inner.get("a").unwrap();
        assert_eq!(
            (names(innermost), innermost.get("x").unwrap().integer()),
            (vec!["x".to_owned(), "y".to_owned()], Some(3))
        );
        assert!(inner.get("b").is_none() && innermost.get("z").is_none() && root.get("\u{10ffff}").is_none());
    }

    #[test]
    fn reading_ends_where_it_takes_too_much() {
        let with = |text: &str, values: usize, memory: usize| {
            let allowance = Allowance { values, memory, is_late: &|| false };
            Document::read(text.as_bytes(), allowance).map(|document| document.memory()).map_err(|error| error.fault)
        };
        // Eight bytes a value and a name, and as many for each name that is out of order.
        assert_eq!(with("[0,{\"a\":{}}]", 5, 40), Ok(40));
        assert_eq!(with("{\"b\":0,\"a\":0}", 8, 64), Ok(64));
        assert_eq!(with("[\"\\n\\n\"]", 2, 18), Ok(18));
        for (text, values) in [("[0,{\"a\":{}}]", 4), ("{\"b\":0,\"a\":0}", 7), ("0", 0)] {
            assert_eq!(with(text, values, usize::MAX), Err(Fault::Values), "{text}");
        }
        assert_eq!(with("[0,0,0,0,0]", usize::MAX, 31), Err(Fault::Memory));
        assert_eq!(with("[\"\\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",0]", usize::MAX, 30), Err(Fault::Memory));
        let looks = std::cell::Cell::new(0);
        let is_late = || {
            looks.set(looks.get() + 1);
            looks.get() > 3
        };
        let text = format!("[{}0]", "0,".repeat(4 * CHECK_EVERY));
        let allowance = Allowance { values: usize::MAX, memory: usize::MAX, is_late: &is_late };
        let error = Document::read(text.as_bytes(), allowance).err().unwrap();
        assert!(error.is_late() && error.at < 2 * 3 * CHECK_EVERY + 9, "{error}");
    }
}
