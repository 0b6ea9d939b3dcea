//! Words that operators write: durations, sizes, and suggestions for a misspelled word.

use std::time::Duration;

/// The known word that is nearest to `typed`, if it is near enough to be meant.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = typed.to_ascii_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::osa_distance(&lower, &word.to_ascii_lowercase()), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .min()
        .map(|(_, word)| word)
}

/// A duration as people write it: `30s`, `24h`, `1h 30m`. Not negative, at most ten years.
pub fn duration(text: &str) -> Option<Duration> {
    let signed: jiff::SignedDuration = text.trim().parse().ok()?;
    Duration::try_from(signed).ok().filter(|duration| duration.as_secs() <= 10 * 365 * 86_400)
}

/// A number of bytes as people write it (`65536`, `64KiB`, `8MiB`) or as Kubernetes does (`64Ki`, `8Mi`).
pub fn byte_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text.strip_prefix(digits)?.trim() {
        "" | "B" => 1,
        "KiB" | "Ki" => 1 << 10,
        "MiB" | "Mi" => 1 << 20,
        "GiB" | "Gi" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(factor)
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
    fn durations_and_sizes() {
        for (text, seconds) in [("30s", Some(30)), ("24h", Some(86_400)), ("1h 30m", Some(5_400)), ("0s", Some(0))] {
            assert_eq!(duration(text).map(|d| d.as_secs()), seconds, "{text}");
        }
        for bad in ["", "30", "-5s", "forever", "1000000h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        for (text, bytes) in
            [("8MiB", Some(8 << 20)), ("64Ki", Some(64 << 10)), ("17", Some(17)), (" 1 KiB ", Some(1024))]
        {
            assert_eq!(byte_size(text), bytes, "{text}");
        }
        for bad in ["", "MiB", "8MB", "-1", "99999999999999999999", "18446744073709551615GiB"] {
            assert_eq!(byte_size(bad), None, "{bad}");
        }
    }
}
