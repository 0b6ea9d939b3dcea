//! Real programs that make images and sign them: crane and cosign, with keys in files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use portreeve_test_support::temp::TempDir;
use serde_json::{Value, json};

use crate::notary::KeyKind;
use crate::pki::Pki;
use crate::process::{run, skip_for_want_of};

/// The programs that `tests/producers/build` makes, and a home directory for them.
pub(crate) struct Producers {
    pub(crate) pki: Arc<Pki>,
    home: TempDir,
    programs: PathBuf,
}

/// The formats in which cosign writes signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A Sigstore bundle, cosign 3's default.
    Bundle,
    /// A payload in a layer under the tag `sha256-<hex>.sig`.
    Old,
}

pub(crate) const FORMATS: [Format; 2] = [Format::Bundle, Format::Old];

/// A key of cosign's, in a file.
pub(crate) struct CosignKey {
    pub(crate) name: String,
    private: PathBuf,
    public_pem: String,
}

impl CosignKey {
    /// An entry of a policy's `signers`.
    pub(crate) fn in_policy(&self) -> Value {
        json!({ "name": self.name, "publicKey": self.public_pem })
    }
}

impl Producers {
    /// Looks in the directories that `tests/producers/build` prints. If a program is missing, the test is skipped; in CI
    /// it fails.
    #[track_caller]
    pub(crate) fn find(pki: &Arc<Pki>) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/producers/build");
        let places = run(Command::new(script).arg("--where"), "").expect(0).stdout;
        let has_all =
            |place: &&str| ["cosign", "crane", "registry"].iter().all(|name| Path::new(place).join(name).exists());
        let Some(programs) = places.lines().find(has_all) else {
            skip_for_want_of("cosign, crane and a registry (tests/producers/build makes them)");
            return None;
        };
        let home = TempDir::new();
        home.write("layer/seed", "");
        // A signing configuration without services: nothing is sent anywhere but to the registry.
        let producers = Self { pki: Arc::clone(pki), home, programs: programs.into() };
        let services = producers.cosign(&["signing-config", "create"]);
        producers.home.write("services.json", services);
        Some(producers)
    }

    /// The credentials for a registry's host.
    pub(crate) fn sign_in(&self, host: &str, username: &str, password: &str) {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        self.home.write("config.json", json!({ "auths": { host: { "auth": auth } } }).to_string());
    }

    /// Pushes a small image under this name and tag. Another `seed` makes another image. Returns its digest.
    pub(crate) fn push(&self, reference: &str, seed: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = self.home.directory(&format!("layer-{number}"));
        fs::write(directory.join("seed"), seed).unwrap();
        let layer = self.home.path().join(format!("layer-{number}.tar"));
        run(Command::new("tar").arg("-C").arg(&directory).arg("-cf").arg(&layer).arg("seed"), "").expect(0);
        let pushed = self.crane(&["append", "--oci-empty-base", "-f", path(&layer), "-t", reference]);
        pushed.trim().rsplit_once('@').unwrap().1.to_owned()
    }

    /// Pushes an index over images that are there. Returns its digest.
    pub(crate) fn push_index(&self, reference: &str, children: &[&str]) -> String {
        let mut args = vec!["index", "append", "-t", reference];
        for child in children {
            args.extend(["-m", child]);
        }
        self.crane(&args);
        self.digest(reference)
    }

    /// Lets a tag name an image that is there.
    pub(crate) fn tag(&self, reference: &str, tag: &str) {
        self.crane(&["tag", reference, tag]);
    }

    pub(crate) fn digest(&self, reference: &str) -> String {
        self.crane(&["digest", reference]).trim().to_owned()
    }

    /// A new key. cosign makes those on P-256; OpenSSL makes the others, and cosign imports them.
    pub(crate) fn key(&self, name: &str, kind: KeyKind) -> CosignKey {
        let directory = self.home.directory(&format!("key-{name}"));
        let prefix = directory.join("cosign");
        let option = match kind {
            KeyKind::P256 => None,
            KeyKind::P384 => Some(("EC", "ec_paramgen_curve:secp384r1")),
            KeyKind::Rsa2048 => Some(("RSA", "rsa_keygen_bits:2048")),
        };
        match option {
            None => self.cosign(&["generate-key-pair", "--output-key-prefix", path(&prefix)]),
            Some((algorithm, option)) => {
                let file = directory.join("key.pem");
                let args = ["genpkey", "-algorithm", algorithm, "-pkeyopt", option, "-out", path(&file)];
                run(Command::new("/usr/bin/openssl").args(args), "").expect(0);
                self.cosign(&["import-key-pair", "--key", path(&file), "--output-key-prefix", path(&prefix)])
            }
        };
        let public_pem = fs::read_to_string(prefix.with_extension("pub")).unwrap();
        CosignKey { name: name.to_owned(), private: prefix.with_extension("key"), public_pem }
    }

    /// Signs `<name>@<digest>`.
    pub(crate) fn sign(&self, key: &CosignKey, image: &str, format: Format) {
        self.sign_with(key, image, format, &[]);
    }

    /// Signs several images.
    pub(crate) fn sign_all(&self, key: &CosignKey, images: &[&str], format: Format) {
        self.sign_with(key, images[0], format, &images[1..]);
    }

    /// Signs with more options: `-a line=1`.
    pub(crate) fn sign_with(&self, key: &CosignKey, image: &str, format: Format, options: &[&str]) {
        let services = self.home.path().join("services.json");
        let of_format: &[&str] = match format {
            Format::Bundle => &["--signing-config", path(&services)],
            Format::Old => &["--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false"],
        };
        let command = ["sign", "--yes", "--key", path(&key.private)];
        self.cosign(&[&command[..], of_format, options, &[image]].concat());
    }

    /// Attaches an SBOM to `<name>@<digest>`, signed with the key.
    pub(crate) fn attest(&self, key: &CosignKey, image: &str) {
        let services = self.home.path().join("services.json");
        let sbom = self.home.write("sbom.json", json!({ "spdxVersion": "SPDX-2.3", "name": "plc" }).to_string());
        let predicate = ["--type", "spdxjson", "--predicate", path(&sbom)];
        let command = ["attest", "--yes", "--key", path(&key.private), "--signing-config", path(&services)];
        self.cosign(&[&command[..], &predicate, &[image]].concat());
    }

    /// `cosign verify` with a key, as an operator runs it offline: does it find a signature?
    pub(crate) fn verifies(&self, key: &CosignKey, image: &str) -> bool {
        let public = self.home.write("verify.pub", &key.public_pem);
        let args = ["verify", "--insecure-ignore-tlog", "--key", path(&public), image];
        run(self.program("cosign").args(args), "").status == Some(0)
    }

    pub(crate) fn cosign(&self, args: &[&str]) -> String {
        run(self.program("cosign").args(args), "").expect(0).stdout
    }

    pub(crate) fn crane(&self, args: &[&str]) -> String {
        run(self.program("crane").args(args), "").expect(0).stdout
    }

    /// One of the programs. It trusts the test's CA, and reaches only this machine.
    pub(crate) fn program(&self, name: &str) -> Command {
        let home = self.home.path();
        let mut command = Command::new(self.programs.join(name));
        command.env_clear().current_dir(home).env("HOME", home).env("DOCKER_CONFIG", home);
        command.env("SSL_CERT_FILE", self.pki.ca()).env("COSIGN_PASSWORD", "");
        // Nothing listens at this proxy, which is not used for addresses of this machine.
        command.env("HTTPS_PROXY", "http://127.0.0.1:9").env("HTTP_PROXY", "http://127.0.0.1:9");
        command
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
