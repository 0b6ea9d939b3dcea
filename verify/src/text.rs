//! Untrusted text that is safe to print.

use std::borrow::Cow;

/// Untrusted text for a log line or a message: control characters are replaced, and the text is cut at `limit` characters.
pub fn printable(text: &str, limit: usize) -> String {
    to_printable(text, limit).into_owned()
}

/// The same without a copy, if nothing is replaced or cut.
pub fn to_printable(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit && leading_run(text.as_bytes(), unprintable) == text.len() {
        return Cow::Borrowed(text);
    }
    let mut out: String = text.chars().take(limit).map(visible).collect();
    if text.chars().nth(limit).is_some() {
        out.push('…');
    }
    Cow::Owned(out)
}

/// The character, or U+FFFD if it is a control character or a line separator, reorders the text around it, or has no width.
pub fn visible(c: char) -> char {
    let hides = c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    if hides { '\u{fffd}' } else { c }
}

/// Are the names equal as Go's `encoding/json` compares them, that is by simple folding of Unicode?
pub(crate) fn is_folded(name: &str, known: &str) -> bool {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k', // the Kelvin sign
        c => c.to_ascii_lowercase(),
    };
    name.chars().map(fold).eq(known.chars().map(fold))
}

/// The number of bytes at the beginning of `text` that a JSON string has as they are: printable ASCII without quotes and
/// backslashes.
pub fn plain_run(text: &[u8]) -> usize {
    leading_run(text, |word| unprintable(word) | quotes(word))
}

/// A word in which each byte is 1, and one in which each byte has only its highest bit.
const ONES: u64 = u64::MAX / 0xff;
const HIGH_BITS: u64 = ONES << 7;

/// The number of bytes before the first one that `marks` marks. Eight bytes at a time, because most text is one long run.
#[inline]
fn leading_run(text: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let mut run = 0;
    for word in text.as_chunks::<8>().0 {
        match marks(u64::from_le_bytes(*word)) {
            0 => run += 8,
            marked => return run + first_marked(marked),
        }
    }
    // The last word begins within the run.
    let mut last = [b' '; 8];
    let mut begin = run;
    match text.last_chunk() {
        Some(word) => {
            last = *word;
            begin = text.len() - last.len();
        }
        None => last.iter_mut().zip(text).for_each(|(to, from)| *to = *from),
    }
    match marks(u64::from_le_bytes(last)) {
        0 => text.len(),
        marked => begin + first_marked(marked),
    }
}

// Each of these marks the highest bit of bytes. The lowest mark is right. Bytes above it may be marked wrongly: a subtraction
// borrows from the next byte only where this byte is marked itself.

/// Marks what is not printable ASCII.
#[inline(always)]
fn unprintable(word: u64) -> u64 {
    let below = word.wrapping_sub(ONES * u64::from(b' ')) & !word;
    let above = (word & !HIGH_BITS).wrapping_add(ONES) | word;
    (below | above) & HIGH_BITS
}

/// Marks quotes and backslashes.
#[inline(always)]
fn quotes(word: u64) -> u64 {
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let (quote, backslash) = (word ^ (ONES * u64::from(b'"')), word ^ (ONES * u64::from(b'\\')));
    (is_zero(quote) | is_zero(backslash)) & HIGH_BITS
}

fn first_marked(marked: u64) -> usize {
    (marked.trailing_zeros() / 8) as usize
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
        assert!(matches!(to_printable("a \"quoted\" \\ text", 17), Cow::Borrowed(_)));
    }

    /// Every byte, at every place of a word, beside bytes that the arithmetic could confuse it with.
    #[test]
    fn a_run_ends_at_the_first_byte_that_is_not_plain() {
        let is_printable = |byte: u8| (b' '..=b'~').contains(&byte);
        let is_plain = |byte: u8| is_printable(byte) && byte != b'"' && byte != b'\\';
        for length in 0..18 {
            for place in 0..length {
                for filler in [b' ', b'#', b'~'] {
                    for byte in 0..=u8::MAX {
                        for next in [0, b' ', b'"', 0x80] {
                            let mut text = vec![filler; length];
                            text[place] = byte;
                            text.iter_mut().skip(place + 1).take(1).for_each(|after| *after = next);
                            let expected = |is_in: &dyn Fn(u8) -> bool| {
                                text.iter().position(|byte| !is_in(*byte)).unwrap_or(length)
                            };
                            assert_eq!(leading_run(&text, unprintable), expected(&is_printable), "{text:?}");
                            assert_eq!(plain_run(&text), expected(&is_plain), "{text:?}");
                        }
                    }
                }
            }
        }
    }
}
