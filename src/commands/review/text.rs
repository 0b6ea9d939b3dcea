//! What `review` prints for people: a line for each image, at most as wide as the terminal, and a summary.

use std::io::IsTerminal as _;

use crate::admission::decide::{Basis, Decision, ImageFinding};
use crate::admission::evaluate::Verdict;
use crate::admission::messages;

/// The width of the word that begins a line, with the space after it.
const WORD: usize = 9;
/// The narrowest terminal that lines are broken for.
const NARROWEST: usize = 40;

/// Nothing is known of a field that Kubernetes does not have.
const NO_IMAGE: &str = "names no image; is `containers` or `image` misspelt?";

/// A line for each image, or one line if the decision did not depend on images.
pub(super) fn lines(label: &str, decision: &Decision) -> Vec<String> {
    let findings = match &decision.basis {
        Basis::Images(findings) if findings.is_empty() => return vec![line("allowed", label, NO_IMAGE)],
        Basis::Images(findings) => findings,
        basis => {
            let (word, not_checked) = if decision.allowed { ("allowed", "not checked: ") } else { ("denied", "") };
            return vec![line(word, label, &[not_checked, &basis.describe().unwrap_or_default()].concat())];
        }
    };
    findings.iter().map(|finding| of_image(label, finding)).collect()
}

fn of_image(label: &str, finding: &ImageFinding) -> String {
    let word = match finding {
        finding if !finding.is_bad() => "allowed",
        finding if !finding.denies => "warned",
        finding if matches!(finding.evaluation.verdict, Verdict::Unavailable { .. }) => "undecided",
        _ => "denied",
    };
    let schemes: Vec<&str> = finding.evaluation.deciding().map(|(scheme, _)| scheme).collect();
    let mut words = messages::describe(finding);
    if !schemes.is_empty() {
        words.push_str(" (");
        words.push_str(&schemes.join(", "));
        words.push(')');
    }
    line(word, label, &words)
}

/// `denied   Pod line-1/plc: why`
pub(super) fn line(word: &str, label: &str, words: &str) -> String {
    let mut text = word.to_owned();
    text.extend(std::iter::repeat_n(' ', WORD.saturating_sub(word.len()).max(1)));
    text.push_str(label);
    text.push_str(": ");
    text.push_str(words);
    text
}

/// The width of the terminal; `None` if standard output is no terminal. Lines of a file or a pipe stay whole.
pub(super) fn terminal_width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width >= NARROWEST)
}

/// A line broken at spaces, so that no part is wider. Parts after the first are indented. A word that is wider than the terminal
/// is not broken: it may have to be copied.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len() + 80);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let mut column = 0;
        // The spaces after the first word keep the columns in line.
        for word in line.split_inclusive(' ') {
            let length = word.trim_end_matches(' ').chars().count();
            if column > WORD && column + length > width {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', WORD));
                column = WORD;
            }
            out.push_str(word);
            column += word.chars().count();
        }
    }
    out
}

/// How many objects there were, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) allowed: usize,
    pub(super) warned: usize,
    pub(super) denied: usize,
    pub(super) undecided: usize,
    pub(super) skipped: usize,
    /// Those of the skipped ones that look like workloads.
    pub(super) suspect: usize,
    /// Objects that are too large, or no review.
    pub(super) not_decided: usize,
    /// Inputs that could not be read.
    pub(super) unread: usize,
}

impl Counts {
    /// The objects that were decided on.
    pub(super) fn decided(&self) -> usize {
        self.allowed + self.warned + self.denied + self.undecided
    }

    /// `4 objects reviewed: 2 allowed, 1 let in with a warning, 1 denied, 0 undecided; 3 skipped, 1 of them probably a workload; 1 input not read`
    pub(super) fn summary(&self) -> String {
        let Self { allowed, warned, denied, undecided, skipped, suspect, not_decided, unread } = self;
        let objects = if self.decided() == 1 { "object" } else { "objects" };
        let mut text = format!(
            "{} {objects} reviewed: {allowed} allowed, {warned} let in with a warning, {denied} denied, {undecided} \
             undecided; {skipped} skipped",
            self.decided()
        );
        if *suspect > 0 {
            text.push_str(", ");
            text.push_str(&suspect.to_string());
            text.push_str(if *suspect == 1 { " of them probably a workload" } else { " of them probably workloads" });
        }
        if *not_decided > 0 {
            text.push_str("; ");
            text.push_str(&not_decided.to_string());
            text.push_str(" not reviewed");
        }
        if *unread > 0 {
            text.push_str("; ");
            text.push_str(&unread.to_string());
            text.push_str(if *unread == 1 { " input not read" } else { " inputs not read" });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_line_is_wider_than_the_terminal() {
        let text =
            line("denied", "Pod line-1/plc", "container \"plc\", image x/y:v1: rejected: no signature was found by it");
        assert_eq!(text.lines().count(), 1);
        let wrapped = wrapped(&text, 40);
        assert!(wrapped.lines().all(|line| line.chars().count() <= 40), "{wrapped}");
        assert!(wrapped.lines().skip(1).all(|line| line.starts_with("         ") && !line.ends_with(' ')), "{wrapped}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&wrapped), words(&text));
        assert!(wrapped.starts_with("denied   Pod line-1/plc: container"), "{wrapped}");
    }

    #[test]
    fn a_word_is_not_broken_and_lines_stay_lines() {
        let digest = "a".repeat(90);
        assert_eq!(wrapped(&format!("allowed  {digest} b"), 40), format!("allowed  {digest}\n         b"));
        assert_eq!(wrapped("a\nb", 40), "a\nb");
    }

    #[test]
    fn the_summary_has_every_number() {
        let counts = Counts { allowed: 2, warned: 1, denied: 1, skipped: 3, ..Counts::default() };
        let text = "4 objects reviewed: 2 allowed, 1 let in with a warning, 1 denied, 0 undecided; 3 skipped";
        assert_eq!(counts.summary(), text);
        for (suspect, words) in [(1, ", 1 of them probably a workload"), (2, ", 2 of them probably workloads")] {
            assert_eq!(Counts { suspect, ..counts }.summary(), [text, words].concat());
        }
        let both = Counts { not_decided: 2, unread: 1, ..counts };
        assert_eq!(both.summary(), [text, "; 2 not reviewed; 1 input not read"].concat());
        for (unread, words) in [(1, "; 1 input not read"), (2, "; 2 inputs not read")] {
            assert_eq!(Counts { unread, ..counts }.summary(), [text, words].concat());
        }
    }
}
