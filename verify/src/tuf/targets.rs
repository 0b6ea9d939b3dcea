//! A targets role, top-level or delegated: the digests of tags, and the delegations to other roles.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::error::RefreshError;
use super::gun::RoleName;
use super::key::{KeyId, RoleKeys};
use super::metadata::{Envelope, FileMeta, Header, KnownKeys, canonical_ids, listed_keys, role_keys, sha256};
use super::rejection::Rejection;
use crate::heap_size::{allocation, inline_size};
use crate::image::Sha256;
use crate::json::Value;
use crate::ordered;
use crate::ordered::Set;
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
        let mut tags = Tags::with_room(bytes.len());
        let given = Envelope::read_and_give(role, bytes, is_late, &mut |tag, target| tags.add(tag, target).is_ok())?;
        let envelope = match given {
            Some(envelope) => envelope,
            None => {
                tags = Tags::with_room(bytes.len());
                Envelope::read(role, bytes, is_late)?
            }
        };
        let signers = canonical_ids(&envelope.verify(keys, None)?);
        let header = envelope.header("Targets")?;
        let tags = tags.complete(&envelope)?;
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
#[derive(Debug)]
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
/// The fewest bytes of a target with a digest: `"":{"hashes":{"sha256":"<44 bytes>"},"length":0},`.
const SHORTEST_TARGET: usize = 83;

impl Tags {
    fn heap_size(&self) -> u64 {
        let numbers = (self.indices.len() + self.by_digest.len()) * size_of::<u32>();
        self.names.heap_size() + allocation(numbers) + allocation(self.digests.len() * size_of::<Sha256>())
    }

    /// Room for what a file of this many bytes usually has, so that nothing is moved while it grows. What is not used is given
    /// back at the end, and takes no memory until then, because it is not touched.
    fn with_room(bytes: usize) -> Self {
        let count = bytes / SHORTEST_TARGET;
        let names = Packed { text: String::with_capacity(bytes / 8), ends: Vec::with_capacity(count) };
        let (indices, digests) = (Vec::with_capacity(count), Vec::with_capacity(count));
        Self { names, indices, digests, by_digest: Vec::new() }
    }

    /// Adds a target. The tags must come in order.
    fn add(&mut self, tag: &str, target: Value<'_>) -> Result<(), String> {
        let quoted = || printable(tag, 128);
        let [length, hashes] = target.members_named(["length", "hashes"]);
        if length.and_then(Value::integer).is_none_or(|length| length < 0) {
            return Err(format!("the length of \"{}\" is not an integer from 0", quoted()));
        }
        let sha256 = sha256(hashes).map_err(|what| format!("{what} (\"{}\")", quoted()))?;
        self.names.push(tag);
        let index = u32::try_from(self.digests.len()).ok().filter(|_| sha256.is_some());
        self.indices.push(index.unwrap_or(UNUSABLE));
        self.digests.extend(sha256);
        Ok(())
    }

    /// Adds the targets that the envelope has kept, and sorts.
    fn complete(mut self, envelope: &Envelope<'_>) -> Result<Self, RefreshError> {
        let malformed = |what: String| Rejection::structure(envelope.role(), what);
        let targets = envelope.signed().get("targets").ok_or_else(|| malformed("it has no \"targets\"".to_owned()))?;
        let members = targets.object();
        let members = members.ok_or_else(|| malformed("its \"targets\" is not an object".to_owned()))?;
        for (number, (tag, target)) in members.enumerate() {
            if number.is_multiple_of(1024) {
                envelope.check_time()?;
            }
            self.add(tag, target).map_err(malformed)?;
        }
        self.names.shrink_to_fit();
        self.indices.shrink_to_fit();
        self.digests.shrink_to_fit();
        self.sort();
        envelope.check_time()?;
        Ok(self)
    }

    /// Sorts the names by their digests: first into about as many buckets as there are digests, by their leading bits, and
    /// then within each bucket.
    fn sort(&mut self) {
        let bits = self.digests.len().checked_ilog2().unwrap_or(0).min(24);
        let bucket = |digest: &Sha256| {
            let [a, b, c, d, ..] = *digest.as_bytes();
            index_of(u32::from_be_bytes([a, b, c, d]).unbounded_shr(32 - bits))
        };
        // How many digests each bucket has, then where it begins, and at last where it ends.
        let mut ends = vec![0_u32; 1 << bits];
        for digest in &self.digests {
            ends.get_mut(bucket(digest)).into_iter().for_each(|count| *count += 1);
        }
        let mut before = 0;
        for end in &mut ends {
            before += std::mem::replace(end, before);
        }
        self.by_digest = vec![0; self.digests.len()];
        for (name, index) in (0_u32..).zip(&self.indices) {
            let Some(digest) = self.digests.get(index_of(*index)) else { continue };
            let Some(end) = ends.get_mut(bucket(digest)) else { continue };
            self.by_digest.get_mut(index_of(*end)).into_iter().for_each(|place| *place = name);
            *end += 1;
        }
        let (mut names, mut start) = (Vec::new(), 0);
        for end in ends.into_iter().map(index_of) {
            let range = std::mem::replace(&mut start, end)..end;
            if range.len() > 1 {
                names.clear();
                names.extend(self.by_digest.get(range.clone()).into_iter().flatten().map(|name| u64::from(*name)));
                let digest = |name: u64| u32::try_from(name).ok().and_then(|name| self.digest(name));
                ordered::sort_numbers(&mut names, &|a, b| digest(a).cmp(&digest(b)));
                let places = self.by_digest.get_mut(range).into_iter().flatten();
                for (place, name) in places.zip(&names) {
                    *place = u32::try_from(*name).unwrap_or(UNUSABLE);
                }
            }
        }
    }

    fn digest(&self, name: u32) -> Option<Sha256> {
        let index = self.indices.get(index_of(name))?;
        self.digests.get(index_of(*index)).copied()
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

fn index_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Many short texts in one string.
#[derive(Debug, Default)]
struct Packed {
    text: String,
    /// Where each text ends.
    ends: Vec<u32>,
}

impl Packed {
    fn shrink_to_fit(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
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
    let mut names = Set::new();
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
