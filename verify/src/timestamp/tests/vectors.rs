//! Samples that real authorities signed, if they are beside the checkout: sigstore's, a local one and FreeTSA.
#![expect(
    clippy::disallowed_methods,
    reason = "the samples are not part of the repository, so a running test reads them"
)]

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::crypto::pem::pem_blocks;
use crate::timestamp::{Authority, GenTime, TimestampError, Token};

fn vectors(folder: &str) -> Option<PathBuf> {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = above.find_map(|at| Some(at.join("shared/vectors").join(folder)).filter(|vectors| vectors.is_dir()));
    if found.is_none() {
        println!("skipped: there is no shared/vectors/{folder} beside the checkout");
    }
    found
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// The time stamps of a bundle, and what they are of.
fn stamps(bundle: &Value) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let list = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"].as_array()?;
    let stamps = list.iter().map(|stamp| decoded(&stamp["signedTimestamp"])).collect();
    let signature = [&bundle["messageSignature"]["signature"], &bundle["dsseEnvelope"]["signatures"][0]["sig"]];
    Some((stamps, decoded(signature.into_iter().find(|signature| signature.is_string())?)))
}

/// By any authority of a trusted root: the last certificate of its chain is trusted.
fn verified(root: &Value, stamp: &[u8], signed: &[u8]) -> Result<GenTime, TimestampError> {
    let token = Token::read(stamp)?;
    let mut last = Err(TimestampError::Authority("there is none"));
    for authority in root["timestampAuthorities"].as_array().into_iter().flatten() {
        let chain = authority["certChain"]["certificates"].as_array().unwrap();
        let mut chain: Vec<_> = chain.iter().map(|certificate| decoded(&certificate["rawBytes"])).collect();
        let anchors = [chain.pop().unwrap()];
        last = last.or_else(|_| token.verify(signed, &Authority { anchors: &anchors, intermediates: &chain }));
    }
    last
}

#[test]
fn conformance_samples_come_out_as_they_are_named() {
    let Some(folder) = vectors("sigstore-conformance") else { return };
    let public = json(&folder.join("public-good-trusted-root.json")).unwrap();
    let mut refused = Vec::new();
    let mut verified_count = 0;
    let mut cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    for case in cases.iter().filter(|case| case.is_dir()) {
        let name = case.file_name().unwrap().to_str().unwrap();
        let Some(bundle) = json(&case.join("bundle.sigstore.json")) else { continue };
        let root = json(&case.join("trusted_root.json")).unwrap_or_else(|| public.clone());
        for (stamp, signed) in stamps(&bundle).iter().flat_map(|(all, signed)| all.iter().map(move |one| (one, signed)))
        {
            match verified(&root, stamp, signed) {
                Ok(time) => {
                    verified_count += 1;
                    assert!(time.latest - time.earliest <= 2, "{name}: {time:?}");
                    assert!(verified(&root, stamp, &[signed.as_slice(), &[0]].concat()).is_err());
                    if name == "rekor2-timestamp-outside-trust-root-tsa-validity_fail" {
                        // The dates of the trusted root are for the caller to check: until 2025-06-01.
                        assert!(time.earliest > 1_748_736_000);
                    }
                }
                Err(error) => refused.push((name.to_owned(), error)),
            }
        }
    }
    let names: Vec<_> = refused.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        // The two of a key have the stamp of an authority that their trusted root does not name. A key needs none.
        "managed-key-happy-path",
        "managed-key-wrong-key_fail",
        "rekor2-timestamp-payload-mismatch_fail",
        "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail",
    ];
    assert_eq!((names.as_slice(), verified_count), (expected.as_slice(), 17));
    assert_eq!(refused[2].1, TimestampError::OtherMessage);
    assert!(matches!(refused[3].1, TimestampError::Authority(_)));
}

#[test]
fn scheme_row_111_a_countersignature_of_notation_is_verified() {
    let Some(folder) = vectors("notation-timestamped") else { return };
    let envelope = json(&folder.join("jws-p256-timestamped.envelope.json")).unwrap();
    let stamp = decoded(&envelope["header"]["io.cncf.notary.timestampSignature"]);
    let signed = URL_SAFE_NO_PAD.decode(envelope["signature"].as_str().unwrap()).unwrap();
    let pem = fs::read_to_string(folder.join("tsa-root.pem")).unwrap();
    let anchors: Vec<_> = pem_blocks(&pem, 9).unwrap().into_iter().map(|block| block.der).collect();
    let other = fs::read_to_string(folder.join("root.pem")).unwrap();
    let other: Vec<_> = pem_blocks(&other, 9).unwrap().into_iter().map(|block| block.der).collect();
    let token = Token::read(&stamp).unwrap();
    let time = token.verify(&signed, &Authority { anchors: &anchors, intermediates: &[] }).unwrap();
    assert_eq!(time.latest - time.earliest, 2);
    let error = token.verify(&signed, &Authority { anchors: &other, intermediates: &anchors });
    assert!(matches!(error, Err(TimestampError::Authority(_))), "{error:?}");
    // In CBOR the token is a byte string behind its label, and the signature is the last one.
    let cose = fs::read(folder.join("cose-p256-timestamped.envelope.cose")).unwrap();
    let label = b"timestampSignature";
    let at = cose.windows(label.len()).position(|window| window == label).unwrap() + label.len() + 3;
    let length = usize::from(u16::from_be_bytes([cose[at - 2], cose[at - 1]]));
    let token = Token::read(&cose[at..at + length]).unwrap();
    let signed = &cose[cose.len() - 64..];
    assert!(token.verify(signed, &Authority { anchors: &anchors, intermediates: &[] }).is_ok());
}
