//! `portreeve export --image`: writes the signatures of images to an OCI image layout, for `registries.signatures` of a site
//! without a registry.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::ExportError;
use super::layout::{Entry, LayoutWriter};
use crate::base::clock;
use crate::base::context::Deadline;
use crate::commands::check::certificates::Certificates;
use crate::commands::setup::standalone_engine;
use crate::commands::{ExitStatus, check, complain, print};
use crate::config::Config;
use crate::schemes::image_signatures::Requirement;
use crate::schemes::image_signatures::export::{Export, ExportRequest, Signatures};
use crate::schemes::{Refusal, notation};
use portreeve_verify::Effort;
use portreeve_verify::image::Reference;
use portreeve_verify::sigstore;
use portreeve_verify::text::printable;

/// The arguments.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::commands) struct WantedImages {
    /// The images.
    pub(in crate::commands) images: Vec<String>,
    /// Files with public keys, each of which must have signed each image.
    pub(in crate::commands) keys: Vec<PathBuf>,
    /// The trusted root and the identity of certificates.
    pub(in crate::commands) certificates: Option<Certificates>,
    /// Trust stores under which Notation signatures are written.
    pub(in crate::commands) trust_stores: Vec<String>,
    /// Their signers; without one, all that the stores know.
    pub(in crate::commands) identities: Vec<String>,
    /// The target directory.
    pub(in crate::commands) directory: PathBuf,
}

/// Exports images. Either all are written, or none.
pub(in crate::commands) fn run(config: &Config, wanted: &WantedImages, timeout: Duration) -> ExitStatus {
    match export(config, wanted, timeout) {
        Ok(told) => print(told.trim_end()),
        Err(Failed::Refused(Refusal::Rejected { message, .. })) => {
            complain(&message);
            ExitStatus::Denied
        }
        Err(Failed::Refused(Refusal::Unavailable(unavailable))) => {
            complain(&unavailable.message);
            ExitStatus::Undecided
        }
        Err(Failed::Export(error)) => {
            complain(&error.to_string());
            ExitStatus::BadInput
        }
    }
}

enum Failed {
    /// An image cannot be exported.
    Refused(Refusal),
    /// The arguments or the directory cannot be used.
    Export(ExportError),
}

impl From<ExportError> for Failed {
    fn from(error: ExportError) -> Self {
        Self::Export(error)
    }
}

fn export(config: &Config, wanted: &WantedImages, timeout: Duration) -> Result<String, Failed> {
    let bad = |what: &'static str, why: String| ExportError::Argument { what, why };
    let signers: Vec<_> = wanted
        .keys
        .iter()
        .map(|file| check::signer(file))
        .collect::<Result<_, _>>()
        .map_err(|why| bad("--key", why))?;
    let mut images = Vec::new();
    for image in &wanted.images {
        let reference = Reference::parse(image);
        images.push(reference.map_err(|error| bad("--image", format!("\"{}\": {error}", printable(image, 300))))?);
    }
    let mut writer = LayoutWriter::open(&wanted.directory)?;
    let engine = standalone_engine(config).map_err(|error| bad("the configuration", error.to_string()))?;
    let evaluator = engine.evaluator();
    let mut required = Vec::new();
    let of_notation;
    if !wanted.trust_stores.is_empty() {
        // Revocation is for the site that uses the signatures: it may have newer lists.
        let rule = notation::Rule::under(&wanted.trust_stores, &wanted.identities, true);
        let rule = Arc::new(rule.map_err(|why| bad("--trust-store", why))?);
        of_notation = evaluator.schemes.notation.required(&rule, clock::now()).map_err(Failed::Refused)?;
        required.push(Requirement::Notation(&of_notation, Effort::UNLIMITED));
    }
    let annotations = Default::default();
    let under_root = wanted.certificates.as_ref().map(|certificates| certificates.rule(signers.clone())).transpose();
    let under_root = under_root.map_err(|why| bad("--trusted-root", why))?;
    if let Some((rule, root)) = &under_root {
        required.push(Requirement::Cosign(sigstore::Requirement {
            trusted_root: Some(root),
            log_required: rule.log_required,
            sct_required: !rule.ignores_certificate_transparency,
            now: clock::now().as_second(),
            ..sigstore::Requirement::new(&rule.signers, &annotations)
        }));
    } else if !signers.is_empty() {
        required.push(Requirement::Cosign(sigstore::Requirement::new(&signers, &annotations)));
    }
    let mut exports = Vec::new();
    for image in &images {
        let deadline = Deadline::after(timeout);
        let request = ExportRequest { image, required: &required, keychain: &evaluator.credentials, deadline };
        exports.push(evaluator.schemes.image_signatures.export(&request).map_err(Failed::Refused)?);
    }
    let mut told = String::new();
    for (image, export) in images.iter().zip(&exports) {
        write(&mut writer, image, export)?;
        report(&mut told, image, export);
    }
    writer.finish()?;
    let directory = wanted.directory.canonicalize().unwrap_or_else(|_| wanted.directory.clone());
    let prefix = images.first().map(|image| image.host().to_owned()).unwrap_or_default();
    told.push_str(&format!(
        "written to {directory}; use it with registries.signatures: {{ \"{prefix}/\": \"file://{directory}\" }}; at another place, name the directory there\n",
        directory = printable(&directory.display().to_string(), 400)
    ));
    Ok(told)
}

fn write(writer: &mut LayoutWriter<'_>, image: &Reference, export: &Export) -> Result<(), ExportError> {
    let Export { image: found, manifest, signatures, .. } = export;
    writer.blob(manifest)?;
    let name = match image.tag() {
        Some(tag) => format!("{}:{tag}", image.repository()),
        None => format!("{}@{}", image.repository(), found.digest),
    };
    writer.entry(Entry::image(&found.media_type, found.digest, found.size, name));
    for Signatures { digest, manifest, artifact_type, tag, blobs } in signatures {
        blobs.iter().try_for_each(|blob| writer.blob(blob).map(drop))?;
        writer.blob(manifest)?;
        let size = u64::try_from(manifest.len()).unwrap_or(u64::MAX);
        let name = tag.as_ref().map(|tag| format!("{}:{tag}", image.repository()));
        writer.entry(Entry::signatures(*digest, size, artifact_type.clone(), found.digest, name));
    }
    Ok(())
}

fn report(told: &mut String, image: &Reference, export: &Export) {
    told.push_str(&format!("{image} is {}\n", export.image.digest));
    for finding in &export.findings {
        let what = match &finding.passed_over {
            None => format!("signed by {}", finding.signers.join(", ")),
            Some(why) => format!("left out: {why}"),
        };
        told.push_str(&format!("  {}: {what}\n", finding.signature));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Timestamp;
    use portreeve_test_support::cosign::{Artifact, Bundle, Key, Layer, Payload, Statement};
    use portreeve_test_support::notation::{self as notation_signer, Jws, Kind};
    use portreeve_test_support::registry::Registry;

    use super::*;
    use crate::admission::evaluate::{Evaluation, Verdict};
    use crate::base::files::scratch::Scratch;
    use crate::kube::pull_secrets::PullContext;
    use crate::policy;

    const SOON: Duration = Duration::from_secs(20);

    /// A registry with an image in each format and one without a signature, and a site.
    struct Stage {
        registry: Registry,
        key: Key,
        scratch: Scratch,
    }

    impl Stage {
        fn new() -> Self {
            let (registry, key, scratch) = (Registry::start(), Key::p256(), Scratch::new());
            scratch.write("ca.pem", registry.ca_pem());
            scratch.write("cosign.pub", key.public_pem());
            let bundled = registry.push_image("plant/plc", "v1", "plc");
            let bundle = Bundle::dsse(&Statement::new(&bundled).bytes(), &key).bytes();
            registry.attach("plant/plc", &bundled, &Artifact::bundle(&bundled, bundle));
            let old = registry.push_image("plant/hmi", "v2", "hmi");
            let foreign = Layer::new(Payload::new(&old).bytes(), &Key::p384());
            let layer = Layer::new(Payload::new(&old).bytes(), &key);
            registry.attach_tag("plant/hmi", &old, &Artifact::layers(&[foreign, layer]));
            registry.push_image("plant/none", "v1", "none");
            Self { registry, key, scratch }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.scratch.path().join(name)
        }

        fn name(&self, rest: &str) -> String {
            format!("{}/plant/{rest}", self.registry.host())
        }

        fn config(&self, more: &str) -> Config {
            let text = format!("trust: {{ ca: {} }}\n{more}", self.at("ca.pem").display());
            Config::parse(&text, Path::new("config.yaml")).unwrap()
        }

        fn export(&self, images: &[&str]) -> Result<String, Failed> {
            let images = images.iter().map(|image| self.name(image)).collect();
            let wanted = WantedImages {
                images,
                keys: vec![self.at("cosign.pub")],
                certificates: None,
                trust_stores: Vec::new(),
                identities: Vec::new(),
                directory: self.at("stick"),
            };
            export(&self.config(""), &wanted, SOON)
        }

        /// The verdict at a site that has the stick alone.
        fn at_site(&self, image: &str) -> Evaluation {
            let (host, stick) = (self.registry.host(), self.at("stick"));
            let config = self.config(&format!(
                "registries: {{ signatures: {{ \"{host}/plant/\": \"file://{}\" }} }}",
                stick.display()
            ));
            let key = self.key.public_pem().replace('\n', "\n                ");
            let policy = format!(
                "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {{ name: site }}\nspec:\n  repositories:\n    \
                 - name: \"{host}/*\"\n      policy:\n        cosign:\n          signers:\n            - name: release\n              \
                 publicKey: |\n                {key}\n"
            );
            self.scratch.write("policies/site.yaml", &policy);
            let engine = standalone_engine(&config).unwrap();
            engine.evaluator().policies.replace(policy::load(&[self.at("policies")]).unwrap());
            let context = PullContext::in_namespace("line-1");
            engine.evaluator().evaluate(&context, image, Deadline::after(SOON), Timestamp::now())
        }
    }

    fn digest_of(evaluation: &Evaluation) -> Option<String> {
        match &evaluation.verdict {
            Verdict::Verified(verified) => Some(verified.digest.sha256().to_string()),
            _ => None,
        }
    }

    #[test]
    fn scheme_row_137_a_site_admits_by_what_was_exported() {
        let stage = Stage::new();
        let told = stage.export(&["plc:v1", "hmi:v2"]).unwrap_or_else(|_| panic!("exported"));
        assert!(told.contains("signed by cosign") && told.contains("left out"), "{told}");
        stage.registry.go_away();
        let before = stage.registry.requests().len();
        for (tag, seed) in [("plc:v1", "plc"), ("hmi:v2", "hmi")] {
            let evaluation = stage.at_site(&stage.name(tag));
            let digest = digest_of(&evaluation).unwrap_or_else(|| panic!("{seed}: {:?}", evaluation.verdict));
            let by_digest = format!("{}@{digest}", stage.name(tag.split(':').next().unwrap()));
            assert_eq!(digest_of(&stage.at_site(&by_digest)), Some(digest), "{seed}");
        }
        for unknown in ["plc:v2", "none:v1"] {
            let evaluation = stage.at_site(&stage.name(unknown));
            assert_eq!(evaluation.verdict.code(), "not-found", "{:?}", evaluation.verdict);
        }
        assert_eq!(stage.registry.requests().len(), before, "no registry is asked");
    }

    #[test]
    fn an_image_without_a_signature_by_the_key_is_not_exported_and_nothing_is_written() {
        let stage = Stage::new();
        for images in [&["plc:v1", "none:v1"][..], &["missing:v1"]] {
            let result = stage.export(images);
            assert!(matches!(result, Err(Failed::Refused(Refusal::Rejected { .. }))), "{images:?}");
            assert!(!stage.at("stick").exists());
        }
        stage.registry.go_away();
        assert!(matches!(stage.export(&["plc:v1"]), Err(Failed::Refused(Refusal::Unavailable(_)))));
    }

    /// Signatures of both kinds are carried to a site whose policy asks for both, and each alone is not enough there.
    #[test]
    fn notation_and_cosign_signatures_are_carried_together() {
        let stage = Stage::new();
        let chain = notation_signer::chain(Kind::P256, Kind::P256);
        let image = stage.registry.push_image("plant/plc", "v3", "three");
        let bundle = Bundle::dsse(&Statement::new(&image).bytes(), &stage.key).bytes();
        stage.registry.attach("plant/plc", &image, &Artifact::bundle(&image, bundle));
        let envelope = Jws::new(&image.manifest, &chain).bytes();
        let artifact = Artifact::bundle(&image, envelope).edit(|manifest| {
            manifest.as_object_mut().unwrap().remove("artifactType");
            manifest.as_object_mut().unwrap().remove("annotations");
            manifest["config"]["mediaType"] = "application/vnd.cncf.notary.signature".into();
            manifest["layers"][0]["mediaType"] = "application/jose+json".into();
        });
        stage.registry.attach_fallback("plant/plc", &image, &[artifact]);
        stage.scratch.write("stores/truststore/x509/ca/plant/root.crt", &chain[2].der);
        let stores = format!("notation: {{ trustStores: {} }}", stage.at("stores").display());
        let wanted = |trust_stores: &[&str], identities: &[&str]| WantedImages {
            images: vec![stage.name("plc:v3")],
            keys: vec![stage.at("cosign.pub")],
            certificates: None,
            trust_stores: trust_stores.iter().map(|store| (*store).to_owned()).collect(),
            identities: identities.iter().map(|identity| (*identity).to_owned()).collect(),
            directory: stage.at("stick"),
        };
        let run = |wanted: WantedImages| export(&stage.config(&stores), &wanted, SOON);
        let other = run(wanted(&["ca:plant"], &["x509.subject: C=US, ST=WA, O=Other"]));
        assert!(matches!(other, Err(Failed::Refused(Refusal::Rejected { code: "not-signed", .. }))));
        let unknown = run(wanted(&["ca:other"], &[]));
        assert!(matches!(unknown, Err(Failed::Refused(Refusal::Rejected { code: "trust-store", .. }))));
        assert!(!stage.at("stick").exists());
        let told = run(wanted(&["ca:plant"], &[])).unwrap_or_else(|_| panic!("exported"));
        assert!(told.contains("envelope in sha256:") && told.contains("bundle in sha256:"), "{told}");
        stage.registry.go_away();
        let key = serde_json::to_string(&stage.key.public_pem()).unwrap();
        let site = |line: &str| {
            let (host, stick) = (stage.registry.host(), stage.at("stick"));
            let signatures =
                format!("registries: {{ signatures: {{ \"{host}/plant/\": \"file://{}\" }} }}", stick.display());
            let policy = format!(
                "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {{ name: site }}\nspec:\n  repositories:\n    \
                 - name: \"{host}/*\"\n      policy:\n        cosign: {{ signers: [{{ name: a, publicKey: {key} }}] }}\n        \
                 notation: {{ trustStores: [\"ca:plant\"], trustedIdentities: [\"{line}\"] }}\n"
            );
            stage.scratch.write("policies/site.yaml", &policy);
            let engine = standalone_engine(&stage.config(&format!("{stores}\n{signatures}"))).unwrap();
            engine.evaluator().policies.replace(policy::load(&[stage.at("policies")]).unwrap());
            let context = PullContext::in_namespace("line-1");
            let (image, now) = (stage.name("plc:v3"), Timestamp::now());
            engine.evaluator().evaluate(&context, &image, Deadline::after(SOON), now)
        };
        let evaluation = site("x509.subject: C=US, ST=WA, O=Plant");
        assert_eq!(digest_of(&evaluation), Some(image.digest()), "{:?}", evaluation.verdict);
        let schemes: Vec<_> = evaluation.checks.iter().map(|check| check.scheme).collect();
        assert_eq!(schemes, ["cosign", "notation"]);
        assert_eq!(site("x509.subject: C=US, ST=WA, O=Other").verdict.code(), "signature");
    }
}
