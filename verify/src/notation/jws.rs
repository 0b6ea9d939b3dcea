//! Envelopes in JWS: the flattened JSON form (RFC 7515 §7.2.2; signature-envelope-jws.md).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::chain::MAX_CHAIN;
use super::envelope::Contents;
use super::headers::{
    AUTHENTIC_SIGNING_TIME, EXPIRY, PLUGIN, PLUGIN_VERSION, Protected, SIGNING_AGENT, SIGNING_SCHEME, SIGNING_TIME,
    TIMESTAMP,
};
use super::{MAX_ENVELOPE, check_names, read_json};
use crate::json::Value;
use crate::not_counted::NotCounted;
use crate::tuf::time::rfc3339;

const MEMBERS: [&str; 4] = ["header", "payload", "protected", "signature"];
const PROTECTED: [&str; 9] =
    ["alg", "crit", "cty", AUTHENTIC_SIGNING_TIME, EXPIRY, SIGNING_SCHEME, SIGNING_TIME, PLUGIN, PLUGIN_VERSION];
const UNPROTECTED: [&str; 3] = ["x5c", SIGNING_AGENT, TIMESTAMP];

/// Reads an envelope.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, NotCounted> {
    let document = read_json(bytes, MAX_ENVELOPE, "the envelope")?;
    let root = document.root();
    check_names(root, &MEMBERS)?;
    let members = root.object().into_iter().flatten();
    if members.clone().any(|(name, _)| !MEMBERS.contains(&name)) {
        return Err(NotCounted::Shape("the envelope has another member than payload, protected, header and signature"));
    }
    let text = |name: &str| root.get(name).and_then(Value::string);
    let (Some(payload), Some(protected), Some(signature)) = (text("payload"), text("protected"), text("signature"))
    else {
        return Err(NotCounted::Shape("the envelope lacks its payload, its protected headers or its signature"));
    };
    let decode = |text: &str| {
        let decoded = URL_SAFE_NO_PAD.decode(text).ok();
        decoded.ok_or(NotCounted::Shape("the envelope has a part that is not base64url without padding"))
    };
    let header = root.get("header").ok_or(NotCounted::Shape("the envelope has no \"header\""))?;
    check_names(header, &UNPROTECTED)?;
    let protected_bytes = decode(protected)?;
    let headers = read_json(&protected_bytes, MAX_ENVELOPE, "the protected header")?;
    let headers = headers.root();
    check_names(headers, &PROTECTED)?;
    // RFC 7515 §7.2.1: a name stands in one of the two.
    let mut unprotected = header.object().into_iter().flatten();
    if unprotected.any(|(name, _)| headers.get(name).is_some() || PROTECTED.contains(&name))
        || UNPROTECTED.iter().any(|name| headers.get(name).is_some())
    {
        return Err(NotCounted::Shape("the envelope has a header where it does not belong"));
    }
    if header.get(SIGNING_AGENT).is_some_and(|agent| agent.string().is_none() && !agent.is_null()) {
        return Err(NotCounted::Shape("its signing agent is no text"));
    }
    // One too many says that there are too many.
    let chain = header.get("x5c").and_then(Value::array).into_iter().flatten().take(MAX_CHAIN + 1);
    let chain = chain.map(|der| der.string().and_then(|der| STANDARD.decode(der).ok())).collect::<Option<Vec<_>>>();
    let timestamp = match header.get(TIMESTAMP) {
        Some(token) => {
            let token = token.string().and_then(|token| STANDARD.decode(token).ok());
            Some(token.ok_or(NotCounted::Shape("its time stamp is not base64"))?)
        }
        None => None,
    };
    Ok(Contents {
        headers: read_protected(headers)?.check()?,
        payload: decode(payload)?,
        signed: [protected.as_bytes(), b".", payload.as_bytes()].concat(),
        signature: decode(signature)?,
        chain: chain.ok_or(NotCounted::Shape("its certificates are not base64"))?,
        timestamp,
    })
}

fn read_protected(headers: Value<'_>) -> Result<Protected<'_>, NotCounted> {
    let text = |name: &str| match headers.get(name) {
        Some(value) => value.string().map(Some).ok_or(NotCounted::Shape("a protected header is no string")),
        None => Ok(None),
    };
    let time = |name: &str| match text(name)? {
        Some(text) => match rfc3339(text) {
            Some(time) => Ok(Some(time.as_second())),
            None => Err(NotCounted::Shape("a time in its protected headers is not in RFC 3339")),
        },
        None => Ok(None),
    };
    let critical = match headers.get("crit") {
        Some(names) => {
            let names = names.array().and_then(|names| names.map(Value::string).collect::<Option<Vec<_>>>());
            Some(names.ok_or(NotCounted::Shape("its header \"crit\" is no list of names"))?)
        }
        None => None,
    };
    Ok(Protected {
        algorithm: text("alg")?,
        content_type: text("cty")?,
        critical,
        scheme: text(SIGNING_SCHEME)?,
        signing_time: time(SIGNING_TIME)?,
        authentic_signing_time: time(AUTHENTIC_SIGNING_TIME)?,
        expiry: time(EXPIRY)?,
        has_plugin: [PLUGIN, PLUGIN_VERSION].iter().any(|name| headers.get(name).is_some()),
    })
}
