//! One deadline over the whole way to a server: name lookup, TCP, a proxy's tunnel and TLS. ureq alone would give the
//! whole time to each of these steps.

use ureq::unversioned::transport::time::{Duration, Instant};
use ureq::unversioned::transport::{ConnectionDetails, NextTimeout};

/// The time that is left for the next step. `details.timeout` was set when connecting began.
pub(crate) fn remaining(details: &ConnectionDetails<'_>) -> NextTimeout {
    let mut timeout = details.timeout;
    if let (Duration::Exact(limit), Instant::Exact(began), Instant::Exact(now)) =
        (timeout.after, details.now, (details.current_time)())
    {
        timeout.after = Duration::Exact(limit.saturating_sub(now.saturating_duration_since(began)));
    }
    timeout
}
