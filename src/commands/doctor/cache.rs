//! `trust.cache`: can it be read and written, and is there room? The webhook uses it at the same time. One file is written, under a
//! name of its own, and removed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::files::{IN_THE_POD, is_elsewhere};
use super::finding::{Findings, State};
use super::in_time;
use crate::base::context::Deadline;
use crate::base::side_by_side::Slot;
use crate::config::Config;
use crate::schemes::notary::store::{StoredIndexes, stored_indexes};
use crate::schemes::storage::atomic_files::AtomicFiles;
use portreeve_verify::heap_size;

const CHECK: &str = "trust_cache";
/// The longest that the disk may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// With less free room than this a single publication may not fit.
const LITTLE: u64 = 16 << 20;

/// What was found in the directory, in one go.
struct Seen {
    indexes: Result<StoredIndexes, String>,
    written: Result<(), String>,
    /// The free bytes of the volume.
    free: Option<u64>,
}

/// Looks at the directory. Returns server and GUN of what is stored, or `None` where the disk does not answer.
pub(super) fn examine(config: &Config, deadline: Deadline, findings: &mut Findings) -> Option<Vec<(String, String)>> {
    let Some(directory) = &config.trust.cache else {
        let found = "is not set: protection from rollback, and trust on first use, last only as long as the process";
        findings.add(State::Note, CHECK, "", found, "set trust.cache, or pin roots in the policies");
        return Some(Vec::new());
    };
    let subject = directory.display().to_string();
    if is_elsewhere(directory) {
        findings.add(State::Skipped, CHECK, &subject, IN_THE_POD, "name another: --cache DIR");
        return Some(Vec::new());
    }
    if !directory.exists() && directory.parent().is_some_and(Path::exists) {
        findings.ok(CHECK, &subject, "is not there yet: it is made when the first data is stored");
        return Some(Vec::new());
    }
    let patience = deadline.at_most(PATIENCE).remaining().unwrap_or_default();
    let place = directory.clone();
    let seen = Arc::new(Slot::new());
    let ours = Arc::clone(&seen);
    in_time(patience, Box::new(move || ours.put(look(&place))));
    let Some(seen) = seen.take() else {
        let action = "look at the volume: until it answers, images of repositories that are not in memory are denied";
        findings.add(State::Unknown, CHECK, &subject, "the disk does not answer", action);
        return None;
    };
    if let Err(error) = &seen.written {
        let action = match seen.free {
            Some(free) if free < LITTLE => "make room on the volume, or make it larger",
            _ => "let the process write there (fsGroup, readOnly), or check the volume",
        };
        findings.add(State::Wrong, CHECK, &subject, &format!("cannot be written: {error}"), action);
    }
    let Seen { indexes, written, free } = seen;
    let indexes = match indexes {
        Ok(indexes) => indexes,
        Err(error) => {
            findings.add(State::Wrong, CHECK, &subject, &format!("cannot be read: {error}"), "check the volume");
            return Some(Vec::new());
        }
    };
    for damage in &indexes.damaged {
        let action = "it is fetched again; if not: portreeve check --reset NAME";
        findings.add(State::Wrong, CHECK, "", damage, action);
    }
    room(config, &subject, &indexes, (written.is_ok(), free), findings);
    Some(indexes.repositories)
}

fn look(directory: &Path) -> Seen {
    let free = rustix::fs::statvfs(directory).ok().map(|volume| volume.f_bavail.saturating_mul(volume.f_frsize));
    let indexes = stored_indexes(directory.to_owned()).map_err(|error| error.to_string());
    let written = AtomicFiles::probe(directory).map_err(|error| error.to_string());
    Seen { indexes, written, free }
}

/// Is there room for what may still be stored?
fn room(
    config: &Config,
    subject: &str,
    indexes: &StoredIndexes,
    (is_writable, free_bytes): (bool, Option<u64>),
    findings: &mut Findings,
) {
    let quota = heap_size::as_u64(config.trust.limits.cache);
    let [used, most, free] = [indexes.used, quota, free_bytes.unwrap_or(u64::MAX)].map(|bytes| bytes >> 20);
    let stored = format!("{} repositories, {used} of {most} MiB (limits.trustCache)", indexes.repositories.len());
    if indexes.used >= quota - quota / 4 {
        let action = "raise limits.trustCache, or remove repositories that nobody uses (portreeve check --reset)";
        let found = format!("{stored}: three quarters are used, and new repositories are stored without their data");
        findings.add(State::Wrong, CHECK, subject, &found, action);
    } else if is_writable {
        findings.ok(CHECK, subject, &stored);
    }
    if free_bytes.is_some_and(|free| free < LITTLE) {
        findings.add(
            State::Wrong,
            CHECK,
            subject,
            &format!("the volume has {free} MiB free"),
            "make room on the volume",
        );
    } else if free_bytes.is_some_and(|free| free < quota.saturating_sub(indexes.used)) {
        let found = format!("the volume has {free} MiB free, which is less than limits.trustCache still allows");
        findings.add(State::Note, CHECK, subject, &found, "make the volume larger, or lower limits.trustCache");
    }
}
