//! Every case of sigstore-conformance that is beside the checkout, through the suite's own client protocol.
#![expect(
    clippy::disallowed_methods,
    reason = "the cases are not part of the repository, so a running test reads them"
)]

use std::fs;
use std::path::{Path, PathBuf};

use super::vectors::vectors;

#[path = "../../../examples/sigstore-conformance.rs"]
mod client;

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// The arguments with which the suite runs the client for a case.
fn arguments(case: &Path, public: &Path, artifact: &str) -> Vec<String> {
    let path = |path: PathBuf| path.to_str().unwrap().to_owned();
    let own = |name: &str| Some(case.join(name)).filter(|path| path.is_file());
    let text = |name: &str, usual: &str| match own(name) {
        Some(path) => fs::read_to_string(path).unwrap().trim_end().to_owned(),
        None => usual.to_owned(),
    };
    let mut arguments =
        vec!["verify-bundle".to_owned(), "--bundle".to_owned(), path(case.join("bundle.sigstore.json"))];
    match own("key.pub") {
        Some(key) => arguments.extend(["--key".to_owned(), path(key)]),
        None => arguments.extend([
            "--certificate-identity".to_owned(),
            text("identity", IDENTITY),
            "--certificate-oidc-issuer".to_owned(),
            text("issuer", ISSUER),
        ]),
    }
    arguments.extend(["--trusted-root".to_owned(), path(own("trusted_root.json").unwrap_or(public.to_owned()))]);
    arguments.push(artifact.to_owned());
    arguments
}

#[test]
fn scheme_row_073_every_case_of_the_conformance_suite() {
    let Some(vectors) = vectors() else { return };
    let cases = vectors.join("sigstore-conformance");
    let public = cases.join("public-good-trusted-root.json");
    let (mut accepted, mut rejected, mut wrong) = (0, Vec::new(), Vec::new());
    for case in fs::read_dir(&cases).unwrap().map(|case| case.unwrap().path()).filter(|case| case.is_dir()) {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let artifact = Some(case.join("artifact")).filter(|path| path.is_file()).unwrap_or(cases.join("a.txt"));
        let artifact = artifact.to_str().unwrap().to_owned();
        let outcome = client::run(&arguments(&case, &public, &artifact));
        if outcome.is_ok() == name.ends_with("_fail") {
            wrong.push((name.clone(), outcome.clone()));
        }
        // The digest alone says as much, except where the bytes themselves are signed.
        let digest = format!("sha256:{}", crate::image::Sha256::of(&fs::read(&artifact).unwrap()).hex());
        let by_digest = client::run(&arguments(&case, &public, &digest));
        assert!(outcome.is_ok() || by_digest.is_err(), "{name}");
        match outcome {
            Ok(()) => accepted += 1,
            Err(why) => rejected.push((name, why)),
        }
    }
    rejected.sort();
    for (name, why) in &rejected {
        println!("{name}: {why}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(accepted >= 15 && rejected.len() >= 30, "{accepted} {}", rejected.len());
}
