//! The Secrets that policies name in `signerSecrets`, each with the keys `name` and `publicKey`. For cosign, a Secret may also
//! have the key `cosign.pub`, as `cosign generate-key-pair k8s://…` makes it: the signer then has the Secret's name. They are
//! mounted as `<root>/<namespace>/<secret>/<key>` and read for every request, so that a change takes effect at once; or they are
//! read from the Kubernetes API. Nothing but a valid Kubernetes name becomes part of a path. No private key is read from a file
//! or decoded.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::api::Api;
use super::cache::{Cache, KEEP, KEEP_FAILURE, text_size};
use super::error::ObjectError;
use super::object_name::{InvalidName, Kind, check_names};
use super::objects::{SecretObject, no_key};
use crate::base::context::Deadline;
use crate::base::files::{FileError, read_text_capped};

/// Largest `name` and largest `publicKey`.
const MAX_NAME: usize = 1 << 10;
const MAX_KEY: usize = 64 << 10;
/// The key under which cosign keeps a public key.
const COSIGN_KEY: &str = "cosign.pub";

/// Where signer secrets are mounted.
#[derive(Clone, Debug)]
pub struct SecretStore {
    root: PathBuf,
    form: SecretForm,
}

/// The keys that a signer's Secret may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretForm {
    /// `name` and `publicKey`, as for Portieris.
    Named,
    /// `cosign.pub`; or else `name` and `publicKey`.
    Cosign,
}

/// A signer's Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerSecret {
    /// `name`: the signer. The Secret's name, if its key is under `cosign.pub`.
    pub name: String,
    /// `publicKey` or `cosign.pub`: PEM text.
    pub public_key: String,
}

impl SecretStore {
    /// A store below a directory, which may be absent.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), form: SecretForm::Named }
    }

    /// The same store, whose secrets may have this form.
    pub fn of_form(self, form: SecretForm) -> Self {
        Self { form, ..self }
    }

    /// Reads one secret.
    pub fn read(&self, namespace: &str, secret: &str) -> Result<SignerSecret, SecretError> {
        check_names(Kind::Secret, namespace, secret).map_err(SecretError::InvalidName)?;
        let directory = self.root.join(namespace).join(secret);
        if !directory.is_dir() {
            return Err(SecretError::NotMounted {
                namespace: namespace.to_owned(),
                secret: secret.to_owned(),
                directory,
                absent: (!self.root.exists()).then(|| self.root.clone()),
            });
        }
        if self.form == SecretForm::Cosign {
            match read_key(&directory, secret, COSIGN_KEY, MAX_KEY) {
                Err(SecretError::Key { source, .. }) if source.is_not_found() => {}
                read => return Ok(SignerSecret { name: secret.to_owned(), public_key: read? }),
            }
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

/// Signers' Secrets, read from the Kubernetes API. Shared by all workers.
pub struct ClusterSigners {
    api: Arc<Api>,
    form: SecretForm,
    cache: Cache<SignerSecret>,
}

impl ClusterSigners {
    /// The Secrets behind an API server. Sends no request yet.
    pub fn new(api: Arc<Api>) -> Self {
        Self::keeping(api, KEEP, KEEP_FAILURE)
    }

    fn keeping(api: Arc<Api>, keep: Duration, keep_failure: Duration) -> Self {
        let size = |signer: &SignerSecret| text_size(&signer.name) + text_size(&signer.public_key);
        Self { api, form: SecretForm::Named, cache: Cache::new(keep, keep_failure, size) }
    }

    /// The same Secrets, which may have this form.
    pub fn of_form(self, form: SecretForm) -> Self {
        Self { form, ..self }
    }

    /// One signer's Secret. Takes at most half of the time that is left.
    pub fn get(&self, namespace: &str, name: &str, deadline: Deadline) -> Result<SignerSecret, ObjectError> {
        let get = |deadline| signer(&self.api.secret(namespace, name, deadline)?, self.form, name);
        let found = self.cache.get_cached(Kind::Secret, namespace, name, deadline.half(), &get)?;
        Ok(SignerSecret::clone(&found))
    }
}

impl fmt::Debug for ClusterSigners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSigners").field("server", self.api.server()).finish_non_exhaustive()
    }
}

fn signer(secret: &SecretObject, form: SecretForm, object: &str) -> Result<SignerSecret, ObjectError> {
    let text = |key: &str, cap| {
        let bytes = secret.value(key).filter(|bytes| bytes.len() <= cap);
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.trim().is_empty());
        text.ok_or_else(|| ObjectError::Unusable(no_key(key)))
    };
    if form == SecretForm::Cosign && secret.has(COSIGN_KEY) {
        return Ok(SignerSecret { name: object.to_owned(), public_key: text(COSIGN_KEY, MAX_KEY)? });
    }
    Ok(SignerSecret { name: text("name", MAX_NAME)?.trim().to_owned(), public_key: text("publicKey", MAX_KEY)? })
}

/// A mounted signer's Secret that cannot be used.
#[derive(Debug)]
pub enum SecretError {
    /// No object of Kubernetes can have this name.
    InvalidName(InvalidName),
    /// Its directory does not exist.
    NotMounted {
        /// Its namespace.
        namespace: String,
        /// Its name.
        secret: String,
        /// The directory.
        directory: PathBuf,
        /// The directory of all secrets, if that does not exist either, as on a workstation.
        absent: Option<PathBuf>,
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
            Self::InvalidName(error) => error.fmt(f),
            Self::NotMounted { namespace, secret, directory, absent: Some(root) } => write!(
                f,
                "the signer's Secret {namespace}/{secret} is not on this machine ({} does not exist): name a directory with \
                 the keys in a --config: secrets; in Portreeve's pod, mount it at {}",
                root.display(),
                directory.display()
            ),
            Self::NotMounted { namespace, secret, directory, absent: None } => write!(
                f,
                "signer secret \"{secret}\" of namespace \"{namespace}\" is not mounted: mount it into Portreeve's pod \
                 at {}, with the keys name and publicKey (for cosign: or cosign.pub)",
                directory.display()
            ),
            Self::Key { secret, key, file, source } if source.is_not_found() => write!(
                f,
                "signer secret \"{secret}\" has no key \"{key}\" ({} is missing): it needs name and publicKey (for cosign: \
                 or cosign.pub)",
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
mod tests;
