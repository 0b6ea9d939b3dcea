//! Why a configuration file cannot be used.

use std::fmt;
use std::path::PathBuf;

use crate::base::files::FileError;
use crate::registry::oci::places::RegistriesError;
use crate::schemes::notary::servers::TrustServersError;
use crate::yaml::YamlError;
use portreeve_verify::text::printable;

/// A configuration that cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: FileError,
    },
    /// A directory has no file.
    NoFiles {
        /// The directory.
        directory: PathBuf,
    },
    /// A directory has the source of manifests.
    Kustomization {
        /// The directory.
        directory: PathBuf,
    },
    /// A directory has more files than its cap.
    TooManyFiles {
        /// The directory.
        directory: PathBuf,
    },
    /// It is a Kubernetes object.
    Manifest {
        /// The file.
        file: PathBuf,
        /// Its kind.
        kind: String,
    },
    /// It is not YAML, a key is unknown, or a value has the wrong type.
    Syntax {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        source: YamlError,
    },
    /// A value is not allowed.
    Value {
        /// The file.
        file: PathBuf,
        /// The key, with dots.
        key: &'static str,
        /// The value.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// An entry of `trust.servers` is wrong.
    Servers {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: TrustServersError,
    },
    /// An entry of `registries` is wrong.
    Registries {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: RegistriesError,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, source } => write!(f, "{}: {source}", file.display()),
            Self::NoFiles { directory } => write!(f, "{}: there is no configuration file in it", directory.display()),
            Self::Kustomization { directory } => write!(
                f,
                "{} is a kustomization, and no directory of configurations: name {}",
                directory.display(),
                directory.join("site.yaml").display()
            ),
            Self::TooManyFiles { directory } => {
                write!(f, "{}: there are more than 64 files in it", directory.display())
            }
            Self::Manifest { file, kind } if kind.ends_with("ImagePolicy") => write!(
                f,
                "{0}: this is {1} {2}: check it with portreeve lint {0}",
                file.display(),
                if kind.starts_with('I') { "an" } else { "a" },
                printable(kind, 120)
            ),
            Self::Manifest { file, kind } => write!(
                f,
                "{}: this is a {}, and not a configuration: put the text of one key of a ConfigMap into a file of its own, such as \
                 site/site.yaml",
                file.display(),
                printable(kind, 120)
            ),
            Self::Syntax { file, source } => write!(f, "{}:{source}", file.display()),
            Self::Value { file, key, found, expected } => {
                // A URL may have a password before its host.
                let found = found.rsplit('@').next().unwrap_or_default();
                write!(f, "{}: {key}: found \"{}\", expected {expected}", file.display(), printable(found, 24))
            }
            Self::Servers { file, source } => write!(f, "{}: trust.servers: {source}", file.display()),
            Self::Registries { file, source } => write!(f, "{}: registries: {source}", file.display()),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Syntax { source, .. } => Some(source),
            Self::Manifest { .. }
            | Self::NoFiles { .. }
            | Self::Kustomization { .. }
            | Self::TooManyFiles { .. }
            | Self::Value { .. } => None,
            Self::Servers { source, .. } => Some(source),
            Self::Registries { source, .. } => Some(source),
        }
    }
}
