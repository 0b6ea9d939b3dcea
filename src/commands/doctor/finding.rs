//! What `doctor` finds: one line for each thing that it looked at.

use jiff::Timestamp;
use portreeve_verify::text::printable;

/// What ends within this many seconds is told: two weeks.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// How a thing is. The last one decides on the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// It works.
    Ok,
    /// It is not on this machine, and does not have to be.
    Skipped,
    /// It works, and was probably not meant so.
    Note,
    /// It works, and ends soon.
    Soon,
    /// It could not be asked or read.
    Unknown,
    /// It does not work.
    Wrong,
}

impl State {
    /// All of them, the worst first.
    pub(super) const ALL: [Self; 6] = [Self::Wrong, Self::Unknown, Self::Soon, Self::Note, Self::Skipped, Self::Ok];

    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Note => "note",
            Self::Soon => "soon",
            Self::Unknown => "unknown",
            Self::Wrong => "wrong",
        }
    }
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) state: State,
    /// What kind of thing: a fixed word, such as `trust_server`.
    pub(super) check: &'static str,
    /// Which one: a file, a URL, a policy.
    pub(super) subject: String,
    /// What was found.
    pub(super) found: String,
    /// When it ends.
    pub(super) ends: Option<Timestamp>,
    /// What to do. Empty if there is nothing to do.
    pub(super) action: String,
}

/// The most characters of one text.
const MAX_TEXT: usize = 2_000;

/// All findings, in the order in which they are printed.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) now: Timestamp,
    pub(super) list: Vec<Finding>,
}

impl Findings {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, list: Vec::new() }
    }

    /// Adds a line. What is there to read is printable, wherever it comes from.
    pub(super) fn add(&mut self, state: State, check: &'static str, subject: &str, found: &str, action: &str) {
        let [subject, found, action] = [subject, found, action].map(|text| printable(text, MAX_TEXT));
        self.list.push(Finding { state, check, subject, found, ends: None, action });
    }

    pub(super) fn ok(&mut self, check: &'static str, subject: &str, found: &str) {
        self.add(State::Ok, check, subject, found, "");
    }

    /// Adds a line about something that ends. `what` is followed by the date.
    pub(super) fn end(&mut self, check: &'static str, subject: &str, what: &str, at: Timestamp, action: &str) {
        let is_soon = at.as_second().saturating_sub(self.now.as_second()) < SOON;
        self.end_of(is_soon, check, subject, what, at, action);
    }

    /// The same, where the caller knows what is soon.
    pub(super) fn end_of(
        &mut self,
        is_soon: bool,
        check: &'static str,
        subject: &str,
        what: &str,
        at: Timestamp,
        action: &str,
    ) {
        let at = moment(at.as_second());
        let left = at.as_second().saturating_sub(self.now.as_second());
        let state = match is_soon {
            _ if left <= 0 => State::Wrong,
            true => State::Soon,
            false => State::Ok,
        };
        let verb = if left > 0 { "ends" } else { "ended" };
        let found = [what, " ", verb, " ", &at.to_string(), ", ", &distance(left)].concat();
        self.add(state, check, subject, &found, if state == State::Ok { "" } else { action });
        if let Some(finding) = self.list.last_mut() {
            finding.ends = Some(at);
        }
    }

    /// The worst state.
    pub(super) fn worst(&self) -> State {
        self.list.iter().map(|finding| finding.state).max().unwrap_or(State::Ok)
    }

    pub(super) fn count(&self, state: State) -> usize {
        self.list.iter().filter(|finding| finding.state == state).count()
    }
}

/// `in 8 days`, `3 hours ago`.
fn distance(seconds: i64) -> String {
    let words = span(seconds);
    if seconds > 0 { ["in ", &words].concat() } else { [&words, " ago"].concat() }
}

/// A span of time in its largest unit.
pub(super) fn span(seconds: i64) -> String {
    let seconds = seconds.saturating_abs();
    let (number, unit) = match seconds {
        DAY.. => (seconds / DAY, "day"),
        HOUR.. => (seconds / HOUR, "hour"),
        60.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// A moment in seconds since 1970; what is past jiff's last moment, that one.
pub(super) fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_told_in_time() {
        let mut findings = Findings::new(moment(1_000_000));
        for (left, state, words) in [
            (-1, State::Wrong, "it ended 1970-01-12T13:46:39Z, 1 second ago"),
            (0, State::Wrong, "it ended 1970-01-12T13:46:40Z, 0 seconds ago"),
            (1, State::Soon, "it ends 1970-01-12T13:46:41Z, in 1 second"),
            (7_300, State::Soon, "it ends 1970-01-12T15:48:20Z, in 2 hours"),
            (SOON - 1, State::Soon, "it ends 1970-01-26T13:46:39Z, in 13 days"),
            (SOON, State::Ok, "it ends 1970-01-26T13:46:40Z, in 14 days"),
        ] {
            findings.end("x", "y", "it", moment(1_000_000 + left), "renew it");
            let found = findings.list.last().unwrap();
            assert_eq!((found.state, found.found.as_str()), (state, words));
            assert_eq!(found.action.is_empty(), state == State::Ok);
        }
        assert_eq!((findings.worst(), findings.count(State::Soon)), (State::Wrong, 3));
    }

    #[test]
    fn nothing_commands_a_terminal() {
        let mut findings = Findings::new(Timestamp::UNIX_EPOCH);
        findings.ok("x", "a\u{1b}[2J", "b\nc");
        assert_eq!((&*findings.list[0].subject, &*findings.list[0].found), ("a\u{fffd}[2J", "b\u{fffd}c"));
    }
}
