//! Times in trust data.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// An RFC 3339 time in one strict form: `T` and `Z` in capitals, 0 to 9 fractional digits, `Z` or an offset. jiff's own parser
/// accepts more, such as a space instead of `T`, or 60 seconds; and it can panic with any of its errors, whose texts make the
/// executable 50,000 bytes larger.
pub(crate) fn rfc3339(text: &str) -> Option<Timestamp> {
    let (date_time, rest) = text.as_bytes().split_at_checked(19)?;
    if !shape_fits(date_time, b"9999-99-99T99:99:99") {
        return None;
    }
    let (nanosecond, zone) = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (fraction, zone) = fraction.split_at_checked(digits).filter(|_| (1..=9).contains(&digits))?;
            // Nine digits, with zeros at the end.
            (number(&[fraction, b"00000000".get(digits - 1..)?].concat())?, zone)
        }
        None => (0, rest),
    };
    let offset = match zone {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), time @ ..] if shape_fits(time, b"99:99") => {
            let (hours, minutes) = (two_digits(time, 0)?, two_digits(time, 3)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = (i32::from(hours) * 60 + i32::from(minutes)) * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let part = |from| two_digits(date_time, from);
    let year = i16::try_from(number(date_time.get(..4)?)?).ok()?;
    let date_time = DateTime::new(year, part(5)?, part(8)?, part(11)?, part(14)?, part(17)?, nanosecond).ok()?;
    let timestamp = Offset::from_seconds(offset).and_then(|offset| offset.to_timestamp(date_time));
    // The last hours of the year 9999, which mean "no expiry", are beyond jiff's last time (TRUST.md, row 106).
    timestamp.ok().or_else(|| text.starts_with("9999-12-3").then_some(Timestamp::MAX))
}

/// A time as [`Timestamp`] is written. Those before the year 0, which are written with a sign, are all the earliest.
pub fn stored_time(text: &str) -> Option<Timestamp> {
    rfc3339(text).or_else(|| text.starts_with("-0").then_some(Timestamp::MIN))
}

/// Is there a digit for each `9` of the shape, and all else as it is there?
fn shape_fits(bytes: &[u8], shape: &[u8]) -> bool {
    bytes.len() == shape.len()
        && bytes.iter().zip(shape).all(|(byte, want)| match want {
            b'9' => byte.is_ascii_digit(),
            want => byte == want,
        })
}

fn two_digits(bytes: &[u8], from: usize) -> Option<i8> {
    number(bytes.get(from..)?.get(..2)?)?.try_into().ok()
}

/// The number of at most nine digits.
fn number(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_are_rfc_3339_and_nothing_more() {
        for (text, seconds) in [
            ("2030-01-02T03:04:05Z", 1_893_553_445),
            ("9999-12-31T23:59:59Z", 253_402_207_200), // jiff's last second
            ("9999-12-31T23:59:59.999999999-23:59", 253_402_207_200),
            ("2030-01-02T03:04:05.1Z", 1_893_553_445),
            ("2030-01-02T03:04:05.123456789+01:00", 1_893_549_845),
            ("2030-01-02T03:04:05-23:59", 1_893_639_785),
            ("2030-01-02T03:04:05-00:00", 1_893_553_445),
        ] {
            assert_eq!(rfc3339(text).map(Timestamp::as_second), Some(seconds), "{text}");
        }
        for bad in [
            "",
            "2030-01-02",
            "2030-01-02T03:04:05",
            "2030-01-02 03:04:05Z",
            "2030-01-02t03:04:05Z",
            "2030-01-02T03:04:05z",
            "2030-01-02T03:04:05.Z",
            "2030-01-02T03:04:05.1234567890Z",
            "2030-01-02T03:04:05,1Z",
            "2030-01-02T03:04Z",
            "2030-01-02T03:04:60Z",
            "2030-02-30T03:04:05Z",
            "2030-01-02T24:00:00Z",
            "2030-01-02T03:04:05+24:00",
            "2030-01-02T03:04:05+01",
            "2030-01-02T03:04:05+0100",
            "2030-01-02T03:04:05+01:60",
            "9999-12-32T00:00:00Z",
            "9999-12-31T24:00:00Z",
            "9999-12-31T23:60:00Z",
            "2030-01-02T03:04:05Z[UTC]",
            "2030-01-02T03:04:05+01:00[Europe/Berlin]",
            " 2030-01-02T03:04:05Z",
            "2030-01-02T03:04:05Z ",
            "+002030-01-02T03:04:05Z",
            "20300102T030405Z",
            "1893553445",
            "2030-01-02T03:04:05ZZ",
            "２030-01-02T03:04:05Z",
        ] {
            assert_eq!(rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["2030-01-02T03:04:05Z", "1969-12-31T23:59:59.999999999Z", "0000-01-01T00:00:00.1Z"] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!((stored_time(&time.to_string()), time.to_string().as_str()), (Some(time), text));
        }
        assert_eq!(stored_time(&Timestamp::MAX.to_string()), Some(Timestamp::MAX));
        let before = rfc3339("0000-01-01T00:00:00+00:01").unwrap();
        assert_eq!(stored_time(&before.to_string()), Some(Timestamp::MIN), "{before}");
        assert_eq!(stored_time("soon"), None);
    }

    /// Times of the one form are what jiff reads in them.
    #[test]
    fn jiff_reads_the_same() {
        for year in [0, 1, 1969, 1970, 2000, 2023, 2024, 2100, 9998, 9999] {
            for (month, day) in (0..=13).flat_map(|month| [0, 1, 28, 29, 30, 31, 32].map(|day| (month, day))) {
                for rest in ["00:00:00Z", "23:59:59.5-00:30", "12:34:56.000000001+23:59", "21:00:00.123456789-05:00"] {
                    let text = format!("{year:04}-{month:02}-{day:02}T{rest}");
                    let theirs = text.parse::<Timestamp>().ok();
                    let is_last = |found: &Timestamp| *found == Timestamp::MAX && text.starts_with("9999-12-3");
                    assert!(rfc3339(&text) == theirs || rfc3339(&text).as_ref().is_some_and(is_last), "{text}");
                }
            }
        }
    }
}
