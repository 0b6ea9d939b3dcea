//! `portreeve export --gun`: exports trust data for a site without a trust server. Fetches a repository's metadata, verifies all of
//! it, and writes it to a directory that `trustServer: "file:///…"` reads. Overwrites only an earlier export of the same
//! repository.

pub(super) mod images;
mod layout;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, iter};

use jiff::Timestamp;

use super::{ExitStatus, complain};
use crate::base::clock;
use crate::base::context::Deadline;
use crate::base::files::read_text_capped;
use crate::base::random;
use crate::base::waiting::Waiting;
use crate::config::Config;
use crate::keychain::credentials::Credentials;
use crate::keychain::mounted::MountedCredentials;
use crate::metrics::Metrics;
use crate::schemes::notary::directory::{OWNER, flat_name, flat_stem};
use crate::schemes::notary::export::{Export, ExportRequest};
use crate::schemes::notary::trust_server::TrustServer;
use crate::schemes::notary::{Notary, Settings};
use portreeve_verify::ordered::Set;
use portreeve_verify::text::printable;
use portreeve_verify::tuf::{Anchor, FirstUse, Gun, KeyId, RefreshError, RoleName, RootPin};
use portreeve_verify::{Unavailable, UnavailableCause, ordered};

/// The longest list of files of an earlier export.
const MAX_OWNER: usize = 1 << 20;

/// The arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The server's URL. Without one, the configuration names the server.
    pub(super) server: Option<String>,
    /// The repository's name in trust data.
    pub(super) gun: String,
    /// The signers that the repository must have.
    pub(super) signers: Vec<String>,
    /// IDs of root keys, one of which must have signed the root.
    pub(super) root_keys: Vec<String>,
    /// The names of the files.
    pub(super) layout: Layout,
    /// The target directory.
    pub(super) directory: PathBuf,
}

/// How files are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Layout {
    /// As on a server.
    #[default]
    Server,
    /// Without `/` and `:`.
    Flat,
}

/// Exports one repository.
pub(super) fn run(config: &Config, wanted: &Wanted, timeout: Duration) -> ExitStatus {
    match export(config, wanted, timeout) {
        Ok(told) => super::print(told.trim_end()),
        Err(error) => {
            complain(&error.to_string());
            match error {
                ExportError::Refused(RefreshError::Rejected(_)) | ExportError::NoSigner { .. } => ExitStatus::Denied,
                ExportError::Refused(RefreshError::Unavailable(_)) => ExitStatus::Undecided,
                _ => ExitStatus::BadInput,
            }
        }
    }
}

fn export(config: &Config, wanted: &Wanted, timeout: Duration) -> Result<String, ExportError> {
    let bad = |what: &'static str, why: String| ExportError::Argument { what, why };
    let gun = super::gun_of(&wanted.gun).map_err(|why| bad("--gun", why))?;
    let server = match &wanted.server {
        Some(url) => TrustServer::parse(url, config.trust.plain_http),
        None => {
            let host = gun.host();
            let configured = config.trust.servers.for_host(host);
            configured.ok_or_else(|| bad("--server", format!("is needed: no trust server is configured for {host}")))?
        }
    };
    let server = server.map_err(|error| bad("--server", error.to_string()))?;
    let mut pins = Vec::new();
    for id in &wanted.root_keys {
        let id = KeyId::from_hex(id);
        pins.push(RootPin::KeyId(id.ok_or_else(|| bad("--root-key", "takes 64 hexadecimal digits".to_owned()))?));
    }
    let mut required = Set::new();
    for name in &wanted.signers {
        let role = RoleName::of_signer(name);
        required.insert(
            role.ok_or_else(|| bad("--signer", format!("takes the name of a signer: {}", RoleName::SIGNER_RULE)))?,
        );
    }
    let notary = Notary::new(Settings {
        workers: 1,
        // No other request shares the memory, and all metadata of the repository is read.
        verify_memory: usize::MAX,
        ..config.notary(Arc::new(Waiting::new(1)), Arc::new(Metrics::new()))
    })
    .map_err(|error| bad("the configuration", error.to_string()))?;
    let mounted = MountedCredentials::new(Some(config.mounted_credentials.clone()));
    let credentials = Credentials::new(&mounted, gun.as_str(), None);
    // The site verifies the data again with its own pins. Without a pin, the first use of the root is here.
    let anchor = Anchor {
        first_use: if pins.is_empty() { config.trust.first_use } else { FirstUse::Forbidden },
        pins: pins.into(),
    };
    let now = clock::now();
    let deadline = Deadline::after(timeout);
    let request = ExportRequest { gun: &gun, server: &server, anchor: &anchor, credentials: &credentials, deadline };
    let export = notary.export(&request, now).map_err(|refusal| {
        ExportError::Refused(match refusal {
            // A credential that could not be read could be the one that was needed.
            RefreshError::Unavailable(Unavailable { cause, message }) if cause != UnavailableCause::TrustState => {
                let slip = server.slip().map(str::to_owned);
                let problems = credentials.found().into_iter().flat_map(|found| found.problems.iter().cloned());
                let told = iter::once(message).chain(slip).chain(problems).collect::<Vec<_>>();
                RefreshError::Unavailable(Unavailable::new(cause, told.join("; ")))
            }
            other => other,
        })
    })?;
    for role in &required {
        if !export.expiries.iter().any(|held| held.role == role.as_str()) {
            let why = export.left_out.get(role).cloned();
            return Err(ExportError::NoSigner {
                signer: role.signer().to_owned(),
                why: why.unwrap_or_else(|| "there is no such signer in this repository".to_owned()),
            });
        }
    }
    let target = match wanted.layout {
        Layout::Server => wanted.directory.join(gun.as_str()),
        Layout::Flat => wanted.directory.join(flat_name(&gun)),
    };
    write(&wanted.directory, &target, &gun, &export, wanted.layout)?;
    Ok(report(&wanted.directory, &target, &gun, &server, &export, now))
}

fn report(base: &Path, target: &Path, gun: &Gun, server: &TrustServer, export: &Export, now: Timestamp) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{gun} of {server} is verified and written to {}\n", target.display());
    let bytes: usize = export.files.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "  {label:20}{value}"); // writing to a String cannot fail
    };
    line("files", &format!("{} ({bytes} bytes)", export.files.len()));
    let in_days = |end: Timestamp| end.duration_since(now).as_hours() / 24;
    for end in &export.expiries {
        let ends = format!("version {}, ends {} (in {} days)", end.version, end.expires, in_days(end.expires));
        line(&end.role, &ends);
    }
    for (role, why) in &export.left_out {
        line(role.as_str(), &format!("left out: {why}"));
    }
    for id in &export.root_key_ids {
        line("root key to pin", &id.hex());
    }
    let essential = ["root", "timestamp", "snapshot", "targets", "targets/releases"];
    let first = export.expiries.iter().filter(|end| essential.contains(&end.role.as_str())).min_by_key(|e| e.expires);
    if let Some(first) = first {
        let days = in_days(first.expires);
        line("counts until", &format!("{} (in {days} days; {} ends first)", first.expires, first.role));
    }
    let base = base.canonicalize().unwrap_or_else(|_| base.to_owned());
    line(
        "use it with",
        &format!("trustServer: \"file://{}\"; at another place, name the directory there", base.display()),
    );
    text
}

/// Writes an export. A new one appears as a whole, by a rename. An earlier one is replaced file by file, in an order in which a
/// reader always finds one of the two complete.
fn write(base: &Path, target: &Path, gun: &Gun, export: &Export, layout: Layout) -> Result<(), ExportError> {
    let file = |stem: &String| match layout {
        Layout::Server => format!("{stem}.json"),
        Layout::Flat => format!("{}.json", flat_stem(stem)),
    };
    let files: Vec<(String, &[u8])> = export.files.iter().map(|(stem, bytes)| (file(stem), bytes.as_slice())).collect();
    let names = ordered::set(files.iter().map(|(name, _)| name.clone()));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::Io { path, source }
    };
    match earlier(target, gun)? {
        None => {
            let parent = target.parent().unwrap_or(base);
            fs::create_dir_all(parent).map_err(failed(parent))?;
            let word = random::word().map_err(failed(parent))?;
            let fresh = parent.join(format!(".portreeve-export-{word}"));
            let written = fs::create_dir(&fresh).map_err(failed(&fresh)).and_then(|()| {
                put_all(&fresh, &files)?;
                put(&fresh, OWNER, owner(gun, &names).as_bytes())?;
                sync(&fresh)?;
                fs::rename(&fresh, target).map_err(failed(target))?;
                sync(parent)
            });
            if written.is_err() {
                let _ = fs::remove_dir_all(&fresh); // an incomplete export is of no use
            }
            written
        }
        Some(old) => {
            // The next export reads this list to know which files are its own, also if this one fails from here on.
            let both = ordered::set(old.iter().chain(&names).cloned());
            put(target, OWNER, owner(gun, &both).as_bytes())?;
            put_all(target, &files)?;
            sync(target)?;
            for stale in old.difference(&names) {
                let _ = fs::remove_file(target.join(stale)); // readers ignore it
            }
            put(target, OWNER, owner(gun, &names).as_bytes())?;
            sync(target)
        }
    }
}

/// The files of an earlier export of this repository; `None` if there is none.
fn earlier(target: &Path, gun: &Gun) -> Result<Option<Set<String>>, ExportError> {
    let failed = |source| ExportError::Io { path: target.to_owned(), source };
    let is_empty = match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.is_dir() => return Err(ExportError::InTheWay { path: target.to_owned() }),
        // Directories of other repositories are allowed below. Files are not.
        Ok(_) => fs::read_dir(target).map_err(failed)?.flatten().all(|entry| entry.path().is_dir()),
    };
    let path = target.join(OWNER);
    match read_text_capped(&path, MAX_OWNER) {
        Ok(text) => {
            let mut lines = text.lines();
            let owner = lines.next().unwrap_or_default().trim();
            if owner != gun.as_str() {
                return Err(ExportError::OtherRepository { path, owner: printable(owner, 300) });
            }
            Ok(Some(ordered::set(lines.filter(|name| is_plain(name)).map(str::to_owned))))
        }
        Err(error) if error.is_not_found() && is_empty => Ok(Some(Set::new())),
        Err(_) => Err(ExportError::InTheWay { path: target.to_owned() }),
    }
}

/// Checks that an export can have written a file of this name. The list comes from a medium that others could change.
fn is_plain(name: &str) -> bool {
    let word = |part: &str| {
        !part.starts_with('.')
            && !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    name.ends_with(".json") && word(name.strip_prefix("targets/").unwrap_or(name))
}

fn owner(gun: &Gun, names: &Set<String>) -> String {
    let mut text = format!("{gun}\n");
    for name in names {
        text.push_str(name);
        text.push('\n');
    }
    text
}

fn put_all(directory: &Path, files: &[(String, &[u8])]) -> Result<(), ExportError> {
    let below = directory.join("targets");
    if files.iter().any(|(name, _)| name.starts_with("targets/")) {
        fs::create_dir_all(&below).map_err(|source| ExportError::Io { path: below.clone(), source })?;
    }
    files.iter().try_for_each(|(name, bytes)| put(directory, name, bytes))
}

/// Writes a file completely, or leaves the old one.
fn put(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
    let path = directory.join(name);
    let word = random::word().map_err(|source| ExportError::Io { path: path.clone(), source })?;
    let unfinished = directory.join(format!(".portreeve-new-{word}"));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)
    })();
    written.map_err(|source| {
        let _ = fs::remove_file(&unfinished);
        ExportError::Io { path, source }
    })
}

fn sync(directory: &Path) -> Result<(), ExportError> {
    let synced = File::open(directory).and_then(|file| file.sync_all());
    synced.map_err(|source| ExportError::Io { path: directory.to_owned(), source })
}

/// The export failed.
#[derive(Debug)]
enum ExportError {
    /// An argument or a setting cannot be used.
    Argument {
        /// The argument or setting.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The trust data was rejected, or unavailable.
    Refused(RefreshError),
    /// A required signer is missing.
    NoSigner {
        /// The signer.
        signer: String,
        /// Why.
        why: String,
    },
    /// The directory is an export of another repository.
    OtherRepository {
        /// The file that says so.
        path: PathBuf,
        /// The repository.
        owner: String,
    },
    /// The directory has files that are not from an export.
    InTheWay {
        /// Where.
        path: PathBuf,
    },
    /// A file cannot be written.
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument { what, why } => write!(f, "{what}: {why}"),
            Self::Refused(RefreshError::Rejected(rejection)) => write!(f, "nothing is exported: {rejection}"),
            Self::Refused(RefreshError::Unavailable(why)) => write!(f, "nothing is exported: {why}"),
            Self::NoSigner { signer, why } => write!(f, "nothing is exported: signer {signer}: {why}"),
            Self::OtherRepository { path, owner } => {
                write!(f, "{} belongs to an export of {owner}; choose another directory", path.display())
            }
            Self::InTheWay { path } => {
                write!(
                    f,
                    "{} has files that are not from an export of the same kind; choose another directory",
                    path.display()
                )
            }
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io { source, .. } = self { Some(source) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files::scratch::Scratch;

    const GUN: &str = "registry.local:9001/plant/plc";

    fn of(files: &[(&str, &str)]) -> Export {
        let files = files.iter().map(|(stem, text)| ((*stem).to_owned(), text.as_bytes().to_vec())).collect();
        Export {
            files,
            expiries: Vec::new(),
            root_key_ids: Vec::new(),
            left_out: portreeve_verify::ordered::Map::new(),
        }
    }

    fn read(target: &Path, name: &str) -> Option<String> {
        fs::read_to_string(target.join(name)).ok()
    }

    #[test]
    fn an_export_replaces_its_own_files_and_no_others() {
        let scratch = Scratch::new();
        let gun = Gun::new(GUN).unwrap();
        let target = scratch.path().join(GUN);
        let write = |export: &Export| write(scratch.path(), &target, &gun, export, Layout::Server);
        write(&of(&[("targets/releases.1", "a"), ("timestamp", "1"), ("root", "r")])).unwrap();
        assert_eq!(read(&target, "targets/releases.1.json").as_deref(), Some("a"));
        // A repository below this one, and a file of notes.
        scratch.write(&format!("{GUN}/sub/root.json"), "sub");
        scratch.write(&format!("{GUN}/notes.txt"), "notes");
        write(&of(&[("targets/releases.2", "b"), ("timestamp", "2"), ("root", "r")])).unwrap();
        assert_eq!(read(&target, "targets/releases.1.json"), None);
        assert_eq!(read(&target, "targets/releases.2.json").as_deref(), Some("b"));
        assert_eq!(read(&target, "timestamp.json").as_deref(), Some("2"));
        assert_eq!(read(&target, "sub/root.json").as_deref(), Some("sub"));
        assert_eq!(read(&target, "notes.txt").as_deref(), Some("notes"));
        let left: Vec<_> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
    }

    #[test]
    fn nothing_of_others_is_written_over() {
        let scratch = Scratch::new();
        let (gun, other) = (Gun::new(GUN).unwrap(), Gun::new("registry.local_9001/plant/plc").unwrap());
        let target = scratch.path().join(flat_name(&gun));
        assert_eq!(flat_name(&gun), flat_name(&other));
        let export = of(&[("targets/releases.1", "a"), ("root", "r")]);
        write(scratch.path(), &target, &gun, &export, Layout::Flat).unwrap();
        assert_eq!(read(&target, "targets_releases.1.json").as_deref(), Some("a"));
        let found = write(scratch.path(), &target, &other, &export, Layout::Flat);
        assert!(matches!(found, Err(ExportError::OtherRepository { .. })), "{found:?}");
        scratch.write("full/file", "x");
        let found = write(scratch.path(), &scratch.path().join("full"), &gun, &export, Layout::Flat);
        assert!(matches!(found, Err(ExportError::InTheWay { .. })), "{found:?}");
        let found = write(scratch.path(), &scratch.path().join("full/file"), &gun, &export, Layout::Flat);
        assert!(matches!(found, Err(ExportError::InTheWay { .. })), "{found:?}");
    }

    #[test]
    fn a_list_of_files_names_nothing_elsewhere() {
        for good in ["root.json", "1.root.json", "targets/releases.ab.json", "targets_alice.ab.json"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "notes.txt", "../x.json", "/etc/x.json", "targets/../x.json", "a/b.json", ".x.json", "targets/"]
        {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
