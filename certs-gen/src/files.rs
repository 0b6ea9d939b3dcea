//! Files: written whole, private ones with their mode from the first moment, and never over another by accident.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::issue::Issued;
use crate::options::{Existing, Options};

/// Writes the four files; returns their paths, in the order in which they are told.
pub fn write(options: &Options, issued: &Issued) -> Result<Vec<PathBuf>, WriteError> {
    let dir = &options.out;
    fs::create_dir_all(dir).map_err(|source| WriteError::Io { path: dir.clone(), source })?;
    let files = [
        (dir.join("ca.crt"), PUBLIC, &issued.ca_certificate),
        (dir.join("ca.key"), PRIVATE, &issued.ca_key),
        (dir.join("tls.crt"), PUBLIC, &issued.certificate),
        (dir.join("tls.key"), PRIVATE, &issued.key),
    ];
    if options.existing == Existing::Keep {
        // All of them before any is written: half a set is worth less than none. A dangling link is there, too.
        let there: Vec<_> =
            files.iter().map(|(path, ..)| path.clone()).filter(|path| path.symlink_metadata().is_ok()).collect();
        if !there.is_empty() {
            return Err(WriteError::Exist(there));
        }
    }
    for (path, mode, text) in &files {
        let written = match options.existing {
            Existing::Keep => create(path, *mode, text),
            Existing::Replace => replace(path, *mode, text),
        };
        written.map_err(|source| WriteError::Io { path: path.clone(), source })?;
    }
    Ok(files.into_iter().map(|(path, ..)| path).collect())
}

/// What is printed in the end.
pub fn report(options: &Options, issued: &Issued, written: &[PathBuf]) -> String {
    let mut text = String::new();
    for path in written {
        text.push_str(&format!("wrote {}\n", path.display()));
    }
    let names = options.names().join(", ");
    text.push_str(&format!("valid until {} for {names}\n", issued.not_after.date()));
    text.push_str(&format!("caBundle: {}\n", ca_bundle(issued)));
    text
}

/// `webhooks[].clientConfig.caBundle`: the PEM text in base64.
pub fn ca_bundle(issued: &Issued) -> String {
    BASE64_STANDARD.encode(&issued.ca_certificate)
}

const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// A new file; fails if anything is there, a link included.
fn create(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A new file beside the old one, moved over it: the old one's mode, owner and links do not matter.
fn replace(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    let moved = create(&new, mode, text).and_then(|()| fs::rename(&new, path));
    if moved.is_err() {
        // Best effort: the error that counts is the first.
        drop(fs::remove_file(&new));
    }
    moved
}

/// The files cannot be written.
#[derive(Debug)]
pub enum WriteError {
    /// Some are there already; nothing was written.
    Exist(Vec<PathBuf>),
    /// The system says no.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exist(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                write!(
                    f,
                    "{} is there already and nothing was written; choose another --out, or replace it with --force",
                    paths.join(", ")
                )
            }
            Self::Io { path, source } => write!(f, "cannot write {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Exist(_) => None,
        }
    }
}
