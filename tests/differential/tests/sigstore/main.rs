//! Sigstore: bundles and trusted roots that were changed, through the verifier of the Sigstore project in Rust and through ours.
//! Never do we accept what it refuses, but for `LENIENT`. Where we refuse what it accepts, `STRICTER` says why.
//!
//! The bundles are that of tests/fuzz, and the cases of sigstore-conformance if they are beside the checkout.

mod theirs;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portreeve_differential::json::Json;
use portreeve_differential::random::{Random, rounds};
use portreeve_differential::verdicts::Verdicts;
use portreeve_test_support::cosign::Image;
use portreeve_verify::image::Sha256;
use portreeve_verify::sigstore::{
    Identity, Requirement, Signature, SignedBy, SignedImage, Signer, SigstoreKey, TrustedRoot,
};

use theirs::theirs;

/// What sigstore-verify refuses and we accept: a part of its words, and why that is no fault.
const LENIENT: &[(&str, &str)] = &[
    (
        "missing field",
        "a field that says nothing: kindVersion and rootHash, which the log has signed elsewhere, and addresses",
    ),
    ("invalid type", "a field that is not read here has another type"),
    ("unsupported Rekor entry format", "the entry's own kind and version count, which the log has signed"),
    ("expected struct WireKindVersion", "the same"),
    ("trailing characters", "the same, where kind and version are a list"),
    ("Invalid hash algorithm", "each log has one algorithm here"),
    ("duplicate trusted log ID", "each log of this ID is tried"),
    ("must have an inclusion promise", "the proof that is there says more"),
    ("Invalid checkpoint format", "lines that are not the log's are passed over, whatever they are"),
    ("is incompatible with a", "the entry's own kind counts, which the log has signed"),
    ("a time stamp beside a promise", "what does not verify gives no time, and the log has given one"),
    (
        "a time stamp by a part of the chain",
        "the trusted root still names the signer or its CA, in another order or as the only one, and nobody else",
    ),
    ("failed to convert civil datetime", "an end beyond the last time that jiff has is no end"),
    ("trusted validity window ends before it starts", "such an instance is never in force"),
];

/// What we refuse and sigstore-verify accepts: a part of our words, and why.
const STRICTER: &[(&str, &str)] = &[
    (
        "a number of the log's entry is negative, or is no number",
        "each number must be one, also one that is not needed",
    ),
    ("it has the same entry of a log twice", "row 84"),
    ("it has the same time stamp twice", "the same for time stamps"),
    ("\"verificationMaterial\" has no", "a bundle says by what kind of key it is"),
    ("the bundle has no \"messageDigest\"", "it is a part of each message signature"),
    ("an object with the same key twice", "readers disagree which one counts"),
    ("a number that is not an integer", "numbers are integers"),
    ("a field that is not base", "stray bits behind the last byte, or another alphabet"),
    ("has no inclusion proof", "row 70: sigstore-verify takes the log's promise alone in old bundles"),
    ("\"mediaType\" is not there", "row 66"),
    (
        "the inclusion proof is about another place in the log",
        "an entry of Rekor 2 has one number, which cosign compares as well",
    ),
    ("the inclusion proof does not lead to the root", "the number in the proof is another than in the whole log"),
    ("the inclusion proof is about another place", "the same, of Rekor 2"),
    ("the inclusion proof has a hash that is not", "the same"),
    (
        "the inclusion proof is not about the tree of its checkpoint",
        "the number of entries of the checkpoint counts (row 81)",
    ),
    ("knows no log", "the ID of the log stands in the bundle and in the trusted root, and both must say the same"),
    ("knows no certificate log", "the same"),
    (
        "the log has not signed the checkpoint",
        "the name in the line of the log's signature is the log's (C2SP, signed-note)",
    ),
    ("the log's checkpoint is not an origin", "a line without its end"),
    ("no authority of the trusted root has issued", "each certificate of the chain must be signed by the next one"),
    ("the algorithm of \"messageDigest\"", "the name of an enum has one spelling"),
    ("trusted root: ", "the site's own file: a mistake in it is said, and not passed over"),
];

/// Whose signature counts.
enum By {
    Identity { issuer: String, subject: String },
    Key { pem: String },
}

/// A bundle and what it is verified by.
struct Case {
    name: String,
    artifact: Vec<u8>,
    bundle: String,
    root: String,
    by: By,
}

fn ours(case: &Case, bundle: &str, root: &str) -> Result<(), String> {
    let root = TrustedRoot::read(root.as_bytes()).map_err(|error| format!("trusted root: {error}"))?;
    let root = Arc::new(root);
    let by = match &case.by {
        By::Identity { issuer, subject } => SignedBy::Identity(Identity::new(issuer, subject).unwrap()),
        By::Key { pem } => SignedBy::Key(SigstoreKey::from_pem(pem).map_err(|error| format!("key: {error}"))?),
    };
    let (signers, annotations) = ([Signer { name: "signer".to_owned(), by }], BTreeMap::new());
    let common = Requirement::new(&signers, &annotations);
    let requirement = Requirement { trusted_root: Some(&root), log_required: true, now: 1_796_083_200, ..common };
    let digest = Sha256::of(&case.artifact);
    let signature = Signature::from_attestation(digest, bundle.as_bytes().to_vec());
    let signature = signature.map_err(|reason| reason.to_string())?;
    let image = SignedImage { digest, manifest: Some(&case.artifact) };
    let result = requirement.signers_of(image, &signature).map(drop).map_err(|reason| reason.to_string());
    assert_eq!(result.is_ok(), requirement.verify(image, &[&signature]).is_ok());
    result
}

/// The bundle of tests/fuzz: by an identity, with an entry of a log, a time stamp and a list of certificates.
fn own() -> Case {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fixtures");
    let read = |name: &str| fs::read_to_string(fixtures.join(name)).unwrap();
    Case {
        name: "tests/fuzz".to_owned(),
        artifact: Image::new(b"the manifest of the fuzz targets").manifest,
        bundle: read("keyless.json"),
        root: read("trusted_root.json"),
        by: By::Identity {
            issuer: "https://issuer.plant.example".to_owned(),
            subject: "https://git.plant.example/line-1/build.yml@refs/heads/main".to_owned(),
        },
    }
}

/// The cases of sigstore-conformance, if they are beside the checkout or beside one of the directories that it is in.
fn conformance() -> Vec<Case> {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|up| up.join("shared/vectors"));
    let Some(vectors) = above.find(|vectors| vectors.is_dir()) else {
        println!("there is no shared/vectors beside the checkout: the bundle of tests/fuzz alone is changed");
        return Vec::new();
    };
    let cases = vectors.join("sigstore-conformance");
    let mut folders: Vec<PathBuf> = fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    let case = |folder: &PathBuf| {
        let own = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let common = |name: &str| fs::read_to_string(cases.join(name)).unwrap();
        let text = |name: &str, usual: &str| own(name).map_or(usual.to_owned(), |text| text.trim_end().to_owned());
        Case {
            name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
            artifact: fs::read(folder.join("artifact")).unwrap_or_else(|_| common("a.txt").into_bytes()),
            bundle: own("bundle.sigstore.json").unwrap(),
            root: own("trusted_root.json").unwrap_or_else(|| common("public-good-trusted-root.json")),
            by: match own("key.pub") {
                Some(pem) => By::Key { pem },
                None => By::Identity { issuer: text("issuer", ISSUER), subject: text("identity", IDENTITY) },
            },
        }
    };
    folders.iter().map(case).collect()
}

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// A bundle by an identity or by a key that is in a log, or its trusted root, with one or two changes.
#[test]
fn bundles_and_trusted_roots() {
    let mut random = Random::new(11);
    let mut verdicts = Verdicts::default();
    let cases: Vec<Case> = [vec![own()], conformance()].into_iter().flatten().collect();
    let mut sound = Vec::new();
    for case in &cases {
        let (ours, theirs) = (ours(case, &case.bundle, &case.root), theirs(case, &case.bundle, &case.root));
        assert_eq!(ours.is_ok(), !case.name.ends_with("_fail"), "{}: {ours:?}", case.name);
        match theirs {
            Ok(()) if ours.is_ok() => sound.push(case),
            Ok(()) => panic!("{}: we alone refuse: {ours:?}", case.name),
            // It has a time stamp that the trusted root does not vouch for, and that a key does not need.
            Err(_) if case.name == "managed-key-happy-path" => {}
            Err(theirs) => assert!(ours.is_err(), "{}: we alone accept: {theirs}", case.name),
        }
    }
    let tree = |text: &String| Json::read(text.as_bytes());
    let bundles: Vec<Json> = sound.iter().map(|case| tree(&case.bundle)).collect();
    let roots: Vec<Json> = sound.iter().map(|case| tree(&case.root)).collect();
    for _ in 0..rounds(1500) {
        let at = random.below(sound.len());
        let is_mixed = random.once_in(2);
        let case = sound[at];
        let (mut bundle, mut root) = (case.bundle.clone(), case.root.clone());
        let is_root = random.once_in(4);
        let all = if is_root { &roots } else { &bundles };
        let others: Vec<&Json> = if is_mixed { all.iter().collect() } else { Vec::new() };
        let changed = all[at].changed(&others, &mut random);
        if is_root {
            root = changed
        } else {
            bundle = changed
        }
        let describe =
            || format!("{}, is_root {is_root}\n    {}\n    {}", case.name, one_line(&bundle), one_line(&root));
        verdicts.add(ours(case, &bundle, &root), theirs(case, &bundle, &root), describe);
    }
    verdicts.check(LENIENT, STRICTER);
    assert!(verdicts.both_accept >= 50 && verdicts.both_refuse >= 300, "{verdicts:?}");
}

fn one_line(text: &str) -> String {
    text.replace(char::is_whitespace, " ")
}
