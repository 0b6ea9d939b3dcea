//! Notation: thousands of envelopes that were changed, through notation-go's own verifier and through ours. Never do we accept
//! what it refuses. Where we refuse what it accepts, `STRICTER` says why.

mod judge;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use portreeve_differential::json::Json;
use portreeve_differential::random::{Random, rounds};
use portreeve_differential::verdicts::Verdicts;
use portreeve_differential::{bytes, cbor, certificates, timestamp};
use portreeve_test_support::notation::{self, Cbor, Certificate, Cose, Jws, Kind, Spec};
use portreeve_verify::Effort;
use portreeve_verify::image::Sha256;
use portreeve_verify::notation::{
    Envelope, EnvelopeFormat, Identity, Requirement, Revocation, RevocationLists, SignedImage, TrustStores,
    read_store_file,
};
use serde_json::{Value, json};

use judge::judge;

const IMAGE: &[u8] = b"{\"an\":\"image\"}";
const IDENTITY: &str = "x509.subject: C=US, ST=WA, O=Plant";

/// What notation-go refuses and we accept: a part of its words, and why that is no fault.
const LENIENT: &[(&str, &str)] = &[
    (
        "unsupported distinguished name",
        "the signer's subject has an attribute that Go cannot name, such as DC; the policy's own attributes are compared exactly",
    ),
    (
        "must have the bit positions for \"Digital Signature\" set",
        "an authority whose key is for nonRepudiation (ETSI EN 319 422): notation alone demands digitalSignature",
    ),
    (
        "failed to parse X. certificates from signed data",
        "a damaged certificate in the time stamp that its chain does not need",
    ),
    (
        "x: invalid",
        "an extension of a signed certificate that is not looked at here, such as policies; what revocation needs and cannot be \
         read is never taken for \"not revocable\", but in roots, which no list revokes",
    ),
];

/// What we refuse and notation-go accepts: a part of our words, and why.
const STRICTER: &[(&str, &str)] = &[
    ("in another spelling of upper and lower case", "Go takes such a name for the other one"),
    ("an object with the same key twice", "Go takes the last one"),
    ("a part that is not baseurl", "Go passes over line breaks, and bits behind the last byte"),
    ("its certificates are not base", "the same"),
    ("its time stamp is not base", "the same"),
    ("a time in its protected headers is not in RFC", "Go takes a comma for a point, and offsets of 24 hours"),
    (
        "has a header where it does not belong",
        "RFC 7515 §7.2.1, RFC 9052 §3; notation looks at crit and at known headers alone",
    ),
    ("has another member than payload", "the specification has four members"),
    ("its metadata is no object of texts", "Go takes null for an empty text"),
    ("a protected header is no text", "go-cose passes over the tag 55799"),
    ("no tagged number of seconds", "go-cose takes fractions, and times before 1970"),
    ("which is not known here; sign without it", "a header that is marked twice"),
    ("its header \"crit\" is no list", "go-cose passes over the tag 55799"),
    ("its algorithm is not there", "the same"),
    (
        "no map in CBOR with each label once",
        "go-cose takes lengths and numbers in a longer form than need be, and undefined",
    ),
    ("no COSE_Sign", "the same"),
    ("must have critical basic constraints of a CA", "notation does not look whether they are critical"),
    (
        "is neither a CA nor self-signed",
        "notation does not compare the names of a certificate that its own key has signed",
    ),
    ("has a critical extension that is not checked here", "notation marks more as handled, such as name constraints"),
    ("has an extension twice", "an extension that Go does not know"),
    ("has basic constraints that cannot be read", "bytes behind the end, or FALSE where it is the default"),
    ("has a key usage that cannot be read", "bits behind the last one that is set"),
    ("has an extended key usage that cannot be read", "an empty list"),
    ("has an extended key usage without codeSigning", "notation forbids some purposes and demands none"),
    ("is a CA for other purposes than codeSigning", "notation does not look at the purposes of CAs"),
    (
        "is none of the policy's trusted identities",
        "an ambiguous subject: several attributes in one, or in another encoding",
    ),
    ("must have a critical key usage with keyCertSign", "notation does not look whether it is critical"),
    ("must have a critical key usage of digitalSignature alone", "notation takes further uses that Go has no name for"),
    ("has an extended key usage that a signer must not have", "notation does not look for any purpose beside others"),
    ("revocation unknown", "an address of another kind than http"),
    (
        "the time stamp cannot be read",
        "its shape is that of RFC 3161 and RFC 5652 in DER; notation takes more, such as attributes out of order",
    ),
    ("has an Ed key", "a CA with an Ed25519 key; the specification has none"),
    ("is signed by an algorithm that is not supported", "a self-signed certificate with SHA-1, or ECDSA with SHA-512"),
];

/// A policy: the certificates of its stores, in DER.
#[derive(Clone, Debug, Default)]
struct Setting {
    ca: Vec<Vec<u8>>,
    authority: Vec<Vec<u8>>,
    tsa: Vec<Vec<u8>>,
    after_cert_expiry_only: bool,
}

impl Setting {
    /// Trusts these as CAs.
    fn of(ca: &[&Certificate]) -> Self {
        Self { ca: ca.iter().map(|ca| ca.der.clone()).collect(), ..Self::default() }
    }
}

/// An envelope under the policy with this number.
#[derive(Debug)]
struct Case {
    setting: usize,
    format: EnvelopeFormat,
    envelope: Vec<u8>,
    /// Of the image's manifest.
    descriptor: Value,
    what: String,
}

/// Policies, and envelopes under them.
#[derive(Debug, Default)]
struct Cases {
    settings: Vec<Setting>,
    cases: Vec<Case>,
}

impl Cases {
    /// Under the policy that was added last.
    fn add(&mut self, format: EnvelopeFormat, envelope: Vec<u8>, what: impl Into<String>) {
        let (setting, descriptor) = (self.settings.len() - 1, notation::descriptor(IMAGE));
        self.cases.push(Case { setting, format, envelope, descriptor, what: what.into() });
    }

    /// Compares all verdicts. `sound` are the fewest that both must accept.
    #[track_caller]
    fn compare(&self, sound: usize) {
        let Some(theirs) = judge(&self.settings, &self.cases) else { return };
        assert_eq!(theirs.len(), self.cases.len());
        let mut verdicts = Verdicts::default();
        for (case, theirs) in self.cases.iter().zip(theirs) {
            let setting = &self.settings[case.setting];
            let describe = || {
                let anchors = setting.ca.iter().chain(&setting.authority).map(|der| STANDARD.encode(der));
                let anchors: Vec<_> = anchors.collect();
                let envelope = STANDARD.encode(&case.envelope);
                format!("{}: {:?} {} {envelope}\nanchors {anchors:?}", case.what, case.format, case.descriptor)
            };
            verdicts.add(ours(setting, case), theirs, describe);
        }
        verdicts.check(LENIENT, STRICTER);
        assert!(verdicts.both_accept >= sound, "{} are sound", verdicts.both_accept);
        assert!(verdicts.both_refuse >= self.cases.len() / 4, "{} are not", verdicts.both_refuse);
    }
}

fn ours(setting: &Setting, case: &Case) -> Result<(), String> {
    let read = |store: &[Vec<u8>]| {
        let store = store.iter().map(|file| read_store_file(file)).collect::<Result<Vec<_>, _>>();
        store.map(|store| store.concat()).map_err(|error| format!("trust store: {error}"))
    };
    let tsa = if setting.tsa.is_empty() { None } else { Some(read(&setting.tsa)?) };
    let stores = TrustStores::new(read(&setting.ca)?, read(&setting.authority)?, tsa);
    let (lists, metadata, identities) =
        (RevocationLists::none(), BTreeMap::new(), [Identity::parse(IDENTITY).unwrap()]);
    let requirement = Requirement {
        stores: &stores,
        identities: &identities,
        after_cert_expiry_only: setting.after_cert_expiry_only,
        revocation: Revocation::Strict(&lists),
        metadata: &metadata,
        effort: Effort::UNLIMITED,
    };
    let digest = case.descriptor["digest"].as_str().and_then(|text| text.strip_prefix("sha256:"));
    let image = SignedImage {
        digest: Sha256::from_hex(digest.unwrap()).unwrap(),
        media_type: case.descriptor["mediaType"].as_str().unwrap(),
        size: case.descriptor["size"].as_u64().unwrap(),
    };
    let envelope = Envelope::read(Sha256::of(b"manifest"), case.format, &case.envelope);
    let envelope = envelope.map_err(|reason| reason.to_string())?;
    let now = Timestamp::now();
    let signer = requirement.signer_of(image, &envelope, now).map(drop).map_err(|reason| reason.to_string());
    assert_eq!(signer.is_ok(), requirement.verify(image, &[&envelope], now).is_ok());
    signer
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Signers and their policies: one for each kind of key, and one of an authority's scheme.
fn signers() -> Vec<(Vec<Certificate>, Setting)> {
    let kinds = [Kind::P256, Kind::P256, Kind::P384, Kind::Rsa(2048), Kind::Rsa(3072)];
    let chain = |(index, kind): (usize, Kind)| {
        let chain = match index {
            0 => vec![Spec::leaf("builder", kind).self_signed()],
            _ => notation::chain(kind, Kind::P256),
        };
        let root = chain.last().unwrap();
        let setting = Setting { authority: vec![root.der.clone()], ..Setting::of(&[root]) };
        (chain, setting)
    };
    kinds.into_iter().enumerate().map(chain).collect()
}

fn jws(chain: &[Certificate], random: &mut Random) -> Jws {
    let mut jws = Jws::new(IMAGE, chain);
    if random.once_in(4) {
        jws = jws.by_authority(now() - 60);
    }
    if random.once_in(3) {
        jws = jws.expires(now() + random.pick(&[86_400, 86_400, 3600, -3600]));
    }
    if random.once_in(3) {
        jws.payload["targetArtifact"]["annotations"] = json!({"build": "42", "line": "1"});
    }
    jws
}

fn cose(chain: &[Certificate], random: &mut Random) -> Cose {
    let mut cose = Cose::new(IMAGE, chain);
    let mut critical = vec![Cbor::text("io.cncf.notary.signingScheme")];
    if random.once_in(4) {
        cose.protected.retain(|(label, _)| *label != Cbor::text("io.cncf.notary.signingTime"));
        cose.set(Cbor::text("io.cncf.notary.signingScheme"), Cbor::text("notary.x509.signingAuthority"));
        cose.set(Cbor::text("io.cncf.notary.authenticSigningTime"), Cbor::time(now() - 60));
        critical.push(Cbor::text("io.cncf.notary.authenticSigningTime"));
    }
    if random.once_in(3) {
        cose.set(Cbor::text("io.cncf.notary.expiry"), Cbor::time(now() + random.pick(&[86_400, 86_400, 3600, -3600])));
        critical.push(Cbor::text("io.cncf.notary.expiry"));
    }
    cose.set(Cbor::Integer(2), Cbor::Array(critical));
    cose
}

/// Headers and payloads that were changed before they were signed, and envelopes that were changed after.
#[test]
fn envelopes_in_jws() {
    let mut random = Random::new(1);
    let mut cases = Cases::default();
    for (chain, setting) in signers() {
        cases.settings.push(setting);
        for _ in 0..rounds(400) {
            let sound = jws(&chain, &mut random);
            let (envelope, what) = match random.below(8) {
                0 => (sound.bytes(), "sound"),
                1 | 2 => {
                    let text = Json::of(&sound.protected).changed(&[], &mut random);
                    (sound.edit(|jws| jws.protected_text = Some(text)).bytes(), "protected headers")
                }
                3 | 4 => {
                    let text = Json::of(&sound.payload).changed(&[], &mut random);
                    (sound.edit(|jws| jws.payload_bytes = Some(text.into_bytes())).bytes(), "payload")
                }
                5 => (bytes::changed(&sound.bytes(), &mut random), "bytes"),
                6 => {
                    // What is signed, and not the signature over it.
                    let mut value = sound.value();
                    let part = random.pick(&["protected", "payload"]);
                    let text = URL_SAFE_NO_PAD.decode(value[part].as_str().unwrap()).unwrap();
                    let changed = Json::read(&text).changed(&[], &mut random);
                    value[part] = URL_SAFE_NO_PAD.encode(changed).into();
                    (value.to_string().into_bytes(), "unsigned change")
                }
                _ => {
                    let other = jws(&chain, &mut random).value();
                    let others = [Json::of(&other)];
                    let others: Vec<&Json> = if random.once_in(2) { others.iter().collect() } else { Vec::new() };
                    (Json::of(&sound.value()).changed(&others, &mut random).into_bytes(), "envelope")
                }
            };
            cases.add(EnvelopeFormat::Jws, envelope, what);
        }
    }
    cases.compare(300);
}

#[test]
fn envelopes_in_cose() {
    let mut random = Random::new(2);
    let mut cases = Cases::default();
    for (chain, setting) in signers() {
        cases.settings.push(setting);
        for _ in 0..rounds(400) {
            let sound = cose(&chain, &mut random);
            let (envelope, what) = match random.below(8) {
                0 => (sound.bytes(), "sound"),
                1..=3 => {
                    let headers = cbor::changed(&Cbor::Map(sound.protected.clone()), &mut random);
                    (sound.edit(|cose| cose.protected_bytes = Some(headers)).bytes(), "protected headers")
                }
                4 => {
                    let text = Json::of(&sound.payload).changed(&[], &mut random);
                    (sound.edit(|cose| cose.payload_bytes = Some(text.into_bytes())).bytes(), "payload")
                }
                5 => (bytes::changed(&sound.bytes(), &mut random), "bytes"),
                _ => (cbor::changed(&sound.tree(), &mut random), "envelope"),
            };
            cases.add(EnvelopeFormat::Cose, envelope, what);
        }
    }
    cases.compare(300);
}

/// Chains in which something is wrong, and everything is signed.
#[test]
fn chains() {
    let mut random = Random::new(3);
    let mut cases = Cases::default();
    for _ in 0..rounds(800) {
        let (chain, anchor) = certificates::chain(now(), &mut random);
        cases.settings.push(Setting::of(&[&chain[anchor]]));
        if random.once_in(2) {
            cases.add(EnvelopeFormat::Jws, Jws::new(IMAGE, &chain).bytes(), "chain");
        } else {
            cases.add(EnvelopeFormat::Cose, Cose::new(IMAGE, &chain).bytes(), "chain");
        }
    }
    cases.compare(100);
}

/// Time stamps of signatures whose certificates are no longer in date, or still are.
#[test]
fn time_stamps() {
    const TOKEN: &str = "io.cncf.notary.timestampSignature";
    let mut random = Random::new(5);
    let mut cases = Cases::default();
    for _ in 0..rounds(500) {
        let authority = timestamp::authority(&mut random);
        let mut leaf = Spec::leaf("builder", Kind::P256);
        // 2026, June and July; or still in date.
        (leaf.not_before, leaf.not_after) = (1_780_272_000, 1_785_542_400);
        if random.once_in(3) {
            leaf.not_after = 2_208_988_800;
        }
        let root = Spec::ca("Plant Root", Kind::P256).self_signed();
        let chain = [leaf.signed_by(&root), root.clone()];
        let tsa = vec![authority.root.der.clone()];
        let after_cert_expiry_only = random.once_in(2);
        cases.settings.push(Setting { tsa, after_cert_expiry_only, ..Setting::of(&[&root]) });
        let times = [
            "20260615120000Z",
            "20260615120000Z",
            "20260615120000.5Z",
            "20260531235959Z",
            "20260801000001Z",
            "20270615120000Z",
        ];
        let time = random.pick(&times);
        if random.once_in(2) {
            let mut value = Jws::new(IMAGE, &chain).value();
            let signature = URL_SAFE_NO_PAD.decode(value["signature"].as_str().unwrap()).unwrap();
            value["header"][TOKEN] = STANDARD.encode(authority.token(&signature, time, &mut random)).into();
            if random.once_in(20) {
                value["header"].as_object_mut().unwrap().remove(TOKEN);
            }
            cases.add(EnvelopeFormat::Jws, value.to_string().into_bytes(), "time stamp");
        } else {
            let Cbor::Tag(18, mut parts) = Cose::new(IMAGE, &chain).tree() else { panic!() };
            let Cbor::Array(parts) = &mut *parts else { panic!() };
            let Cbor::Bytes(signature) = parts[3].clone() else { panic!() };
            let Cbor::Map(headers) = &mut parts[1] else { panic!() };
            headers.push((Cbor::text(TOKEN), Cbor::Bytes(authority.token(&signature, time, &mut random))));
            cases.add(EnvelopeFormat::Cose, Cbor::Tag(18, Box::new(Cbor::Array(parts.clone()))).encode(), "time stamp");
        }
    }
    cases.compare(60);
}

/// Another image than the one that was signed.
#[test]
fn images() {
    let mut random = Random::new(4);
    let mut cases = Cases::default();
    let (chain, setting) = signers().remove(1);
    cases.settings.push(setting);
    for _ in 0..rounds(300) {
        let is_jws = random.once_in(2);
        let mut artifact = notation::descriptor(IMAGE);
        let (format, envelope) = match is_jws {
            true => (EnvelopeFormat::Jws, Jws::new(IMAGE, &chain).bytes()),
            false => (EnvelopeFormat::Cose, Cose::new(IMAGE, &chain).bytes()),
        };
        match random.below(4) {
            0 => artifact["size"] = (artifact["size"].as_u64().unwrap() ^ 1 << random.below(20)).into(),
            1 => artifact["mediaType"] = random.pick(&["", "a", "application/vnd.oci.image.index.v1+json"]).into(),
            2 => artifact["digest"] = notation::descriptor(b"another")["digest"].clone(),
            _ => {}
        }
        cases.add(format, envelope, "image");
        cases.cases.last_mut().unwrap().descriptor = artifact;
    }
    cases.compare(50);
}
