//! `whenUnavailable` and `maxStale`, which every scheme with a server has.

use std::time::Duration;

use super::fault::Fault;
use super::fields::Problems;
use crate::base::text::duration;
use crate::schemes::UnavailableRule;
use crate::yaml::tree::Node;

/// Reads `whenUnavailable`.
pub(super) fn read_rule(check: &Node, problems: &mut Problems) -> Option<UnavailableRule> {
    problems.choice(
        check,
        "whenUnavailable",
        &[("deny", UnavailableRule::Deny), ("useCached", UnavailableRule::UseCached)],
        "\"deny\" or \"useCached\"",
    )
}

/// Reads `maxStale`. It has an effect only with `whenUnavailable: useCached`.
pub(super) fn read_max_stale(check: &Node, problems: &mut Problems) -> Option<Duration> {
    let (at, text) = problems.text(check, "maxStale")?;
    let Some(duration) = duration(text) else {
        problems.report(at, Fault::Duration { found: text.to_owned() });
        return None;
    };
    if duration.is_zero() {
        problems.report(at, Fault::StaleZero);
    }
    if check.get("whenUnavailable").and_then(Node::text) != Some("useCached") {
        problems.report(at, Fault::StaleWithoutCached);
    }
    Some(duration)
}
