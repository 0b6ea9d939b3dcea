//! The secrets that policies name in `signerSecrets`: mounted as `<root>/<namespace>/<secret>/{name,publicKey}`, read
//! whenever they are asked for, so that a change counts at once. Nothing but a Kubernetes name ever becomes part of a
//! path.

use std::fmt;
use std::path::{Path, PathBuf};

use super::names::{Kind, NotAName, check};
use crate::base::files::{FileError, read_text_capped};

/// Largest `name` and largest `publicKey`.
pub(crate) const MAX_NAME: usize = 1 << 10;
pub(crate) const MAX_KEY: usize = 64 << 10;

/// Where signer secrets are mounted.
#[derive(Clone, Debug)]
pub struct SecretStore {
    root: PathBuf,
}

/// A signer secret, as Portieris has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerSecret {
    /// `name`: the signer, whose role is `targets/<name>`.
    pub name: String,
    /// `publicKey`: PEM text.
    pub public_key: String,
}

impl SecretStore {
    /// A store below a directory, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Reads one secret.
    pub fn read(&self, namespace: &str, secret: &str) -> Result<SignerSecret, SecretError> {
        check(Kind::Namespace, namespace).map_err(SecretError::NotAName)?;
        check(Kind::Secret, secret).map_err(SecretError::NotAName)?;
        let directory = self.root.join(namespace).join(secret);
        if !directory.is_dir() {
            return Err(SecretError::NotMounted {
                namespace: namespace.to_owned(),
                secret: secret.to_owned(),
                directory,
            });
        }
        let name = read_key(&directory, secret, "name", MAX_NAME)?;
        let public_key = read_key(&directory, secret, "publicKey", MAX_KEY)?;
        Ok(SignerSecret { name: name.trim().to_owned(), public_key })
    }
}

fn read_key(directory: &Path, secret: &str, key: &'static str, cap: usize) -> Result<String, SecretError> {
    let file = directory.join(key);
    match read_text_capped(&file, cap) {
        Ok(text) if text.trim().is_empty() => Err(SecretError::Empty { secret: secret.to_owned(), key, file }),
        Ok(text) => Ok(text),
        Err(source) => Err(SecretError::Key { secret: secret.to_owned(), key, file, source }),
    }
}

/// A secret that cannot be had.
#[derive(Debug)]
pub enum SecretError {
    /// No Kubernetes object can be called that.
    NotAName(NotAName),
    /// There is no directory for it.
    NotMounted {
        /// Its namespace.
        namespace: String,
        /// Its name.
        secret: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// One of its keys is missing or unreadable.
    Key {
        /// The secret.
        secret: String,
        /// The key.
        key: &'static str,
        /// Its file.
        file: PathBuf,
        /// Why.
        source: FileError,
    },
    /// One of its keys is empty.
    Empty {
        /// The secret.
        secret: String,
        /// The key.
        key: &'static str,
        /// Its file.
        file: PathBuf,
    },
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAName(error) => error.fmt(f),
            Self::NotMounted { namespace, secret, directory } => write!(
                f,
                "signer secret \"{secret}\" of namespace \"{namespace}\" is not mounted: mount it into Portreeve's pod \
                 at {}, with the keys name and publicKey",
                directory.display()
            ),
            Self::Key { secret, key, file, source } if source.is_not_found() => write!(
                f,
                "signer secret \"{secret}\" has no key \"{key}\" ({} is missing): it needs name and publicKey",
                file.display()
            ),
            Self::Key { secret, file, source, .. } => {
                write!(f, "signer secret \"{secret}\": {} {source}", file.display())
            }
            Self::Empty { secret, key, file } => {
                write!(f, "signer secret \"{secret}\": its key \"{key}\" is empty ({})", file.display())
            }
        }
    }
}

impl std::error::Error for SecretError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Key { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files::scratch::Scratch;

    #[test]
    fn reads_what_kubelet_mounts() {
        let scratch = Scratch::new();
        scratch.write("line-1/alice-key/..2026/name", "alice\n");
        scratch.write("line-1/alice-key/..2026/publicKey", "-----BEGIN PUBLIC KEY-----\n");
        let directory = scratch.path().join("line-1/alice-key");
        std::os::unix::fs::symlink("..2026", directory.join("..data")).unwrap();
        for key in ["name", "publicKey"] {
            std::os::unix::fs::symlink(format!("..data/{key}"), directory.join(key)).unwrap();
        }
        let secret = SecretStore::new(scratch.path()).read("line-1", "alice-key").unwrap();
        assert_eq!(secret.name, "alice");
        assert!(secret.public_key.starts_with("-----BEGIN"));
    }

    #[test]
    fn says_what_to_mount_where() {
        let scratch = Scratch::new();
        let store = SecretStore::new(scratch.path());
        let words = store.read("line-1", "alice-key").unwrap_err().to_string();
        assert!(words.contains("line-1/alice-key") && words.contains("mount"), "{words}");
        scratch.write("line-1/alice-key/name", "alice");
        let words = store.read("line-1", "alice-key").unwrap_err().to_string();
        assert!(words.contains("\"publicKey\""), "{words}");
        scratch.write("line-1/alice-key/publicKey", " \n");
        assert!(matches!(store.read("line-1", "alice-key"), Err(SecretError::Empty { key: "publicKey", .. })));
        scratch.write("line-1/alice-key/publicKey", "x".repeat(MAX_KEY + 1));
        assert!(matches!(
            store.read("line-1", "alice-key"),
            Err(SecretError::Key { source: FileError::TooLarge { .. }, .. })
        ));
    }

    #[test]
    fn nothing_but_a_name_becomes_part_of_a_path() {
        let scratch = Scratch::new();
        scratch.write("secret/name", "x");
        scratch.write("secret/publicKey", "x");
        scratch.write("line-1/other/name", "x");
        let store = SecretStore::new(scratch.path());
        let long = "a".repeat(254);
        for name in ["", ".", "..", "../secret", "a/b", "/etc", "A", "a_b", "-a", "a-", "a..b", ".a", "ä", "a\0", &long]
        {
            assert!(matches!(store.read("line-1", name), Err(SecretError::NotAName(_))), "{name}");
            assert!(matches!(store.read(name, "x"), Err(SecretError::NotAName(_))), "{name}");
        }
        assert!(matches!(store.read("a.b", "x"), Err(SecretError::NotAName(_))));
    }
}
