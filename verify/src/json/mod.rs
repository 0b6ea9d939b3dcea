//! Strict JSON for trust data: bytes in, one [`Document`] out, in one pass of serde_json's parser.
//!
//! This reader refuses every text that two readers could understand differently: duplicate names anywhere (one reader takes
//! the last, another merges them), fractions, exponents and integers past 2^53 (a float rounds them), lone surrogates and
//! invalid UTF-8 (some readers replace them), a byte order mark, trailing bytes, and nesting of 128 levels and more.
//! Signatures are checked over the canonical form of this document, and the typed views are built from it. There is no
//! second parse that could give another result.
//!
//! A document is parsed before its signatures are verified, so a value must cost little: eight bytes in one flat list that
//! points into the text. A tree needs about 170 bytes for the three bytes `{},`. [`Allowance`] bounds the list.

pub(crate) mod canonical;
mod read;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::ops::Range;

#[cfg(test)]
pub(crate) use read::BYTES_READ;
pub use read::JsonError;

/// The largest magnitude that every reader of JSON holds exactly (TRUST.md, row 95).
const EXACT: i64 = 1 << 53;

/// What reading one file may take.
#[derive(Clone, Copy)]
pub(crate) struct Allowance<'a> {
    /// The most values and names.
    pub(crate) values: usize,
    /// The most bytes of memory, without the file itself.
    pub(crate) memory: usize,
    /// Has the deadline passed? This crate reads no clock.
    pub(crate) is_late: &'a dyn Fn() -> bool,
}

impl Allowance<'static> {
    /// For a text of so many bytes, which its caller has capped, with at most so many values and names.
    pub(crate) fn of_text(bytes: usize, values: usize) -> Self {
        Self { values, memory: 4 * bytes + 8 * values, is_late: &|| false }
    }
}

/// A JSON text that was read. Values are in the order of the text; each container is followed by its contents.
pub(crate) struct Document<'a> {
    text: &'a str,
    nodes: Vec<Node>,
    /// The strings that have escapes in the text, without their escapes, one after the other.
    unescaped: String,
    /// The index of the outermost object's member `signed`, and where the text has it, if it has it in canonical form.
    signed: Option<(usize, Range<usize>)>,
}

/// Takes a member, by its name, that the document then does not keep. `false`: it is not taken.
pub(crate) type Take<'t> = &'t mut dyn FnMut(&str, Value<'_>) -> bool;

/// A value, or the name of the member that follows it: three bits of [`Kind`], then 61 bits that depend on it.
#[derive(Clone, Copy, Default)]
struct Node {
    high: u32,
    low: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `null`, `false` or `true`: its place in [`LITERALS`].
    Literal,
    /// An integer: its distance from `-EXACT`.
    Integer,
    /// A string without escapes: where it begins in the text, and its length in bytes.
    Text,
    /// A string of `unescaped`: where it begins there, and its length in bytes.
    Unescaped,
    /// An array: the number of nodes in it.
    Array,
    /// An object whose names are sorted in the text: the number of nodes in it.
    Object,
    /// An object whose names come in another order: the number of nodes in it. Behind the members stands one node for each
    /// name with the name's index, sorted by the names, and one node with their number.
    Unsorted,
}

const LITERALS: [&str; 3] = ["null", "false", "true"];

/// Bits of `high` that hold a position: half a gigabyte, far more than any file may have.
const POSITION_BITS: u32 = 29;

impl Node {
    /// `None` where the position or the size does not fit.
    fn new(kind: Kind, at: usize, size: usize) -> Option<Self> {
        let at = u32::try_from(at).ok().filter(|at| at >> POSITION_BITS == 0)?;
        Some(Self { high: (kind as u32) << POSITION_BITS | at, low: u32::try_from(size).ok()? })
    }

    /// `None` for an integer past 2^53.
    fn integer(number: i64) -> Option<Self> {
        let distance = number.checked_add(EXACT).filter(|distance| (0..=2 * EXACT).contains(distance))?;
        Self::new(Kind::Integer, usize::try_from(distance >> 32).ok()?, usize::try_from(distance & 0xffff_ffff).ok()?)
    }

    #[inline(always)]
    fn kind(self) -> Kind {
        match self.high >> POSITION_BITS {
            0 => Kind::Literal,
            1 => Kind::Integer,
            2 => Kind::Text,
            3 => Kind::Unescaped,
            4 => Kind::Array,
            5 => Kind::Object,
            _ => Kind::Unsorted,
        }
    }

    #[inline(always)]
    fn position(self) -> u32 {
        self.high & ((1 << POSITION_BITS) - 1)
    }

    #[inline(always)]
    fn at(self) -> usize {
        index(self.position())
    }

    #[inline(always)]
    fn size(self) -> usize {
        index(self.low)
    }

    fn number(self) -> i64 {
        (i64::from(self.position()) << 32 | i64::from(self.low)) - EXACT
    }

    #[inline(always)]
    fn is_container(self) -> bool {
        matches!(self.kind(), Kind::Array | Kind::Object | Kind::Unsorted)
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl<'a> Document<'a> {
    /// Reads one document.
    pub(crate) fn read(bytes: &'a [u8], allowance: Allowance<'_>) -> Result<Self, JsonError> {
        match read::read(bytes, allowance, None)? {
            Some(document) => Ok(document),
            None => Err(JsonError::TOO_LARGE), // never: nothing is given away
        }
    }

    /// Reads one document whose `signed` is in canonical form, and gives each member of `signed.targets` to `take`, in order,
    /// as soon as it is read. The document keeps none of them, which saves most of its memory. `None`: `signed` is not
    /// canonical, or a member was not taken. What was taken is then void.
    pub(crate) fn read_and_give(
        bytes: &'a [u8],
        allowance: Allowance<'_>,
        take: Take<'_>,
    ) -> Result<Option<Self>, JsonError> {
        read::read(bytes, allowance, Some(take))
    }

    /// Reads one document without limits.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, JsonError> {
        Self::read(bytes, Allowance { values: usize::MAX, memory: usize::MAX, is_late: &|| false })
    }

    /// The outermost value.
    pub(crate) fn root(&self) -> Value<'_> {
        Value { document: self, index: 0 }
    }

    /// What it takes in memory, without the text.
    pub(crate) fn memory(&self) -> usize {
        self.nodes.len() * size_of::<Node>() + self.unescaped.len()
    }

    #[inline(always)]
    fn node(&self, index: usize) -> Node {
        self.nodes.get(index).copied().unwrap_or_default() // indices come from the reader
    }

    fn string(&self, node: Node) -> Option<&str> {
        let from = match node.kind() {
            Kind::Text => self.text,
            Kind::Unescaped => &self.unescaped,
            Kind::Literal | Kind::Integer | Kind::Array | Kind::Object | Kind::Unsorted => return None,
        };
        from.get(node.at()..node.at() + node.size())
    }

    /// The bytes of a name.
    fn bytes(&self, name: Node) -> &[u8] {
        let from = if name.kind() == Kind::Text { self.text } else { &self.unescaped };
        from.as_bytes().get(name.at()..name.at() + name.size()).unwrap_or_default()
    }

    /// The name at this index.
    fn name(&self, index: usize) -> &str {
        self.string(self.node(index)).unwrap_or_default() // the reader puts nothing else there
    }

    /// The index behind this value and its contents.
    fn after(&self, index: usize) -> usize {
        let node = self.node(index);
        index + 1 + if node.is_container() { node.size() } else { 0 }
    }
}

/// A value of a document.
#[derive(Clone, Copy)]
pub(crate) struct Value<'d> {
    document: &'d Document<'d>,
    index: usize,
}

/// The kinds of values.
pub(crate) enum Content<'d> {
    /// `null`, `false` or `true`.
    Literal(&'static str),
    Integer(i64),
    /// A string without quotes and backslashes.
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
            Kind::Literal => Content::Literal(LITERALS.get(node.size()).copied().unwrap_or_default()),
            Kind::Integer => Content::Integer(node.number()),
            Kind::Text => Content::Plain(self.string().unwrap_or_default()),
            Kind::Unescaped => Content::String(self.string().unwrap_or_default()),
            Kind::Array => Content::Array(self.items()),
            Kind::Object | Kind::Unsorted => Content::Object(self.members()),
        }
    }

    /// Where the text has this value, if it is the member `signed` of the outermost object, in canonical form.
    pub(crate) fn in_text(self) -> Option<Range<usize>> {
        let (index, place) = self.document.signed.clone()?;
        (index == self.index).then_some(place)
    }

    /// The member with exactly this name, if this is an object that has one.
    pub(crate) fn get(self, name: &str) -> Option<Self> {
        // Objects are short, except those of tags and keys, which are read as a whole.
        for (known, value) in self.object()? {
            match known.as_bytes().cmp(name.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => return Some(value),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The members with exactly these names, found in one pass. None, if this is no object.
    pub(crate) fn members_named<const N: usize>(self, names: [&str; N]) -> [Option<Self>; N] {
        let mut found = [None; N];
        let mut members = self.object();
        while let Some((name, value)) = members.as_mut().and_then(Members::next_pair) {
            let name = self.document.bytes(name.node());
            if let Some(place) = names.iter().position(|wanted| wanted.as_bytes() == name) {
                found.get_mut(place).into_iter().for_each(|found| *found = Some(value));
            }
        }
        found
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
        (self.node().kind() == Kind::Integer).then(|| self.node().number())
    }

    pub(crate) fn is_null(self) -> bool {
        matches!(self.content(), Content::Literal("null"))
    }

    fn node(self) -> Node {
        self.document.node(self.index)
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
    /// Are these nodes the indices of the names, instead of the names?
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
