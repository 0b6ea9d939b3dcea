//! The visitor that fills a [`Document`] from serde_json's parser.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Allowance, Document, Kind, LITERALS, Node};

/// The deadline is checked once for this many values.
pub(super) const CHECK_EVERY: usize = 4096;

/// Reads one document: exactly one value, and white space around it.
pub(super) fn read<'a>(bytes: &'a [u8], allowance: Allowance<'_>) -> Result<Document<'a>, JsonError> {
    #[cfg(test)]
    BYTES_READ.with(|read| read.set(read.get() + bytes.len()));
    let text = std::str::from_utf8(bytes).map_err(|e| JsonError { at: e.valid_up_to(), fault: Fault::Utf8 })?;
    // serde_json removes the escapes of a string in a buffer of its own, which may grow to twice the string's length.
    if longest_escaped(text) > allowance.memory / 2 {
        return Err(JsonError { at: 0, fault: Fault::Memory });
    }
    let document = Document { text, nodes: Vec::new(), unescaped: String::new() };
    let mut reader = Reader { document, buffer: 0, allowance, fault: None };
    // The parser refuses a nesting of 128 levels, raw control characters and lone surrogates (TRUST.md, rows 93, 97 and 98).
    let mut parser = serde_json::Deserializer::from_str(text);
    match Next(&mut reader).deserialize(&mut parser).and_then(|()| parser.end()) {
        Ok(()) => Ok(reader.document),
        Err(error) => Err(JsonError::new(text, reader.fault, &error)),
    }
}

/// The length of the longest string that has an escape.
pub(super) fn longest_escaped(text: &str) -> usize {
    if !text.contains('\\') {
        return 0;
    }
    let (mut longest, mut length, mut has_escape) = (0, 0, false);
    for piece in text.split('"') {
        length += piece.len() + 1;
        has_escape |= piece.contains('\\');
        let backslashes = piece.bytes().rev().take_while(|byte| *byte == b'\\').count();
        if backslashes.is_multiple_of(2) {
            longest = longest.max(if has_escape { length } else { 0 });
            (length, has_escape) = (0, false);
        } // else the quote is part of the string
    }
    longest
}

struct Reader<'a, 'b> {
    document: Document<'a>,
    /// The bytes that the parser's own buffer has at most.
    buffer: usize,
    allowance: Allowance<'b>,
    /// Why this visitor has stopped the parser.
    fault: Option<Fault>,
}

impl<'a> Reader<'a, '_> {
    fn refuse<E: Error>(&mut self, fault: Fault) -> E {
        self.fault = Some(fault);
        E::custom("refused")
    }

    fn push<E: Error>(&mut self, node: Option<Node>, otherwise: Fault) -> Result<(), E> {
        let number = self.document.nodes.len();
        if number >= self.allowance.values {
            return Err(self.refuse(Fault::Values));
        }
        if number.is_multiple_of(CHECK_EVERY) && (self.allowance.is_late)() {
            return Err(self.refuse(Fault::Late));
        }
        if self.document.memory() + self.buffer > self.allowance.memory {
            return Err(self.refuse(Fault::Memory));
        }
        match node {
            Some(node) => self.document.nodes.push(node),
            None => return Err(self.refuse(otherwise)),
        }
        Ok(())
    }

    /// A string that the text has without escapes.
    fn text<E: Error>(&mut self, text: &'a str) -> Result<(), E> {
        // The string is a part of the text, so the difference of the addresses is its position.
        let at = text.as_ptr().addr() - self.document.text.as_ptr().addr();
        self.push(Node::new(Kind::Text, at, text.len()), Fault::Memory)
    }

    /// A string that has escapes in the text.
    fn unescaped<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.buffer = self.buffer.max(2 * text.len());
        if self.document.memory() + text.len() + self.buffer > self.allowance.memory {
            return Err(self.refuse(Fault::Memory));
        }
        let at = self.document.unescaped.len();
        if at == 0 {
            // No more than the text; pages that are never written take no memory.
            self.document.unescaped.reserve_exact(self.document.text.len());
        }
        self.document.unescaped.push_str(text);
        self.push(Node::new(Kind::Unescaped, at, text.len()), Fault::Memory)
    }

    fn open<E: Error>(&mut self, kind: Kind) -> Result<usize, E> {
        self.push(Node::new(kind, 0, 0), Fault::Memory)?;
        Ok(self.document.nodes.len() - 1)
    }

    fn close<E: Error>(&mut self, container: usize, kind: Kind) -> Result<(), E> {
        let inside = self.document.nodes.len() - container - 1;
        match (Node::new(kind, 0, inside), self.document.nodes.get_mut(container)) {
            (Some(closed), Some(node)) => *node = closed,
            _ => return Err(self.refuse(Fault::Values)),
        }
        Ok(())
    }

    /// Puts the indices of an object's names behind its members, in order.
    fn sort<E: Error>(&mut self, object: usize) -> Result<(), E> {
        let (first, end) = (object + 1, self.document.nodes.len());
        let mut name = first;
        while name < end {
            self.push(Node::new(Kind::Literal, 0, name), Fault::Memory)?;
            name = self.document.after(name + 1);
        }
        let mut names = self.document.nodes.split_off(end);
        names.sort_unstable_by(|a, b| self.compare(a.size(), b.size()));
        if names.windows(2).any(|pair| matches!(pair, [a, b] if self.compare(a.size(), b.size()).is_eq())) {
            return Err(self.refuse(Fault::DuplicateKey));
        }
        let count = names.len();
        self.document.nodes.append(&mut names);
        self.push(Node::new(Kind::Literal, 0, count), Fault::Memory)
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        self.document.name(a).as_bytes().cmp(self.document.name(b).as_bytes())
    }
}

/// Takes the next value, or the next name: to serde_json a name is a string.
struct Next<'r, 'a, 'b>(&'r mut Reader<'a, 'b>);

impl<'a> DeserializeSeed<'a> for Next<'_, 'a, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Next<'_, 'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("strict JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push(Node::new(Kind::Literal, 0, 0), Fault::Memory)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        let word = LITERALS.iter().position(|word| *word == if value { "true" } else { "false" });
        self.0.push(word.and_then(|word| Node::new(Kind::Literal, 0, word)), Fault::Memory)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.0.push(Node::integer(number), Fault::Number)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.0.push(i64::try_from(number).ok().and_then(Node::integer), Fault::Number)
    }

    /// A fraction, an exponent, `-0` or an integer past 64 bits.
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Err(self.0.refuse(Fault::Number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<(), E> {
        self.0.text(text)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.unescaped(text)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let array = self.0.open(Kind::Array)?;
        while items.next_element_seed(Next(self.0))?.is_some() {}
        self.0.close(array, Kind::Array)
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        let reader = self.0;
        let object = reader.open(Kind::Object)?;
        let (mut previous, mut is_sorted) = (None, true);
        loop {
            let name = reader.document.nodes.len();
            if members.next_key_seed(Next(reader))?.is_none() {
                break;
            }
            // Names are compared without their escapes: "a" and "\u0061" are the same (TRUST.md, row 90).
            match previous.map_or(Ordering::Less, |previous| reader.compare(previous, name)) {
                Ordering::Less => {}
                Ordering::Equal => return Err(reader.refuse(Fault::DuplicateKey)),
                Ordering::Greater => is_sorted = false,
            }
            previous = Some(name);
            members.next_value_seed(Next(reader))?;
        }
        if is_sorted {
            return reader.close(object, Kind::Object);
        }
        reader.sort(object)?;
        reader.close(object, Kind::Unsorted)
    }
}

/// Bytes that are not the JSON that trust data must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// The byte at which reading stopped, or the one before it.
    pub(super) at: usize,
    pub(super) fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Utf8,
    /// What serde_json refuses, in its words.
    Syntax(String),
    Number,
    Values,
    Memory,
    DuplicateKey,
    Late,
}

impl JsonError {
    /// The canonical form does not fit into its memory.
    pub(crate) const TOO_LARGE: Self = Self { at: 0, fault: Fault::Memory };
    /// The deadline passed while the canonical form was made.
    pub(crate) const LATE: Self = Self { at: 0, fault: Fault::Late };

    fn new(text: &str, fault: Option<Fault>, error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let fault = fault.unwrap_or_else(|| {
            let words = error.to_string();
            let place = format!(" at line {line} column {column}");
            Fault::Syntax(words.strip_suffix(&place).unwrap_or(&words).to_owned())
        });
        Self { at: before + column.saturating_sub(1), fault }
    }

    /// The deadline passed. Nothing is wrong with the bytes that were read.
    pub(crate) fn is_late(&self) -> bool {
        self.fault == Fault::Late
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.fault {
            Fault::Utf8 => "bytes that are not UTF-8",
            Fault::Syntax(words) => words,
            Fault::Number => "a number that is not an integer within 2^53",
            Fault::Values => "more values than a file of this kind may have",
            Fault::Memory => "values or escapes that take too much memory for its size",
            Fault::DuplicateKey => "an object with the same key twice",
            Fault::Late => "the deadline passed",
        };
        write!(f, "{what} at byte {}", self.at)
    }
}

impl std::error::Error for JsonError {}

#[cfg(test)]
thread_local! {
    /// The bytes that this thread has read, for the test that nothing is read twice.
    pub(crate) static BYTES_READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
