//! The name of a subject or an issuer (RFC 5280 §4.1.2.4).

use super::der::{Element, Reader, tag};

/// Most attributes of a name. Those in use have about ten, and each is compared with all others.
const MAX_ATTRIBUTES: usize = 64;

/// 2.5.4.3
pub(crate) const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// A `Name` whose attributes can all be read. Two names are equal if their bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// The whole DER, with its tag.
    pub(crate) der: &'a [u8],
}

/// One attribute of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameAttribute<'a> {
    /// Which relative distinguished name it is in, from 0. Two attributes in one make a multi-valued one.
    pub(crate) relative: usize,
    pub(crate) oid: &'a [u8],
    /// The tag of its value.
    pub(crate) tag: u8,
    pub(crate) value: &'a [u8],
}

impl<'a> Name<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let element = reader.any().filter(|element| element.tag == tag::SEQUENCE)?;
        let mut count = 0;
        Reader::all(element.content, |name| visit(name, &mut |_| count += 1))?;
        (count <= MAX_ATTRIBUTES).then_some(Self { der: element.whole })
    }

    /// All attributes, in order.
    pub(crate) fn attributes(self) -> Vec<NameAttribute<'a>> {
        let mut found = Vec::new();
        Reader::new(self.der).within(tag::SEQUENCE, |name| visit(name, &mut |attribute| found.push(attribute)));
        found
    }

    /// Its one common name. `None` if it has none, or several, or one in an unusual encoding.
    pub(crate) fn common_name(self) -> Option<&'a str> {
        let mut found = None;
        let mut count = 0_usize;
        let mut take = |attribute: NameAttribute<'a>| {
            if attribute.oid == COMMON_NAME {
                count += 1;
                let is_usual = matches!(attribute.tag, tag::UTF8_STRING | tag::PRINTABLE_STRING);
                found = attribute.text().filter(|_| is_usual);
            }
        };
        Reader::new(self.der).within(tag::SEQUENCE, |name| visit(name, &mut take))?;
        found.filter(|_| count == 1)
    }
}

impl<'a> NameAttribute<'a> {
    /// Is its value of one of the types for texts? Those that are not ASCII or UTF-8 (TeletexString, BMPString) are among them.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.tag, tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING | 0x12 | 0x14 | 0x1e)
    }

    /// Its value, if it is a UTF8String, a PrintableString or an IA5String. Others (TeletexString, BMPString and
    /// UniversalString) are not ASCII or UTF-8.
    pub(crate) fn text(&self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.value).ok()?;
        let fits = match self.tag {
            tag::UTF8_STRING => true,
            tag::PRINTABLE_STRING | tag::IA5_STRING => text.is_ascii(),
            _ => false,
        };
        fits.then_some(text)
    }
}

/// Each attribute of the relative distinguished names.
fn visit<'a>(name: &mut Reader<'a>, take: &mut dyn FnMut(NameAttribute<'a>)) -> Option<()> {
    let mut relative = 0;
    while !name.is_empty() {
        name.within(tag::SET, |set| {
            while !set.is_empty() {
                let (oid, Element { tag, content, .. }) =
                    set.within(tag::SEQUENCE, |pair| Some((pair.oid()?, pair.any()?)))?;
                take(NameAttribute { relative, oid, tag, value: content });
            }
            Some(())
        })?;
        relative += 1;
    }
    Some(())
}
