//! Private parsers for the fuzz targets. The product does not call these functions.

use jiff::Timestamp;

use crate::json::{self, canonical};
use crate::timestamp::tst_info::TstInfo;
use crate::tuf::Gun;
use crate::tuf::root_certificate::RootCertificate;

/// The canonical form of a document. `None` if the document is refused.
pub fn canonical_json(bytes: &[u8]) -> Option<Vec<u8>> {
    let document = json::Document::of(bytes).ok()?;
    canonical::canonical(document.root(), allowance()).ok().map(|form| form.bytes(bytes).to_vec())
}

/// The canonical form of the outermost object's member `signed`. `None` if the document is refused, or has no such member.
pub fn canonical_signed(bytes: &[u8]) -> Option<Vec<u8>> {
    let document = json::Document::of(bytes).ok()?;
    signed(&document, bytes)
}

/// What one reading of a document gives.
#[derive(Debug)]
pub struct Given {
    /// The members of `signed.targets` in order, each with its value in canonical form.
    pub targets: Vec<(String, Vec<u8>)>,
    /// The canonical form of `signed`.
    pub signed: Vec<u8>,
}

/// What reading one document gives away. `None` if the document is refused or cannot be read so.
pub fn given_targets(bytes: &[u8]) -> Option<Given> {
    let mut targets = Vec::new();
    let mut take = |name: &str, value: json::Value<'_>| {
        let form = canonical::canonical(value, allowance());
        targets.extend(form.ok().map(|form| (name.to_owned(), form.bytes(bytes).to_vec())));
        true
    };
    let document = json::Document::read_and_give(bytes, allowance(), &mut take).ok()??;
    let signed = signed(&document, bytes)?;
    Some(Given { targets, signed })
}

fn signed(document: &json::Document<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    let form = canonical::canonical(document.root().get("signed")?, allowance()).ok()?;
    Some(form.bytes(bytes).to_vec())
}

fn allowance() -> json::Allowance<'static> {
    json::Allowance { values: usize::MAX, memory: usize::MAX, is_late: &|| false }
}

/// The checks of a root key's certificates.
#[derive(Debug)]
pub struct RootBundle {
    /// All checks pass but that of the dates.
    pub is_root_key: bool,
    /// All certificates are in date.
    pub in_date: bool,
    /// The first certificate chains to the CA.
    pub chains: bool,
}

/// Reads the PEM text of a root key. `None` if it is refused.
pub fn root_bundle(pem: &[u8], gun: &Gun, ca: &[u8], now: Timestamp) -> Option<RootBundle> {
    let bundle = RootCertificate::from_canonical_pem(pem)?;
    let _ = (bundle.key().is_some(), bundle.ends());
    Some(RootBundle {
        is_root_key: bundle.is_root_key_of(gun),
        in_date: bundle.in_date(now),
        chains: bundle.chains_to_until(ca, now).is_some(),
    })
}

/// Reads a `TSTInfo`: the imprint, and the seconds between which it was made. `None` if it is refused.
pub fn tst_info(der: &[u8]) -> Option<(&[u8], i64, i64)> {
    let info = TstInfo::read(der)?;
    Some((info.imprint, info.time.earliest, info.time.latest))
}
