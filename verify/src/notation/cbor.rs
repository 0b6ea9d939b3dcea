//! Reads CBOR (RFC 8949), as far as COSE envelopes need it.
//!
//! Lengths are definite and numbers have their shortest form, so that a value has one encoding and two equal labels have equal
//! bytes. Floats, `undefined` and other simple values are refused, and so is a map with a label twice.

/// The most entries of a map.
const MAX_ENTRIES: usize = 64;
/// How deep values may stand in each other.
const MAX_DEPTH: usize = 8;

/// The major types (RFC 8949 §3.1).
pub(super) mod major {
    pub(in crate::notation) const UNSIGNED: u8 = 0;
    pub(in crate::notation) const NEGATIVE: u8 = 1;
    pub(in crate::notation) const BYTES: u8 = 2;
    pub(in crate::notation) const TEXT: u8 = 3;
    pub(in crate::notation) const ARRAY: u8 = 4;
    pub(in crate::notation) const MAP: u8 = 5;
    pub(in crate::notation) const TAG: u8 = 6;
    pub(in crate::notation) const SIMPLE: u8 = 7;
}

/// A label of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label<'a> {
    Number(i64),
    Text(&'a str),
}

/// A label, and a reader of its value alone.
pub(super) type Entry<'a> = (Label<'a>, Reader<'a>);

/// The bytes that have not been read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads all of `bytes`.
    pub(super) fn all<T>(bytes: &'a [u8], read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut reader = Self(bytes);
        let value = read(&mut reader)?;
        reader.0.is_empty().then_some(value)
    }

    /// The major type of the next value.
    pub(super) fn next_major(self) -> Option<u8> {
        self.0.first().map(|first| first >> 5)
    }

    /// The head of the next value: its major type and its number, in the shortest form.
    fn head(&mut self) -> Option<(u8, u64)> {
        let (&first, rest) = self.0.split_first()?;
        let (length, least) = match first & 0x1f {
            info @ 0..=23 => {
                self.0 = rest;
                return Some((first >> 5, u64::from(info)));
            }
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return None, // reserved, or an indefinite length
        };
        let (digits, rest) = rest.split_at_checked(length)?;
        let number = digits.iter().fold(0_u64, |sum, digit| sum << 8 | u64::from(*digit));
        self.0 = rest;
        (number >= least).then_some((first >> 5, number))
    }

    /// The number of the next head, which has this major type.
    fn number(&mut self, wanted: u8) -> Option<u64> {
        self.head().filter(|(found, _)| *found == wanted).map(|(_, number)| number)
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// An integer of either sign.
    pub(super) fn integer(&mut self) -> Option<i64> {
        match self.head()? {
            (major::UNSIGNED, number) => i64::try_from(number).ok(),
            (major::NEGATIVE, number) => i64::try_from(number).ok().map(|number| -1 - number),
            _ => None,
        }
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number(major::BYTES)?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.number(major::TEXT)?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// The number of items in the array that comes next. The items follow.
    pub(super) fn array(&mut self) -> Option<u64> {
        self.number(major::ARRAY)
    }

    /// The number of the tag of the value that follows.
    pub(super) fn tag(&mut self) -> Option<u64> {
        self.number(major::TAG)
    }

    /// The entries of the map that comes next. Labels are integers or texts (RFC 9052 §1.5).
    pub(super) fn map(&mut self) -> Option<Vec<Entry<'a>>> {
        self.map_at(MAX_DEPTH, true)
    }

    /// The same, if no value in it has a tag. Notation refuses tags outside of the protected headers.
    pub(super) fn map_without_tags(&mut self) -> Option<Vec<Entry<'a>>> {
        self.map_at(MAX_DEPTH, false)
    }

    fn map_at(&mut self, depth: usize, may_have_tags: bool) -> Option<Vec<Entry<'a>>> {
        let count = self.number(major::MAP)?;
        let mut entries: Vec<Entry<'a>> = Vec::new();
        for _ in 0..count {
            let label = match self.next_major()? {
                major::TEXT => Label::Text(self.text()?),
                _ => Label::Number(self.integer()?),
            };
            if entries.len() == MAX_ENTRIES || entries.iter().any(|(known, _)| *known == label) {
                return None;
            }
            let before = self.0;
            self.skip(depth.checked_sub(1)?, may_have_tags)?;
            entries.push((label, Self(before.get(..before.len() - self.0.len())?)));
        }
        Some(entries)
    }

    /// Reads over the next value, of any type that is allowed.
    fn skip(&mut self, depth: usize, may_have_tags: bool) -> Option<()> {
        match self.next_major()? {
            major::BYTES => self.bytes().map(drop),
            major::TEXT => self.text().map(drop),
            major::ARRAY => {
                for _ in 0..self.array()? {
                    self.skip(depth.checked_sub(1)?, may_have_tags)?;
                }
                Some(())
            }
            major::MAP => self.map_at(depth, may_have_tags).map(drop),
            major::TAG => {
                self.tag().filter(|_| may_have_tags)?;
                self.skip(depth.checked_sub(1)?, may_have_tags)
            }
            // false, true and null.
            major::SIMPLE => self.number(major::SIMPLE).filter(|value| (20..=22).contains(value)).map(drop),
            _ => self.head().map(drop),
        }
    }
}

/// The head of a value, in its shortest form.
pub(super) fn head(major: u8, number: usize) -> Vec<u8> {
    let digits = number.to_be_bytes();
    let length = match number {
        0..=23 => return vec![major << 5 | digits.last().copied().unwrap_or_default()],
        24..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    };
    let info = match length {
        1 => 24,
        2 => 25,
        4 => 26,
        _ => 27,
    };
    let mut head = vec![major << 5 | info];
    head.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
    head
}
