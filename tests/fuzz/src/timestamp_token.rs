//! Time stamps. The input is a token or a response, and again a `TSTInfo`, which is compared with a slow reading.
//!
//! The fuzzer has no key, so only what openssl's authority has signed is verified.

use portreeve_verify::fuzzing::tst_info;
use portreeve_verify::timestamp::{Authority, MAX_TOKEN, Token};

const ROOT: &[u8] = include_bytes!("../../../verify/src/timestamp/fixtures/root.der");
const SIGNER: &[u8] = include_bytes!("../../../verify/src/timestamp/fixtures/tsa.der");
const HONEST: [&[u8]; 3] = [
    include_bytes!("../../../verify/src/timestamp/fixtures/rsa-sha256-v2.tsr"),
    include_bytes!("../../../verify/src/timestamp/fixtures/rsa-sha384-v2.tsr"),
    include_bytes!("../../../verify/src/timestamp/fixtures/rsa-sha512-v1.tsr"),
];

pub fn check(data: &[u8]) {
    if let Ok(token) = Token::read(data) {
        assert!(data.len() <= MAX_TOKEN && data.first() == Some(&0x30));
        assert!(token.heap_size() >= data.len() as u64);
        let (anchors, intermediates) = ([ROOT.to_vec()], [SIGNER.to_vec()]);
        let verified = token.verify(b"a signature", &Authority { anchors: &anchors, intermediates: &intermediates });
        if let Ok(time) = verified {
            // The TSTInfo, the attributes and the signature are an honest token's: all of it but certificates, and what
            // stands around it.
            let is_honest = |honest: &&[u8]| holds(data, &honest[honest.len() - 256..]) && holds(data, time_of(honest));
            assert!(HONEST.iter().any(is_honest), "a forged time stamp {time:?}");
        }
        let nobody = Authority { anchors: &[], intermediates: &anchors };
        assert!(token.verify(b"a signature", &nobody).is_err());
    }
    assert_eq!(tst_info(data).map(|(imprint, from, to)| (imprint.to_vec(), from, to)), slow(data));
}

fn holds(data: &[u8], part: &[u8]) -> bool {
    data.windows(part.len()).any(|window| window == part)
}

/// The first GeneralizedTime, which has a fraction of three digits.
fn time_of(token: &[u8]) -> &[u8] {
    let at = token.windows(4).position(|window| window == [0x18, 19, b'2', b'0']).expect("a time");
    &token[at..at + 21]
}

/// An element: its tag and its content.
type Element = (u8, Vec<u8>);

/// What is read of a `TSTInfo`: the imprint, and the seconds between which it was made.
fn slow(data: &[u8]) -> Option<(Vec<u8>, i64, i64)> {
    let all = elements(data)?;
    let [(0x30, info)] = all.as_slice() else { return None };
    let mut fields = elements(info)?.into_iter().peekable();
    let mut required = |tag: u8| fields.next().filter(|field| field.0 == tag).map(|field| field.1);
    let version = required(2)?;
    let policy = required(6)?;
    let imprint = elements(&required(0x30)?)?;
    let number = required(2)?;
    let time = String::from_utf8(required(0x18)?).ok()?;
    let [(0x30, algorithm), (4, imprint)] = imprint.as_slice() else { return None };
    let algorithm = elements(algorithm)?;
    let is_algorithm = matches!(algorithm.as_slice(), [(6, id)] | [(6, id), _] if is_oid(id));
    let is_sound = version == [1] && is_oid(&policy) && is_integer(&number) && number.len() <= 21 && is_algorithm;
    let mut next = |tag: u8| fields.next_if(|field| field.0 == tag).map(|field| field.1);
    let accuracy = match next(0x30) {
        Some(parts) => accuracy(elements(&parts)?)?,
        None => 1_000_000,
    };
    let ordering = next(1).is_none_or(|ordering| matches!(ordering.as_slice(), [0 | 0xff]));
    let nonce = next(2).is_none_or(|nonce| is_integer(&nonce));
    let name = match next(0xa0) {
        Some(name) => is_general_name(&name),
        None => true,
    };
    let extensions = match next(0xa1) {
        Some(list) => elements(&list)?.iter().all(is_extension),
        None => true,
    };
    let (from, to) = microseconds(&time)?;
    let is_whole = fields.next().is_none();
    let rounded = |time: i64, up: i64| (time + up).div_euclid(1_000_000);
    (is_sound && ordering && nonce && name && extensions && is_whole)
        .then(|| (imprint.clone(), rounded(from - accuracy, 0), rounded(to + accuracy, 999_999)))
}

/// A time in UTC, rounded down and up.
fn microseconds(text: &str) -> Option<(i64, i64)> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14
        || !digits(whole)
        || fraction.is_some_and(|it| !digits(it) || it.ends_with('0') || it.is_empty())
    {
        return None;
    }
    let part = |from: usize, to: usize| whole[from..to].parse::<i8>().ok();
    let year: i16 = whole[..4].parse().ok()?;
    let date = jiff::civil::Date::new(year, part(4, 6)?, part(6, 8)?).ok()?;
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = i64::from((date - jiff::civil::date(1970, 1, 1)).get_days());
    let seconds = ((days * 24 + i64::from(hour)) * 60 + i64::from(minute)) * 60 + i64::from(second);
    let fraction = fraction.unwrap_or_default();
    let six: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let from = seconds * 1_000_000 + six.parse::<i64>().ok()?;
    Some((from, from + i64::from(fraction.len() > 6)))
}

fn accuracy(parts: Vec<Element>) -> Option<i64> {
    let mut sum = 0;
    let mut last = None;
    for (tag, content) in parts {
        let (place, unit, range) = match tag {
            2 => (0, 1_000_000, 0..=i64::from(u32::MAX)),
            0x80 => (1, 1000, 1..=999),
            0x81 => (2, 1, 1..=999),
            _ => return None,
        };
        if !is_integer(&content) || content.len() > 5 || content[0] > 0x7f || last.replace(place) >= Some(place) {
            return None;
        }
        let number = content.iter().fold(0, |sum, byte| 256 * sum + i64::from(*byte));
        sum += unit * Some(number).filter(|number| range.contains(number))?;
    }
    Some(sum)
}

fn is_extension(extension: &Element) -> bool {
    let parts = elements(&extension.1).unwrap_or_default();
    let is_shape = match parts.as_slice() {
        [(6, id), (4, _)] => is_oid(id),
        [(6, id), (1, critical), (4, _)] => is_oid(id) && *critical == [0],
        _ => false,
    };
    extension.0 == 0x30 && is_shape
}

fn is_general_name(name: &[u8]) -> bool {
    let names = elements(name).unwrap_or_default();
    let [(tag, content)] = names.as_slice() else { return false };
    match tag {
        0x81 | 0x82 | 0x86 => content.is_ascii(),
        0xa4 => matches!(elements(content).as_deref(), Some([(0x30, name)]) if is_name(name)),
        0xa0 => match elements(content).as_deref() {
            Some([(6, id), (0xa0, value)]) => is_oid(id) && elements(value).is_some_and(|value| value.len() == 1),
            _ => false,
        },
        0x80..=0xbf => tag & 0x1f <= 8,
        _ => false,
    }
}

fn is_name(name: &[u8]) -> bool {
    let is_attribute = |attribute: &Element| match elements(&attribute.1).as_deref() {
        Some([(6, id), _]) => attribute.0 == 0x30 && is_oid(id),
        _ => false,
    };
    let is_set = |set: &Element| set.0 == 0x31 && elements(&set.1).is_some_and(|all| all.iter().all(is_attribute));
    elements(name).is_some_and(|sets| sets.iter().all(is_set))
}

fn is_integer(content: &[u8]) -> bool {
    match content {
        [] => false,
        [_] => true,
        [first, second, ..] => !(*first == 0 && *second < 0x80 || *first == 0xff && *second >= 0x80),
    }
}

fn is_oid(content: &[u8]) -> bool {
    let mut length = 0;
    let mut is_good = !content.is_empty() && content.len() <= 39 && content[0] < 120;
    for byte in content.iter().skip(1) {
        is_good &= length != 0 || *byte != 0x80;
        length += 1;
        is_good &= length <= 5;
        if byte & 0x80 == 0 {
            length = 0;
        }
    }
    is_good && length == 0
}

/// All elements, to the end.
fn elements(mut data: &[u8]) -> Option<Vec<Element>> {
    const UNIVERSAL: [u8; 22] = [
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x09, 0x0a, 0x0c, 0x0d, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x1a,
        0x1b, 0x1e, 0x30, 0x31,
    ];
    let mut found = Vec::new();
    while let [tag, length, rest @ ..] = data {
        let is_known = UNIVERSAL.contains(tag) || *tag >= 0x40 && tag % 32 != 31;
        let count = usize::from(length.checked_sub(0x80).unwrap_or(0));
        if !is_known || *length == 0x80 || count > 4 || rest.len() < count {
            return None;
        }
        let size = match count {
            0 => usize::from(*length),
            _ => rest[..count].iter().fold(0, |sum, byte| 256 * sum + usize::from(*byte)),
        };
        let is_shortest = count == 0 || size >= 0x80 && rest[0] != 0;
        let rest = &rest[count..];
        if !is_shortest || rest.len() < size {
            return None;
        }
        found.push((*tag, rest[..size].to_vec()));
        data = &rest[size..];
    }
    data.is_empty().then_some(found)
}
