//! What an authority signs: the `TSTInfo` (RFC 3161 §2.4.2).

use super::token::GenTime;
use crate::crypto::algorithm::Hash;
use crate::crypto::certificate_ref::MAX_SERIAL_NUMBER;
use crate::crypto::der::{Reader, element, tag};
use crate::crypto::extension::{Extension, GeneralName};

const SECOND: i64 = 1_000_000;

/// The fields that decide. The others are checked for their types alone: nothing follows from the policy, from the number, and
/// from the name that the authority gives itself.
pub(crate) struct TstInfo<'a> {
    /// `None` for a hash that is not verified.
    pub(crate) hash: Option<Hash>,
    /// The hash of what was stamped.
    pub(crate) imprint: &'a [u8],
    pub(crate) time: GenTime,
}

impl<'a> TstInfo<'a> {
    /// From DER.
    pub(crate) fn read(der: &'a [u8]) -> Option<Self> {
        Reader::all(der, |all| all.within(tag::SEQUENCE, Self::fields))
    }

    fn fields(info: &mut Reader<'a>) -> Option<Self> {
        if info.integer()? != [1] {
            return None;
        }
        info.oid()?; // the policy
        let (hash, imprint) = info.within(tag::SEQUENCE, |imprint| {
            let algorithm = imprint.content(tag::SEQUENCE)?;
            Reader::all(algorithm, Reader::algorithm)?;
            Some((Reader::all(algorithm, Hash::read), imprint.content(tag::OCTET_STRING)?))
        })?;
        // 160 bits, and the byte of a sign.
        info.integer().filter(|number| number.len() <= MAX_SERIAL_NUMBER)?;
        let (begin, end) = gen_time(info)?;
        // Without an accuracy it is a second, as ETSI EN 319 421 demands: the time may be one in whole seconds.
        let accuracy = if info.is_next(tag::SEQUENCE) { info.within(tag::SEQUENCE, accuracy)? } else { SECOND };
        info.boolean_or_false()?; // ordering
        if info.is_next(tag::INTEGER) {
            info.integer()?; // the nonce, which only the requester knows
        }
        if info.is_next(tag::explicit(0)) {
            info.within(tag::explicit(0), GeneralName::read)?;
        }
        if info.is_next(tag::explicit(1)) {
            info.within(tag::explicit(1), |list| {
                while !list.is_empty() {
                    // No extension has a meaning here, so that a critical one is none that may be passed over.
                    Extension::read(list).filter(|extension| !extension.is_critical)?;
                }
                Some(())
            })?;
        }
        let time = GenTime {
            earliest: (begin - accuracy).div_euclid(SECOND),
            latest: (end + accuracy + SECOND - 1).div_euclid(SECOND),
        };
        Some(Self { hash, imprint, time })
    }
}

/// The time in microseconds since 1970, rounded down and up: a GeneralizedTime, which may have a fraction.
fn gen_time(info: &mut Reader<'_>) -> Option<(i64, i64)> {
    let text = info.content(tag::GENERALIZED_TIME)?.strip_suffix(b"Z")?;
    let (whole, fraction) = text.split_at_checked(14)?;
    let whole = element(tag::GENERALIZED_TIME, &[whole, b"Z"]);
    let second = SECOND * Reader::all(&whole, Reader::time)?;
    let digits = match fraction {
        [] => return Some((second, second)),
        // Without zeros at the end (X.690 §11.7.3).
        [b'.', digits @ .., b'1'..=b'9'] if digits.iter().all(u8::is_ascii_digit) => fraction.get(1..)?,
        _ => return None,
    };
    let digits_of = digits.iter().chain(std::iter::repeat(&b'0')).take(6);
    let begin = second + digits_of.fold(0, |sum, digit| 10 * sum + i64::from(digit & 0x0f));
    Some((begin, begin + i64::from(digits.len() > 6)))
}

/// An `Accuracy` in microseconds.
fn accuracy(parts: &mut Reader<'_>) -> Option<i64> {
    let number = |bytes: &[u8], most: i64| {
        let is_shortest = !matches!(bytes, [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..]);
        let number = bytes.iter().take(6).fold(0, |sum, byte| 256 * sum + i64::from(*byte));
        (is_shortest && bytes.len() < 6 && number <= most).then_some(number)
    };
    let mut sum = 0;
    if parts.is_next(tag::INTEGER) {
        sum = SECOND * number(parts.content(tag::INTEGER)?, i64::from(u32::MAX))?;
    }
    for (place, unit) in [(0, 1000), (1, 1)] {
        let place = tag::implicit(place);
        if parts.is_next(place) {
            sum += unit * number(parts.content(place)?, 999).filter(|part| *part > 0)?;
        }
    }
    Some(sum)
}
