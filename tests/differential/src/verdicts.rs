//! What two verifiers say of the same inputs.

use std::collections::BTreeMap;

/// How often a reason was given, and one input that it was given for.
type Reasons = BTreeMap<String, (usize, String)>;

/// The most reasons of ours that may be missing in a table: keys and signatures are new in each run, so a rare one can turn up
/// in any. It is printed.
const MAX_UNKNOWN: usize = 3;

/// Counts of verdicts, and the differences.
#[derive(Debug, Default)]
pub struct Verdicts {
    pub both_accept: usize,
    pub both_refuse: usize,
    /// The other verifier's reasons for what we alone accept: each is a fault.
    we_alone_accept: Reasons,
    /// Our reasons for what the other verifier accepts.
    we_alone_refuse: Reasons,
}

impl Verdicts {
    /// `describe` says what the input was.
    pub fn add(&mut self, ours: Result<(), String>, theirs: Result<(), String>, describe: impl FnOnce() -> String) {
        let (reasons, reason) = match (ours, theirs) {
            (Ok(()), Ok(())) => return self.both_accept += 1,
            (Err(_), Err(_)) => return self.both_refuse += 1,
            (Ok(()), Err(reason)) => (&mut self.we_alone_accept, reason),
            (Err(reason), Ok(())) => (&mut self.we_alone_refuse, reason),
        };
        // Numbers would make many reasons of one.
        let reason = reason.replace(|c: char| c.is_ascii_digit(), "");
        reasons.entry(reason).or_insert_with(|| (0, describe())).0 += 1;
    }

    /// Fails if a difference is in neither table, but for [`MAX_UNKNOWN`] that we alone refuse. Each has parts of the reasons' words, without digits: `lenient` those of the other
    /// verifier for what we accept all the same, and `stricter` ours for what it accepts; and why.
    #[track_caller]
    pub fn check(&self, lenient: &[(&str, &str)], stricter: &[(&str, &str)]) {
        println!("both accept {}, both refuse {}", self.both_accept, self.both_refuse);
        let accepted = unknown("we alone accept", &self.we_alone_accept, lenient);
        let refused = unknown("we alone refuse", &self.we_alone_refuse, stricter);
        println!("{refused}");
        let unknown = refused.lines().filter(|line| line.starts_with("we alone refuse")).count();
        assert!(accepted.is_empty() && unknown <= MAX_UNKNOWN, "\n{accepted}{refused}");
    }
}

/// Prints how often each known reason was given. Returns the others.
fn unknown(what: &str, reasons: &Reasons, known: &[(&str, &str)]) -> String {
    let mut by_words: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unknown = String::new();
    for (reason, (count, example)) in reasons {
        match known.iter().find(|(words, _)| reason.contains(words)) {
            Some((words, _)) => *by_words.entry(words).or_default() += count,
            None => unknown += &format!("{what}, {count} times: {reason}\n    {example}\n"),
        }
    }
    for (words, count) in by_words {
        println!("{what}: {count:5} {words}");
    }
    unknown
}
