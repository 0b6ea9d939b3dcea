//! Fetches roots, and follows their rotations one version at a time (TUF 1.0 §5.3).

use std::cmp::Ordering;
use std::sync::Arc;

use super::error::RefreshError;
use super::gun::Gun;
use super::rejection::Rejection;
use super::root::Root;
use super::source::{FetchError, MetadataName, MetadataSource};
use super::trusted_state::TrustedState;
use crate::image::Sha256;

/// Steps that are followed in one refresh; a server could otherwise keep us walking for ever.
const STEPS: u64 = 64;

impl Root {
    /// The newest root the server has, for first contact.
    pub(crate) fn fetch_newest(source: &mut dyn MetadataSource, gun: &Gun) -> Result<Self, RefreshError> {
        match fetch(source, &MetadataName::Root)? {
            Some(bytes) => Self::read(bytes, None, gun, &|| source.is_late()),
            None => Err(Rejection::NoTrustData { gun: gun.as_str().to_owned() }.into()),
        }
    }

    /// A root that was trusted before and is known by its version and hash alone. It was verified then, and is again.
    pub fn fetch_again(
        source: &mut dyn MetadataSource,
        gun: &Gun,
        version: u64,
        sha256: Sha256,
    ) -> Result<Self, RefreshError> {
        if let Some(bytes) = fetch(source, &MetadataName::RootVersion(version))? {
            if Sha256::of(&bytes) != sha256 {
                return Err(Rejection::Equivocation { role: "root".to_owned(), version }.into());
            }
            return Self::read(bytes, None, gun, &|| source.is_late());
        }
        // Older servers keep the newest alone.
        let Some(bytes) = fetch(source, &MetadataName::Root)? else {
            return Err(Rejection::Deleted { gun: gun.as_str().to_owned() }.into());
        };
        let is_it = Sha256::of(&bytes) == sha256;
        let root = Self::read(bytes, None, gun, &|| source.is_late())?;
        let offered = root.header.version;
        match offered.cmp(&version) {
            Ordering::Less => Err(Rejection::Rollback { role: "root".to_owned(), seen: version, offered }.into()),
            Ordering::Equal if !is_it => Err(Rejection::Equivocation { role: "root".to_owned(), version }.into()),
            Ordering::Equal => Ok(root),
            // Nothing leads from the one that was trusted to this one.
            Ordering::Greater => Err(Rejection::RootVersion { expected: version, actual: offered }.into()),
        }
    }

    /// Follows rotations from a root that was trusted before, up to the newest. Every step is noted: what the keys before
    /// it have signed away stays signed away, wherever the walk ends.
    pub(crate) fn walk(
        mut root: Arc<Self>,
        source: &mut dyn MetadataSource,
        gun: &Gun,
        seen: &mut TrustedState,
    ) -> Result<Arc<Self>, RefreshError> {
        for _ in 0..STEPS {
            let next = root.header.version + 1; // at most 2^53 + 1
            let Some(bytes) = fetch(source, &MetadataName::RootVersion(next))? else { return Ok(root) };
            root = Arc::new(Self::read(bytes, Some(&root), gun, &|| source.is_late())?);
            seen.record_root(&root);
        }
        // One more probe tells "exactly as many as are followed" from "more than that".
        match fetch(source, &MetadataName::RootVersion(root.header.version + 1))? {
            None => Ok(root),
            Some(_) => Err(Rejection::TooManyRoots { version: root.header.version, limit: STEPS }.into()),
        }
    }
}

/// A root's bytes; `None` if the server has no such root.
fn fetch(source: &mut dyn MetadataSource, name: &MetadataName) -> Result<Option<Vec<u8>>, RefreshError> {
    match source.fetch(name, name.cap()) {
        Ok(bytes) if bytes.len() > name.cap() => Err(too_large(name.cap())),
        Ok(bytes) => Ok(Some(bytes)),
        Err(FetchError::NotFound) => Ok(None),
        Err(FetchError::TooLarge { cap }) => Err(too_large(cap)),
        Err(FetchError::Unavailable(why)) => Err(why.into()),
    }
}

fn too_large(cap: usize) -> RefreshError {
    Rejection::TooLarge { role: "root".to_owned(), cap: cap as u64 }.into()
}
