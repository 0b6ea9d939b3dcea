//! Envelopes in COSE: a tagged `COSE_Sign1` (RFC 9052 §4.2; signature-envelope-cose.md).

use super::MAX_ENVELOPE;
use super::cbor::{Entry, Label, Reader, head, major};
use super::chain::MAX_CHAIN;
use super::envelope::Contents;
use super::headers::{
    AUTHENTIC_SIGNING_TIME, EXPIRY, PLUGIN, PLUGIN_VERSION, Protected, SIGNING_SCHEME, SIGNING_TIME, TIMESTAMP,
};
use crate::not_counted::{NotCounted, quoted};

/// The tag of a `COSE_Sign1`.
const SIGN1: u64 = 18;
/// The tag of a number of seconds since 1970.
const EPOCH: u64 = 1;

const ALGORITHM: Label<'_> = Label::Number(1);
const CRITICAL: Label<'_> = Label::Number(2);
const CONTENT_TYPE: Label<'_> = Label::Number(3);
const X5CHAIN: Label<'_> = Label::Number(33);

/// Headers that are nothing unless they are protected.
const PROTECTED: [Label<'_>; 9] = [
    ALGORITHM,
    CRITICAL,
    CONTENT_TYPE,
    Label::Text(SIGNING_SCHEME),
    Label::Text(SIGNING_TIME),
    Label::Text(AUTHENTIC_SIGNING_TIME),
    Label::Text(EXPIRY),
    Label::Text(PLUGIN),
    Label::Text(PLUGIN_VERSION),
];

const DAMAGED: NotCounted = NotCounted::Shape("the envelope is no COSE_Sign1 in CBOR of definite lengths");
const HEADERS: NotCounted = NotCounted::Shape("the protected headers are no map in CBOR with each label once");

/// Reads an envelope.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, NotCounted> {
    if bytes.len() > MAX_ENVELOPE {
        return Err(NotCounted::TooLarge { what: "the envelope", cap: MAX_ENVELOPE });
    }
    let parts = Reader::all(bytes, |all| {
        all.tag().filter(|tag| *tag == SIGN1)?;
        all.array().filter(|length| *length == 4)?;
        Some((all.bytes()?, all.map_without_tags()?, all.bytes()?, all.bytes()?))
    });
    let (protected_bytes, unprotected, payload, signature) = parts.ok_or(DAMAGED)?;
    let protected = Reader::all(protected_bytes, Reader::map).ok_or(HEADERS)?;
    // RFC 9052 §3: a label stands in one of the two.
    let is_misplaced = |(label, _): &Entry<'_>| PROTECTED.contains(label) || get(&protected, *label).is_some();
    if unprotected.iter().any(is_misplaced)
        || [X5CHAIN, Label::Text(TIMESTAMP)].iter().any(|label| get(&protected, *label).is_some())
    {
        return Err(NotCounted::Shape("the envelope has a header where it does not belong"));
    }
    let chain = get(&unprotected, X5CHAIN).and_then(read_chain);
    let timestamp = match get(&unprotected, Label::Text(TIMESTAMP)) {
        Some(mut token) => Some(token.bytes().ok_or(NotCounted::Shape("its time stamp is no byte string"))?.to_vec()),
        None => None,
    };
    Ok(Contents {
        headers: read_protected(&protected)?.check()?,
        payload: payload.to_vec(),
        signed: to_be_signed(protected_bytes, payload),
        signature: signature.to_vec(),
        chain: chain.ok_or(NotCounted::Shape("it has no chain of certificates"))?,
        timestamp,
    })
}

/// The value of this label.
fn get<'a>(map: &[Entry<'a>], label: Label<'_>) -> Option<Reader<'a>> {
    map.iter().find(|(known, _)| *known == label).map(|(_, value)| *value)
}

/// The certificates of `x5chain`: an array. Notation takes no byte string alone, which RFC 9360 §2 allows.
fn read_chain(mut value: Reader<'_>) -> Option<Vec<Vec<u8>>> {
    let mut chain = Vec::new();
    for _ in 0..value.array()? {
        // One too many says that there are too many.
        if chain.len() > MAX_CHAIN {
            break;
        }
        chain.push(value.bytes()?.to_vec());
    }
    Some(chain)
}

/// The `Sig_structure` (RFC 9052 §4.4) around the protected headers as they were received.
fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    const CONTEXT: &[u8] = b"Signature1";
    let mut signed = head(major::ARRAY, 4);
    signed.extend(head(major::TEXT, CONTEXT.len()));
    signed.extend(CONTEXT);
    for part in [protected, &[], payload] {
        signed.extend(head(major::BYTES, part.len()));
        signed.extend(part);
    }
    signed
}

fn read_protected<'a>(headers: &[Entry<'a>]) -> Result<Protected<'a>, NotCounted> {
    let text = |label: Label<'_>| match get(headers, label) {
        Some(mut value) => value.text().map(Some).ok_or(NotCounted::Shape("a protected header is no text")),
        None => Ok(None),
    };
    let time = |name: &str| match get(headers, Label::Text(name)) {
        Some(mut value) => {
            let seconds = value.tag().filter(|tag| *tag == EPOCH).and_then(|_| value.integer());
            let seconds = seconds.filter(|seconds| *seconds >= 0);
            seconds.map(Some).ok_or(NotCounted::Shape("a time in its protected headers is no tagged number of seconds"))
        }
        None => Ok(None),
    };
    Ok(Protected {
        algorithm: get(headers, ALGORITHM).map(algorithm).transpose()?,
        content_type: text(CONTENT_TYPE)?,
        critical: get(headers, CRITICAL).map(critical).transpose()?,
        scheme: text(Label::Text(SIGNING_SCHEME))?,
        signing_time: time(SIGNING_TIME)?,
        authentic_signing_time: time(AUTHENTIC_SIGNING_TIME)?,
        expiry: time(EXPIRY)?,
        has_plugin: [PLUGIN, PLUGIN_VERSION].iter().any(|name| get(headers, Label::Text(name)).is_some()),
    })
}

/// The algorithm by its name in JWS (RFC 9053 §2.1, RFC 8230 §2).
fn algorithm(mut value: Reader<'_>) -> Result<&'static str, NotCounted> {
    match value.integer() {
        Some(-7) => Ok("ES256"),
        Some(-35) => Ok("ES384"),
        Some(-36) => Ok("ES512"),
        Some(-37) => Ok("PS256"),
        Some(-38) => Ok("PS384"),
        Some(-39) => Ok("PS512"),
        found => Err(NotCounted::Value {
            what: "its algorithm",
            found: found.map(|number| quoted(&number.to_string())),
            expected: "one of -7 (ES256), -35 (ES384), -37 (PS256), -38 (PS384) and -39 (PS512)",
        }),
    }
}

fn critical(mut value: Reader<'_>) -> Result<Vec<&str>, NotCounted> {
    let mut names = Vec::new();
    for _ in 0..value.array().ok_or(NotCounted::Shape("its header \"crit\" is no list"))? {
        // Notation marks no header with a number.
        names.push(value.text().ok_or(NotCounted::Shape("its header \"crit\" is no list of texts"))?);
    }
    Ok(names)
}
