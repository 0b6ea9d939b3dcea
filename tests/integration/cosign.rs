//! Images that the real cosign has signed, in real registries: Debian's docker-registry behind a token service, which has no
//! referrers API, and a registry that has it. Both are under a private CA.

use std::path::PathBuf;

use portreeve_test_support::cosign as signer;
use serde_json::{Value, json};

use crate::notary::KeyKind;
use crate::pki::Pki;
use crate::plant::{PASSWORD, USER};
use crate::producers::{CosignKey, FORMATS, Format, Producers};
use crate::product::Site;
use crate::registries::{self, RealRegistry};
use crate::review::{assert_allowed, assert_denied, cosign_policy_for, patch, pod, pod_review, review_of};
use crate::token::TokenService;

mod away;
mod hostile;
mod requests;

const ALLOWED: i32 = 0;
const DENIED: i32 = 1;
const UNDECIDED: i32 = 3;

/// The kinds of registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Debian's docker-registry, with tokens and without a referrers API.
    Tokens,
    /// With a referrers API and without sign-in.
    Referrers,
}

const KINDS: [Kind; 2] = [Kind::Tokens, Kind::Referrers];

/// A registry, the programs that sign images in it, and an installation that has the credentials for it.
struct Plant {
    producers: Producers,
    tokens: Option<TokenService>,
    registry: RealRegistry,
    site: Site,
}

impl Plant {
    /// `None` if a program is missing.
    #[track_caller]
    fn new(kind: Kind) -> Option<Self> {
        let pki = Pki::new();
        let producers = Producers::find(&pki)?;
        let site = Site::new(&pki);
        let (tokens, registry) = match kind {
            Kind::Referrers => (None, RealRegistry::with_referrers(&producers)),
            Kind::Tokens if !registries::available() => return None,
            Kind::Tokens => {
                let tokens = TokenService::start(&pki, USER, PASSWORD);
                let registry = RealRegistry::without_referrers(&producers, Some(&tokens));
                producers.sign_in(&registry.host(), USER, PASSWORD);
                site.pull_secret("plant", &registry.host(), USER, PASSWORD);
                (Some(tokens), registry)
            }
        };
        Some(Self { producers, tokens, registry, site })
    }

    /// The name of an image here.
    fn name(&self, path: &str) -> String {
        format!("{}/plant/{path}", self.registry.host())
    }

    /// Pushes an image under the tag `v1` and signs it. Returns `<name>:v1`, and `<name>@<digest>`.
    fn push_signed(&self, path: &str, keys: &[&CosignKey], format: Format) -> (String, String) {
        let (tagged, pinned) = self.push(path);
        for key in keys {
            self.producers.sign(key, &pinned, format);
        }
        (tagged, pinned)
    }

    /// Pushes an image under the tag `v1`. Returns `<name>:v1`, and `<name>@<digest>`.
    fn push(&self, path: &str) -> (String, String) {
        let name = self.name(path);
        let tagged = format!("{name}:v1");
        let digest = self.producers.push(&tagged, path);
        (tagged, format!("{name}@{digest}"))
    }

    /// A policy for all images here.
    fn require(&self, cosign: Value) {
        self.site.policies(&[cosign_policy_for(&self.name("*"), cosign)]);
    }

    /// Reviews a Pod on the command line: exit status and response.
    #[track_caller]
    fn review(&self, image: &str) -> (Option<i32>, Value) {
        let (status, answers) = self.site.answers(&self.pod(image));
        (status, answers[0].clone())
    }

    fn pod(&self, image: &str) -> PathBuf {
        self.site.file("pod.json", &pod(image).to_string())
    }

    #[track_caller]
    fn assert_admitted(&self, image: &str) {
        let (status, answer) = self.review(image);
        assert_eq!(status, Some(ALLOWED), "{answer:#}");
    }

    /// The image is rejected: somebody could say, and said no.
    #[track_caller]
    fn assert_rejected(&self, image: &str, words: &[&str]) {
        let (status, answer) = self.review(image);
        assert_eq!(status, Some(DENIED), "{answer:#}");
        assert_denied(&answer, words);
    }

    /// Nobody could say.
    #[track_caller]
    fn assert_unavailable(&self, image: &str, words: &[&str]) {
        let (status, answer) = self.review(image);
        assert_eq!(status, Some(UNDECIDED), "{answer:#}");
        assert_denied(&answer, words);
    }
}

/// `<name>:v1@<digest>`, as a patch has it, of `<name>@<digest>`.
fn with_tag(pinned: &str) -> String {
    pinned.replacen('@', ":v1@", 1)
}

fn signers(keys: &[&CosignKey]) -> Value {
    keys.iter().map(|key| key.in_policy()).collect()
}

#[test]
fn images_signed_in_both_formats_with_every_kind_of_key_are_pinned() {
    for registry in KINDS {
        let Some(plant) = Plant::new(registry) else { return };
        let mut policies = Vec::new();
        let mut images = Vec::new();
        let kinds = [("p256", KeyKind::P256), ("p384", KeyKind::P384), ("rsa", KeyKind::Rsa2048)];
        for (name, kind) in kinds {
            let key = plant.producers.key(name, kind);
            policies.push(json!({ "name": plant.name(&format!("{name}-*")), "policy": { "cosign": { "signers": [key.in_policy()] } } }));
            for format in FORMATS {
                images.push(plant.push_signed(&format!("{name}-{format:?}").to_lowercase(), &[&key], format));
            }
        }
        let foreign = plant.producers.key("foreign", KeyKind::P256);
        let (by_another, _) = plant.push_signed("p256-by-another", &[&foreign], Format::Bundle);
        let (unsigned, _) = plant.push("p256-unsigned");
        let mut policy = cosign_policy_for("", Value::Null);
        policy["spec"]["repositories"] = policies.into();
        plant.site.policies(&[policy]);

        let serving = plant.site.serve();
        let admit = |image: &String| serving.admit("/admit?timeout=10s", &pod_review(image));
        for (tagged, pinned) in &images {
            let answer = admit(tagged);
            assert_allowed(&answer);
            assert_eq!(patch(&answer)[0]["value"], with_tag(pinned), "{registry:?}");
            // The digest alone needs no patch.
            let answer = admit(pinned);
            assert_allowed(&answer);
            assert_eq!(patch(&answer), Value::Null, "{registry:?} {pinned}");
        }
        let tags: Vec<String> = images.iter().map(|(tagged, _)| tagged.clone()).collect();
        assert_allowed(&serving.admit("/admit?timeout=10s", &review_of(&tags)));
        assert_denied(&admit(&by_another), &["p256-by-another", "is not signed as the policy requires"]);
        assert_denied(&admit(&unsigned), &["p256-unsigned", "is not signed", "cosign sign"]);
    }
}

#[test]
fn as_many_signers_as_the_policy_says_must_have_signed() {
    for registry in KINDS {
        let Some(plant) = Plant::new(registry) else { return };
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| plant.producers.key(name, KeyKind::P256));
        for format in FORMATS {
            let name = |what: &str| format!("{what}-{format:?}").to_lowercase();
            let (by_two, _) = plant.push_signed(&name("two"), &[&alice, &bob], format);
            let (by_one, _) = plant.push_signed(&name("one"), &[&alice, &alice], format);
            plant.require(json!({ "signers": signers(&[&alice, &bob]) }));
            plant.assert_admitted(&by_two);
            plant.assert_rejected(&by_one, &["bob"]);
            plant.require(json!({ "signers": signers(&[&alice, &bob, &carol]), "threshold": 2 }));
            plant.assert_admitted(&by_two);
            plant.assert_rejected(&by_one, &["is not signed as the policy requires"]);
            plant.require(json!({ "signers": signers(&[&alice, &bob, &carol]), "threshold": 1 }));
            plant.assert_admitted(&by_one);
        }
        // One signer signs in each format.
        let (mixed, pinned) = plant.push_signed("mixed", &[&alice], Format::Bundle);
        plant.producers.sign(&bob, &pinned, Format::Old);
        plant.require(json!({ "signers": signers(&[&alice, &bob]) }));
        plant.assert_admitted(&mixed);
    }
}

#[test]
fn annotations_that_the_policy_asks_must_be_signed() {
    let Some(plant) = Plant::new(Kind::Referrers) else { return };
    let alice = plant.producers.key("alice", KeyKind::P256);
    for format in FORMATS {
        let (image, pinned) = plant.push(&format!("line-{format:?}").to_lowercase());
        plant.producers.sign_with(&alice, &pinned, format, &["-a", "line=1", "-a", "other=x"]);
        for (line, admitted) in [("1", true), ("2", false)] {
            plant.require(json!({ "signers": signers(&[&alice]), "annotations": { "line": line } }));
            if admitted {
                plant.assert_admitted(&image);
            } else {
                plant.assert_rejected(&image, &["line"]);
            }
        }
    }
}

/// `cosign verify` accepts such an image: it does not look at what the attestation says.
#[test]
fn an_attestation_is_no_signature() {
    for registry in KINDS {
        let Some(plant) = Plant::new(registry) else { return };
        let alice = plant.producers.key("alice", KeyKind::P256);
        let (image, pinned) = plant.push("attested");
        plant.producers.attest(&alice, &pinned);
        assert!(plant.producers.verifies(&alice, &pinned), "cosign has become stricter");
        plant.require(json!({ "signers": signers(&[&alice]) }));
        plant.assert_rejected(&image, &["plant/attested", "is not signed"]);
        // Beside a signature it does no harm.
        plant.producers.sign(&alice, &pinned, Format::Bundle);
        plant.assert_admitted(&image);
    }
}

#[test]
fn a_signed_index_does_not_release_its_children() {
    for registry in KINDS {
        let Some(plant) = Plant::new(registry) else { return };
        let alice = plant.producers.key("alice", KeyKind::P256);
        plant.require(json!({ "signers": signers(&[&alice]) }));
        for format in FORMATS {
            let name = plant.name(&format!("many-{format:?}").to_lowercase());
            let children = ["amd64", "arm64"].map(|tag| {
                let reference = format!("{name}:{tag}");
                format!("{name}@{}", plant.producers.push(&reference, tag))
            });
            let index = plant.producers.push_index(&format!("{name}:v1"), &[&children[0], &children[1]]);
            plant.producers.sign(&alice, &format!("{name}@{index}"), format);
            plant.assert_admitted(&format!("{name}:v1"));
            plant.assert_admitted(&format!("{name}@{index}"));
            for child in &children {
                plant.assert_rejected(child, &["is not signed"]);
            }
            // A signature of the child is another matter.
            plant.producers.sign(&alice, &children[1], format);
            plant.assert_admitted(&children[1]);
            plant.assert_rejected(&children[0], &["is not signed"]);
        }
    }
}

#[test]
fn a_tag_that_moves_counts_as_soon_as_the_registry_is_asked() {
    for registry in KINDS {
        let Some(mut plant) = Plant::new(registry) else { return };
        plant.site.config["trust"]["refreshAfter"] = json!("0s");
        let alice = plant.producers.key("alice", KeyKind::P256);
        plant.require(json!({ "signers": signers(&[&alice]) }));
        let (tagged, first) = plant.push_signed("plc", &[&alice], Format::Bundle);
        let (_, second) = plant.push_signed("plc2", &[&alice], Format::Old);
        let second = second.split_once('@').unwrap().1.to_owned();
        let serving = plant.site.serve();
        let admit = || serving.admit("/admit?timeout=10s", &pod_review(&tagged));
        assert_eq!(patch(&admit())[0]["value"], with_tag(&first));
        // To an image that nobody signed.
        plant.producers.push(&tagged, "somebody else's");
        assert_denied(&admit(), &["is not signed"]);
        // To another that alice signed: the new digest is verified before it is in the patch.
        plant.producers.crane(&["copy", &format!("{}@{second}", plant.name("plc2")), &tagged]);
        let answer = admit();
        assert_denied(&answer, &["is not signed"]); // its signatures are in the other repository
        let pinned = format!("{}@{second}", plant.name("plc"));
        plant.producers.sign(&alice, &pinned, Format::Bundle);
        std::thread::sleep(std::time::Duration::from_secs(2)); // a rejection is remembered for so long
        assert_eq!(patch(&admit())[0]["value"], with_tag(&pinned));
        // And back.
        plant.producers.tag(&first, "v1");
        assert_eq!(patch(&admit())[0]["value"], with_tag(&first));
    }
}

/// The names of a fleet's images need not change where the registry has another address, or a mirror.
#[test]
fn an_endpoint_stands_for_a_registry() {
    let Some(mut plant) = Plant::new(Kind::Tokens) else { return };
    let alice = plant.producers.key("alice", KeyKind::P256);
    let (_, pinned) = plant.push("plc");
    let digest = pinned.split_once('@').unwrap().1;
    let identity = ["--sign-container-identity", "registry.local:9001/plant/plc"];
    plant.producers.sign_with(&alice, &pinned, Format::Old, &identity);
    plant.site.config["registries"] = json!({ "endpoints": { "registry.local:9001": plant.registry.url() } });
    plant.site.pull_secret("plant", "registry.local:9001", USER, PASSWORD);
    let require = |same_repository: bool| {
        let cosign = json!({ "signers": signers(&[&alice]), "sameRepository": same_repository });
        plant.site.policies(&[cosign_policy_for("registry.local:9001/plant/*", cosign)]);
    };
    for same_repository in [true, false] {
        require(same_repository);
        let (status, answer) = plant.review("registry.local:9001/plant/plc:v1");
        assert_eq!(status, Some(ALLOWED), "{answer:#}");
        assert_eq!(patch(&answer)[0]["value"], format!("registry.local:9001/plant/plc:v1@{digest}"));
    }
    // The same image under the name of a mirror was signed as another's.
    require(true);
    plant.producers.crane(&["copy", &pinned, &format!("{}:v1", plant.name("copy"))]);
    let hex = digest.trim_start_matches("sha256:");
    let signature = |name: &str| format!("{}:sha256-{hex}.sig", plant.name(name));
    plant.producers.crane(&["copy", &signature("plc"), &signature("copy")]);
    plant.assert_rejected("registry.local:9001/plant/copy:v1", &["registry.local:9001/plant/plc"]);
    require(false);
    assert_eq!(plant.review("registry.local:9001/plant/copy:v1").0, Some(ALLOWED));
    assert!(plant.tokens.as_ref().unwrap().issued() > 0);
}

/// Wrong credentials, or none, are no word about the image.
#[test]
fn a_registry_that_refuses_the_credentials_says_nothing_about_the_image() {
    let Some(plant) = Plant::new(Kind::Tokens) else { return };
    let alice = plant.producers.key("alice", KeyKind::P256);
    let (image, pinned) = plant.push_signed("plc", &[&alice], Format::Bundle);
    plant.require(json!({ "signers": signers(&[&alice]) }));
    plant.assert_admitted(&image);
    std::fs::remove_dir_all(plant.site.config["trust"]["cache"].as_str().unwrap()).unwrap();
    plant.site.pull_secret("plant", &plant.registry.host(), USER, "wrong");
    plant.assert_unavailable(&image, &[&plant.registry.url()]);
    plant.assert_unavailable(&pinned, &[&plant.registry.url()]);
}

/// What our own signer writes counts for cosign, and what cosign writes counts for us: both are one format.
#[test]
fn our_own_signer_writes_what_cosign_writes() {
    let Some(plant) = Plant::new(Kind::Referrers) else { return };
    let key = signer::Key::p256();
    let public = plant.site.file("own.pub", &key.public_pem());
    let (_, pinned) = plant.push("plc");
    let manifest = plant.producers.crane(&["manifest", &pinned]);
    let image = signer::Image::new(manifest.as_bytes());
    assert!(pinned.ends_with(&image.digest()), "{pinned}");
    let bundle = signer::Bundle::dsse(&signer::Statement::new(&image).bytes(), &key).bytes();
    let bundle = plant.site.file("bundle.json", std::str::from_utf8(&bundle).unwrap());
    let digest = image.digest();
    let args = ["verify-blob-attestation", "--insecure-ignore-tlog", "--check-claims=true", "--type"];
    let kind = "https://sigstore.dev/cosign/sign/v1";
    let rest = ["--key", public.to_str().unwrap(), "--bundle", bundle.to_str().unwrap()];
    let hex = digest.trim_start_matches("sha256:");
    let subject = ["--digest", hex, "--digestAlg", "sha256"];
    plant.producers.cosign(&[&args[..], &[kind], &rest, &subject].concat());
}
