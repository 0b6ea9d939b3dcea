//! A time stamp token, and its verification.

use super::chain;
use super::error::TimestampError;
use super::signed_data::SignedData;
use super::tst_info::TstInfo;
use crate::crypto::certificate_ref::CertificateRef;
use crate::crypto::der::{Reader, tag};
use crate::effort::{Checks, Effort};
use crate::heap_size::{allocation, inline_size};

/// Most bytes of a token.
pub const MAX_TOKEN: usize = 64 << 10;

/// A time stamp token that can be read. Nothing in it is verified yet.
#[derive(Clone, Debug)]
pub struct Token {
    /// What was read: the token, or a response around it.
    der: Vec<u8>,
}

/// Who may make time stamps.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// The certificates in DER that are trusted. A chain ends at one of them. It may be the signer's own certificate.
    pub anchors: &'a [Vec<u8>],
    /// Certificates in DER that are not trusted for being here, and that may be part of a chain: the signer's as well.
    pub intermediates: &'a [Vec<u8>],
}

/// When a verified time stamp was made, in seconds since 1970, rounded outwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenTime {
    /// Not before this second.
    pub earliest: i64,
    /// Not after this second.
    pub latest: i64,
}

impl Token {
    /// From DER: a `TimeStampResp` whose status is granted or grantedWithMods, or the token in it alone.
    pub fn read(der: &[u8]) -> Result<Self, TimestampError> {
        if der.len() > MAX_TOKEN {
            return Err(TimestampError::TooLarge);
        }
        parts(der)?;
        Ok(Self { der: der.to_vec() })
    }

    /// Verifies that this is a time stamp of the bytes `signed`, made by this authority while all certificates of its chain
    /// were in date. Says when it was made.
    pub fn verify(&self, signed: &[u8], authority: &Authority<'_>) -> Result<GenTime, TimestampError> {
        self.verify_by(signed, authority, None, &Checks::new(Effort::UNLIMITED))
    }

    /// The same; if there is an `only_signer`, its certificate alone may have made the time stamp. The result says nothing if the
    /// checks are exhausted.
    pub(crate) fn verify_by(
        &self,
        signed: &[u8],
        authority: &Authority<'_>,
        only_signer: Option<&[u8]>,
        checks: &Checks<'_>,
    ) -> Result<GenTime, TimestampError> {
        let (data, info) = parts(&self.der)?;
        let hash = info
            .hash
            .ok_or(TimestampError::Shape("the hash of the message is none of SHA-256, SHA-384 and SHA-512"))?;
        if hash.of(signed).as_ref() != info.imprint {
            return Err(TimestampError::OtherMessage);
        }
        let signer = signer(&data, authority, only_signer)?;
        if data.hash.of(data.content).as_ref() != data.attributes.message_digest {
            return Err(TimestampError::Signature("it is over other content"));
        }
        let key = signer.public_key().filter(|key| !key.is_weak());
        if !key
            .is_some_and(|key| checks.take(key.units()) && key.verifies(data.algorithm, &data.signed, data.signature))
        {
            return Err(TimestampError::Signature("its signer's key has not made it"));
        }
        chain::verify(&signer, &data.certificates, authority, info.time, checks)?;
        Ok(info.time)
    }

    /// What it takes in memory, nearly.
    pub fn heap_size(&self) -> u64 {
        inline_size::<Self>() + allocation(self.der.len())
    }
}

/// The certificate that the token says is its signer's: from the token or from the caller.
fn signer<'a>(
    data: &SignedData<'a>,
    authority: &Authority<'a>,
    only_signer: Option<&[u8]>,
) -> Result<CertificateRef<'a>, TimestampError> {
    let given = authority.intermediates.iter().chain(authority.anchors).filter_map(|der| CertificateRef::read(der));
    let may_be = |certificate: &CertificateRef<'_>| {
        data.signer.is(certificate) && only_signer.is_none_or(|only| only == certificate.der)
    };
    let mut found = data.certificates.iter().copied().chain(given).filter(may_be);
    let Some(first) = found.next() else {
        return Err(TimestampError::Authority(
            "its certificate is neither in the time stamp nor among the trusted ones",
        ));
    };
    let named = std::iter::once(first).chain(found).find(|certificate| data.attributes.name(certificate));
    named.ok_or(TimestampError::Signature("it names another certificate than its signer's"))
}

/// What is in a token or in a response.
fn parts(der: &[u8]) -> Result<(SignedData<'_>, TstInfo<'_>), TimestampError> {
    let mut token = Reader::new(granted(der)?);
    let data = SignedData::read(&mut token)?;
    let info = TstInfo::read(data.content).ok_or(TimestampError::Shape("its TSTInfo is malformed"))?;
    Ok((data, info))
}

/// The token in a `TimeStampResp` (RFC 3161 §2.4.2), or the token itself.
fn granted(der: &[u8]) -> Result<&[u8], TimestampError> {
    let whole = |reader: &mut Reader<'_>| reader.content(tag::SEQUENCE).is_some();
    if !Reader::all(der, |all| Some(whole(all))).unwrap_or(false) {
        return Err(TimestampError::Shape("it is no DER, or bytes follow it"));
    }
    let mut response = Reader::new(der).content(tag::SEQUENCE).map(Reader::new).unwrap_or_default();
    if !response.is_next(tag::SEQUENCE) {
        return Ok(der);
    }
    let status = response.within(tag::SEQUENCE, |info| {
        let status = info.integer()?;
        if info.is_next(tag::SEQUENCE) {
            info.content(tag::SEQUENCE)?; // a text
        }
        // A reason of failure has no place beside a success.
        if !info.is_empty() && matches!(status, [0 | 1]) {
            return None;
        }
        while !info.is_empty() {
            info.any()?;
        }
        Some(status)
    });
    match status {
        Some([0 | 1]) => {
            let token = response.any().filter(|_| response.is_empty());
            Ok(token.ok_or(TimestampError::Shape("its response has no token, or more than one"))?.whole)
        }
        Some(_) => Err(TimestampError::NotGranted),
        None => Err(TimestampError::Shape("its response has a malformed status")),
    }
}
