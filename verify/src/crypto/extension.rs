//! Extensions of certificates (RFC 5280 §4.2), as far as they decide what a certificate may be used for.

use super::der::{Reader, tag};
use super::name::Name;

pub(crate) const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 29, 14]; // 2.5.29.14
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 29, 15]; // 2.5.29.15
pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 29, 17]; // 2.5.29.17
pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19]; // 2.5.29.19
pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 29, 30]; // 2.5.29.30
pub(crate) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 29, 37]; // 2.5.29.37

/// Most names in one extension.
const MAX_NAMES: usize = 1024;

/// What the elements of an extended key usage are (RFC 5280 §4.2.1.12).
pub(crate) mod purpose {
    pub(crate) const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3]; // 1.3.6.1.5.5.7.3.3
    pub(crate) const TIME_STAMPING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8]; // 1.3.6.1.5.5.7.3.8
}

/// One extension of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extension<'a> {
    pub(crate) oid: &'a [u8],
    pub(crate) is_critical: bool,
    pub(crate) value: &'a [u8],
}

/// What the key may be used for (RFC 5280 §4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUsage {
    pub(crate) is_critical: bool,
    /// The bits, from the highest one. Nine of them have a meaning.
    pub(crate) bits: u16,
}

impl KeyUsage {
    pub(crate) const DIGITAL_SIGNATURE: u16 = 1 << 15;
    pub(crate) const CONTENT_COMMITMENT: u16 = 1 << 14;
    pub(crate) const KEY_CERT_SIGN: u16 = 1 << 10;

    /// Has it all of these bits?
    pub(crate) fn has(self, bits: u16) -> bool {
        self.bits & bits == bits
    }
}

/// Whether it is a CA, and how many intermediates may stand below it (RFC 5280 §4.2.1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BasicConstraints {
    pub(crate) is_critical: bool,
    pub(crate) is_ca: bool,
    pub(crate) path_length: Option<u8>,
}

/// The purposes that a certificate is limited to, each an OBJECT IDENTIFIER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtendedKeyUsage<'a> {
    pub(crate) is_critical: bool,
    pub(crate) purposes: Vec<&'a [u8]>,
}

/// A `GeneralName` (RFC 5280 §4.2.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GeneralName<'a> {
    Email(&'a str),
    Dns(&'a str),
    Uri(&'a str),
    Directory(Name<'a>),
    /// An `otherName`: its OBJECT IDENTIFIER, and the tag and the content of its value.
    Other {
        oid: &'a [u8],
        tag: u8,
        value: &'a [u8],
    },
    /// A name of another kind: its tag.
    Unread(u8),
}

impl<'a> GeneralName<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        const OTHER: u8 = tag::explicit(0);
        const EMAIL: u8 = tag::implicit(1);
        const DNS: u8 = tag::implicit(2);
        const DIRECTORY: u8 = tag::explicit(4);
        const URI: u8 = tag::implicit(6);
        let element = reader.any()?;
        // These are IA5Strings.
        let ascii = || std::str::from_utf8(element.content).ok().filter(|text| text.is_ascii());
        match element.tag {
            EMAIL => ascii().map(Self::Email),
            DNS => ascii().map(Self::Dns),
            URI => ascii().map(Self::Uri),
            DIRECTORY => Reader::all(element.content, Name::read).map(Self::Directory),
            OTHER => Reader::all(element.content, |other| {
                let oid = other.oid()?;
                let value = other.within(tag::explicit(0), Reader::any)?;
                Some(Self::Other { oid, tag: value.tag, value: value.content })
            }),
            tag if (0x80..=0xbf).contains(&tag) && tag & 0x1f <= 8 => Some(Self::Unread(tag)),
            _ => None,
        }
    }

    /// The `GeneralNames` in these bytes: at least one.
    pub(crate) fn read_all(der: &'a [u8]) -> Option<Vec<Self>> {
        let mut names = Vec::new();
        Reader::all(der, |all| {
            all.within(tag::SEQUENCE, |list| {
                while !list.is_empty() {
                    if names.len() == MAX_NAMES {
                        return None;
                    }
                    names.push(Self::read(list)?);
                }
                Some(())
            })
        })?;
        Some(names).filter(|names| !names.is_empty())
    }
}

impl<'a> Extension<'a> {
    pub(crate) fn read(list: &mut Reader<'a>) -> Option<Self> {
        list.within(tag::SEQUENCE, |extension| {
            let oid = extension.oid()?;
            let is_critical = extension.boolean_or_false()?;
            Some(Self { oid, is_critical, value: extension.content(tag::OCTET_STRING)? })
        })
    }

    pub(crate) fn key_usage(self) -> Option<KeyUsage> {
        let bits = Reader::all(self.value, |usage| usage.bits(tag::BIT_STRING))?;
        let bits = match bits {
            [] => 0,
            [first] => u16::from_be_bytes([*first, 0]),
            [first, second] => u16::from_be_bytes([*first, *second]),
            _ => return None,
        };
        Some(KeyUsage { is_critical: self.is_critical, bits })
    }

    pub(crate) fn basic_constraints(self) -> Option<BasicConstraints> {
        let (is_ca, path_length) = Reader::all(self.value, |all| {
            all.within(tag::SEQUENCE, |constraints| {
                let is_ca = constraints.boolean_or_false()?;
                if constraints.is_empty() {
                    return Some((is_ca, None));
                }
                match constraints.unsigned()? {
                    [path_length] => Some((is_ca, Some(*path_length))),
                    _ => None,
                }
            })
        })?;
        Some(BasicConstraints { is_critical: self.is_critical, is_ca, path_length })
    }

    pub(crate) fn extended_key_usage(self) -> Option<ExtendedKeyUsage<'a>> {
        let mut purposes = Vec::new();
        Reader::all(self.value, |all| {
            all.within(tag::SEQUENCE, |list| {
                while !list.is_empty() {
                    purposes.push(list.oid()?);
                }
                Some(())
            })
        })?;
        Some(ExtendedKeyUsage { is_critical: self.is_critical, purposes }).filter(|usage| !usage.purposes.is_empty())
    }
}
