//! A site's own Sigstore instance, of real programs: Fulcio, which gives certificates to identities, its certificate log, a Rekor 2
//! log, and a time stamp authority. Only the issuer of identity tokens is ours. Real cosign signs by it.

mod issuer;
mod program;
mod servers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use portreeve_test_support::temp::TempDir;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use serde_json::{Value, json};

use self::issuer::TokenIssuer;
use self::servers::Servers;
use crate::process::{run, skip_for_want_of};
use crate::producers::{CosignKey, Format, Producers};

/// Before every signature of a test.
const START: &str = "2026-01-01T00:00:00Z";
/// What an issuer's tokens must be for.
const CLIENT: &str = "sigstore";

/// Which services cosign uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Services {
    /// Certificates, time stamps and the log.
    All,
    /// No log.
    Unlogged,
}

/// The running instance. It ends on drop.
pub(crate) struct Instance {
    dir: TempDir,
    producers: Arc<Producers>,
    /// The issuer of a build service's tokens, and the one of people's.
    pub(crate) builds: TokenIssuer,
    pub(crate) people: TokenIssuer,
    servers: Servers,
    root: Value,
}

impl Instance {
    /// Starts it, with a certificate log or without. If a program is missing, the test is skipped; in CI it fails.
    #[track_caller]
    pub(crate) fn start(producers: &Arc<Producers>, has_certificate_log: bool) -> Option<Self> {
        let Some(place) = place() else {
            skip_for_want_of("Fulcio, Rekor and a time stamp authority (tests/transparency/build makes them)");
            return None;
        };
        let dir = TempDir::new();
        let (builds, people) = (TokenIssuer::start(&producers.pki), TokenIssuer::start(&producers.pki));
        write_authority(&dir);
        write_fulcio_config(&dir, &builds, &people);
        let servers = Servers::start(&dir, &place, &producers.pki.ca(), has_certificate_log);
        let at = |file: &str| dir.path().join(file).to_str().unwrap().to_owned();
        let [fulcio, rekor, tsa] =
            [&servers.fulcio, &servers.rekor, &servers.tsa].map(|address| format!("url={address}"));
        let tsa = tsa + "/api/v1/timestamp";
        let mut args = vec![
            format!("--fulcio={fulcio},certificate-chain={}", at("chain.pem")),
            format!("--rekor={rekor},public-key={},start-time={START},origin=localhost", at("rekor.pub")),
            format!("--tsa={tsa},certificate-chain={}", at("tsa.pem")),
        ];
        if let Some(ct) = &servers.certificate_log {
            args.push(format!("--ctfe=url={ct},public-key={},start-time={START}", at("ct.pub")));
        }
        let create = |what: &str, args: &[String]| {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            producers.cosign(&[&[what, "create"], &args[..]].concat())
        };
        let root = create("trusted-root", &args);
        dir.write("trusted_root.json", &root);
        let rest = format!("api-version=1,start-time={START},operator=plant.example");
        let mut args = vec![
            format!("--fulcio={fulcio},{rest}"),
            format!("--tsa={tsa},{rest}"),
            "--tsa-config=ANY".to_owned(),
            format!("--oidc-provider=url={},{rest}", builds.url()),
        ];
        dir.write("Unlogged.json", create("signing-config", &args));
        args.push(format!("--rekor={rekor},{}", rest.replace("version=1", "version=2")));
        args.push("--rekor-config=ANY".to_owned());
        dir.write("All.json", create("signing-config", &args));
        let root = serde_json::from_str(&root).unwrap();
        Some(Self { dir, producers: Arc::clone(producers), builds, people, servers, root })
    }

    /// Its `trusted_root.json`, as cosign has written it.
    pub(crate) fn trusted_root(&self) -> &Value {
        &self.root
    }

    /// The subject of a build's certificate.
    pub(crate) fn subject_of(&self, workflow: &str) -> String {
        format!("https://git.plant.example/line-1/plc/{workflow}@refs/heads/main")
    }

    /// A build signs `<name>@<digest>`.
    pub(crate) fn sign_as_build(&self, workflow: &str, image: &str, services: Services) {
        self.sign(&self.build_token(workflow), image, services);
    }

    /// A person signs `<name>@<digest>`.
    pub(crate) fn sign_as_person(&self, address: &str, image: &str) {
        let claims = json!({ "sub": address, "email": address, "email_verified": true });
        self.sign(&self.people.token(CLIENT, claims), image, Services::All);
    }

    fn sign(&self, token: &str, image: &str, services: Services) {
        let token = self.dir.write("token", token);
        let args = ["sign", "--yes", "--identity-token", path(&token)];
        self.producers.cosign(&[&args[..], &self.by(services).each_ref().map(String::as_str), &[image]].concat());
    }

    /// A key signs `<name>@<digest>`.
    pub(crate) fn sign_with_key(&self, key: &CosignKey, image: &str, services: Services) {
        let by = self.by(services);
        self.producers.sign_with(key, image, Format::Bundle, &by.each_ref().map(String::as_str));
    }

    fn by(&self, services: Services) -> [String; 4] {
        let at = |file: &str| path(&self.dir.path().join(file)).to_owned();
        [
            "--signing-config".to_owned(),
            at(&format!("{services:?}.json")),
            "--trusted-root".to_owned(),
            at("trusted_root.json"),
        ]
    }

    /// What docs/keyless.md calls its addresses, and what they are.
    pub(crate) fn addresses(&self) -> [(&'static str, String); 6] {
        let Servers { fulcio, rekor, tsa, certificate_log, .. } = &self.servers;
        [
            ("https://fulcio.plant.example", fulcio.clone()),
            ("https://rekor.plant.example", rekor.clone()),
            ("origin=rekor.plant.example", "origin=localhost".to_owned()),
            ("https://tsa.plant.example", tsa.clone()),
            ("https://ct.plant.example", certificate_log.clone().unwrap_or_default()),
            ("https://issuer.plant.example", self.builds.url()),
        ]
    }

    /// The files that its operator gives away: the public keys of the logs.
    pub(crate) fn public_files(&self) -> [(&'static str, PathBuf); 2] {
        ["ct.pub", "rekor.pub"].map(|name| (name, self.dir.path().join(name)))
    }

    /// The token of a build.
    pub(crate) fn build_token(&self, workflow: &str) -> String {
        let claims = json!({
            "sub": "repo:line-1/plc", "repository": "line-1/plc", "workflow": workflow, "ref": "refs/heads/main",
        });
        self.builds.token(CLIENT, claims)
    }

    /// `cosign verify` under a trusted root, as an operator runs it offline: has this identity signed the image?
    pub(crate) fn is_verified_by_cosign(&self, root: &Value, issuer: &str, subject: &str, image: &str) -> bool {
        let root = self.dir.write("judged_by.json", root.to_string());
        let mut command = self.producers.program("cosign");
        command.args(["verify", "--trusted-root", path(&root), "--certificate-identity", subject]);
        run(command.args(["--certificate-oidc-issuer", issuer, image]), "").status == Some(0)
    }

    /// Ends all its programs: from now on nothing can be asked.
    pub(crate) fn stop(&mut self) {
        self.servers.stop();
    }
}

/// The directory with the programs.
fn place() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transparency/build");
    let places = run(Command::new(script).arg("--where"), "").expect(0).stdout;
    let programs = ["fulcio-server", "ct-server", "rekor-server", "timestamp-server"];
    let mut places = places.lines().map(PathBuf::from);
    places.find(|place| programs.iter().all(|program| place.join(program).exists()))
}

/// A root, and the certificate authority under it with its key.
fn write_authority(dir: &TempDir) {
    let params = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2046, 1, 1));
        params
    };
    let (root, root_key) = (params("plant root"), KeyPair::generate().unwrap());
    let (mut intermediate, key) = (params("plant intermediate"), KeyPair::generate().unwrap());
    intermediate.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let intermediate_pem = intermediate.signed_by(&key, &Issuer::new(root, root_key)).unwrap().pem();
    dir.write("chain.pem", intermediate_pem + &root_pem);
    dir.write("root.pem", root_pem);
    dir.write("ca.key", key.serialize_pem());
}

fn write_fulcio_config(dir: &TempDir, builds: &TokenIssuer, people: &TokenIssuer) {
    let issuer =
        |issuer: &TokenIssuer, kind: &str| json!({ "IssuerURL": issuer.url(), "ClientID": CLIENT, "Type": kind });
    let mut issuers = json!({ builds.url(): issuer(builds, "ci-provider"), people.url(): issuer(people, "email") });
    issuers[builds.url()]["CIProvider"] = json!("plant");
    let subject = "https://git.plant.example/{{.repository}}/{{.workflow}}@{{.ref}}";
    let metadata = json!({ "plant": { "SubjectAlternativeNameTemplate": subject } });
    let config = json!({ "OIDCIssuers": issuers, "CIIssuerMetadata": metadata });
    dir.write("fulcio.json", config.to_string());
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
