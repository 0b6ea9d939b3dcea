//! The clock of this machine, compared with the servers' `Date`. A wrong clock denies: trust data, certificates and tokens then
//! seem to have expired, or not to be valid yet.

use super::finding::{Findings, State, span};
use portreeve_verify::tuf::stored_time;

/// Clocks that differ by more than this many seconds are wrong. Token services allow about as much.
const TOLERANCE: i64 = 60;

/// A server, and by how many seconds its clock is ahead of this machine's.
pub(super) struct Offset {
    pub(super) server: String,
    pub(super) seconds: i64,
}

/// Compares the clocks. Where most servers agree with each other, the one that does not is wrong.
pub(super) fn compare(offsets: &[Offset], asked: usize, findings: &mut Findings) {
    const CHECK: &str = "clock";
    let is_off = |seconds: i64| seconds.saturating_abs() > TOLERANCE;
    let agreeing = |Offset { seconds, .. }: &Offset| {
        let agree = offsets.iter().filter(|other| !is_off(other.seconds.saturating_sub(*seconds))).count();
        (agree, *seconds)
    };
    let Some((agree, common)) = offsets.iter().map(agreeing).max_by_key(|(agree, _)| *agree) else {
        // A server that could not be asked has a line of its own.
        let found = if asked == 0 { "there is no server to compare it with" } else { "no server has told its time" };
        return findings.add(State::Skipped, CHECK, "", found, "");
    };
    let count = offsets.len();
    let set_clocks = "set the clocks by NTP, on the nodes and on the servers";
    if is_off(common) && count > 1 && 2 * agree > count {
        let direction = if common > 0 { "behind" } else { "ahead of" };
        let found = format!("this machine is {} {direction} {agree} of {count} servers", span(common));
        return findings.add(State::Wrong, CHECK, "", &found, "set this machine's clock by NTP");
    }
    let mut off = offsets.iter().filter(|offset| is_off(offset.seconds)).peekable();
    if off.peek().is_none() {
        let servers = if count == 1 { "server" } else { "servers" };
        return findings.ok(CHECK, "", &format!("agrees with {count} {servers}"));
    }
    for Offset { server, seconds } in off {
        let direction = if *seconds > 0 { "ahead of" } else { "behind" };
        let found = format!("it is {} {direction} this machine", span(*seconds));
        findings.add(State::Wrong, CHECK, server, &found, set_clocks);
    }
}

/// The time of a `Date` field, in seconds since 1970 (RFC 9110 §5.6.7, the form that every server must send).
pub(super) fn date(field: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = field.split_once(", ")?;
    let mut words = date.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (time, zone) = (words.next()?, words.next()?);
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    if zone != "GMT" || words.next().is_some() {
        return None;
    }
    stored_time(&format!("{year}-{month:02}-{day}T{time}Z")).map(|time| time.as_second())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Tue, 01 Dec 2026 17:25:58 GMT", Some(1_796_145_958)),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun, 06 Nix 1994 08:49:37 GMT", None),
            ("Sun, 36 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT GMT", None),
            ("", None),
            ("\u{0}", None),
        ] {
            assert_eq!(date(text), seconds, "{text}");
        }
    }

    fn found(offsets: &[i64]) -> Vec<(State, String, String)> {
        let mut findings = Findings::new(Timestamp::UNIX_EPOCH);
        let offsets: Vec<_> = offsets
            .iter()
            .enumerate()
            .map(|(at, seconds)| Offset { server: format!("s{at}"), seconds: *seconds })
            .collect();
        compare(&offsets, 2, &mut findings);
        findings.list.into_iter().map(|finding| (finding.state, finding.subject, finding.found)).collect()
    }

    #[test]
    fn the_clock_that_stands_alone_is_wrong() {
        let one = |state, subject: &str, words: &str| vec![(state, subject.to_owned(), words.to_owned())];
        assert_eq!(found(&[]), one(State::Skipped, "", "no server has told its time"));
        assert_eq!(found(&[0]), one(State::Ok, "", "agrees with 1 server"));
        assert_eq!(found(&[59, -60, 3]), one(State::Ok, "", "agrees with 3 servers"));
        assert_eq!(found(&[7_200]), one(State::Wrong, "s0", "it is 2 hours ahead of this machine"));
        assert_eq!(found(&[0, -7_200, 1]), one(State::Wrong, "s1", "it is 2 hours behind this machine"));
        assert_eq!(found(&[7_200, 7_201]), one(State::Wrong, "", "this machine is 2 hours behind 2 of 2 servers"));
        assert_eq!(
            found(&[-90_000, -90_000, 0]),
            one(State::Wrong, "", "this machine is 1 day ahead of 2 of 3 servers")
        );
        assert_eq!(found(&[7_200, -7_200]).len(), 2, "nobody knows who is right");
        assert_eq!(found(&[i64::MIN, i64::MAX]).len(), 2);
    }
}
