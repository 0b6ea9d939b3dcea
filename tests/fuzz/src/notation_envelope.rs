//! Notation's envelopes. The input is an envelope of either format, and again the protected headers of each, and the payload,
//! which are signed here and compared with a slow reading.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jiff::Timestamp;
use portreeve_test_support::notation::{Certificate, Cose, Jws, Kind, Spec};
use portreeve_verify::Effort;
use portreeve_verify::image::Sha256;
use portreeve_verify::notation::{
    Envelope, EnvelopeFormat, Identity, MAX_ENVELOPE, NotCounted, Requirement, Revocation, SignedImage, TrustStores,
};

use crate::cbor::{self, Cbor};
use crate::strict_json::{self, Json};

const IMAGE: &[u8] = b"an image";
const SCHEME: &str = "io.cncf.notary.signingScheme";
const TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";
const PLUGINS: [&str; 2] = ["io.cncf.notary.verificationPlugin", "io.cncf.notary.verificationPluginMinVersion"];
const UNPROTECTED: [&str; 3] = ["x5c", "io.cncf.notary.timestampSignature", "io.cncf.notary.signingAgent"];

pub fn check(data: &[u8]) {
    // An envelope of any shape, by anybody.
    for format in [EnvelopeFormat::Jws, EnvelopeFormat::Cose] {
        if let Ok(envelope) = read(format, data) {
            assert!(data.len() <= MAX_ENVELOPE && envelope.heap_size() >= 1000);
            // Whoever made it is a stranger.
            assert!(!counts(&envelope));
        }
    }
    // Headers and payloads by a signer who is trusted.
    if let Ok(text) = std::str::from_utf8(data) {
        let envelope = Jws::new(IMAGE, signer()).edit(|jws| jws.protected_text = Some(text.to_owned()));
        let found = read(EnvelopeFormat::Jws, &envelope.bytes());
        if !found.as_ref().is_err_and(is_limit) {
            let expected = strict_json::read(data).and_then(|json| jws_headers(&json));
            compare(&found, expected.is_some_and(|headers| headers.are_sound()));
        }
    }
    let envelope = Cose::new(IMAGE, signer()).edit(|cose| cose.protected_bytes = Some(data.to_vec()));
    let found = read(EnvelopeFormat::Cose, &envelope.bytes());
    if !found.as_ref().is_err_and(is_limit) {
        let expected = cbor::read(data).and_then(|cbor| cose_headers(&cbor));
        compare(&found, expected.is_some_and(|headers| headers.are_sound()));
    }
    let envelope = Jws::new(IMAGE, signer()).edit(|jws| jws.payload_bytes = Some(data.to_vec()));
    let found = read(EnvelopeFormat::Jws, &envelope.bytes());
    if !found.as_ref().is_err_and(is_limit) {
        let expected = strict_json::read(data).and_then(|json| payload(&json));
        compare(&found, expected.is_some());
        if let (Ok(envelope), Some(is_about)) = (&found, expected) {
            assert_eq!(counts(envelope), is_about);
        }
    }
}

fn compare(found: &Result<Envelope, NotCounted>, expected: bool) {
    assert!(found.is_ok() == expected, "{found:?}");
}

/// A signer who is its own CA.
fn signer() -> &'static [Certificate] {
    static SIGNER: OnceLock<Vec<Certificate>> = OnceLock::new();
    SIGNER.get_or_init(|| vec![Spec::leaf("builder", Kind::P256).self_signed()])
}

fn read(format: EnvelopeFormat, bytes: &[u8]) -> Result<Envelope, NotCounted> {
    let envelope = Envelope::read(Sha256::of(b"manifest"), format, bytes)?;
    envelope.verify(Effort::UNLIMITED)?;
    Ok(envelope)
}

/// Is it about the image, and by the signer?
fn counts(envelope: &Envelope) -> bool {
    static STORES: OnceLock<TrustStores> = OnceLock::new();
    let stores = STORES.get_or_init(|| TrustStores::new(vec![signer()[0].der.clone()], Vec::new(), None));
    let identities = [Identity::parse("x509.subject: C=US, ST=WA, O=Plant").unwrap()];
    let metadata = BTreeMap::new();
    let requirement = Requirement {
        stores,
        identities: &identities,
        after_cert_expiry_only: false,
        revocation: Revocation::Skip,
        metadata: &metadata,
        effort: Effort::UNLIMITED,
    };
    let image = SignedImage {
        digest: Sha256::of(IMAGE),
        media_type: "application/vnd.oci.image.manifest.v1+json",
        size: IMAGE.len() as u64,
    };
    let now = Timestamp::from_second(1_796_083_200).unwrap();
    match requirement.verify(image, &[envelope], now) {
        Ok(accepted) => {
            assert_eq!(accepted.signers, ["CN=builder,O=Plant,ST=WA,C=US"]);
            true
        }
        Err(rejection) => {
            let words = rejection.to_string();
            assert!(words.len() < 2000 && !words.chars().any(char::is_control), "{words:?}");
            false
        }
    }
}

/// Is the reason a limit, which the slow reading does not have?
fn is_limit(reason: &NotCounted) -> bool {
    let words = reason.to_string();
    assert!(!words.is_empty() && words.len() < 1000 && !words.chars().any(char::is_control), "{words:?}");
    reason.code() == "too-large" || words.contains("more values than") || words.contains("too much memory")
}

/// Protected headers, read slowly.
#[derive(Default)]
struct Headers {
    algorithm: String,
    content_type: String,
    scheme: String,
    critical: Vec<String>,
    signing_time: Option<i64>,
    authentic: Option<i64>,
    expiry: Option<i64>,
    has_plugin: bool,
}

impl Headers {
    /// Are they those of an envelope by a key on P-256?
    fn are_sound(&self) -> bool {
        let is_authority = self.scheme == "notary.x509.signingAuthority";
        let (time, other) =
            if is_authority { (self.authentic, self.signing_time) } else { (self.signing_time, self.authentic) };
        let mut expected = vec![SCHEME];
        expected.extend(is_authority.then_some(AUTHENTIC));
        expected.extend(self.expiry.map(|_| EXPIRY));
        let mut critical: Vec<&str> = self.critical.iter().map(String::as_str).collect();
        critical.sort_unstable();
        expected.sort_unstable();
        self.algorithm == "ES256"
            && self.content_type == "application/vnd.cncf.notary.payload.v1+json"
            && (is_authority || self.scheme == "notary.x509")
            && critical == expected
            && !self.has_plugin
            && other.is_none()
            && time.is_some_and(|time| self.expiry.is_none_or(|expiry| expiry > time))
    }
}

fn jws_headers(json: &Json) -> Option<Headers> {
    let Json::Object(members) = json else { return None };
    let known = ["alg", "crit", "cty", SCHEME, TIME, AUTHENTIC, EXPIRY, PLUGINS[0], PLUGINS[1]];
    let is_twin = |(name, _): &(String, Json)| known.iter().any(|known| name != known && fold(name) == fold(known));
    let is_misplaced = |(name, _): &(String, Json)| UNPROTECTED.contains(&name.as_str());
    if members.iter().any(|member| is_twin(member) || is_misplaced(member)) {
        return None;
    }
    let text = |name: &str| match json.get(name) {
        Some(value) => value.text().map(|text| Some(text.to_owned())),
        None => Some(None),
    };
    let time = |name: &str| match text(name)? {
        Some(text) => rfc3339(&text).map(Some),
        None => Some(None),
    };
    let critical: Option<Vec<String>> =
        json.get("crit")?.list()?.iter().map(|name| name.text().map(str::to_owned)).collect();
    Some(Headers {
        algorithm: text("alg")?.unwrap_or_default(),
        content_type: text("cty")?.unwrap_or_default(),
        scheme: text(SCHEME)?.unwrap_or_default(),
        critical: critical?,
        signing_time: time(TIME)?,
        authentic: time(AUTHENTIC)?,
        expiry: time(EXPIRY)?,
        has_plugin: PLUGINS.iter().any(|name| json.get(name).is_some()),
    })
}

/// As Go folds.
fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace('ſ', "s").replace('\u{212a}', "k")
}

fn rfc3339(text: &str) -> Option<i64> {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let rest = shape.strip_prefix("9999-99-99T99:99:99")?;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches('9');
            (1..=9).contains(&(fraction.len() - zone.len())).then_some(zone)?
        }
        None => rest,
    };
    let is_offset = zone == "+99:99" || zone == "-99:99";
    if zone != "Z" && !is_offset || &text[17..19] == "60" {
        return None;
    }
    if is_offset && (&text[text.len() - 5..text.len() - 3] > "23" || &text[text.len() - 2..] > "59") {
        return None;
    }
    match text.parse::<Timestamp>() {
        Ok(time) => Some(time.as_second()),
        // The last hours of the year 9999 are beyond jiff's last time.
        Err(_) => {
            let earlier = text.replacen("9999-12-3", "9998-12-3", 1);
            let exists = earlier != text && earlier.parse::<Timestamp>().is_ok();
            exists.then_some(Timestamp::MAX.as_second())
        }
    }
}

fn cose_headers(cbor: &Cbor) -> Option<Headers> {
    let Cbor::Map(entries) = cbor else { return None };
    let get = |label: &Cbor| entries.iter().find(|(known, _)| known == label).map(|(_, value)| value);
    let named = |name: &str| get(&Cbor::Text(name.to_owned()));
    // The signer of the tests has these where they belong.
    if get(&Cbor::Integer(33)).is_some() || UNPROTECTED[1..].iter().any(|name| named(name).is_some()) {
        return None;
    }
    let text = |value: Option<&Cbor>| match value {
        Some(Cbor::Text(text)) => Some(text.clone()),
        Some(_) => None,
        None => Some(String::new()),
    };
    let time = |name: &str| match named(name) {
        Some(Cbor::Tag(1, seconds)) => match **seconds {
            Cbor::Integer(seconds) if seconds >= 0 => i64::try_from(seconds).ok().map(Some),
            _ => None,
        },
        Some(_) => None,
        None => Some(None),
    };
    let Some(Cbor::List(critical)) = get(&Cbor::Integer(2)) else { return None };
    let critical: Option<Vec<String>> = critical
        .iter()
        .map(|name| match name {
            Cbor::Text(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    let is_es256 = get(&Cbor::Integer(1)) == Some(&Cbor::Integer(-7));
    Some(Headers {
        algorithm: if is_es256 { "ES256".to_owned() } else { String::new() },
        content_type: text(get(&Cbor::Integer(3)))?,
        scheme: text(named(SCHEME))?,
        critical: critical?,
        signing_time: time(TIME)?,
        authentic: time(AUTHENTIC)?,
        expiry: time(EXPIRY)?,
        has_plugin: PLUGINS.iter().any(|name| named(name).is_some()),
    })
}

/// Is it about the image? `None` if it must be refused.
fn payload(json: &Json) -> Option<bool> {
    let twin = |json: &Json, known: &[&str]| match json {
        Json::Object(members) => {
            members.iter().any(|(name, _)| known.iter().any(|known| name != known && fold(name) == fold(known)))
        }
        _ => true,
    };
    let artifact = json.get("targetArtifact")?;
    if twin(json, &["targetArtifact"]) || twin(artifact, &["annotations", "digest", "mediaType", "size"]) {
        return None;
    }
    let digest = artifact.get("digest")?.text()?;
    let hex = digest.strip_prefix("sha256:")?;
    let is_hex = hex.len() == 64 && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    let media_type = artifact.get("mediaType")?.text()?;
    let Json::Integer(size @ 0..) = artifact.get("size")? else { return None };
    match artifact.get("annotations") {
        None | Some(Json::Null) => {}
        Some(Json::Object(members)) => {
            let is_text = members.iter().all(|(_, value)| value.text().is_some());
            (is_text && members.len() <= 256).then_some(())?;
        }
        Some(_) => return None,
    }
    let is_about = digest == Sha256::of(IMAGE).text()
        && media_type == "application/vnd.oci.image.manifest.v1+json"
        && *size == IMAGE.len() as i64;
    is_hex.then_some(is_about)
}
