//! The kind of signatures that a check looks at. A check fetches those of its own kind alone.

use portreeve_verify::image::{Reference, Sha256};

/// The kind of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::schemes) enum Kind {
    /// cosign's, in both formats.
    Cosign,
}

impl Kind {
    /// The name of the program that makes them.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cosign => "cosign",
        }
    }

    /// A command that signs an image.
    pub(super) fn sign(self, image: &Reference, digest: Sha256) -> String {
        let command = match self {
            Self::Cosign => "cosign sign --key …",
        };
        format!("`{command} {}@{digest}`", image.name())
    }
}
