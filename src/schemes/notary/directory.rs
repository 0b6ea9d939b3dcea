//! Trust data in a mounted directory, without a server. The files are trusted no more than those of a server: caps,
//! verification, expiry and protection from rollback are the same.
//!
//! The files of a repository are in `<directory>/<GUN>/`, named as on a server: `timestamp.json`, `root.json`,
//! `1.root.json`, `snapshot.<hex>.json`, `targets/releases.<hex>.json`. ConfigMaps and their mount paths allow neither `/` nor
//! `:`, so a *flat* form is read as well: the name of the directory has `_` for both, its file `gun` names the repository, and
//! the file of a delegation is called `targets_releases.<hex>.json`.
//!
//! Refuses files outside the directory, also behind links; the links of kubelet (`..data`) stay inside. Never writes, and
//! never uses the network.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::files::{FileError, read_capped};
use portreeve_verify::Unavailable;
use portreeve_verify::text::printable;
use portreeve_verify::tuf::{FetchError, Gun, MetadataName, MetadataSource};

/// The file whose first line is the GUN. An export lists its files below.
pub(crate) const OWNER: &str = "gun";
/// The link that kubelet replaces.
const KUBELET_LINK: &str = "..data";
const MAX_OWNER: usize = 1 << 20;

/// The GUN as one component of a path.
pub(crate) fn flat_name(gun: &Gun) -> String {
    gun.as_str().replace(['/', ':', '[', ']'], "_")
}

/// A file name without `/`. The name of a delegation has exactly one `/`, so that two names never become the same.
pub(crate) fn flat_stem(stem: &str) -> String {
    stem.replace('/', "_")
}

/// One repository in a directory, for one query.
pub(crate) struct Directory<'a> {
    base: &'a Path,
    gun: &'a Gun,
    /// The target of kubelet's link at the first fetch.
    mounted: Option<Option<PathBuf>>,
}

impl<'a> Directory<'a> {
    pub(crate) fn new(base: &'a Path, gun: &'a Gun) -> Self {
        Self { base, gun, mounted: None }
    }

    /// The repository's directory; `None` where there is none.
    fn repository(&self) -> Result<Option<PathBuf>, FetchError> {
        let plain = self.base.join(self.gun.as_str());
        if plain.is_dir() {
            return Ok(Some(plain));
        }
        let flat = self.base.join(flat_name(self.gun));
        if !flat.is_dir() {
            return Ok(None);
        }
        // Two GUNs may have the same flat name, and metadata does not name its repository.
        let owner = self.read(&flat.join(OWNER), MAX_OWNER)?;
        let first_line = |bytes: Vec<u8>| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.lines().next().unwrap_or_default().trim().to_owned()
        };
        let owner = owner.map(first_line);
        match owner {
            Some(owner) if owner == self.gun.as_str() => Ok(Some(flat)),
            Some(_) => Ok(None),
            None => Err(self.unavailable(&format!("{} has no file \"{OWNER}\" that says whose it is", show(&flat)))),
        }
    }

    /// The content of a file, if there is one inside the directory.
    fn read(&self, path: &Path, cap: usize) -> Result<Option<Vec<u8>>, FetchError> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| self.unavailable(&format!("{} {error}", show(path)));
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(path, &FileError::Io(error))),
        };
        let base = self.base.canonicalize().map_err(|error| failed(self.base, &FileError::Io(error)))?;
        if !real.starts_with(&base) {
            return Err(self.unavailable(&format!("{} leads out of the directory", show(path))));
        }
        match read_capped(&real, cap) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FileError::TooLarge { cap }) => Err(FetchError::TooLarge { cap }),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(failed(path, &error)),
        }
    }

    fn unavailable(&self, why: &str) -> FetchError {
        Unavailable::other(format!("trust data in {}: {why}", show(self.base))).into()
    }
}

impl MetadataSource for Directory<'_> {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        // A directory that is not mounted is like a server that is down. A repository that is not in it was never signed.
        if !self.base.is_dir() {
            return Err(self.unavailable("there is no such directory"));
        }
        let Some(directory) = self.repository()? else { return Err(FetchError::NotFound) };
        let mounted = [self.base, &directory].iter().find_map(|dir| dir.join(KUBELET_LINK).read_link().ok());
        let first = self.mounted.get_or_insert_with(|| mounted.clone());
        if *first != mounted {
            return Err(self.unavailable("it was exchanged while it was read; the next attempt sees the new data"));
        }
        let stem = name.file_stem();
        for stem in [stem.as_str(), &flat_stem(&stem)] {
            if let Some(bytes) = self.read(&directory.join(format!("{stem}.json")), cap)? {
                return Ok(bytes);
            }
        }
        Err(FetchError::NotFound)
    }
}

fn show(path: &Path) -> String {
    printable(&path.display().to_string(), 300)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::base::files::scratch::Scratch;
    use portreeve_verify::image::Sha256;
    use portreeve_verify::tuf::RoleName;

    const GUN: &str = "registry.local:9001/plant/plc";

    fn fetch(base: &Path, name: &MetadataName) -> Result<Vec<u8>, FetchError> {
        Directory::new(base, &Gun::new(GUN).unwrap()).fetch(name, 10)
    }

    fn releases() -> MetadataName {
        MetadataName::Delegation(RoleName::releases(), Sha256::of(b"x"))
    }

    fn is_unavailable(result: Result<Vec<u8>, FetchError>, word: &str) {
        let Err(FetchError::Unavailable(why)) = result else { panic!("{result:?}") };
        assert!(why.message.contains(word), "{why}");
    }

    #[test]
    fn both_forms_are_found() {
        let hex = Sha256::of(b"x").hex();
        let scratch = Scratch::new();
        scratch.write(&format!("{GUN}/timestamp.json"), b"1");
        scratch.write(&format!("{GUN}/targets/releases.{hex}.json"), b"2");
        assert_eq!(fetch(scratch.path(), &MetadataName::Timestamp), Ok(b"1".to_vec()));
        assert_eq!(fetch(scratch.path(), &releases()), Ok(b"2".to_vec()));
        assert_eq!(fetch(scratch.path(), &MetadataName::Root), Err(FetchError::NotFound));
        let scratch = Scratch::new();
        let flat = "registry.local_9001_plant_plc";
        scratch.write(&format!("{flat}/timestamp.json"), b"1");
        scratch.write(&format!("{flat}/targets_releases.{hex}.json"), b"2");
        is_unavailable(fetch(scratch.path(), &MetadataName::Timestamp), "whose it is");
        scratch.write(&format!("{flat}/gun"), format!("{GUN}\n"));
        assert_eq!(fetch(scratch.path(), &MetadataName::Timestamp), Ok(b"1".to_vec()));
        assert_eq!(fetch(scratch.path(), &releases()), Ok(b"2".to_vec()));
        scratch.write(&format!("{flat}/gun"), "registry.local_9001/plant/plc");
        assert_eq!(fetch(scratch.path(), &MetadataName::Timestamp), Err(FetchError::NotFound));
    }

    #[test]
    fn what_is_not_there_is_told_from_what_cannot_be_read() {
        let scratch = Scratch::new();
        assert_eq!(fetch(scratch.path(), &MetadataName::Root), Err(FetchError::NotFound));
        is_unavailable(fetch(&scratch.path().join("absent"), &MetadataName::Root), "no such directory");
        scratch.write(&format!("{GUN}/root.json"), b"more than ten bytes");
        assert_eq!(fetch(scratch.path(), &MetadataName::Root), Err(FetchError::TooLarge { cap: 10 }));
        std::fs::create_dir(scratch.path().join(GUN).join("timestamp.json")).unwrap();
        is_unavailable(fetch(scratch.path(), &MetadataName::Timestamp), "not a regular file");
    }

    #[test]
    fn links_lead_nowhere_else() {
        let outside = Scratch::new();
        outside.write("timestamp.json", b"1");
        let scratch = Scratch::new();
        scratch.write(&format!("{GUN}/root.json"), b"1");
        symlink(outside.path().join("timestamp.json"), scratch.path().join(GUN).join("timestamp.json")).unwrap();
        is_unavailable(fetch(scratch.path(), &MetadataName::Timestamp), "leads out");
        let scratch = Scratch::new();
        std::fs::create_dir_all(scratch.path().join("registry.local:9001/plant")).unwrap();
        symlink(outside.path(), scratch.path().join(GUN)).unwrap();
        is_unavailable(fetch(scratch.path(), &MetadataName::Timestamp), "leads out");
    }

    #[test]
    fn kubelets_links_are_followed_and_a_swap_is_noticed() {
        let scratch = Scratch::new();
        let directory = scratch.path().join(GUN);
        scratch.write(&format!("{GUN}/..1/timestamp.json"), b"1");
        scratch.write(&format!("{GUN}/..2/timestamp.json"), b"2");
        symlink("..1", directory.join("..data")).unwrap();
        symlink("..data/timestamp.json", directory.join("timestamp.json")).unwrap();
        let gun = Gun::new(GUN).unwrap();
        let mut source = Directory::new(scratch.path(), &gun);
        assert_eq!(source.fetch(&MetadataName::Timestamp, 10), Ok(b"1".to_vec()));
        std::fs::remove_file(directory.join("..data")).unwrap();
        symlink("..2", directory.join("..data")).unwrap();
        is_unavailable(source.fetch(&MetadataName::Timestamp, 10), "exchanged");
        assert_eq!(fetch(scratch.path(), &MetadataName::Timestamp), Ok(b"2".to_vec()));
    }
}
