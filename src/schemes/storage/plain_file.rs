//! Plain files and directories: no link is followed, and no pipe or device is opened. Refuses directories that everybody may
//! write.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use super::StorageError;
use crate::base::files::{FileError, read_open};
use crate::base::random;
use portreeve_verify::image::Sha256;

/// How the names of files begin that are still being written.
pub(crate) const UNFINISHED: &str = ".new-";

/// The path of a new unfinished file. Its name is random, because others may write in the same directory.
pub(crate) fn unfinished(directory: &Path) -> Result<PathBuf, StorageError> {
    let word = random::word().map_err(|source| StorageError::io(directory, source))?;
    Ok(directory.join(format!("{UNFINISHED}{word}")))
}

/// Creates a file; fails if there is one, or a link.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Creates the directory, but not its parents: where a volume is not mounted, nothing is written in its place.
pub(crate) fn make_directory(path: &Path) -> Result<(), StorageError> {
    let failed = |source| StorageError::io(path, source);
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(failed(source)),
    }
}

pub(crate) fn check_directory(path: &Path, metadata: &fs::Metadata) -> Result<(), StorageError> {
    let refuse = |what| Err(StorageError::NotOurs { path: path.to_owned(), what });
    if !metadata.is_dir() {
        return refuse("not a directory");
    }
    if metadata.permissions().mode() & 0o002 != 0 {
        return refuse("writable by everybody");
    }
    Ok(())
}

/// The content of a regular file, if it has no more than `cap` bytes.
pub(crate) fn read_plain(path: &Path, cap: usize) -> Result<Vec<u8>, StorageError> {
    let file = open_plain(path, OpenOptions::new().read(true))?;
    read_open(file, cap).map_err(|error| match error {
        FileError::Io(source) => StorageError::io(path, source),
        _ => StorageError::NotOurs { path: path.to_owned(), what: "larger than it was" },
    })
}

/// The hash of a regular file of at most this length, without reading it into memory as a whole.
pub(crate) fn hash_of_plain(path: &Path, length: usize) -> Option<Sha256> {
    let mut file = open_plain(path, OpenOptions::new().read(true)).ok()?;
    let mut hash = Context::new(&SHA256);
    let mut block = vec![0; 64 << 10];
    let mut left = length;
    loop {
        match file.read(&mut block).ok()? {
            0 => break,
            read => {
                left = left.checked_sub(read)?;
                hash.update(block.get(..read)?);
            }
        }
    }
    hash.finish().as_ref().try_into().ok().map(Sha256::new)
}

pub(crate) fn open_plain(path: &Path, how: &OpenOptions) -> Result<File, StorageError> {
    let failed = |source| StorageError::io(path, source);
    // Its kind is checked before it is opened, because opening a pipe waits. Afterwards it is compared.
    let expected = fs::symlink_metadata(path).map_err(failed)?;
    if !expected.is_file() {
        return Err(StorageError::NotOurs { path: path.to_owned(), what: "not a regular file" });
    }
    let file = how.open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if (found.dev(), found.ino()) != (expected.dev(), expected.ino()) {
        return Err(StorageError::NotOurs { path: path.to_owned(), what: "exchanged while it was opened" });
    }
    Ok(file)
}
