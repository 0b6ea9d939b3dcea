//! When the trust data in use expires: a metric, and one warning a day while some of it expires soon.
//!
//! Timestamps and snapshots of a trust server are left out: the server renews them by itself, when they have expired and are
//! asked for, so that those of a healthy server may expire at any moment. In a directory nothing is renewed.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::Notary;
use crate::metrics::{Metrics, Role};
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::tuf::{Gun, Repository, SourceKind};

const CHECK_EVERY: Duration = Duration::from_secs(60);
const WARN_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// Signing by hand needs this time.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Carrying data in needs this time. An exported timestamp is valid for two weeks at most.
const SOON_CARRIED: SignedDuration = SignedDuration::from_hours(3 * 24);
/// Data that was not confirmed for longer than this may have been renewed at the server.
const IN_USE: SignedDuration = SignedDuration::from_hours(24);

/// When the data was last checked, and when a warning was last logged.
#[derive(Default)]
pub(crate) struct Ends(Mutex<(Option<Instant>, Option<Instant>)>);

/// The earliest expiry of one role, of all repositories in use.
struct Soonest<'a> {
    role: Role,
    ends: Timestamp,
    place: (&'a TrustServer, &'a Gun),
}

impl Notary {
    /// Checks once a minute when trust data in use expires. Calls in between do nothing.
    pub fn look_at_ends(&self, now: Timestamp) {
        let mut state = self.ends.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (checked, warned) = &mut *state;
        if checked.is_some_and(|checked| checked.elapsed() < CHECK_EVERY) {
            return;
        }
        let data = self.store.in_use(now.checked_sub(IN_USE).unwrap_or(Timestamp::MIN));
        *checked = (!data.is_empty()).then(Instant::now);
        let mut soonest: Vec<Soonest<'_>> = Vec::new();
        for (server, gun, repository) in &data {
            for (role, ends) in ends(repository, server.source_kind()) {
                match soonest.iter_mut().find(|known| known.role == role) {
                    Some(known) if known.ends <= ends => {}
                    Some(known) => (known.ends, known.place) = (ends, (server, gun)),
                    None => soonest.push(Soonest { role, ends, place: (server, gun) }),
                }
            }
        }
        self.metrics.trust_data_ends(soonest.iter().map(|known| (known.role, known.ends.as_second())));
        let due = warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY);
        for Soonest { role, ends, place: (server, gun) } in soonest.iter().filter(|known| due && known.is_soon(now)) {
            *warned = Some(Instant::now());
            let advice = match (role, server.source_kind()) {
                (_, SourceKind::Directory) => {
                    "export it again from its trust server, after its owner has signed it, and carry it in"
                }
                (Role::Root, SourceKind::Server) => "its owner must rotate the root, or publish it again",
                (_, SourceKind::Server) => "its owner must sign it again",
            };
            log::warn!(
                gun = gun.as_str(), server = server.as_str(), role = role.as_str();
                "trust data by which images are let in ends on {ends}, the soonest of this role; images are denied from then \
                 on: {advice}"
            );
        }
    }
}

impl Soonest<'_> {
    fn is_soon(&self, now: Timestamp) -> bool {
        let soon = if matches!(self.role, Role::Timestamp | Role::Snapshot) { SOON_CARRIED } else { SOON };
        self.ends.duration_since(now) < soon
    }
}

/// Adds a repository that has just verified an image to the metric.
pub(crate) fn count(metrics: &Metrics, repository: &Repository, source_kind: SourceKind) {
    for (role, ends) in ends(repository, source_kind) {
        metrics.trust_data_ends_by(role, ends.as_second());
    }
}

/// The roles that expire unless an operator or an owner acts, and when.
fn ends(repository: &Repository, source_kind: SourceKind) -> impl Iterator<Item = (Role, Timestamp)> {
    repository.expiries().into_iter().filter_map(move |expiry| {
        let role = match expiry.role.as_str() {
            "root" => Role::Root,
            "timestamp" | "snapshot" if source_kind == SourceKind::Server => return None,
            "timestamp" => Role::Timestamp,
            "snapshot" => Role::Snapshot,
            "targets" => Role::Targets,
            "targets/releases" => Role::Releases,
            _ => Role::Delegation,
        };
        // For data that was only read back, the end of the certificates is not known yet.
        (expiry.expires > Timestamp::MIN).then_some((role, expiry.expires))
    })
}
