//! One certificate revocation list (RFC 5280 §5): what it says, and about whom.
//!
//! Delta lists, indirect lists and lists of some reasons alone are refused: each says less than that a certificate is not
//! revoked.

use crate::crypto::algorithm::signature_algorithm;
use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::der::{Reader, tag};
use crate::crypto::extension::{Extension, GeneralName};
use crate::crypto::name::Name;

const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 29, 28]; // 2.5.29.28
const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x55, 29, 31]; // 2.5.29.31
const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1]; // 1.3.6.1.5.5.7.1.1
const OCSP: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1]; // 1.3.6.1.5.5.7.48.1

/// The bit cRLSign of a key usage.
const CRL_SIGN: u16 = 1 << 9;

/// A list in the bytes that it was read from.
#[derive(Clone, Copy)]
pub(super) struct RevocationList<'a> {
    signed: &'a [u8],
    pub(super) issuer: Name<'a>,
    /// From when until when it is the newest one, in seconds since 1970.
    pub(super) this_update: i64,
    pub(super) next_update: i64,
    revoked: Reader<'a>,
    scope: Scope<'a>,
    signed_algorithm: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

/// The certificates of the issuer that a list is about (RFC 5280 §5.2.5).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Scope<'a> {
    /// The `fullName` of its distribution point, as a list of names.
    point: Option<Reader<'a>>,
    is_users_only: bool,
    is_cas_only: bool,
}

impl<'a> RevocationList<'a> {
    /// From DER. The error says what is wrong.
    pub(super) fn read(der: &'a [u8]) -> Result<Self, &'static str> {
        const DAMAGED: &str = "it is damaged, or no certificate revocation list";
        let parts = Reader::all(der, |all| {
            all.within(tag::SEQUENCE, |list| {
                let signed = list.any().filter(|signed| signed.tag == tag::SEQUENCE)?;
                Some((signed, list.content(tag::SEQUENCE)?, list.bytes()?))
            })
        });
        let (signed, algorithm, signature) = parts.ok_or(DAMAGED)?;
        let (list, extensions) = Reader::all(signed.content, Self::read_signed).ok_or(DAMAGED)?;
        let scope = read_scope(extensions).ok_or(DAMAGED)??;
        let list = Self { signed: signed.whole, scope, algorithm, signature, ..list };
        list.check_entries().ok_or(DAMAGED)??;
        Ok(list)
    }

    fn read_signed(signed: &mut Reader<'a>) -> Option<(Self, Reader<'a>)> {
        signed.integer().filter(|version| *version == [1])?; // v2
        let signed_algorithm = signed.content(tag::SEQUENCE)?;
        let issuer = Name::read(signed)?;
        // Nobody knows how long a list without `nextUpdate` is the newest one (RFC 5280 §5.1.2.5 demands it).
        let (this_update, next_update) = (signed.time()?, signed.time()?);
        let mut revoked = Reader::default();
        if signed.is_next(tag::SEQUENCE) {
            revoked = Reader::new(signed.content(tag::SEQUENCE)?);
        }
        let mut extensions = Reader::default();
        if signed.is_next(tag::explicit(0)) {
            extensions = Reader::new(signed.within(tag::explicit(0), |outer| outer.content(tag::SEQUENCE))?);
        }
        let scope = Scope::default();
        let (algorithm, signature, signed) = (signed_algorithm, &[][..], &[][..]);
        let list =
            Self { signed, issuer, this_update, next_update, revoked, scope, signed_algorithm, algorithm, signature };
        Some((list, extensions))
    }

    fn check_entries(&self) -> Option<Result<(), &'static str>> {
        let mut revoked = self.revoked;
        while !revoked.is_empty() {
            let (_, mut extensions) = read_entry(&mut revoked)?;
            while !extensions.is_empty() {
                // An indirect list says here whose certificate it is (RFC 5280 §5.3.3).
                if Extension::read(&mut extensions)?.is_critical {
                    return Some(Err("it has an entry with a critical extension, which is not supported"));
                }
            }
        }
        Some(Ok(()))
    }

    /// Can one of them be the newer edition of the other?
    pub(super) fn is_edition_of(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.scope == other.scope
    }

    /// Is it by the issuer of this certificate, and about certificates of its kind? Its signature is not verified here.
    pub(super) fn is_about(&self, certificate: &CertificateRef<'_>) -> bool {
        let is_ca = matches!(certificate.basic_constraints(), Some(Some(constraints)) if constraints.is_ca);
        let scope = self.scope;
        self.issuer == certificate.issuer
            && (!scope.is_users_only || !is_ca)
            && (!scope.is_cas_only || is_ca)
            && scope.point.is_none_or(|names| shares_point(names, certificate))
    }

    /// Has this certificate's key signed it, and may it? The certificate's subject is the list's issuer.
    pub(super) fn is_signed_by(&self, issuer: &CertificateRef<'_>) -> bool {
        let may_sign = matches!(issuer.key_usage(), Some(Some(usage)) if usage.bits & CRL_SIGN != 0);
        let key = issuer.public_key().filter(|key| !key.is_weak() && may_sign);
        let algorithm = signature_algorithm(self.algorithm, None);
        self.issuer == issuer.subject
            && self.signed_algorithm == self.algorithm // RFC 5280 §5.1.1.2
            && key.zip(algorithm).is_some_and(|(key, how)| key.verifies(how, self.signed, self.signature))
    }

    /// Does it have this certificate?
    pub(super) fn has(&self, certificate: &CertificateRef<'_>) -> bool {
        let mut revoked = self.revoked;
        while !revoked.is_empty() {
            match read_entry(&mut revoked) {
                Some((serial_number, _)) if serial_number == certificate.serial_number => return true,
                Some(_) => {}
                None => return true, // never: all entries were read before
            }
        }
        false
    }
}

/// The next entry: its serial number and its extensions.
fn read_entry<'a>(revoked: &mut Reader<'a>) -> Option<(&'a [u8], Reader<'a>)> {
    revoked.within(tag::SEQUENCE, |entry| {
        let serial_number = entry.integer()?;
        entry.time()?;
        let extensions = if entry.is_empty() { &[][..] } else { entry.content(tag::SEQUENCE)? };
        Some((serial_number, Reader::new(extensions)))
    })
}

/// The scope that the extensions give a list. The outer `None`: they cannot be read.
fn read_scope(mut extensions: Reader<'_>) -> Option<Result<Scope<'_>, &'static str>> {
    let mut scope = Scope::default();
    let mut known: Vec<&[u8]> = Vec::new();
    while !extensions.is_empty() {
        let extension = Extension::read(&mut extensions)?;
        if known.contains(&extension.oid) {
            return None;
        }
        known.push(extension.oid);
        if extension.oid == ISSUING_DISTRIBUTION_POINT {
            match read_distribution_point(extension.value)? {
                Some(found) => scope = found,
                None => return Some(Err("it is about some reasons or other issuers' certificates; use a full list")),
            }
        } else if extension.is_critical {
            return Some(Err("it is a delta list, or has another critical extension; use a full list"));
        }
    }
    Some(Ok(scope))
}

/// An `IssuingDistributionPoint`. The inner `None`: it limits the list to less than whole certificates of its issuer.
fn read_distribution_point(der: &[u8]) -> Option<Option<Scope<'_>>> {
    let mut scope = Scope::default();
    let mut is_whole = true;
    Reader::all(der, |all| {
        all.within(tag::SEQUENCE, |fields| {
            while !fields.is_empty() {
                let field = fields.any()?;
                match (field.tag, field.content) {
                    (POINT, name) => scope.point = Some(Reader::all(name, full_name)?),
                    (USERS, [0xff]) => scope.is_users_only = true,
                    (CAS, [0xff]) => scope.is_cas_only = true,
                    (USERS | CAS | INDIRECT | ATTRIBUTES, [0]) => {}
                    _ => is_whole = false,
                }
            }
            Some(())
        })
    })?;
    Some(is_whole.then_some(scope))
}

const POINT: u8 = tag::explicit(0);
const USERS: u8 = tag::implicit(1);
const CAS: u8 = tag::implicit(2);
const INDIRECT: u8 = tag::implicit(4);
const ATTRIBUTES: u8 = tag::implicit(5);

/// The `fullName` of a `DistributionPointName`. Names relative to the issuer's are not read.
fn full_name<'a>(name: &mut Reader<'a>) -> Option<Reader<'a>> {
    name.content(tag::explicit(0)).map(Reader::new)
}

/// Is one of these names, which are addresses, that of a distribution point of the certificate?
fn shares_point(names: Reader<'_>, certificate: &CertificateRef<'_>) -> bool {
    let Some(Some(points)) = certificate.extension(CRL_DISTRIBUTION_POINTS) else { return false };
    let mut is_shared = false;
    let read = Reader::all(points.value, |all| {
        all.within(tag::SEQUENCE, |points| {
            while !points.is_empty() {
                points.within(tag::SEQUENCE, |point| {
                    while !point.is_empty() {
                        let field = point.any()?;
                        // A name relative to the issuer's is passed over.
                        let own = (field.tag == POINT).then(|| Reader::all(field.content, full_name)).flatten();
                        is_shared |= own.is_some_and(|own| has_common_address(names, own));
                    }
                    Some(())
                })?;
            }
            Some(())
        })
    });
    read.is_some() && is_shared
}

fn has_common_address(mut names: Reader<'_>, own: Reader<'_>) -> bool {
    while let Some(name) = GeneralName::read(&mut names) {
        let mut own = own;
        while let Some(other) = GeneralName::read(&mut own) {
            if matches!(name, GeneralName::Uri(_)) && name == other {
                return true;
            }
        }
    }
    false
}

/// Does the certificate say where its revocation can be asked for: a list's address, or that of an OCSP responder? What cannot
/// be read counts as such.
pub(super) fn is_revocable(certificate: &CertificateRef<'_>) -> bool {
    if !matches!(certificate.extension(CRL_DISTRIBUTION_POINTS), Some(None)) {
        return true;
    }
    match certificate.extension(AUTHORITY_INFO_ACCESS) {
        Some(None) => false,
        Some(Some(access)) => {
            let mut has_ocsp = false;
            let read = Reader::all(access.value, |all| {
                all.within(tag::SEQUENCE, |list| {
                    while !list.is_empty() {
                        has_ocsp |= list.within(tag::SEQUENCE, |entry| {
                            let method = entry.oid()?;
                            entry.any()?;
                            Some(method == OCSP)
                        })?;
                    }
                    Some(())
                })
            });
            has_ocsp || read.is_none()
        }
        None => true,
    }
}
