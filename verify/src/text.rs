//! Untrusted text that is safe to print.

/// Untrusted text for a log line or a message: control characters are replaced, and the text is cut at `limit` characters.
pub fn printable(text: &str, limit: usize) -> String {
    // The common case, in which nothing is replaced.
    if text.len() <= limit && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(limit).map(visible).collect();
    if text.chars().nth(limit).is_some() {
        out.push('…');
    }
    out
}

/// The character, or U+FFFD if it is a control character or a line separator, reorders the text around it, or has no width.
pub fn visible(c: char) -> char {
    let hides = c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    if hides { '\u{fffd}' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_text_has_no_controls_and_ends() {
        assert_eq!(printable("a\u{1b}[31mb\n", 10), "a\u{fffd}[31mb\u{fffd}");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("\u{202e}abc", 9), "\u{fffd}abc");
        for hidden in ['\0', '\u{7f}', '\u{9b}', '\u{200b}', '\u{2028}', '\u{2067}', '\u{feff}', '\u{e0041}'] {
            assert_eq!(printable(&format!("a{hidden}b"), 9), "a\u{fffd}b", "{hidden:?}");
        }
    }
}
