//! When trust data in use ends.
//!
//! Timestamps and snapshots of a trust server are left out: the server renews them by itself, when they have expired and are
//! asked for, so that those of a healthy server may expire at any moment. In a directory nothing is renewed.

use jiff::{SignedDuration, Timestamp};

use super::Notary;
use crate::base::ending::{Ending, EndingKind};
use crate::metrics::Metrics;
use crate::schemes::notary::trust_server::TrustServer;
use portreeve_verify::text::to_printable;
use portreeve_verify::tuf::{Gun, Repository, SourceKind};

/// Data that was not confirmed for longer than this may have been renewed at the server.
const IN_USE: SignedDuration = SignedDuration::from_hours(24);
/// The most characters of a server in [`Ending::what`].
const MAX_SERVER: usize = 200;

impl Notary {
    /// When trust data in use ends: that of the repositories which have let images in, and which were confirmed within a day, or
    /// have stood in for their server.
    pub(crate) fn endings(&self, now: Timestamp) -> Vec<Ending> {
        let mut endings = Vec::new();
        for (server, gun, repository) in self.store.in_use(in_use_since(now)) {
            let roles = ends(&repository, server.source_kind());
            endings.extend(roles.map(|(kind, at)| ending(kind, &server, &gun, at)));
        }
        endings
    }

    /// The same of what is stored under `trust.cache`, as its indexes say. Reads the disk. The end of a root's certificates is
    /// not known here.
    pub(crate) fn stored_endings(&self, now: Timestamp) -> Vec<Ending> {
        let mut endings = Vec::new();
        self.store.stored_in_use(in_use_since(now), |server, gun, role, at| {
            endings.extend(kind_of(role, server.source_kind()).map(|kind| ending(kind, server, gun, at)));
        });
        endings
    }
}

fn in_use_since(now: Timestamp) -> Timestamp {
    now.checked_sub(IN_USE).unwrap_or(Timestamp::MIN)
}

fn ending(kind: EndingKind, server: &TrustServer, gun: &Gun, at: Timestamp) -> Ending {
    let advice = match (kind, server.source_kind()) {
        (_, SourceKind::Directory) => {
            "export it again from its trust server, after its owner has signed it, and carry it in"
        }
        (EndingKind::Root, SourceKind::Server) => "its owner must rotate the root, or publish it again",
        (_, SourceKind::Server) => "its owner must sign it again",
    };
    Ending { kind, what: [gun.as_str(), ", ", &to_printable(server.as_str(), MAX_SERVER)].concat(), at, advice }
}

/// Adds a repository that has just verified an image to the metrics.
pub(crate) fn count(metrics: &Metrics, repository: &Repository, source_kind: SourceKind) {
    for (kind, at) in ends(repository, source_kind) {
        metrics.ends_by(kind, at.as_second());
    }
}

/// The roles that end unless an operator or an owner acts, and when.
fn ends(repository: &Repository, source_kind: SourceKind) -> impl Iterator<Item = (EndingKind, Timestamp)> {
    repository.expiries().into_iter().filter_map(move |expiry| {
        // For data that was only read back, the end of the certificates is not known yet.
        let kind = kind_of(&expiry.role, source_kind).filter(|_| expiry.expires > Timestamp::MIN);
        kind.map(|kind| (kind, expiry.expires))
    })
}

fn kind_of(role: &str, source_kind: SourceKind) -> Option<EndingKind> {
    Some(match role {
        "root" => EndingKind::Root,
        "timestamp" | "snapshot" if source_kind == SourceKind::Server => return None,
        "timestamp" => EndingKind::Timestamp,
        "snapshot" => EndingKind::Snapshot,
        "targets" => EndingKind::Targets,
        "targets/releases" => EndingKind::Releases,
        _ => EndingKind::Delegation,
    })
}
