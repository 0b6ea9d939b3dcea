//! The kind of signatures that a check looks at. A check fetches those of its own kind alone.

/// The kind of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::schemes) enum Kind {
    /// cosign's, in both formats.
    Cosign,
    /// Notation's.
    Notation,
}

impl Kind {
    /// The name of the program that makes them.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cosign => "cosign",
            Self::Notation => "Notation",
        }
    }

    /// What a referrer of the kind has.
    pub(super) fn artifact(self) -> &'static str {
        match self {
            Self::Cosign => "bundle",
            Self::Notation => "envelope",
        }
    }
}
