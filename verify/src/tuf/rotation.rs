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

/// The most rotations of one refresh. Without a limit a server could make a refresh endless.
const STEPS: u64 = 64;

impl Root {
    /// The server's newest root, for first contact.
    pub(crate) fn fetch_newest(source: &mut dyn MetadataSource, gun: &Gun) -> Result<Self, RefreshError> {
        match fetch(source, &MetadataName::Root)? {
            Some(bytes) => Self::read(bytes, None, gun, &|| source.is_late()),
            None => Err(Rejection::NoTrustData { gun: gun.as_str().to_owned() }.into()),
        }
    }

    /// Fetches a root that was trusted before, of which only the version and the hash are known. It is verified again.
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
        // Older servers keep only the newest root.
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
            // No chain of rotations leads from the trusted root to this one.
            Ordering::Greater => Err(Rejection::RootVersion { expected: version, actual: offered }.into()),
        }
    }

    /// Follows the rotations from a trusted root to the newest one. Every step is recorded: a key that a root has removed stays
    /// removed, even if a later step fails.
    pub(crate) fn follow_rotations(
        mut root: Arc<Self>,
        source: &mut dyn MetadataSource,
        gun: &Gun,
        state: &mut TrustedState,
    ) -> Result<Arc<Self>, RefreshError> {
        for _ in 0..STEPS {
            let next = root.header.version + 1; // at most 2^53 + 1
            let Some(bytes) = fetch(source, &MetadataName::RootVersion(next))? else { return Ok(root) };
            root = Arc::new(Self::read(bytes, Some(&root), gun, &|| source.is_late())?);
            state.record_root(&root);
        }
        // Exactly this many rotations are allowed, so there may be no further root.
        match fetch(source, &MetadataName::RootVersion(root.header.version + 1))? {
            None => Ok(root),
            Some(_) => Err(Rejection::TooManyRoots { version: root.header.version, limit: STEPS }.into()),
        }
    }
}

/// The bytes of a root. `None` if the server does not have it.
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
