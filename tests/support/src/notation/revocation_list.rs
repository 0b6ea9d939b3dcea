//! Certificate revocation lists.

use super::certificate::{Certificate, Extension};
use super::{time, tlv};

/// A list by this CA, of these serial numbers, from one time until another, in DER.
pub fn revocation_list(issuer: &Certificate, revoked: &[u8], dates: (i64, i64), extensions: &[Extension]) -> Vec<u8> {
    let entry = |serial: &u8| tlv(0x30, &[&tlv(2, &[&[*serial]]), &time(dates.0)]);
    let entries: Vec<u8> = revoked.iter().flat_map(entry).collect();
    let extension = |(oid, is_critical, value): &Extension| {
        let is_critical: &[u8] = if *is_critical { &[1, 1, 0xff] } else { &[] };
        tlv(0x30, &[&tlv(6, &[oid]), is_critical, &tlv(4, &[value])])
    };
    // The number of the list (RFC 5280 §5.2.3).
    let number = (vec![0x55, 29, 20], false, tlv(2, &[&[1]]));
    let extensions: Vec<u8> = [&number].into_iter().chain(extensions).flat_map(extension).collect();
    let algorithm = issuer.key.der_algorithm();
    let mut parts = vec![tlv(2, &[&[1]]), algorithm.clone(), issuer.subject.clone(), time(dates.0), time(dates.1)];
    if !entries.is_empty() {
        parts.push(tlv(0x30, &[&entries]));
    }
    parts.push(tlv(0xa0, &[&tlv(0x30, &[&extensions])]));
    let signed = tlv(0x30, &[&parts.concat()]);
    tlv(0x30, &[&signed, &algorithm, &tlv(3, &[&[0], &issuer.key.sign_der(&signed)])])
}
