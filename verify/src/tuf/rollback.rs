//! Rollback protection: the newest header of every role that was ever verified. No role goes back to an older one, under
//! any anchor and after any number of restarts. No other module decides this.
//!
//! A header is recorded for every key that the role had when the header was verified, and it binds the role while the role
//! has one of these keys. A thief of a role's keys can raise its version without limit. Once a newer root (for a delegation:
//! newer targets) gives the role other keys only, its owner may begin below that version (TUF 1.0 §5.3.11). This loses
//! nothing, because what only the old keys have signed no longer verifies. A key that comes back is bound by its old header,
//! so removing a key for a while does not lower a minimum.

use super::key::{KeyId, RoleKeys};
use super::metadata::Header;
use super::rejection::Rejection;
use crate::heap_size::{allocation, as_u64, map_entry};
use crate::ordered::Map;

/// The most keys of one role that are recorded. With more keys, the newest header of all of them binds the role under any
/// keys. An attacker who can change a role's keys at will can cause denials by that, but cannot lower a minimum.
const MAX_KEYS: usize = 256;
const ROOT: &str = "root";

/// The newest headers, by the role's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MinimumVersions(Map<String, HeadersByKey>);

/// Headers by the canonical ID of a key, so that a certificate and its bare key are the same key. The header at `None` binds
/// the role whatever its keys are. That of the root does, because its versions never go back.
type HeadersByKey = Map<Option<KeyId>, Header>;

impl MinimumVersions {
    /// From entries of role, key (`None`: any key) and header.
    pub fn from_entries(entries: impl IntoIterator<Item = (String, Option<KeyId>, Header)>) -> Self {
        let mut minimum = Self::default();
        for (role, key, header) in entries {
            raise(minimum.0.get_or_default(role), key, header);
        }
        minimum
    }

    /// Its entries of role, key (`None`: any key) and header.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Option<KeyId>, &Header)> {
        (self.0.iter())
            .flat_map(|(role, headers)| headers.iter().map(move |(key, header)| (role.as_str(), *key, header)))
    }

    /// Records a header that enough of the role's keys have signed. It must not be older than the recorded one.
    pub(crate) fn record(&mut self, role: &str, keys: &RoleKeys, header: Header) -> Result<(), Rejection> {
        for seen in self.binding(role, keys) {
            check_progress(role, seen, &header)?;
        }
        // An earlier header binds only the keys that it was recorded for. An owner who first adds a key and then removes the
        // stolen one must not carry the thief's version over to the new key.
        if self.version(role, keys) < header.version {
            let headers = self.0.get_or_default(role.to_owned());
            for key in keys.canonical_ids() {
                raise(headers, Some(key), header);
            }
            limit_keys(headers, MAX_KEYS);
        }
        Ok(())
    }

    /// Keeps at most this many keys of each role apart.
    pub fn limit_keys(&mut self, keys: usize) {
        for headers in self.0.values_mut() {
            limit_keys(headers, keys);
        }
    }

    /// May this root be used? (TUF 1.0 §5.3.5.)
    pub(crate) fn check_root(&self, header: &Header) -> Result<(), Rejection> {
        self.unconditional(ROOT).map_or(Ok(()), |seen| check_progress(ROOT, seen, header)) // rows 40 and 41
    }

    /// Records a root. Roots on the way to the newest one may be older than it.
    pub(crate) fn record_root(&mut self, header: Header) {
        raise(self.0.get_or_default(ROOT.to_owned()), None, header);
    }

    /// What it takes in memory, nearly.
    pub fn heap_size(&self) -> u64 {
        let headers = |headers: &HeadersByKey| as_u64(headers.len()) * map_entry::<Option<KeyId>, Header>();
        let role = |role: &str| map_entry::<String, HeadersByKey>() + allocation(role.len());
        self.0.iter().map(|(name, found)| role(name) + headers(found)).sum()
    }

    /// Takes over the headers of another that are newer.
    pub fn merge(&mut self, other: &Self) {
        for (role, key, header) in other.entries() {
            raise(self.0.get_or_default(role.to_owned()), key, *header);
        }
    }

    /// A role that has the same version with other contents in the other, for the same key.
    pub(crate) fn contradicts(&self, other: &Self) -> Option<&str> {
        let mut entries = self.entries();
        let differs = |(role, key, header): &(&str, Option<KeyId>, &Header)| {
            let seen = other.0.get(*role).and_then(|headers| headers.get(key).or_else(|| headers.get(&None)));
            seen.is_some_and(|seen| seen.version == header.version && seen.content != header.content)
        };
        entries.find(differs).map(|(role, _, _)| role)
    }

    /// The version that binds a role with these keys, or 0.
    pub fn version(&self, role: &str, keys: &RoleKeys) -> u64 {
        self.binding(role, keys).map(|header| header.version).max().unwrap_or(0)
    }

    /// The version of the newest root, or 0.
    pub(crate) fn root_version(&self) -> u64 {
        self.unconditional(ROOT).map_or(0, |header| header.version)
    }

    /// The recorded roles.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Was this role recorded, with any keys?
    pub(crate) fn has(&self, role: &str) -> bool {
        self.0.contains_key(role)
    }

    fn binding(&self, role: &str, keys: &RoleKeys) -> impl Iterator<Item = &Header> {
        let headers = self.0.get(role);
        let holders = std::iter::once(None).chain(keys.canonical_ids().map(Some));
        holders.filter_map(move |key| headers?.get(&key))
    }

    fn unconditional(&self, role: &str) -> Option<&Header> {
        self.0.get(role)?.get(&None)
    }
}

/// Replaces the headers of a role that has more than this by the newest of them, which then binds the role whatever its keys
/// are.
fn limit_keys(headers: &mut HeadersByKey, keys: usize) {
    if headers.len() > keys.max(1)
        && let Some(newest) = headers.values().max_by_key(|header| header.version).copied()
    {
        *headers = HeadersByKey::from([(None, newest)]);
    }
}

fn raise(headers: &mut HeadersByKey, key: Option<KeyId>, header: Header) {
    let known = headers.get_or_insert(key, header);
    if known.version < header.version {
        *known = header;
    }
}

/// A header must not be older than the recorded one, and must be the same if it has the same version (TUF 1.0 §5.4.3, §5.5.5).
fn check_progress(role: &str, seen: &Header, header: &Header) -> Result<(), Rejection> {
    let role = || role.to_owned();
    if header.version < seen.version {
        return Err(Rejection::Rollback { role: role(), seen: seen.version, offered: header.version });
    }
    if header.version == seen.version && header.content != seen.content {
        return Err(Rejection::Equivocation { role: role(), version: header.version });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use jiff::Timestamp;

    use super::*;
    use crate::image::Sha256;
    use crate::json::Document;
    use crate::tuf::key::ListedKey;

    fn header(version: u64, content: u8) -> Header {
        Header { version, expires: Timestamp::MAX, content: Sha256::new([content; 32]) }
    }

    /// Keys that are told apart by a number.
    fn keys(numbers: impl IntoIterator<Item = u16>) -> RoleKeys {
        let key = |number: u16| {
            let raw = number.to_be_bytes().repeat(16);
            let public = STANDARD.encode(raw);
            let text = format!(r#"{{"keytype":"ed25519","keyval":{{"private":null,"public":"{public}"}}}}"#);
            let id = Sha256::of(text.as_bytes());
            let document = Document::of(text.as_bytes()).unwrap();
            (id, Arc::new(ListedKey::read(&id.hex(), document.root()).unwrap().unwrap()))
        };
        RoleKeys { threshold: 1, keys: numbers.into_iter().map(key).collect() }
    }

    fn code(result: Result<(), Rejection>) -> &'static str {
        result.map_or_else(|rejection| rejection.code(), |()| "accepted")
    }

    #[test]
    fn each_key_keeps_its_floor() {
        let mut minimum = MinimumVersions::default();
        let (a, b, both) = (keys([1]), keys([2]), keys([1, 2]));
        for (keys, header, expected) in [
            (&a, header(5, 0), "accepted"),
            (&a, header(5, 0), "accepted"),
            (&a, header(5, 1), "equivocation"),
            (&a, header(4, 0), "rollback"),
            (&both, header(5, 0), "accepted"), // nothing new: it binds by A alone, as before
            (&b, header(2, 0), "accepted"),
            (&both, header(4, 0), "rollback"),
            (&both, header(5, 1), "equivocation"),
            (&a, header(4, 0), "rollback"),
            (&both, header(6, 0), "accepted"),
            (&b, header(5, 0), "rollback"),
            (&a, header(5, 0), "rollback"),
            (&keys([3]), header(1, 0), "accepted"),
        ] {
            assert_eq!(code(minimum.record("targets", keys, header)), expected, "{header:?}");
        }
        assert_eq!((minimum.version("targets", &a), minimum.version("targets", &keys([4]))), (6, 0));
        assert_eq!(code(minimum.record("snapshot", &a, header(1, 0))), "accepted");
    }

    #[test]
    fn what_is_bound_to_no_key_binds_all() {
        let mut minimum = MinimumVersions::from_entries([("targets".to_owned(), None, header(5, 0))]);
        for keys in [keys([1]), keys([2])] {
            assert_eq!(code(minimum.record("targets", &keys, header(4, 0))), "rollback");
            assert_eq!(code(minimum.record("targets", &keys, header(5, 1))), "equivocation");
            assert_eq!(code(minimum.record("targets", &keys, header(5, 0))), "accepted");
            assert_eq!(code(minimum.record("targets", &keys, header(6, 0))), "accepted");
        }
        assert_eq!(minimum.version("targets", &keys([3])), 5);
    }

    #[test]
    fn roots_are_bound_to_no_key() {
        let mut minimum = MinimumVersions::default();
        assert_eq!(code(minimum.check_root(&header(1, 0))), "accepted");
        minimum.record_root(header(3, 0));
        minimum.record_root(header(2, 0));
        assert_eq!(minimum.root_version(), 3);
        for (header, expected) in
            [(header(2, 0), "rollback"), (header(3, 1), "equivocation"), (header(3, 0), "accepted")]
        {
            assert_eq!(code(minimum.check_root(&header)), expected);
        }
        assert_eq!(code(minimum.check_root(&header(4, 0))), "accepted");
    }

    #[test]
    fn two_floors_make_the_same_one_either_way() {
        let (mut one, mut other) = (MinimumVersions::default(), MinimumVersions::default());
        one.record("targets", &keys([1, 2]), header(5, 0)).unwrap();
        one.record("targets/alice", &keys([1]), header(1, 0)).unwrap();
        other.record("targets", &keys([2, 3]), header(7, 0)).unwrap();
        other.record_root(header(2, 0));
        let mut joined = one.clone();
        joined.merge(&other);
        other.merge(&one);
        assert_eq!(joined, other);
        let versions = [1, 2, 3].map(|key| joined.version("targets", &keys([key])));
        assert_eq!((versions, joined.root_version(), joined.has("targets/alice")), ([5, 7, 7], 2, true));
        assert_eq!(
            MinimumVersions::from_entries(joined.entries().map(|(role, key, header)| (role.to_owned(), key, *header))),
            joined
        );
    }

    #[test]
    fn more_keys_than_are_told_apart_are_held_to_the_newest() {
        let mut minimum = MinimumVersions::default();
        minimum.record("targets", &keys([1]), header(9, 0)).unwrap();
        minimum.record("targets", &keys(1000..1000 + 255), header(1, 0)).unwrap();
        assert_eq!(code(minimum.record("targets", &keys([2]), header(3, 0))), "accepted");
        assert_eq!(minimum.entries().count(), 1);
        assert_eq!(code(minimum.record("targets", &keys([3]), header(8, 0))), "rollback");
        assert_eq!(code(minimum.record("targets", &keys([3]), header(10, 0))), "accepted");
    }
}
