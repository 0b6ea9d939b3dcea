//! `?timeout=10s`: how long kube-apiserver waits for a response, and how long a decision may take then.

use std::time::Duration;

/// The upper bound of `timeoutSeconds` in Kubernetes.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// The timeout in a request's target; `None` if there is none that can be read. The first one counts.
pub(super) fn requested(target: &str) -> Option<Duration> {
    let (_, query) = target.split_once('?')?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix("timeout="))?;
    let parsed = parse_go_duration(value);
    if parsed.is_none() {
        log::debug!(
            "the timeout \"{}\" in a request is not a duration such as 10s",
            portreeve_verify::text::printable(value, 40)
        );
    }
    parsed
}

/// How long a decision may take when the client waits for `timeout`. A tenth of it, at least 100 ms and at most 500 ms, is
/// kept for the network.
pub(super) fn budget(timeout: Duration) -> Duration {
    let timeout = timeout.min(LONGEST);
    timeout.saturating_sub((timeout / 10).clamp(Duration::from_millis(100), Duration::from_millis(500)))
}

/// Go's `time.ParseDuration` without a sign: `10s`, `1m30s`, `1.5h`, `500ms`, and a bare `0`.
fn parse_go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.is_empty() || text.len() > 40 {
        return None;
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_where(after, |c| c.is_ascii_digit() || c == '.');
        nanos = nanos.checked_add(scaled(number, unit_nanos(unit)?)?)?;
        rest = after;
    }
    // A duration beyond u64 nanoseconds (500 years) is no timeout.
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.find(ends).and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `number` (digits with at most one dot) times `unit`, rounded down to nanoseconds.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    digits(whole)?.checked_mul(unit)?.checked_add(digits(fraction)?.checked_mul(unit)? / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        const CASES: [(&str, Option<u64>); 21] = [
            ("10s", Some(10_000_000)),
            ("1m30s", Some(90_000_000)),
            ("500ms", Some(500_000)),
            ("1.5s", Some(1_500_000)),
            (".5s", Some(500_000)),
            ("1.s", Some(1_000_000)),
            ("1h0m0s", Some(3_600_000_000)),
            ("3us", Some(3)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("-1s", None),
            ("+1s", None),
            ("1d", None),
            ("10 s", None),
            ("99999999999999999999h", None),
            ("1s1", None),
        ];
        for (text, micros) in CASES {
            assert_eq!(parse_go_duration(text), micros.map(Duration::from_micros), "{text:?}");
        }
    }

    #[test]
    fn the_target_s_first_timeout_counts() {
        assert_eq!(requested("/admit?timeout=2s"), Some(Duration::from_secs(2)));
        assert_eq!(requested("/admit?x=1&timeout=2s&timeout=3s"), Some(Duration::from_secs(2)));
        assert_eq!(requested("/admit?timeout=soon"), None);
        assert_eq!(requested("/admit?notimeout=2s"), None);
        assert_eq!(requested("/admit"), None);
    }

    #[test]
    fn the_budget_is_always_less_than_what_the_client_waits() {
        const CASES: [(u64, u64); 6] =
            [(10_000, 9_500), (2_000, 1_800), (500, 400), (100, 0), (0, 0), (90_000, 29_500)];
        for (asked, left) in CASES {
            assert_eq!(budget(Duration::from_millis(asked)), Duration::from_millis(left), "{asked} ms");
        }
    }
}
