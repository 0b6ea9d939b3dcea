//! The visitor that fills a [`Document`] from serde_json's parser.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Allowance, Document, Kind, LITERALS, Node, Take, Value};
use crate::ordered;

/// The deadline is checked once for this many values.
pub(super) const CHECK_EVERY: usize = 4096;

/// White space of JSON.
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Reads one document: exactly one value, and white space around it. With `take` it gives each member of `signed.targets`
/// away instead of keeping it, and `None` says that this cannot be done with this document.
pub(super) fn read<'a, 'b>(
    bytes: &'a [u8],
    allowance: Allowance<'b>,
    take: Option<Take<'b>>,
) -> Result<Option<Document<'a>>, JsonError> {
    #[cfg(test)]
    BYTES_READ.with(|read| read.set(read.get() + bytes.len()));
    let text = std::str::from_utf8(bytes).map_err(|e| JsonError { at: e.valid_up_to(), fault: Fault::Utf8 })?;
    // serde_json removes the escapes of a string in a buffer of its own, which may grow to twice the string's length.
    if longest_escaped(text) > allowance.memory / 2 {
        return Err(JsonError { at: 0, fault: Fault::Memory });
    }
    let gives = take.is_some();
    let mut reader = Reader {
        document: Document { text, nodes: Vec::new(), unescaped: String::new(), signed: None },
        values: 0,
        unchecked: 0,
        buffer: 0,
        form: 0,
        signed: None,
        allowance,
        take,
        is_refused: false,
        fault: None,
    };
    // The parser refuses a nesting of 128 levels, raw control characters and lone surrogates (TRUST.md, rows 93, 97 and 98).
    let mut parser = serde_json::Deserializer::from_str(text);
    let read = Next { reader: &mut reader, place: Place::Outermost }.deserialize(&mut parser);
    match read.and_then(|()| parser.end()) {
        Ok(()) => {
            let signed = reader.signed_in_text();
            let mut document = reader.document;
            // What was given away is not there to be written in canonical form.
            let is_lost = gives && signed.is_none();
            document.signed = signed;
            Ok((!is_lost).then_some(document))
        }
        Err(_) if reader.is_refused => Ok(None),
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
    /// The values and names so far, with those that were given away.
    values: usize,
    /// With fewer values than this, [`Reader::check`] finds nothing.
    unchecked: usize,
    /// The bytes that the parser's own buffer has at most.
    buffer: usize,
    /// The bytes of the canonical form so far. More than the text has, once an object's names are not sorted.
    form: usize,
    /// The index of the member `signed` of the outermost object, and the bytes of its canonical form.
    signed: Option<(usize, usize)>,
    allowance: Allowance<'b>,
    /// Takes the members of `signed.targets`.
    take: Option<Take<'b>>,
    /// Was a member not taken?
    is_refused: bool,
    /// Why this visitor has stopped the parser.
    fault: Option<Fault>,
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outermost,
    /// The member `signed` of the outermost object.
    Signed,
    /// The member `targets` of that.
    Targets,
    /// Somewhere else, or a name.
    Inside,
}

impl Place {
    /// The place of the member with this name.
    fn member(self, name: &str) -> Self {
        match (self, name) {
            (Self::Outermost, "signed") => Self::Signed,
            (Self::Signed, "targets") => Self::Targets,
            _ => Self::Inside,
        }
    }
}

impl<'a> Reader<'a, '_> {
    fn refuse<E: Error>(&mut self, fault: Fault) -> E {
        self.fault = Some(fault);
        E::custom("refused")
    }

    /// `form` is the number of bytes that the node has in canonical form. `None`: it has no node.
    fn push<E: Error>(&mut self, node: Option<Node>, form: usize) -> Result<(), E> {
        if self.values >= self.unchecked {
            self.check().map_err(|fault| self.refuse(fault))?;
        }
        let Some(node) = node else { return Err(self.refuse(Fault::Memory)) };
        self.document.nodes.push(node);
        self.values += 1;
        self.form = self.form.saturating_add(form);
        Ok(())
    }

    /// Is there room for one more value, and time? If so, this need not be asked again for some values.
    fn check(&mut self) -> Result<(), Fault> {
        if self.values >= self.allowance.values {
            return Err(Fault::Values);
        }
        if self.values.is_multiple_of(CHECK_EVERY) && (self.allowance.is_late)() {
            return Err(Fault::Late);
        }
        let left = self.allowance.memory.checked_sub(self.memory() + self.buffer).ok_or(Fault::Memory)?;
        let in_memory = self.values + left / size_of::<Node>() + 1;
        let in_time = (self.values / CHECK_EVERY + 1) * CHECK_EVERY;
        self.unchecked = self.allowance.values.min(in_memory).min(in_time);
        Ok(())
    }

    /// What the document takes in memory if nothing is given away, so that each text has the same limits.
    fn memory(&self) -> usize {
        self.values * size_of::<Node>() + self.document.unescaped.len()
    }

    /// A string that the text has without escapes.
    fn text<E: Error>(&mut self, text: &'a str) -> Result<(), E> {
        // The string is a part of the text, so the difference of the addresses is its position.
        let at = text.as_ptr().addr() - self.document.text.as_ptr().addr();
        self.push(Node::new(Kind::Text, at, text.len()), text.len() + 2)
    }

    /// A string that has escapes in the text.
    fn unescaped<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.buffer = self.buffer.max(2 * text.len());
        self.unchecked = 0; // for there is less memory now
        if self.memory() + text.len() + self.buffer > self.allowance.memory {
            return Err(self.refuse(Fault::Memory));
        }
        let at = self.document.unescaped.len();
        if at == 0 {
            // No more than the text; pages that are never written take no memory.
            self.document.unescaped.reserve_exact(self.document.text.len());
        }
        self.document.unescaped.push_str(text);
        let escaped = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        self.push(Node::new(Kind::Unescaped, at, text.len()), text.len() + 2 + escaped)
    }

    fn literal<E: Error>(&mut self, word: &str) -> Result<(), E> {
        let number = LITERALS.iter().position(|known| *known == word);
        self.push(number.and_then(|number| Node::new(Kind::Literal, 0, number)), word.len())
    }

    fn open<E: Error>(&mut self, kind: Kind) -> Result<usize, E> {
        self.push(Node::new(kind, 0, 0), 2)?;
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
            self.push(Node::new(Kind::Literal, 0, name), 0)?;
            name = self.document.after(name + 1);
        }
        let mut names: Vec<u64> = self.document.nodes.iter().skip(end).map(|node| u64::from(node.low)).collect();
        let name = |number: u64| self.document.node(usize::try_from(number).unwrap_or(usize::MAX));
        let compare = |a, b| self.compare(name(a), name(b));
        ordered::sort_numbers(&mut names, &compare);
        if names.windows(2).any(|pair| matches!(pair, [a, b] if compare(*a, *b).is_eq())) {
            return Err(self.refuse(Fault::DuplicateKey));
        }
        let count = names.len();
        for (node, number) in self.document.nodes.iter_mut().skip(end).zip(names) {
            node.low = u32::try_from(number).unwrap_or_default(); // it was in such a node before
        }
        self.push(Node::new(Kind::Literal, 0, count), 0)
    }

    fn compare(&self, a: Node, b: Node) -> Ordering {
        self.document.bytes(a).cmp(self.document.bytes(b))
    }

    /// Gives the member whose name has this index away.
    fn give<E: Error>(&mut self, name: usize, is_sorted: bool) -> Result<(), E> {
        let Some(take) = &mut self.take else { return Ok(()) };
        let value = Value { document: &self.document, index: name + 1 };
        if !is_sorted || !take(self.document.name(name), value) {
            self.is_refused = true;
            return Err(E::custom("refused"));
        }
        self.document.nodes.truncate(name);
        Ok(())
    }

    /// Where the text has the outermost object's member `signed`, if it has it in canonical form. A value is never shorter in
    /// the text than in canonical form: the text may have white space and escapes besides. So if both have the same length,
    /// they are the same bytes, provided that all names are sorted.
    fn signed_in_text(&self) -> Option<(usize, Range<usize>)> {
        let (index, length) = self.signed?;
        let document = &self.document;
        let trim = |text: &'a str| text.trim_start_matches(SPACE);
        // Nodes do not hold where a value begins: it is behind the name, its quote and a colon.
        let name = document.nodes.get(index.checked_sub(1)?).filter(|name| name.kind() == Kind::Text)?;
        let behind = document.text.get(name.at() + name.size()..)?.strip_prefix('"')?;
        let start = document.text.len() - trim(trim(behind).strip_prefix(':')?).len();
        let end = start.checked_add(length)?;
        let next = document.nodes.get(document.after(index));
        let until = match next.map(|next| (next.kind(), next.at())) {
            Some((Kind::Text, name)) => name.checked_sub(1)?, // its quote
            Some((Kind::Unescaped, _)) => return None,
            _ => document.text.len(), // it is the last member
        };
        // A value that is longer in the text leaves its own last byte here.
        let rest = document.text.get(end..until)?.trim_matches(SPACE);
        matches!(rest, "," | "}").then_some((index, start..end))
    }
}

/// Takes the next value, or the next name: to serde_json a name is a string.
struct Next<'r, 'a, 'b> {
    reader: &'r mut Reader<'a, 'b>,
    place: Place,
}

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
        self.reader.literal("null")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.reader.literal(if value { "true" } else { "false" })
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        let (mut rest, mut length) = (number.unsigned_abs(), 1 + usize::from(number < 0));
        while rest >= 10 {
            (rest, length) = (rest / 10, length + 1);
        }
        match Node::integer(number) {
            None => Err(self.reader.refuse(Fault::Number)),
            node => self.reader.push(node, length),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        // What is too large for this type is past 2^53 as well.
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// A fraction, an exponent, `-0` or an integer past 64 bits.
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Err(self.reader.refuse(Fault::Number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<(), E> {
        self.reader.text(text)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.reader.unescaped(text)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let reader = self.reader;
        let array = reader.open(Kind::Array)?;
        let mut commas = 0;
        while items.next_element_seed(Next { reader, place: Place::Inside })?.is_some() {
            reader.form = reader.form.saturating_add(commas);
            commas = 1;
        }
        reader.close(array, Kind::Array)
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { reader, place } = self;
        let object = reader.open(Kind::Object)?;
        let (mut previous, mut is_sorted) = (None, true);
        loop {
            let index = reader.document.nodes.len();
            if members.next_key_seed(Next { reader, place: Place::Inside })?.is_none() {
                break;
            }
            let name = reader.document.node(index);
            // Names are compared without their escapes: "a" and "\u0061" are the same (TRUST.md, row 90).
            match previous.map_or(Ordering::Less, |previous| reader.compare(previous, name)) {
                Ordering::Less => {}
                Ordering::Equal => return Err(reader.refuse(Fault::DuplicateKey)),
                Ordering::Greater => is_sorted = false,
            }
            // A colon, and a comma before it.
            reader.form = reader.form.saturating_add(1 + usize::from(previous.is_some()));
            previous = Some(name);
            let inner = match place {
                Place::Outermost | Place::Signed => place.member(reader.document.name(index)),
                Place::Targets | Place::Inside => Place::Inside,
            };
            let before = reader.form;
            members.next_value_seed(Next { reader, place: inner })?;
            match (inner, place) {
                (Place::Signed, _) => reader.signed = Some((index + 1, reader.form.saturating_sub(before))),
                (_, Place::Targets) => reader.give(index, is_sorted)?,
                _ => {}
            }
        }
        if is_sorted {
            return reader.close(object, Kind::Object);
        }
        reader.form = reader.form.saturating_add(reader.document.text.len() + 1);
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
            let words = if error.is_eof() { "it ends too early".to_owned() } else { error.to_string() };
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
