//! The time.

use std::time::SystemTime;

use jiff::Timestamp;

/// The time now; years that jiff does not know are its last one, in which everything has expired.
///
/// `Timestamp::now` panics there, and its panic prints all errors that jiff has: 50,000 bytes of the executable.
pub(crate) fn now() -> Timestamp {
    timestamp(SystemTime::now())
}

fn timestamp(time: SystemTime) -> Timestamp {
    let (sign, distance) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (1, after),
        Err(error) => (-1, error.duration()),
    };
    let seconds = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
    let nanoseconds = i32::try_from(distance.subsec_nanos()).unwrap_or_default();
    Timestamp::new(i64::from(sign) * seconds, sign * nanoseconds).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_what_jiff_makes_of_it() {
        for milliseconds in [0, 1, 999, 1_000, 1_764_604_800_123, 253_402_207_200_999] {
            let distance = Duration::from_millis(milliseconds) + Duration::from_nanos(7);
            for time in [SystemTime::UNIX_EPOCH + distance, SystemTime::UNIX_EPOCH - distance] {
                assert_eq!(timestamp(time), Timestamp::try_from(time).unwrap(), "{milliseconds}");
            }
        }
        let beyond = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
        assert_eq!(timestamp(beyond), Timestamp::MAX);
        let (before, found, after) = (Timestamp::now(), now(), Timestamp::now());
        assert!(before <= found && found <= after);
    }
}
