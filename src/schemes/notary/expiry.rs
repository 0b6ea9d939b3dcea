//! When the trust data that verifies images ends: a metric, and a warning a day in the log while some of it ends soon.
//!
//! Timestamps and snapshots of a trust server are left out. The server renews them by itself, and only once they have
//! ended and are asked for, so that those of a healthy server may end at any moment. In a directory nothing is renewed.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::Notary;
use crate::metrics::{Metrics, Role};
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::tuf::Gun;
use portreeve_verify::tuf::Repository;
use portreeve_verify::tuf::SourceKind;

const LOOK_EVERY: Duration = Duration::from_secs(60);
const SAY_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// The time that signing by hand needs.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// The time that carrying data in needs. An exported timestamp lives for two weeks at most.
const SOON_CARRIED: SignedDuration = SignedDuration::from_hours(3 * 24);
/// Data that was not confirmed for longer than this may have been renewed at the server.
const IN_USE: SignedDuration = SignedDuration::from_hours(24);

/// When it was looked and told.
#[derive(Default)]
pub(crate) struct Ends(Mutex<(Option<Instant>, Option<Instant>)>);

/// The soonest end of one role, of all repositories in use.
struct Soonest<'a> {
    role: Role,
    ends: Timestamp,
    place: (&'a TrustServer, &'a Gun),
}

impl Notary {
    /// Checks once a minute when trust data in use ends. Called more often, it does nothing.
    pub fn look_at_ends(&self, now: Timestamp) {
        let mut state = self.ends.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (looked, said) = &mut *state;
        if looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        let data = self.store.in_use(now - IN_USE);
        *looked = (!data.is_empty()).then(Instant::now);
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
        let due = said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        for Soonest { role, ends, place: (server, gun) } in soonest.iter().filter(|known| due && known.is_soon(now)) {
            *said = Some(Instant::now());
            let advice = match (role, server.source_kind()) {
                (_, SourceKind::Directory) => {
                    "export it anew from its trust server, after its owner has signed it, and carry it in"
                }
                (Role::Root, SourceKind::Server) => "its owner must rotate the root, or publish it anew",
                (_, SourceKind::Server) => "its owner must sign it anew",
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

/// Counts a repository at once that has verified an image.
pub(crate) fn count(metrics: &Metrics, repository: &Repository, source_kind: SourceKind) {
    for (role, ends) in ends(repository, source_kind) {
        metrics.trust_data_ends_by(role, ends.as_second());
    }
}

/// The roles that end unless an operator or an owner acts.
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
        // Data that was only read back has no end of its certificates yet.
        (expiry.expires > Timestamp::MIN).then_some((role, expiry.expires))
    })
}
