//! The root role: which keys sign the other roles, and why these keys are trusted.
//!
//! Each root must be signed by its own keys and by those of the root before it, with the next version. Dates and expiry are
//! checked for the newest root only; pins for each root that is trusted in the end (TRUST.md, "Reading a repository", 1 to 3;
//! TUF 1.0 §5.3).

use std::sync::Arc;

use jiff::Timestamp;

use super::anchor::Anchor;
use super::error::RefreshError;
use super::gun::Gun;
use super::key::{KeyId, ListedKey, RoleKeys};
use super::metadata::{Envelope, Header, KnownKeys, listed_keys, role_keys};
use super::rejection::{Rejection, RootDistrust};
use super::signature::distinct;
use crate::heap_size::{allocation, inline_size};
use crate::json::Value;
use crate::ordered;
use crate::ordered::Map;

/// A root whose own signatures were verified. `trusted_until` says whether it is trusted.
#[derive(Debug)]
pub struct Root {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) header: Header,
    pub(crate) timestamp: RoleKeys,
    pub(crate) snapshot: RoleKeys,
    pub(crate) targets: RoleKeys,
    keys: RoleKeys,
    /// The keys of `keys` that have signed this root.
    signed: Vec<Arc<ListedKey>>,
}

impl Root {
    /// The file as it was served.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The keys that may sign the timestamp.
    pub fn timestamp(&self) -> &RoleKeys {
        &self.timestamp
    }

    /// Its version and expiry.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What it takes in memory, nearly.
    pub fn heap_size(&self) -> u64 {
        let roles = [&self.keys, &self.timestamp, &self.snapshot, &self.targets];
        // A key of two roles is counted twice. This is rare.
        let keys: u64 = roles.iter().flat_map(|role| role.keys.values()).map(|key| key.heap_size()).sum();
        inline_size::<Self>()
            + allocation(self.bytes.len())
            + roles.iter().map(|role| role.heap_size()).sum::<u64>()
            + keys
    }

    /// Parses and verifies a root: it must be signed by its own keys and by those of `previous` (TUF 1.0 §5.3.4).
    pub fn read(
        bytes: Vec<u8>,
        previous: Option<&Self>,
        gun: &Gun,
        is_late: &dyn Fn() -> bool,
    ) -> Result<Self, RefreshError> {
        let role = "root";
        let malformed = |what: String| Rejection::structure(role, what);
        let envelope = Envelope::read(role, &bytes, is_late)?;
        if let Some(previous) = previous {
            let place = format!("root version {}", previous.header.version);
            envelope.verify(&previous.keys_fit_for(gun), Some(place))?; // TRUST.md, rows 29, 32 and 46
        }
        let roles = envelope.signed().get("roles").and_then(Value::object);
        let roles = roles.ok_or_else(|| malformed("it has no object \"roles\"".to_owned()))?;
        let listed = listed_keys(envelope.signed()).map_err(malformed)?;
        let mut known = KnownKeys::new();
        let mut found = Map::new();
        for (name, entry) in roles {
            envelope.check_time()?;
            // All entries must be well-formed (TRUST.md, row 75), although only four are used.
            let keys = role_keys(entry, listed, &mut known).map_err(malformed)?;
            if ["root", "timestamp", "snapshot", "targets"].contains(&name) {
                found.insert(name, keys);
            }
        }
        let mut role_of = |name: &str| found.remove(name).ok_or_else(|| malformed(format!("it lacks the role {name}")));
        let (keys, timestamp) = (role_of("root")?, role_of("timestamp")?);
        let (snapshot, targets) = (role_of("snapshot")?, role_of("targets")?);
        let signed = envelope.verify(&keys, None)?; // TRUST.md, rows 30 and 31
        let header = envelope.header("Root")?;
        if let Some(previous) = previous {
            let expected = previous.header.version + 1;
            if header.version != expected {
                return Err(Rejection::RootVersion { expected, actual: header.version }.into()); // TRUST.md, rows 37 to 40
            }
        }
        drop(envelope);
        let root = Self { bytes: bytes.into(), header, timestamp, snapshot, targets, keys, signed };
        // Each root of the chain must be one of this repository. Dates and pins are checked at its end.
        root.enough(|key| is_fit(key, gun), || root.distrust(gun, root.unfit()))?;
        Ok(root)
    }

    /// Is this root trusted at `now`? Its certificates must be in date and accepted by the anchor, and it must not have expired.
    /// Returns when too few of the certificates are left.
    ///
    /// Only keys that have signed and pass every check are counted: to list a pinned certificate, which is public, proves nothing.
    pub(crate) fn trusted_until(&self, anchor: &Anchor, gun: &Gun, now: Timestamp) -> Result<Timestamp, Rejection> {
        let in_date =
            |key: &ListedKey| is_fit(key, gun) && key.certificate().is_some_and(|certificate| certificate.in_date(now));
        let pinned_until = |key: &ListedKey| anchor.accepts_until(key, now).filter(|_| in_date(key));
        self.enough(in_date, || self.distrust(gun, RootDistrust::OutOfDate))?;
        self.enough(|key| pinned_until(key).is_some(), || self.distrust(gun, RootDistrust::of(anchor.kind())))?;
        self.header.check_expiry("root", now)?; // TRUST.md, rows 42 and 48
        Ok(self.certificates_end(pinned_until))
    }

    /// The IDs of the root role's keys.
    pub(crate) fn key_ids(&self) -> Vec<KeyId> {
        self.keys.keys.keys().copied().collect()
    }

    /// Have enough keys signed, of those for which `counts` is true?
    fn enough(
        &self,
        counts: impl Fn(&ListedKey) -> bool,
        otherwise: impl FnOnce() -> Rejection,
    ) -> Result<(), Rejection> {
        let valid = distinct(self.signed.iter().map(Arc::as_ref).filter(|key| counts(key)));
        if valid >= self.keys.threshold { Ok(()) } else { Err(otherwise()) }
    }

    /// When so many certificates have expired that the threshold is no longer met.
    fn certificates_end(&self, counts_until: impl Fn(&ListedKey) -> Option<Timestamp>) -> Timestamp {
        let mut ends = Map::<KeyId, Timestamp>::new();
        for (key, end) in self.signed.iter().filter_map(|key| Some((key, counts_until(key)?))) {
            let latest = ends.get_or_insert(key.canonical_id(), end);
            *latest = end.max(*latest);
        }
        let mut ends: Vec<_> = ends.into_values().collect();
        ordered::sort_by(&mut ends, |a, b| b.cmp(a));
        let last = usize::try_from(self.keys.threshold).ok().and_then(|n| ends.get(n.checked_sub(1)?).copied());
        last.unwrap_or(Timestamp::MIN)
    }

    /// Why the certificates are not accepted: they name another repository, or are invalid.
    fn unfit(&self) -> RootDistrust {
        let names = self.signed.iter().filter_map(|key| key.certificate()?.root_key_of());
        let name = names.map(str::to_owned).find(|name| !name.is_empty());
        name.map_or(RootDistrust::Certificate, |name| RootDistrust::OtherRepository { name })
    }

    /// The keys that may sign the next root. Their dates are not checked: otherwise an owner could not replace an expired
    /// certificate (TRUST.md, row 42).
    fn keys_fit_for(&self, gun: &Gun) -> RoleKeys {
        let mut fit = self.keys.clone();
        fit.keys.retain(|_, key| is_fit(key, gun));
        fit
    }

    fn distrust(&self, gun: &Gun, why: RootDistrust) -> Rejection {
        let keys = ordered::set(self.signed.iter().map(|key| key.id()));
        Rejection::RootNotTrusted { gun: gun.as_str().to_owned(), why, keys: keys.into_iter().collect() }
    }
}

/// A root key must have a certificate for this repository. A bare key is no root key (TRUST.md, row 20).
fn is_fit(key: &ListedKey, gun: &Gun) -> bool {
    key.certificate().is_some_and(|certificate| certificate.is_root_key_of(gun))
}
