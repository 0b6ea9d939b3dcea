//! What the system allows this process, compared with what the configuration may need.

use std::fs;
use std::path::Path;

use super::finding::{Findings, State};
use crate::config::Config;
use crate::server::{descriptors_allowed, descriptors_needed};
use portreeve_verify::heap_size;

const CHECK: &str = "limits";
/// The memory of a busy process without what the limits of the configuration allow, and the bytes that wait for the disk.
const BUSY: u64 = 24 << 20;
const UNWRITTEN: u64 = 16 << 20;

/// Compares descriptors and memory.
pub(super) fn examine(config: &Config, findings: &mut Findings) {
    let (needed, allowed) = (descriptors_needed(&config.server.limits), descriptors_allowed());
    match allowed {
        Some(allowed) if allowed < needed => {
            let found =
                format!("limits.connections may need {needed} file descriptors, and a process here may have {allowed}");
            findings.add(State::Wrong, CHECK, "", &found, "raise the limit (ulimit -Hn), or lower limits.connections");
        }
        _ => findings.ok(CHECK, "", &format!("{needed} file descriptors are enough, and allowed")),
    }
    let (needed, Some(allowed)) = (memory_needed(config), memory_allowed(Path::new("/sys/fs/cgroup"))) else { return };
    let [needed_mib, allowed_mib] = [needed, allowed].map(|bytes| bytes.div_ceil(1 << 20));
    if allowed < needed {
        let found =
            format!("the keys of limits allow {needed_mib} MiB of memory, and the container has {allowed_mib} MiB");
        let action = "raise the container's memory limit, or lower limits.bodyMemory, verifyMemory or trustMemory";
        findings.add(State::Wrong, CHECK, "", &found, action);
    } else {
        findings.ok(CHECK, "", &format!("{needed_mib} MiB of memory are enough, and {allowed_mib} MiB allowed"));
    }
}

/// What a busy process takes at most, as the Deployment of the manifests counts it.
fn memory_needed(config: &Config) -> u64 {
    let trust = &config.trust.limits;
    let [bodies, verified, kept] =
        [config.server.limits.body_memory, trust.verify_memory, trust.memory / 2].map(heap_size::as_u64);
    BUSY + UNWRITTEN + 2 * bodies + verified + kept
}

/// The memory limit of the control group, or of one above it. `None` if there is none.
fn memory_allowed(mount: &Path) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (base, file) = match controllers {
            "" => (mount.to_owned(), "memory.max"),
            "memory" => (mount.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        // In a container the path of the group may be the host's, and the mount is the group itself.
        let mut directory = base.join(group.trim_start_matches('/'));
        loop {
            let limit = fs::read_to_string(directory.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok());
            // Version 1 has a limit near the largest number where there is none.
            if let Some(limit) = limit.filter(|limit| *limit < 1 << 50) {
                least = Some(least.map_or(limit, |least: u64| least.min(limit)));
            }
            if directory == base || !directory.pop() {
                break;
            }
        }
    }
    least
}
