//! Reads and writes DER (X.690 §10), as far as certificates and public keys need it.
//!
//! A length must have its shortest form, and nothing may follow the last element of a structure. An element is read only
//! as the type that its place demands. There is no recursion: the code of the caller limits the depth.
//!
//! Other readers, x509-cert among them, accept what is refused here:
//! - a BIT STRING whose unused bits are not 0 (X.690 §11.2.1), and one of a key or a signature that has unused bits
//! - an arc of an OBJECT IDENTIFIER that begins with a zero digit (X.690 §8.19.2) or has more than five digits
//!
//! Certificates in use have what is accepted here although it is no DER: a BOOLEAN that is FALSE by default and is
//! still written, and a SET whose elements are not in order.

/// The tags of the types that are read. A constructed type has bit 6 set.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// The context-specific tag of a primitive type.
    pub(crate) const fn implicit(number: u8) -> u8 {
        0x80 | number
    }

    /// The context-specific tag around another element.
    pub(crate) const fn explicit(number: u8) -> u8 {
        0xa0 | number
    }
}

/// Most bytes of an OBJECT IDENTIFIER.
const MAX_OID: usize = 39;

/// Most bytes of one arc of an OBJECT IDENTIFIER after the first two: 35 bits.
const MAX_ARC: usize = 5;

/// The days from the first day of the year 1 to the first day of 1970.
const DAYS_TO_1970: i64 = 719_162;

/// An element of any type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// Tag, length and content.
    pub(crate) whole: &'a [u8],
}

/// The elements that have not been read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Reads these bytes to their end. `None` if anything is left over.
    pub(crate) fn all<T>(bytes: &'a [u8], read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut reader = Self::new(bytes);
        let value = read(&mut reader)?;
        reader.is_empty().then_some(value)
    }

    /// Reads the elements inside the next one, to their end.
    pub(crate) fn within<T>(&mut self, tag: u8, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        Self::all(self.content(tag)?, read)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever type it has.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let is_known = match tag {
            0x01..=0x06 | 0x09 | 0x0a | 0x0c | 0x0d | 0x12..=0x18 | 0x1a | 0x1b | 0x1e => true,
            tag::SEQUENCE | tag::SET => true,
            _ => tag >= 0x40 && tag & 0x1f != 0x1f, // a class of its own, and a number that fits into the byte
        };
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length =
                    digits.iter().try_fold(0_usize, |sum, digit| Some(sum.checked_mul(256)? | usize::from(*digit)));
                // The shortest form (X.690 §10.1).
                (length.filter(|length| *length > 0x7f && digits.first() != Some(&0))?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - rest.len())?;
        self.0 = rest;
        is_known.then_some(Element { tag, content, whole })
    }

    /// The content of the next element, which has this tag.
    pub(crate) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|element| element.tag == tag).map(|element| element.content)
    }

    /// Does an element with this tag come next?
    pub(crate) fn is_next(self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// A BOOLEAN with the default FALSE.
    pub(crate) fn boolean_or_false(&mut self) -> Option<bool> {
        if !self.is_next(tag::BOOLEAN) {
            return Some(false);
        }
        match self.content(tag::BOOLEAN)? {
            [0] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }

    /// An INTEGER in its shortest form, with its sign.
    pub(crate) fn integer(&mut self) -> Option<&'a [u8]> {
        let digits = self.content(tag::INTEGER)?;
        match digits {
            [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => None,
            _ => Some(digits),
        }
    }

    /// An INTEGER that is not negative, without leading zeros. 0 is one byte.
    pub(crate) fn unsigned(&mut self) -> Option<&'a [u8]> {
        match self.integer()? {
            [0x80..=0xff, ..] => None,
            [0, digits @ ..] if !digits.is_empty() => Some(digits),
            digits => Some(digits),
        }
    }

    /// A BIT STRING with this tag. Bits that it does not use are 0.
    pub(crate) fn bits(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (unused, bytes) = self.content(tag)?.split_first()?;
        match (unused, bytes.last()) {
            (0, _) => Some(bytes),
            (1..=7, Some(last)) if last.trailing_zeros() >= u32::from(*unused) => Some(bytes),
            _ => None,
        }
    }

    /// A BIT STRING that consists of whole bytes.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        self.content(tag::BIT_STRING)?.strip_prefix(&[0])
    }

    /// The bytes of an OBJECT IDENTIFIER.
    pub(crate) fn oid(&mut self) -> Option<&'a [u8]> {
        let oid = self.content(tag::OBJECT_IDENTIFIER)?;
        let (first, arcs) = oid.split_first()?;
        let is_arc = |arc: &[u8]| {
            let is_whole = arc.last().is_some_and(|digit| digit & 0x80 == 0);
            is_whole && arc.len() <= MAX_ARC && arc.first() != Some(&0x80)
        };
        let mut arcs = arcs.split_inclusive(|digit| digit & 0x80 == 0);
        (oid.len() <= MAX_OID && *first < 120 && arcs.all(is_arc)).then_some(oid)
    }

    /// What is inside an `AlgorithmIdentifier`: an OBJECT IDENTIFIER, and parameters, which may be anything.
    pub(crate) fn algorithm(&mut self) -> Option<&'a [u8]> {
        let oid = self.oid()?;
        if !self.is_empty() {
            self.any()?;
        }
        Some(oid)
    }

    /// A UTCTime or a GeneralizedTime as RFC 5280 §4.1.2.5 has it, in seconds since 1970.
    pub(crate) fn time(&mut self) -> Option<i64> {
        let element = self.any()?;
        let digits = element.content.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        let (year, rest) = match (element.tag, digits.len()) {
            (tag::UTC_TIME, 12) => {
                let (year, rest) = digits.split_at_checked(2)?;
                let year = number(year);
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            (tag::GENERALIZED_TIME, 14) => {
                let (year, rest) = digits.split_at_checked(4)?;
                (number(year), rest)
            }
            _ => return None,
        };
        let mut pairs = rest.chunks_exact(2).map(number);
        let mut next = || pairs.next();
        let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let months = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let before = usize::try_from(month).ok()?.checked_sub(1)?;
        let exists = (1..=*months.get(before)?).contains(&day) && hour < 24 && minute < 60 && second < 60;
        let past = year - 1;
        let leap_days = past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400);
        let days = 365 * past + leap_days + months.iter().take(before).sum::<i64>() + day - 1 - DAYS_TO_1970;
        exists.then_some(((24 * days + hour) * 60 + minute) * 60 + second)
    }
}

/// The number that these decimal digits are.
fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |sum, digit| 10 * sum + i64::from(digit & 0x0f))
}

/// One element with this tag, whose content is these parts.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut der = vec![tag];
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    match length.get(zeros..) {
        Some([short @ 0x80..=0xff]) => der.extend([0x81, *short]),
        Some([short]) => der.push(*short),
        Some([]) | None => der.push(0),
        Some(long) => {
            // At most the eight bytes of a usize.
            der.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            der.extend_from_slice(long);
        }
    }
    der.extend(content);
    der
}
