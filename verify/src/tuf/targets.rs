//! A targets role, top-level or delegated: the digests of tags, and the delegations to other roles.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::error::RefreshError;
use super::gun::RoleName;
use super::key::{KeyId, RoleKeys};
use super::metadata::{Envelope, FileMeta, Hashes, Header, KnownKeys, canonical_ids, listed_keys, role_keys};
use super::rejection::Rejection;
use crate::heap_size::{allocation, inline_size};
use crate::image::Sha256;
use crate::json::Value;
use crate::text::printable;

/// The most delegations of one role.
const ROLES: usize = 1024;

/// A verified targets role.
#[derive(Debug)]
pub struct TargetsRole {
    pub(crate) header: Header,
    /// The listed length and hashes. A file with the same hash is not fetched again.
    pub(crate) file: FileMeta,
    /// The keys that it was verified with. Under other keys it must be verified again.
    pub(crate) keys: RoleKeys,
    /// The canonical IDs of the keys that have signed it.
    signers: Vec<KeyId>,
    tags: Tags,
    delegations: Vec<DelegatedRole>,
    heap_size: u64,
}

/// An entry of `delegations.roles`.
#[derive(Debug)]
pub(crate) struct DelegatedRole {
    pub(crate) name: RoleName,
    pub(crate) keys: RoleKeys,
    /// The prefixes of the tags that it may sign.
    paths: Packed,
}

impl DelegatedRole {
    fn heap_size(&self) -> u64 {
        inline_size::<Self>() + allocation(self.name.as_str().len()) + self.keys.heap_size() + self.paths.heap_size()
    }

    /// May it sign this tag? Without paths it may sign none (TRUST.md, row 78).
    pub(crate) fn covers(&self, tag: &str) -> bool {
        self.paths.iter().any(|prefix| tag.starts_with(prefix))
    }
}

impl TargetsRole {
    /// The length and the hashes that the snapshot lists for it.
    pub fn file(&self) -> &FileMeta {
        &self.file
    }

    /// Its version and expiry.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Parses and verifies a file that has the listed hashes.
    pub(crate) fn open(
        role: &str,
        bytes: &[u8],
        file: &FileMeta,
        keys: &RoleKeys,
        is_late: &dyn Fn() -> bool,
    ) -> Result<Self, RefreshError> {
        let envelope = Envelope::read(role, bytes, is_late)?;
        let signers = canonical_ids(&envelope.verify(keys, None)?);
        let header = envelope.header("Targets")?;
        let tags = Tags::read(&envelope)?;
        let (delegations, keys_size) = delegations(role, &envelope)?;
        let delegated: u64 = delegations.iter().map(DelegatedRole::heap_size).sum();
        let heap_size = inline_size::<Self>() + keys.heap_size() + tags.heap_size() + delegated + keys_size;
        Ok(Self { header, file: file.clone(), keys: keys.clone(), signers, tags, delegations, heap_size })
    }

    /// What it takes in memory, nearly.
    pub(crate) fn heap_size(&self) -> u64 {
        self.heap_size
    }

    pub(crate) fn tags(&self) -> &Tags {
        &self.tags
    }

    pub(crate) fn delegation(&self, role: &RoleName) -> Option<&DelegatedRole> {
        self.delegations.iter().find(|delegation| delegation.name == *role)
    }

    /// Has the key with this canonical ID signed it?
    pub(crate) fn is_signed_by(&self, key: KeyId) -> bool {
        self.signers.contains(&key)
    }

    /// Rejects it if it has expired.
    pub(crate) fn check_expiry(&self, role: &str, now: Timestamp) -> Result<(), Rejection> {
        self.header.check_expiry(role, now)
    }
}

/// Tags and their digests, in little memory and in few allocations: a repository may have 75,000 tags.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    /// Sorted.
    names: Packed,
    /// The index of the digest of each name. [`UNUSABLE`] for a target without a sha256 digest (TRUST.md, row 83).
    indices: Vec<u32>,
    digests: Vec<Sha256>,
    /// The indices of the names that have a digest, sorted by the digest and then by the name.
    by_digest: Vec<u32>,
}

const UNUSABLE: u32 = u32::MAX;

impl Tags {
    fn heap_size(&self) -> u64 {
        let numbers = (self.indices.len() + self.by_digest.len()) * size_of::<u32>();
        self.names.heap_size() + allocation(numbers) + allocation(self.digests.len() * size_of::<Sha256>())
    }

    fn read(envelope: &Envelope<'_>) -> Result<Self, RefreshError> {
        let malformed = |what: String| Rejection::structure(envelope.role(), what);
        let targets = envelope.signed().get("targets").ok_or_else(|| malformed("it has no \"targets\"".to_owned()))?;
        let members = targets.object();
        let members = members.ok_or_else(|| malformed("its \"targets\" is not an object".to_owned()))?;
        let mut tags = Self::default();
        let (count, bytes) = members.clone().fold((0, 0), |(count, bytes), (tag, _)| (count + 1, bytes + tag.len()));
        tags.names.reserve(count, bytes);
        tags.indices.reserve_exact(count);
        tags.digests.reserve_exact(count);
        for (number, (tag, target)) in (0u32..).zip(members) {
            if number.is_multiple_of(1024) {
                envelope.check_time()?;
            }
            let length = target.get("length").and_then(Value::integer);
            if length.is_none_or(|length| length < 0) {
                let tag = printable(tag, 128);
                return Err(malformed(format!("the length of \"{tag}\" is not an integer from 0")).into());
            }
            let hashes = Hashes::read(target);
            let hashes = hashes.map_err(|what| malformed(format!("{what} (\"{}\")", printable(tag, 128))))?;
            tags.names.push(tag);
            tags.indices
                .push(u32::try_from(tags.digests.len()).ok().filter(|_| hashes.sha256.is_some()).unwrap_or(UNUSABLE));
            tags.by_digest.extend(hashes.sha256.map(|_| number));
            tags.digests.extend(hashes.sha256);
        }
        let (indices, digests) = (&tags.indices, &tags.digests);
        tags.by_digest.sort_by_key(|name| digest_of(indices, digests, *name)); // stable: names stay in order
        envelope.check_time()?;
        tags.digests.shrink_to_fit();
        tags.by_digest.shrink_to_fit();
        Ok(tags)
    }

    fn digest(&self, name: u32) -> Option<Sha256> {
        digest_of(&self.indices, &self.digests, name)
    }

    /// The target of this tag. `None` if there is none, `Some(None)` if it has no usable digest.
    pub(crate) fn get(&self, tag: &str) -> Option<Option<Sha256>> {
        self.names.find(tag).map(|name| self.digest(name))
    }

    /// The tags with this digest, in lexicographic order.
    pub(crate) fn with_digest(&self, digest: Sha256) -> impl Iterator<Item = &str> {
        let first = self.by_digest.partition_point(|name| self.digest(*name) < Some(digest));
        let from = self.by_digest.iter().skip(first).copied();
        from.take_while(move |name| self.digest(*name) == Some(digest)).filter_map(|name| self.names.get(name))
    }
}

fn digest_of(indices: &[u32], digests: &[Sha256], name: u32) -> Option<Sha256> {
    let index = indices.get(usize::try_from(name).ok()?)?;
    digests.get(usize::try_from(*index).ok()?).copied()
}

/// Many short texts in one string.
#[derive(Debug, Default)]
struct Packed {
    text: String,
    /// Where each text ends.
    ends: Vec<u32>,
}

impl Packed {
    fn reserve(&mut self, count: usize, bytes: usize) {
        self.text.reserve_exact(bytes);
        self.ends.reserve_exact(count);
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        // A file has at most 16 MiB, so this does not overflow.
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    fn get(&self, index: u32) -> Option<&str> {
        let index = usize::try_from(index).ok()?;
        let start = if index == 0 { 0 } else { usize::try_from(*self.ends.get(index - 1)?).ok()? };
        self.text.get(start..usize::try_from(*self.ends.get(index)?).ok()?)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        (0u32..).map_while(|index| self.get(index))
    }

    /// The index of this text. All texts must be sorted.
    fn find(&self, text: &str) -> Option<u32> {
        let (mut low, mut high) = (0, u32::try_from(self.ends.len()).ok()?);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle)?.as_bytes().cmp(text.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(middle),
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn heap_size(&self) -> u64 {
        allocation(self.text.capacity()) + allocation(self.ends.capacity() * size_of::<u32>())
    }
}

/// The delegations of a role, which must be its direct children, each once (TRUST.md, rows 73 to 76), and what their keys take
/// in memory.
fn delegations(parent: &str, envelope: &Envelope<'_>) -> Result<(Vec<DelegatedRole>, u64), RefreshError> {
    let malformed = |what: String| Rejection::structure(parent, what);
    let not = |what: &str| malformed(what.to_owned());
    let delegations = match envelope.signed().get("delegations").filter(|delegations| !delegations.is_null()) {
        None => return Ok((Vec::new(), 0)),
        Some(delegations) if delegations.object().is_none() => {
            return Err(not("its \"delegations\" is not an object").into());
        }
        Some(delegations) => delegations,
    };
    let entries = match delegations.get("roles").filter(|roles| !roles.is_null()) {
        None => return Ok((Vec::new(), 0)),
        Some(roles) => roles.array().ok_or_else(|| not("its delegated roles are not a list"))?,
    };
    let listed = listed_keys(delegations).map_err(malformed)?;
    let mut known = KnownKeys::new();
    let mut names = BTreeSet::new();
    let mut out = Vec::new();
    for entry in entries {
        envelope.check_time()?;
        if names.len() == ROLES {
            return Err(not("it delegates to more than 1024 roles").into());
        }
        let name = entry.get("name").and_then(Value::string).ok_or_else(|| not("a delegated role has no name"))?;
        let child =
            name.strip_prefix(parent).and_then(|rest| rest.strip_prefix('/')).and_then(RoleName::child_of_targets);
        let child =
            child.ok_or_else(|| malformed(format!("\"{}\" is no direct child of {parent}", printable(name, 128))))?;
        if !names.insert(child.clone()) {
            return Err(malformed(format!("the role \"{name}\" is delegated twice")).into());
        }
        let keys = role_keys(entry, listed, &mut known).map_err(malformed)?;
        let mut paths = Packed::default();
        if let Some(listed) = entry.get("paths").filter(|paths| !paths.is_null()) {
            for path in listed.array().ok_or_else(|| not("a delegated role's paths are not a list"))? {
                paths.push(path.string().ok_or_else(|| not("a path is not text"))?);
            }
        }
        // The delegations of delegations are checked, but never used.
        if parent == "targets" {
            out.push(DelegatedRole { name: child, keys, paths });
        }
    }
    let keys_size = known.values().flatten().map(|key| key.heap_size()).sum();
    Ok((out, keys_size))
}
