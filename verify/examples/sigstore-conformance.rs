//! The client protocol of sigstore-conformance for `verify-bundle`:
//!
//! `sigstore-conformance verify-bundle --bundle FILE [--certificate-identity ID --certificate-oidc-issuer URL | --key FILE]
//! [--trusted-root FILE] [--staging] FILE_OR_DIGEST`
//!
//! It ends with 0 if the bundle verifies. It takes attestations of any type, which the product refuses: the suite has no
//! signatures of images. Without `--trusted-root` it reads the file that `SIGSTORE_TRUSTED_ROOT` names, because it never asks a
//! network; with `--staging`, that of `SIGSTORE_STAGING_TRUSTED_ROOT`.
#![expect(clippy::disallowed_methods, reason = "a command line reads files")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use portreeve_verify::image::Sha256;
use portreeve_verify::sigstore::{
    Identity, Requirement, Signature, SignedBy, SignedImage, Signer, SigstoreKey, TrustedRoot,
};

const USAGE: &str = "usage: sigstore-conformance verify-bundle --bundle FILE [--certificate-identity ID \
                     --certificate-oidc-issuer URL | --key FILE] [--trusted-root FILE] [--staging] FILE_OR_DIGEST";

#[allow(dead_code, reason = "the tests call `run` alone")]
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let mut options = BTreeMap::new();
    let mut others = Vec::new();
    let mut arguments = arguments.iter();
    let mut is_staging = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--staging" => is_staging = true,
            option if option.starts_with("--") => {
                options.insert(option, arguments.next().ok_or(USAGE)?.as_str());
            }
            other => others.push(other),
        }
    }
    let ["verify-bundle", artifact] = others.as_slice() else { return Err(USAGE.to_owned()) };
    let option = |name: &str| options.get(name).copied();
    let file = |path: &str| std::fs::read(path).map_err(|error| format!("{path}: {error}"));

    let hex = artifact.strip_prefix("sha256:").filter(|_| std::fs::metadata(artifact).is_err());
    let (digest, manifest) = match hex {
        Some(hex) => (Sha256::from_hex(hex).ok_or("the digest is no sha256 digest")?, None),
        None => {
            let bytes = file(artifact)?;
            (Sha256::of(&bytes), Some(bytes))
        }
    };
    let by = match (option("--key"), option("--certificate-oidc-issuer"), option("--certificate-identity")) {
        (Some(key), None, None) => {
            let pem = String::from_utf8(file(key)?).map_err(|_| "the key is not PEM")?;
            SignedBy::Key(SigstoreKey::from_pem(&pem).map_err(|error| format!("the key: {error}"))?)
        }
        (None, Some(issuer), Some(subject)) => {
            SignedBy::Identity(Identity::new(issuer, subject).map_err(|error| error.to_string())?)
        }
        _ => return Err(USAGE.to_owned()),
    };
    let variable = if is_staging { "SIGSTORE_STAGING_TRUSTED_ROOT" } else { "SIGSTORE_TRUSTED_ROOT" };
    let root = option("--trusted-root").map(str::to_owned).or_else(|| std::env::var(variable).ok());
    let root = root.map(|path| TrustedRoot::read(&file(&path)?).map_err(|error| format!("the trusted root: {error}")));
    let root = root.transpose()?.map(Arc::new);
    let bundle = file(option("--bundle").ok_or(USAGE)?)?;

    let signature = Signature::from_attestation(digest, bundle).map_err(|error| error.to_string())?;
    // What is known of the logs must hold for a key as well.
    let log_required = root.is_some();
    let signers = [Signer { name: "the signer".to_owned(), by }];
    let annotations = BTreeMap::new();
    // The cases say nothing of today: all logs have begun.
    let now = i64::MAX;
    let requirement =
        Requirement { trusted_root: root.as_ref(), log_required, now, ..Requirement::new(&signers, &annotations) };
    let image = SignedImage { digest, manifest: manifest.as_deref() };
    match requirement.verify(image, &[&signature]) {
        Ok(_) => Ok(()),
        Err(rejection) => Err(rejection.to_string()),
    }
}
