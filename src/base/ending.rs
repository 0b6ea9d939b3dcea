//! What ends on a date, unless a person acts: certificates, CAs and trust data. An [`Ending`] says what it is, when it ends, and
//! what to do.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::files::read_capped;
use portreeve_verify::text::printable;
use portreeve_verify::{Validity, common_name};

/// The most bytes of a file with certificates.
const MAX_FILE: usize = 1 << 20;
/// The most characters of a name or a path in [`Ending::what`].
const MAX_SHOWN: usize = 300;

/// Signing by hand, and issuing a certificate by hand, need this time.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Carrying data in needs this time. An exported timestamp is valid for two weeks at most, and many revocation lists for one.
const SOON_CARRIED: SignedDuration = SignedDuration::from_hours(3 * 24);

/// The kind of what ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndingKind {
    /// A certificate of `tls.certificate`.
    ServingCertificate,
    /// A CA of `tls.clientCa`.
    ClientCa,
    /// A CA of `trust.ca`.
    TrustCa,
    /// A CA of `credentials.api.ca`.
    ApiCa,
    /// `roots[].certificate` of a policy.
    PinnedCertificate,
    /// `roots[].ca` of a policy.
    PinnedCa,
    /// A certificate of a trust store for Notation.
    TrustStore,
    /// A revocation list for Notation.
    RevocationList,
    /// A log or an authority of a trusted root of Sigstore.
    TrustedRoot,
    /// The root of trust data, or its certificates.
    Root,
    /// The top-level targets of trust data.
    Targets,
    /// `targets/releases` of trust data.
    Releases,
    /// The role of a signer.
    Delegation,
    /// The snapshot of trust data in a directory.
    Snapshot,
    /// The timestamp of trust data in a directory.
    Timestamp,
}

impl EndingKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::ServingCertificate,
        Self::ClientCa,
        Self::TrustCa,
        Self::ApiCa,
        Self::PinnedCertificate,
        Self::PinnedCa,
        Self::TrustStore,
        Self::RevocationList,
        Self::TrustedRoot,
        Self::Root,
        Self::Targets,
        Self::Releases,
        Self::Delegation,
        Self::Snapshot,
        Self::Timestamp,
    ];

    /// The value of a label, and a word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServingCertificate => "serving_certificate",
            Self::ClientCa => "client_ca",
            Self::TrustCa => "trust_ca",
            Self::ApiCa => "api_ca",
            Self::PinnedCertificate => "pinned_certificate",
            Self::PinnedCa => "pinned_ca",
            Self::TrustStore => "trust_store",
            Self::RevocationList => "revocation_list",
            Self::TrustedRoot => "trusted_root",
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Releases => "releases",
            Self::Delegation => "delegation",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }

    /// The kind in words, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::ServingCertificate => "serving certificate",
            Self::ClientCa => "CA of clients",
            Self::TrustCa => "CA of trust servers and registries",
            Self::ApiCa => "CA of the Kubernetes API",
            Self::PinnedCertificate => "pinned certificate",
            Self::PinnedCa => "pinned CA",
            Self::TrustStore => "certificate of the trust store",
            Self::RevocationList => "revocation list",
            Self::TrustedRoot => "part of the trusted root",
            Self::Root => "root of trust data",
            Self::Targets => "targets of trust data",
            Self::Releases => "targets/releases of trust data",
            Self::Delegation => "role of a signer",
            Self::Snapshot => "snapshot of carried trust data",
            Self::Timestamp => "timestamp of carried trust data",
        }
    }

    /// Is it a role of trust data? Its own metric has these as well.
    pub fn is_trust_data(self) -> bool {
        self >= Self::Root
    }

    fn soon(self) -> SignedDuration {
        if matches!(self, Self::RevocationList | Self::Timestamp | Self::Snapshot) { SOON_CARRIED } else { SOON }
    }
}

/// Something that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What kind of thing it is.
    pub kind: EndingKind,
    /// Which one: its file, its common name, its policy or its repository. Safe to print.
    pub what: String,
    /// When it ends.
    pub at: Timestamp,
    /// What to do.
    pub advice: &'static str,
}

impl Ending {
    /// Is it time to act, or has it ended?
    pub fn is_soon(&self, now: Timestamp) -> bool {
        self.at.duration_since(now) < self.kind.soon()
    }

    /// Has it ended?
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.at <= now
    }
}

/// When the certificates of a PEM file end. A file that cannot be read is left out: the room that uses it reports that.
pub(crate) fn of_file(kind: EndingKind, path: &Path, advice: &'static str) -> Vec<Ending> {
    let pem = read_capped(path, MAX_FILE).unwrap_or_default();
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).map_while(Result::ok).collect();
    let file = printable(&path.to_string_lossy(), MAX_SHOWN);
    of_certificates(kind, found.iter().map(AsRef::as_ref), &file, advice)
}

/// When these certificates end, which are in force together. `place` says where they are, and is safe to print. Of CAs of one
/// name, and of pins of one name, the last to end counts: the others are left from before a renewal.
pub(crate) fn of_certificates<'a>(
    kind: EndingKind,
    certificates: impl Iterator<Item = &'a [u8]>,
    place: &str,
    advice: &'static str,
) -> Vec<Ending> {
    let mut endings: Vec<Ending> = Vec::new();
    for (number, der) in (1_u32..).zip(certificates) {
        let Some(validity) = Validity::of(der) else { continue };
        // The last days of the year 9999 are past jiff's last time.
        let at = Timestamp::from_second(validity.not_after).unwrap_or(Timestamp::MAX);
        let what = match common_name(der) {
            Some(name) => [place, ", ", &printable(&name, MAX_SHOWN)].concat(),
            None => format!("{place}, certificate {number}"),
        };
        let is_renewable = kind != EndingKind::ServingCertificate;
        match endings.iter_mut().find(|known| is_renewable && known.what == what) {
            Some(known) => known.at = known.at.max(at),
            None => endings.push(Ending { kind, what, at, advice }),
        }
    }
    endings
}

#[cfg(test)]
mod tests;
