//! Files: written whole, private ones with their mode from the first moment, and never over another by accident.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::issue::Issued;
use crate::manifest::{self, FillError, Webhook};
use crate::options::{Options, Task};

/// Writes all files; returns their paths, in the order in which they are printed.
pub fn write(options: &Options, issued: &Issued) -> Result<Vec<PathBuf>, WriteError> {
    let dir = &options.out;
    let files = contents(options, issued)?;
    if options.task == Task::Make {
        // All of them before any is written: half a set is worth less than none. A dangling link is there, too.
        let there: Vec<_> =
            files.iter().map(|file| file.path.clone()).filter(|path| path.symlink_metadata().is_ok()).collect();
        if !there.is_empty() {
            return Err(WriteError::Exist(there));
        }
    }
    fs::create_dir_all(dir).map_err(|source| WriteError::Io { path: dir.clone(), source })?;
    // Before the keys, so that none is ever added to Git.
    let ignore = dir.join(".gitignore");
    let mut written = match create(&ignore, PUBLIC, "*\n") {
        Ok(()) => vec![ignore],
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Vec::new(),
        Err(source) => return Err(WriteError::Io { path: ignore, source }),
    };
    for file in &files {
        let result = match options.task {
            Task::Make => create(&file.path, file.mode, &file.text),
            Task::Replace | Task::Renew => replace(&file.path, file.mode, &file.text),
        };
        result.map_err(|source| WriteError::Io { path: file.path.clone(), source })?;
    }
    written.extend(files.into_iter().map(|file| file.path));
    Ok(written)
}

/// What is printed in the end.
pub fn report(options: &Options, issued: &Issued, written: &[PathBuf]) -> String {
    let mut text = String::new();
    for path in written {
        text.push_str(&format!("wrote {}\n", path.display()));
    }
    let (end, ca_end, names) = (issued.not_after.date(), issued.ca_not_after.date(), issued.names.join(", "));
    text.push_str(&format!("valid until {end} (the CA until {ca_end}) for {names}\n"));
    if options.task == Task::Renew {
        let secret = options.out.join("secret.yaml");
        text.push_str(&format!("the CA is the same; next: kubectl apply -f {}\n", secret.display()));
    }
    text.push_str(&format!("caBundle: {}\n", manifest::ca_bundle(issued)));
    text
}

const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// A file to be written.
struct Content {
    path: PathBuf,
    mode: u32,
    text: String,
}

/// All files that are written. The certificate comes before its key: a server that reads them in between finds two that do
/// not fit, and reads them again.
fn contents(options: &Options, issued: &Issued) -> Result<Vec<Content>, WriteError> {
    let file = |name: &str, mode, text: &str| Content { path: options.out.join(name), mode, text: text.to_owned() };
    let mut files = Vec::new();
    if let Some(key) = &issued.ca_key {
        files.push(file("ca.crt", PUBLIC, &issued.ca_certificate));
        files.push(file("ca.key", PRIVATE, &key.0));
    }
    files.extend([
        file("tls.crt", PUBLIC, &issued.certificate),
        file("tls.key", PRIVATE, &issued.key.0),
        file("secret.yaml", PRIVATE, &manifest::secret(issued)),
        file("ca-bundle-mutating.yaml", PUBLIC, &manifest::patch(issued, Webhook::Mutating)),
        file("ca-bundle-validating.yaml", PUBLIC, &manifest::patch(issued, Webhook::Validating)),
        file("kustomization.yaml", PUBLIC, manifest::KUSTOMIZATION),
    ]);
    for source in &options.fill {
        let Some(name) = source.file_name() else { return Err(WriteError::NotAFile { path: source.clone() }) };
        let path = options.out.join(name);
        if files.iter().any(|file| file.path == path) || is_same_file(source, &path) {
            return Err(WriteError::Itself { path });
        }
        let manifest = fs::read_to_string(source)
            .map_err(|error| WriteError::Unreadable { path: source.clone(), source: error })?;
        let text = manifest::fill(&manifest, issued)
            .map_err(|error| WriteError::Fill { path: source.clone(), source: error })?;
        files.push(Content { path, mode: PRIVATE, text });
    }
    Ok(files)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

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
    /// A manifest to fill in has no name of its own.
    NotAFile {
        /// As it was given.
        path: PathBuf,
    },
    /// A manifest to fill in would be overwritten by the result, or by one of the other files.
    Itself {
        /// The file.
        path: PathBuf,
    },
    /// A manifest to fill in cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A manifest cannot be filled in.
    Fill {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: FillError,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exist(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                let are = if paths.len() == 1 { "is" } else { "are" };
                write!(
                    f,
                    "{} {are} there already, and nothing was written; choose another --out, renew the certificate with \
                     --renew, or replace everything with --force",
                    paths.join(", ")
                )
            }
            Self::Io { path, source } => write!(f, "cannot write {}: {source}", path.display()),
            Self::NotAFile { path } => write!(f, "--fill {}: not a file", path.display()),
            Self::Itself { path } => write!(
                f,
                "--fill would write its result over {}; choose an --out apart from the manifest",
                path.display()
            ),
            Self::Unreadable { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Fill { path, source } => write!(f, "cannot fill in {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Unreadable { source, .. } => Some(source),
            Self::Fill { source, .. } => Some(source),
            Self::Exist(_) | Self::NotAFile { .. } | Self::Itself { .. } => None,
        }
    }
}
