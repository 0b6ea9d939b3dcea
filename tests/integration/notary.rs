//! A real Notary server, and repositories that the real client signs in Docker's layout.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use portreeve_test_support::temp::TempDir;
use serde_json::{Value, json};

use crate::pki::Pki;
use crate::process::{self, Run, free_port, run, wait_until};
use crate::token::TokenService;

const SERVER: &str = "/usr/bin/notary-server";
const CLIENT: &str = "/usr/bin/notary";
/// The passphrase of the client's key files.
const PASSPHRASE: &str = "passpass1";

/// Are the real server and client installed? If not, the test is skipped; in CI it fails.
#[track_caller]
pub(crate) fn available() -> bool {
    let missing = [
        (SERVER, "notary-server (Debian package notary)"),
        (CLIENT, "the notary client (Debian package notary)"),
        ("/usr/bin/openssl", "openssl (Debian package openssl)"),
    ]
    .into_iter()
    .find(|(program, _)| !Path::new(program).exists());
    let Some((_, what)) = missing else { return true };
    process::skip_for_want_of(what);
    false
}

/// Returns from a test whose programs are not installed.
macro_rules! needs_notary {
    () => {
        if !$crate::notary::available() {
            return;
        }
    };
}
pub(crate) use needs_notary;

/// A running `notary-server` with storage in memory, killed on drop.
pub(crate) struct RealNotary {
    pki: Arc<Pki>,
    dir: TempDir,
    port: u16,
    user: Option<(String, String)>,
    child: Child,
}

impl RealNotary {
    /// A server without sign-in.
    pub(crate) fn start(pki: &Arc<Pki>) -> Self {
        Self::launch(pki, None)
    }

    /// A server that demands a token of this service, as Harbor's Notary does.
    pub(crate) fn with_tokens(pki: &Arc<Pki>, tokens: &TokenService) -> Self {
        Self::launch(pki, Some(tokens))
    }

    fn launch(pki: &Arc<Pki>, tokens: Option<&TokenService>) -> Self {
        let dir = TempDir::new();
        // Another process may take the port before the server does. The next port is tried then.
        for _ in 0..5 {
            let port = free_port();
            let config = config(pki, port, tokens);
            let file = dir.write("server.json", config.to_string());
            let mut child = Command::new(SERVER)
                .arg("-config")
                .arg(file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut alive = true;
            wait_until("the Notary server's port to open", || {
                alive = child.try_wait().unwrap().is_none();
                !alive || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if alive {
                let user = tokens.map(|tokens| (tokens.username().to_owned(), tokens.password().to_owned()));
                return Self { pki: Arc::clone(pki), dir, port, user, child };
            }
        }
        panic!("notary-server does not start");
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server. What it stored is lost.
    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops the server's process. The kernel still accepts connections.
    pub(crate) fn freeze(&self) {
        process::signal(&self.child, "STOP");
    }

    /// Undoes [`RealNotary::freeze`].
    pub(crate) fn thaw(&self) {
        process::signal(&self.child, "CONT");
    }

    /// A new repository as `notary init` leaves it, whose client has the snapshot key.
    pub(crate) fn initialised(&self, gun: &str) -> Repository<'_> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let trust = self.dir.directory(&format!("trust-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let repository = Repository { notary: self, gun: gun.to_owned(), trust };
        repository.client(&["init", "-p", gun], "");
        repository
    }

    /// A new repository in Docker's layout, with snapshot and timestamp keys on the server and no release.
    pub(crate) fn repository(&self, gun: &str) -> Repository<'_> {
        let repository = self.initialised(gun);
        repository.client(&["key", "rotate", gun, "snapshot", "-r"], "y\n");
        repository.client(&["key", "rotate", gun, "timestamp", "-r"], "y\n");
        repository
    }
}

impl Drop for RealNotary {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have been stopped already
        let _ = process::wait(&mut self.child, Duration::from_secs(10));
    }
}

/// A repository, and the client's directory that holds its keys.
pub(crate) struct Repository<'a> {
    notary: &'a RealNotary,
    gun: String,
    trust: PathBuf,
}

impl Repository<'_> {
    /// As `docker trust signer add` does: the key counts for `targets/releases` and `targets/<name>`.
    pub(crate) fn add_signer(&self, signer: &Signer) -> &Self {
        let role = format!("targets/{}", signer.name);
        self.import(signer, &role).delegate("targets/releases", signer).delegate(&role, signer)
    }

    /// Imports a signer's key, to sign with.
    pub(crate) fn import(&self, signer: &Signer, role: &str) -> &Self {
        self.client(&["key", "import", path(&signer.key), "--role", role, "-g", &self.gun], "");
        self
    }

    /// Adds a signer's key to a delegation.
    pub(crate) fn delegate(&self, role: &str, signer: &Signer) -> &Self {
        self.client(&["delegation", "add", "-p", &self.gun, role, path(&signer.certificate), "--all-paths"], "");
        self
    }

    /// Replaces the keys of a delegation. The file that the old keys signed stays.
    pub(crate) fn replace_delegate(&self, role: &str, signer: &Signer) -> &Self {
        self.client(&["delegation", "remove", "-p", "-y", &self.gun, role], "");
        self.delegate(role, signer)
    }

    /// Signs a delegation's current content with its current keys.
    pub(crate) fn witness(&self, role: &str) -> &Self {
        self.client(&["witness", "-p", &self.gun, role], "");
        self
    }

    /// Deletes the repository on the server and in the client's directory.
    pub(crate) fn delete(&self) {
        self.client(&["delete", "--remote", &self.gun], "");
    }

    /// Adds a tag to these roles, or to `targets` if there are none, signed with the imported keys.
    pub(crate) fn sign(&self, tag: &str, digest: &Digest, roles: &[&str]) -> &Self {
        let mut args = vec!["addhash", "-p", self.gun.as_str(), tag, "1234", "--sha256", &digest.0];
        for role in roles {
            args.extend(["-r", role]);
        }
        self.client(&args, "");
        self
    }

    /// Adds a tag to `targets`, with `custom` data.
    pub(crate) fn sign_with_custom(&self, tag: &str, digest: &Digest, custom: &Path) -> &Self {
        let gun = self.gun.as_str();
        let args = ["addhash", "-p", gun, tag, "1234", "--sha256", &digest.0, "--custom", path(custom)];
        self.client(&args, "");
        self
    }

    /// Removes a tag from these roles.
    pub(crate) fn unsign(&self, tag: &str, roles: &[&str]) -> &Self {
        let mut args = vec!["remove", "-p", self.gun.as_str(), tag];
        for role in roles {
            args.extend(["-r", role]);
        }
        self.client(&args, "");
        self
    }

    /// Rotates the root key. The old key signs the new root too.
    pub(crate) fn rotate_root(&self) -> &Self {
        self.client(&["key", "rotate", &self.gun, "root"], "yes\n");
        self
    }

    /// The real client's own answer: `<tag> sha256:<hex> <size>`.
    pub(crate) fn lookup(&self, tag: &str) -> String {
        self.client(&["lookup", &self.gun, tag], "")
    }

    #[track_caller]
    fn client(&self, args: &[&str], stdin: &str) -> String {
        let mut command = client(&self.notary.pki, &self.notary.url(), &self.trust);
        command.args(args);
        for role in ["ROOT", "TARGETS", "SNAPSHOT", "DELEGATION"] {
            command.env(format!("NOTARY_{role}_PASSPHRASE"), PASSPHRASE);
        }
        if let Some((username, password)) = &self.notary.user {
            use base64::Engine as _;
            let plain = format!("{username}:{password}");
            command.env("NOTARY_AUTH", base64::engine::general_purpose::STANDARD.encode(plain));
        }
        run(&mut command, stdin).expect(0).stdout
    }
}

/// The answer of a real client without stored data, for any server.
pub(crate) fn lookup_at(pki: &Pki, url: &str, gun: &str, tag: &str) -> Run {
    let trust = TempDir::new();
    run(client(pki, url, trust.path()).args(["lookup", gun, tag]), "")
}

/// The real client, with its files in this directory.
fn client(pki: &Pki, url: &str, trust: &Path) -> Command {
    let mut command = Command::new(CLIENT);
    command.env_clear().env("HOME", trust).env("PATH", "/usr/bin:/bin").args([
        "-d",
        path(trust),
        "-s",
        url,
        "--tlscacert",
        path(&pki.ca()),
    ]);
    command
}

/// The kinds of key that signers have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyKind {
    P256,
    P384,
    Rsa2048,
}

/// A signer: a key and a certificate, made with OpenSSL.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) name: String,
    key: PathBuf,
    certificate: PathBuf,
    public_key: String,
    _dir: TempDir,
}

impl Signer {
    pub(crate) fn new(name: &str) -> Self {
        Self::with_key(name, KeyKind::P256)
    }

    pub(crate) fn with_key(name: &str, kind: KeyKind) -> Self {
        let dir = TempDir::new();
        let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("certificate.pem"));
        let (algorithm, option) = match kind {
            KeyKind::P256 => ("EC", "ec_paramgen_curve:prime256v1"),
            KeyKind::P384 => ("EC", "ec_paramgen_curve:secp384r1"),
            KeyKind::Rsa2048 => ("RSA", "rsa_keygen_bits:2048"),
        };
        openssl(&["genpkey", "-algorithm", algorithm, "-pkeyopt", option, "-out", path(&key)]);
        let subject = format!("/CN={name}");
        let days = ["-days", "365", "-subj", &subject];
        openssl(&[&["req", "-new", "-x509", "-key", path(&key), "-out", path(&certificate)], &days[..]].concat());
        let public_key = openssl(&["pkey", "-in", path(&key), "-pubout"]);
        Self { name: name.to_owned(), key, certificate, public_key, _dir: dir }
    }

    /// The public key in PEM, for a policy or a signer secret.
    pub(crate) fn public_key(&self) -> &str {
        &self.public_key
    }

    /// An entry of a policy's `signers`.
    pub(crate) fn in_policy(&self) -> Value {
        json!({ "name": self.name, "publicKey": self.public_key })
    }
}

/// The SHA-256 of a text in place of a manifest, in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest(String);

impl Digest {
    pub(crate) fn of(text: &str) -> Self {
        let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        Self(hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

fn config(pki: &Pki, port: u16, tokens: Option<&TokenService>) -> Value {
    let mut config = json!({
        "server": {
            "http_addr": format!("127.0.0.1:{port}"),
            "tls_key_file": pki.key(),
            "tls_cert_file": pki.certificate(),
        },
        "trust_service": { "type": "local" },
        "storage": { "backend": "memory" },
        "logging": { "level": "error" },
    });
    if let Some(tokens) = tokens {
        config["auth"] = tokens.server_settings();
    }
    config
}

fn openssl(args: &[&str]) -> String {
    run(Command::new("/usr/bin/openssl").args(args), "").expect(0).stdout
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_client_signs_as_docker_does() {
        needs_notary!();
        let notary = RealNotary::start(&Pki::new());
        let digest = Digest::of("v1");
        for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048] {
            let alice = Signer::with_key("alice", kind);
            let repository = notary.repository(&format!("registry.local:9001/plant/{kind:?}").to_lowercase());
            repository.add_signer(&alice).sign("v1", &digest, &["targets/releases", "targets/alice"]);
            assert_eq!(repository.lookup("v1").trim(), format!("v1 {digest} 1234"), "{kind:?}");
            repository.rotate_root();
            assert_eq!(repository.lookup("v1").trim(), format!("v1 {digest} 1234"), "{kind:?}");
        }
    }
}
