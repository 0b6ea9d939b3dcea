//! A targets role, top level or delegated: which tags have which digests, and who else may say so.

use jiff::Timestamp;

use super::RoleName;
use super::json::Value;
use super::key::{KeyId, RoleKeys};
use super::metadata::{Envelope, FileMeta, Hashes, Header, KnownKeys, canonical_ids, role_keys};
use super::rejection::Rejection;
use super::weight::{allocation, place};
use crate::image::Sha256;
use crate::text::printable;

/// A verified targets role.
#[derive(Debug)]
pub(super) struct TargetsRole {
    pub(super) header: Header,
    /// What was listed of the file: under the same hash it need not be fetched again.
    pub(super) file: FileMeta,
    /// Who could have signed it: under other keys it must be verified again.
    pub(super) keys: RoleKeys,
    /// The canonical IDs of the keys that have signed it.
    signers: Vec<KeyId>,
    tags: Tags,
    delegations: Vec<DelegatedRole>,
    weight: u64,
}

/// An entry of `delegations.roles`.
#[derive(Debug)]
pub(super) struct DelegatedRole {
    pub(super) name: RoleName,
    pub(super) keys: RoleKeys,
    /// String prefixes of the tags that it may sign.
    paths: Vec<Box<str>>,
}

impl DelegatedRole {
    fn weight(&self) -> u64 {
        let paths: u64 = self.paths.iter().map(|path| place::<Box<str>>() + allocation(path.len())).sum();
        place::<Self>() + allocation(self.name.as_str().len()) + self.keys.weight() + paths
    }

    /// Has it authority over this tag? Without paths it has none (row 78).
    pub(super) fn covers(&self, tag: &str) -> bool {
        self.paths.iter().any(|prefix| tag.starts_with(prefix.as_ref()))
    }
}

impl TargetsRole {
    /// Reads and verifies a file that has the listed hashes.
    pub(super) fn open(role: &str, bytes: &[u8], file: &FileMeta, keys: &RoleKeys) -> Result<Self, Rejection> {
        let envelope = Envelope::read(role, bytes)?;
        let signers = canonical_ids(&envelope.verify(role, keys, None)?);
        let header = envelope.header(role, "Targets")?;
        let malformed = |what: String| Rejection::structure(role, what);
        let tags = Tags::read(envelope.signed()).map_err(malformed)?;
        let (delegations, keys_weight) = delegations(role, envelope.signed()).map_err(malformed)?;
        let delegated: u64 = delegations.iter().map(DelegatedRole::weight).sum();
        let weight = place::<Self>() + keys.weight() + tags.weight() + delegated + keys_weight;
        Ok(Self { header, file: file.clone(), keys: keys.clone(), signers, tags, delegations, weight })
    }

    /// What it takes in memory.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    pub(super) fn tags(&self) -> &Tags {
        &self.tags
    }

    pub(super) fn delegation(&self, role: &RoleName) -> Option<&DelegatedRole> {
        self.delegations.iter().find(|delegation| delegation.name == *role)
    }

    /// Was the metadata signed by one of these (canonical) keys?
    pub(super) fn is_signed_by(&self, key: KeyId) -> bool {
        self.signers.contains(&key)
    }

    /// Expired metadata never counts.
    pub(super) fn check_expiry(&self, role: &str, now: Timestamp) -> Result<(), Rejection> {
        self.header.check_expiry(role, now)
    }
}

/// Tags and their digests, as small as they get: a repository may have 75,000.
#[derive(Debug, Default)]
pub(super) struct Tags {
    /// Sorted by tag. `None` for a target without a sha256 digest, which is of no use to anybody (row 83).
    entries: Vec<(Box<str>, Option<Sha256>)>,
    /// Indices into `entries`, sorted by digest and then by tag.
    by_digest: Vec<u32>,
}

impl Tags {
    fn weight(&self) -> u64 {
        let entry = place::<(Box<str>, Option<Sha256>)>() + place::<u32>();
        self.entries.iter().map(|(tag, _)| entry + allocation(tag.len())).sum()
    }

    fn read(signed: &Value<'_>) -> Result<Self, String> {
        let members = match signed.get("targets") {
            Some(targets) => targets.object().ok_or("its \"targets\" is not an object")?,
            None => return Err("it has no \"targets\"".to_owned()),
        };
        let mut entries = Vec::with_capacity(members.len());
        for (tag, target) in members {
            let length = target.get("length").and_then(Value::integer);
            if length.is_none_or(|length| length < 0) {
                return Err(format!("the length of \"{}\" is not an integer from 0", printable(tag, 128)));
            }
            let hashes = Hashes::read(target).map_err(|what| format!("{what} (\"{}\")", printable(tag, 128)))?;
            entries.push((Box::from(tag.as_ref()), hashes.sha256));
        }
        let mut by_digest: Vec<u32> = (0u32..).take(entries.len()).collect();
        by_digest.sort_by_key(|index| digest_at(&entries, *index)); // stable: tags stay in order
        Ok(Self { entries, by_digest })
    }

    /// The target of exactly this tag: `None` if there is none, `Some(None)` if it has no usable digest.
    pub(super) fn get(&self, tag: &str) -> Option<Option<Sha256>> {
        let index = self.entries.binary_search_by(|(name, _)| name.as_bytes().cmp(tag.as_bytes())).ok()?;
        self.entries.get(index).map(|(_, digest)| *digest)
    }

    /// The tags with this digest, in lexicographic order.
    pub(super) fn with_digest(&self, digest: Sha256) -> impl Iterator<Item = &str> {
        let first = self.by_digest.partition_point(|index| digest_at(&self.entries, *index) < Some(digest));
        self.by_digest
            .iter()
            .skip(first)
            .filter_map(|index| self.entries.get(usize::try_from(*index).ok()?))
            .take_while(move |(_, found)| *found == Some(digest))
            .map(|(tag, _)| tag.as_ref())
    }
}

fn digest_at(entries: &[(Box<str>, Option<Sha256>)], index: u32) -> Option<Sha256> {
    usize::try_from(index).ok().and_then(|index| entries.get(index)).and_then(|(_, digest)| *digest)
}

/// The delegations of a role: all of its own direct children, each once (rows 73 to 76); and what their keys weigh.
fn delegations(parent: &str, signed: &Value<'_>) -> Result<(Vec<DelegatedRole>, u64), String> {
    let delegations = match signed.get("delegations") {
        None | Some(Value::Null) => return Ok((Vec::new(), 0)),
        Some(delegations) => delegations,
    };
    if delegations.object().is_none() {
        return Err("its \"delegations\" is not an object".to_owned());
    }
    let entries = match delegations.get("roles") {
        None | Some(Value::Null) => return Ok((Vec::new(), 0)),
        Some(roles) => roles.array().ok_or("its delegated roles are not a list")?,
    };
    let mut known = KnownKeys::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut out = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = entry.get("name").and_then(Value::string).ok_or("a delegated role has no name")?;
        let child = name.strip_prefix(parent).and_then(|rest| rest.strip_prefix('/')).and_then(RoleName::of_signer);
        let child = child.ok_or_else(|| format!("\"{}\" is no direct child of {parent}", printable(name, 128)))?;
        if !seen.insert(child.clone()) {
            return Err(format!("the role \"{name}\" is delegated twice"));
        }
        let keys = role_keys(entry, delegations.get("keys"), &mut known)?;
        let paths = match entry.get("paths") {
            None | Some(Value::Null) => Vec::new(),
            Some(paths) => {
                let paths = paths.array().ok_or("a delegated role's paths are not a list")?;
                let text = |path: &Value<'_>| path.string().map(Box::from).ok_or("a path is not text");
                paths.iter().map(text).collect::<Result<_, _>>()?
            }
        };
        // What a delegation delegates further is checked, and never used.
        if parent == "targets" {
            out.push(DelegatedRole { name: child, keys, paths });
        }
    }
    let keys_weight = known.values().flatten().map(|key| key.weight()).sum();
    Ok((out, keys_weight))
}
