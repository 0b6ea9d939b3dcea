//! Small helpers for the words that people read: suggestions, and untrusted text made safe to print.

/// The known word nearest to `typed`, if one is near enough to be what was meant.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = typed.to_ascii_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_ascii_lowercase()), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .min()
        .map(|(_, word)| word)
}

/// Untrusted text for a log line or a denial: control characters replaced, cut at `limit` characters.
pub fn printable(text: &str, limit: usize) -> String {
    let mut out: String =
        text.chars().take(limit).map(|c| if c.is_control() || is_bidi(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        out.push('…');
    }
    out
}

/// Characters that reorder what stands around them on a terminal.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        const KNOWN: [&str; 3] = ["trust", "mutateImage", "mode"];
        assert_eq!(nearest("tust", KNOWN), Some("trust"));
        assert_eq!(nearest("mutateimage", KNOWN), Some("mutateImage"));
        assert_eq!(nearest("vulnerability", KNOWN), None);
    }

    #[test]
    fn printable_text_has_no_controls_and_ends() {
        assert_eq!(printable("a\u{1b}[31mb\n", 10), "a\u{fffd}[31mb\u{fffd}");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("\u{202e}abc", 9), "\u{fffd}abc");
    }
}
