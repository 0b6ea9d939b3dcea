//! Images that the real cosign has signed with identities and in a transparency log, by a site's own Sigstore instance of real
//! programs. Before anything is judged, the whole instance has ended.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::mount::Mount;
use crate::notary::KeyKind;
use crate::pki::Pki;
use crate::producers::Producers;
use crate::product::Site;
use crate::registries::{self, RealRegistry};
use crate::review::{assert_denied, patch, pod, policy_of};
use crate::sigstore::{Instance, Services};

mod forged;
mod own_signer;
mod page;
mod pushed;
mod running;
mod stick;

const BUILD: &str = "build.yml";
const OTHER: &str = "other.yml";
const ALICE: &str = "alice@plant.example";

/// A registry, an instance of Sigstore, and an installation that has the instance's trusted root.
struct Plant {
    producers: Arc<Producers>,
    registry: RealRegistry,
    instance: Instance,
    site: Site,
}

impl Plant {
    /// `None` if a program is missing.
    #[track_caller]
    fn new(has_referrers: bool, has_certificate_log: bool) -> Option<Self> {
        let pki = Pki::new();
        let producers = Arc::new(Producers::find(&pki)?);
        if !has_referrers && !registries::available() {
            return None;
        }
        let instance = Instance::start(&producers, has_certificate_log)?;
        let registry = match has_referrers {
            true => RealRegistry::with_referrers(&producers),
            false => RealRegistry::without_referrers(&producers, None),
        };
        let mut site = Site::new(&pki);
        site.config["sigstore"] = json!({ "trustedRoots": site.files().join("roots") });
        let plant = Self { producers, registry, instance, site };
        plant.trust(plant.instance.trusted_root());
        Some(plant)
    }

    /// Pushes an image under the tag `v1`. Returns `<name>:v1`, and `<name>@<digest>`.
    fn push(&self, path: &str) -> (String, String) {
        let name = format!("{}/plant/{path}", self.registry.host());
        let tagged = format!("{name}:v1");
        let digest = self.producers.push(&tagged, path);
        (tagged, format!("{name}@{digest}"))
    }

    /// The site's trusted root `plant`.
    fn trust(&self, root: &Value) {
        self.mount(&[("plant.json", &root.to_string())]);
    }

    /// Replaces all files of the directory of trusted roots.
    fn mount(&self, files: &[(&str, &str)]) {
        Mount::at(self.site.files().join("roots")).swap(files);
    }

    /// The instance's trusted root, changed.
    fn root(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut root = self.instance.trusted_root().clone();
        change(&mut root);
        root
    }

    /// A policy for all images here.
    fn require(&self, cosign: Value) {
        self.site.policies(&[policy_of(&format!("{}/plant/*", self.registry.host()), json!({ "cosign": cosign }))]);
    }

    /// The identity of a build, as a policy has it.
    fn build(&self, workflow: &str) -> Value {
        json!({ "name": "build", "issuer": self.instance.builds.url(), "subject": self.instance.subject_of(workflow) })
    }

    /// The identity of a person.
    fn person(&self, address: &str) -> Value {
        json!({ "name": "alice", "issuer": self.instance.people.url(), "subject": address })
    }

    /// Signers under the trusted root.
    fn signers(&self, signers: &[Value]) -> Value {
        json!({ "signers": signers, "trustedRoot": "plant" })
    }

    /// Reviews a Pod on the command line: exit status and response.
    #[track_caller]
    fn review(&self, image: &str) -> (Option<i32>, Value) {
        let (status, answers) = self.site.answers(&self.site.file("pod.json", &pod(image).to_string()));
        (status, answers[0].clone())
    }

    /// The image is admitted, and pinned to this digest.
    #[track_caller]
    fn assert_admitted(&self, (tagged, pinned): &(String, String)) {
        let (status, answer) = self.review(tagged);
        assert_eq!(status, Some(0), "{answer:#}");
        assert_eq!(patch(&answer)[0]["value"], pinned.replacen('@', ":v1@", 1));
    }

    /// The image is rejected, with these words.
    #[track_caller]
    fn assert_rejected(&self, (tagged, _): &(String, String), words: &[&str]) {
        let (status, answer) = self.review(tagged);
        assert_eq!(status, Some(1), "{answer:#}");
        assert_denied(&answer, words);
    }
}

/// A build and a person sign, in both kinds of registry, and nothing that signed is there any more when Portreeve decides. For each
/// image cosign itself says the same.
#[test]
fn images_that_identities_have_signed_are_pinned_without_any_service() {
    for has_referrers in [true, false] {
        let Some(mut plant) = Plant::new(has_referrers, true) else { return };
        let [build, other, person, unlogged, unsigned] =
            ["build", "other", "person", "unlogged", "unsigned"].map(|path| plant.push(path));
        plant.instance.sign_as_build(BUILD, &build.1, Services::All);
        plant.instance.sign_as_build(OTHER, &other.1, Services::All);
        plant.instance.sign_as_person(ALICE, &person.1);
        plant.instance.sign_as_build(BUILD, &unlogged.1, Services::Unlogged);
        plant.instance.stop();

        let (root, issuer) = (plant.instance.trusted_root(), plant.instance.builds.url());
        let subject = plant.instance.subject_of(BUILD);
        let says = |image: &(String, String)| plant.instance.is_verified_by_cosign(root, &issuer, &subject, &image.1);
        assert_eq!([&build, &other, &person, &unsigned].map(says), [true, false, false, false]);

        plant.require(plant.signers(&[plant.build(BUILD)]));
        plant.assert_admitted(&build);
        plant.assert_rejected(&other, &["it is not signed by build; ", &plant.instance.subject_of(OTHER), &issuer]);
        plant.assert_rejected(&person, &["it is not signed by build; ", ALICE]);
        plant.assert_rejected(&unlogged, &["no entry of a transparency log"]);
        plant.assert_rejected(&unsigned, &["is not signed"]);

        plant.require(plant.signers(&[plant.person(ALICE)]));
        plant.assert_admitted(&person);
        plant.assert_rejected(&build, &["it is not signed by alice; ", &subject]);
        // A star stands for any characters, and the rest must be there from the first to the last.
        let named = |subject: &str| json!({ "name": "build", "issuer": issuer, "subject": subject });
        plant.require(plant.signers(&[named("https://git.plant.example/line-1/plc/*@refs/heads/main")]));
        plant.assert_admitted(&build);
        plant.assert_admitted(&other);
        for part in ["git.plant.example/line-1/plc/*", "https://git.plant.example/line-1/plc/build.yml@refs/heads/*/x"]
        {
            plant.require(plant.signers(&[named(part)]));
            plant.assert_rejected(&build, &["it is not signed by build; ", &subject]);
        }
        // The same subject by another issuer.
        let stranger = json!({ "name": "build", "issuer": plant.instance.people.url(), "subject": subject });
        plant.require(plant.signers(&[stranger]));
        plant.assert_rejected(&build, &["it is not signed by build; ", &issuer]);
    }
}

/// Keys: the log counts where the policy says so.
#[test]
fn a_key_needs_the_log_only_where_the_policy_says_so() {
    let Some(mut plant) = Plant::new(true, true) else { return };
    let key = plant.producers.key("release", KeyKind::P256);
    let [logged, unlogged, both] = ["logged", "unlogged", "both"].map(|path| plant.push(path));
    plant.instance.sign_with_key(&key, &logged.1, Services::All);
    plant.instance.sign_with_key(&key, &unlogged.1, Services::Unlogged);
    plant.instance.sign_with_key(&key, &both.1, Services::All);
    plant.instance.sign_as_build(BUILD, &both.1, Services::All);
    plant.instance.stop();

    plant.require(json!({ "signers": [key.in_policy()] }));
    plant.assert_admitted(&logged);
    plant.assert_admitted(&unlogged);
    let mut required = plant.signers(&[key.in_policy()]);
    required["transparencyLog"] = json!("required");
    plant.require(required.clone());
    plant.assert_admitted(&logged);
    plant.assert_rejected(&unlogged, &["no entry of a transparency log"]);
    // A root that does not know the log.
    plant.trust(&plant.root(|root| root["tlogs"] = json!([])));
    plant.assert_rejected(&logged, &["the trusted root of ", "knows no log "]);
    plant.trust(plant.instance.trusted_root());

    // A key and an identity, each a signer.
    let two = plant.signers(&[key.in_policy(), plant.build(BUILD)]);
    plant.require(two.clone());
    plant.assert_admitted(&both);
    plant.assert_rejected(&logged, &["1 of 2 signers", "not by build"]);
    let mut one = two;
    one["threshold"] = json!(1);
    plant.require(one);
    plant.assert_admitted(&both);
    plant.assert_admitted(&logged);
    let alternatives = json!({ "anyOf": [
        { "cosign": { "signers": [plant.producers.key("other", KeyKind::P256).in_policy()] } },
        { "cosign": plant.signers(&[plant.build(BUILD)]) },
    ] });
    plant.site.policies(&[policy_of(&format!("{}/plant/*", plant.registry.host()), alternatives)]);
    plant.assert_admitted(&both);
    plant.assert_rejected(&logged, &[]);
}

/// A certificate log, and Fulcio without one.
#[test]
fn certificates_must_be_in_a_certificate_log_unless_the_policy_does_without() {
    for has_certificate_log in [true, false] {
        let Some(mut plant) = Plant::new(true, has_certificate_log) else { return };
        let image = plant.push("plc");
        plant.instance.sign_as_build(BUILD, &image.1, Services::All);
        plant.instance.stop();
        let mut cosign = plant.signers(&[plant.build(BUILD)]);
        plant.require(cosign.clone());
        match has_certificate_log {
            true => {
                plant.assert_admitted(&image);
                // A root that does not know the certificate log.
                plant.trust(&plant.root(|root| root["ctlogs"] = json!([])));
                plant.assert_rejected(&image, &["the trusted root of ", "knows no certificate log "]);
            }
            false => plant.assert_rejected(&image, &["no promise of a certificate log (SCT)"]),
        }
        cosign["certificateTransparency"] = json!("ignored");
        plant.require(cosign);
        plant.assert_admitted(&image);
    }
}

/// Each part of a trusted root counts from its start to its end, whatever time it is now.
#[test]
fn a_part_of_the_trusted_root_that_had_ended_does_not_count() {
    let Some(mut plant) = Plant::new(true, true) else { return };
    let image = plant.push("plc");
    plant.instance.sign_as_build(BUILD, &image.1, Services::All);
    plant.instance.stop();
    plant.require(plant.signers(&[plant.build(BUILD)]));
    plant.assert_admitted(&image);
    for list in ["tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"] {
        let valid_for = |root: &mut Value, value: Value| match list {
            "tlogs" | "ctlogs" => root[list][0]["publicKey"]["validFor"] = value,
            _ => root[list][0]["validFor"] = value,
        };
        let ended = json!({ "start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z" });
        plant.trust(&plant.root(|root| valid_for(root, ended)));
        plant.assert_rejected(&image, &[]);
        let not_yet = json!({ "start": "2096-01-01T00:00:00Z" });
        plant.trust(&plant.root(|root| valid_for(root, not_yet)));
        plant.assert_rejected(&image, &[]);
        plant.trust(&plant.root(|root| root[list] = json!([])));
        plant.assert_rejected(&image, &[]);
    }
    plant.trust(plant.instance.trusted_root());
    plant.assert_admitted(&image);
}
