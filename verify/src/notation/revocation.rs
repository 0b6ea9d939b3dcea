//! Revocation: lists (CRLs) that are carried in as files. Nothing is ever fetched.
//!
//! A certificate without an address of a list or of an OCSP responder cannot be revoked. Each other one, but for the root, needs
//! a list of its issuer that is the newest one now and does not have it. A list that has it counts for ever.

use std::fmt;

use super::MAX_REVOCATION_LIST;
use super::revocation_list::{RevocationList, is_revocable};
use super::subject;
use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::pem::pem_blocks;
use crate::image::Sha256;
use crate::not_counted::NotCounted;

/// The most lists.
const MAX_LISTS: usize = 256;

/// How a policy looks at revocation.
#[derive(Clone, Copy, Debug)]
pub enum Revocation<'a> {
    /// A certificate that says where its revocation can be asked for needs a list that does not have it.
    Strict(&'a RevocationLists),
    /// Not at all.
    Skip,
}

/// Revocation lists that were read. Their signatures are verified when a certificate of their issuer is judged.
#[derive(Debug)]
pub struct RevocationLists {
    lists: Vec<Vec<u8>>,
    id: Sha256,
}

impl RevocationLists {
    /// No list at all.
    pub fn none() -> Self {
        Self::new(Vec::new())
    }

    /// From the bytes of files, each with one list in DER, or with PEM text of one or more. The number in the error is the place
    /// of the file that cannot be read.
    pub fn read(files: &[&[u8]]) -> Result<Self, (usize, RevocationError)> {
        let mut lists = Vec::new();
        for (place, file) in files.iter().enumerate() {
            read_file(file, &mut lists).map_err(|error| (place, error))?;
        }
        Ok(Self::new(lists))
    }

    fn new(lists: Vec<Vec<u8>>) -> Self {
        let id = Sha256::of_parts(lists.iter().map(Vec::as_slice));
        Self { lists, id }
    }

    /// The hash of the lists' content.
    pub fn id(&self) -> Sha256 {
        self.id
    }

    /// The issuer of each list, printable, and when the list ends, in seconds since 1970. Of several editions of a list the last
    /// to end counts.
    pub fn endings(&self) -> Vec<(String, i64)> {
        let mut newest: Vec<RevocationList<'_>> = Vec::new();
        for list in self.lists.iter().filter_map(|der| RevocationList::read(der).ok()) {
            match newest.iter_mut().find(|known| known.is_edition_of(&list)) {
                Some(known) if known.next_update >= list.next_update => {}
                Some(known) => *known = list,
                None => newest.push(list),
            }
        }
        newest.iter().map(|list| (subject::printable(list.issuer), list.next_update)).collect()
    }

    /// What the lists say of a chain that is sound. This verifies the lists' signatures.
    pub(super) fn status(&self, chain: &[CertificateRef<'_>]) -> Status {
        let mut listed = Vec::new();
        for (place, (certificate, issuer)) in chain.iter().zip(chain.iter().skip(1)).enumerate() {
            if !is_revocable(certificate) {
                continue;
            }
            let before = listed.len();
            for der in &self.lists {
                let Ok(list) = RevocationList::read(der) else { continue };
                if !list.is_about(certificate) || !list.is_signed_by(issuer) {
                    continue;
                }
                if list.has(certificate) {
                    return Status::Revoked(place);
                }
                listed.push(Listed { place, from: list.this_update, until: list.next_update });
            }
            if listed.len() == before {
                return Status::Unknown(place);
            }
        }
        Status::Listed(listed)
    }
}

fn read_file(file: &[u8], lists: &mut Vec<Vec<u8>>) -> Result<(), RevocationError> {
    if file.len() > MAX_REVOCATION_LIST {
        return Err(RevocationError::TooLarge);
    }
    let before = lists.len();
    if file.first() == Some(&0x30) {
        lists.push(file.to_vec());
    } else {
        let text = std::str::from_utf8(file).ok();
        let blocks = text.and_then(|text| pem_blocks(text, MAX_LISTS)).ok_or(RevocationError::Pem)?;
        for block in blocks {
            if block.label != "X509 CRL" {
                return Err(RevocationError::Pem);
            }
            lists.push(block.der);
        }
    }
    if lists.len() == before || lists.len() > MAX_LISTS {
        return Err(if lists.len() == before { RevocationError::Pem } else { RevocationError::TooMany });
    }
    for der in lists.iter().skip(before) {
        RevocationList::read(der).map_err(RevocationError::Unusable)?;
    }
    Ok(())
}

/// What lists say of a chain, whatever the time is.
#[derive(Clone, Debug)]
pub(super) enum Status {
    /// The certificate at this place is revoked.
    Revoked(usize),
    /// There is no list for the certificate at this place.
    Unknown(usize),
    /// Each certificate that can be revoked is in no list. When which list is the newest one.
    Listed(Vec<Listed>),
}

/// A list without the certificate at this place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    place: usize,
    from: i64,
    until: i64,
}

impl Status {
    /// When the first certificate is left without a list that is the newest one.
    pub(super) fn ends(&self) -> Option<i64> {
        let Self::Listed(listed) = self else { return None };
        let last = |place| listed.iter().filter(|list| list.place == place).map(|list| list.until).max();
        listed.iter().filter_map(|list| last(list.place)).min()
    }

    /// Is no certificate of the chain revoked at this time, in seconds since 1970?
    pub(super) fn check(&self, chain: &[Vec<u8>], now: i64) -> Result<(), NotCounted> {
        let subject = |place: usize| {
            let certificate = chain.get(place).and_then(|der| CertificateRef::read(der));
            certificate.map(|certificate| subject::printable(certificate.subject)).unwrap_or_default()
        };
        match self {
            Self::Revoked(place) => Err(NotCounted::Revoked { subject: subject(*place) }),
            Self::Unknown(place) => Err(NotCounted::RevocationUnknown {
                subject: subject(*place),
                what: "no revocation list of its issuer was carried in",
            }),
            Self::Listed(listed) => {
                let is_current = |list: &Listed| list.from <= now && now <= list.until;
                let has_current = |place: usize| listed.iter().any(|list| list.place == place && is_current(list));
                match listed.iter().find(|list| !has_current(list.place)) {
                    None => Ok(()),
                    Some(list) => Err(NotCounted::RevocationUnknown {
                        subject: subject(list.place),
                        what: "the revocation lists of its issuer that were carried in are not current",
                    }),
                }
            }
        }
    }
}

/// A revocation list that cannot be used. `Display` says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationError {
    /// It is larger than its cap.
    TooLarge,
    /// There are too many.
    TooMany,
    /// It is neither DER nor PEM text with lists alone.
    Pem,
    /// The list cannot be used, and why.
    Unusable(&'static str),
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "it is larger than its cap of {MAX_REVOCATION_LIST} bytes"),
            Self::TooMany => write!(f, "there are more than {MAX_LISTS} revocation lists"),
            Self::Pem => f.write_str("a revocation list in DER belongs here, or in PEM with the label \"X509 CRL\""),
            Self::Unusable(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for RevocationError {}
