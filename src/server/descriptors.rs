//! The number of file descriptors that this process may have. Each connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::settings::Limits;

/// The descriptors of everything but clients' connections: threads' streams to tiny_http, other servers, files.
const OTHERS: u64 = 1024;

/// The descriptors that `limits` may need.
pub(crate) fn descriptors_needed(limits: &Limits) -> u64 {
    u64::try_from(limits.connections).unwrap_or(u64::MAX).saturating_add(OTHERS)
}

/// The descriptors that this process may have at most. `None`: any number.
pub(crate) fn descriptors_allowed() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Raises the soft limit to what `limits` may need, if the hard limit permits: shells and container runtimes often set a soft limit
/// of 1024, for the sake of programs that use `select`.
pub fn raise_descriptor_limit(limits: &Limits) {
    let needed = descriptors_needed(limits);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
    let set = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    if set.is_err() || raised < needed {
        log::warn!(
            "limits.connections may need {needed} file descriptors, and this process may have {raised}; raise its limit (ulimit -n)"
        );
    }
}
