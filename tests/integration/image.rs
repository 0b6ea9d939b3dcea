//! The image: built by tools/oci-archive from the static binary, pushed to a real registry, pulled, and run in an
//! otherwise empty root directory with the files that kubelet adds.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use portreeve_test_support::signer::Signer;
use portreeve_test_support::temp::TempDir;
use portreeve_test_support::trust_server::TrustServer;
use serde_json::{Value, json};

use crate::https::{connect_tls, https};
use crate::mount::Mount;
use crate::pki::Pki;
use crate::plant::PLC;
use crate::process::{free_port, run, signal, skip_for_want_of, wait, wait_until};
use crate::review::{assert_allowed, assert_denied, pod_review, policy_for};

#[test]
fn the_image_survives_a_registry_and_runs_in_an_empty_root() {
    let Some(binary) = needed() else { return };
    let dir = TempDir::new();
    let archive = dir.path().join("portreeve.tar");
    let told = run(tool().arg(&binary).arg(&archive), "").expect(0).stdout;
    let version = env!("CARGO_PKG_VERSION");
    assert!(told.contains(&format!("registry.local:9001/portreeve/portreeve:{version}, linux/")), "{told}");

    let again = dir.path().join("again.tar");
    run(tool().arg(&binary).arg(&again), "").expect(0);
    assert!(fs::read(&archive).unwrap() == fs::read(&again).unwrap(), "the same binary, other bytes");

    let registry = Registry::start(&dir);
    let there = format!("docker://127.0.0.1:{}/portreeve/portreeve:{version}", registry.port);
    let skopeo =
        |arguments: &[&str]| run(Command::new("skopeo").arg("--insecure-policy").args(arguments), "").expect(0);
    let archive = format!("oci-archive:{}:{version}", archive.display());
    skopeo(&["copy", "--dest-tls-verify=false", &archive, &there]);
    let back = dir.path().join("back");
    skopeo(&["copy", "--src-tls-verify=false", &there, &format!("dir:{}", back.display())]);

    let blob = |digest: &Value| back.join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap());
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let manifest = read(&back.join("manifest.json"));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    // The limit of `.ci/run`.
    assert!(layers[0]["size"].as_u64().unwrap() < 4_000_000 || is_debug(&binary), "{manifest}");
    let config = read(&blob(&manifest["config"]["digest"]));
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    assert_eq!((&config["architecture"], &config["os"]), (&json!(machine), &json!("linux")));
    assert_eq!(config["config"]["User"], "65532:65532", "runAsNonRoot wants a number");
    assert_eq!(config["config"]["Entrypoint"], json!(["/portreeve"]));
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], version);

    let empty = dir.directory("root");
    run(Command::new("tar").arg("-xzf").arg(blob(&layers[0]["digest"])).arg("-C").arg(&empty), "").expect(0);
    let files: Vec<_> = fs::read_dir(&empty).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["portreeve"], "nothing but the binary");
    assert_eq!(fs::metadata(empty.join("portreeve")).unwrap().permissions().mode() & 0o777, 0o755);

    // Run as the image's own user, without libc, /etc, /proc and /tmp.
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.arg("--userspec=65532:65532").arg(&empty).args(arguments);
        command
    };
    let told = run(&mut inside(&["/portreeve", "version"]), "").expect(0).stdout;
    assert_eq!(told.trim(), format!("portreeve {version}"));

    let entry =
        config["config"]["Entrypoint"].as_array().unwrap().iter().chain(config["config"]["Cmd"].as_array().unwrap());
    let entry: Vec<&str> = entry.map(|word| word.as_str().unwrap()).collect();
    serves(&empty, inside(&entry));
}

/// Names are resolved, a trust server is asked over TLS, policies and certificate are read again after a change, and
/// SIGTERM ends the process.
fn serves(root: &Path, mut command: Command) {
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let repo = Signer::new(PLC).signer("alice").release("v1", [7; 32], 1234, &["alice"]).publish();
    let server = TrustServer::start();
    server.publish(&repo);
    write("etc/hosts", "127.0.0.1 notary.local localhost\n"); // kubelet writes this file into every Pod
    write("etc/portreeve/trust-ca/ca.pem", server.ca_pem());
    let (pki, port) = (Pki::new(), free_port());
    let certificate = |pki: &Pki| [pki.certificate(), pki.key()].map(|file| fs::read_to_string(file).unwrap());
    let certs = Mount::at(root.join("etc/certs"));
    let [chain, key] = certificate(&pki);
    certs.swap(&[("tls.crt", &chain), ("tls.key", &key)]);
    let policies = Mount::at(root.join("etc/portreeve/policies"));
    let url = server.url().replace("127.0.0.1", "localhost");
    let trust = policy_for("registry.local:9001/*", json!({ "enabled": true, "trustServer": url }));
    policies.swap(&[("p.yaml", &trust.to_string())]);
    let config = json!({
        "listen": format!("127.0.0.1:{port}"),
        "metricsListen": "",
        "trust": { "ca": "/etc/portreeve/trust-ca/ca.pem" },
    });
    write("etc/portreeve/config/portreeve.yaml", &config.to_string());

    let mut serving =
        Serving(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_until("the image to listen", || shakes_hands(&pki, port));
    let ask = |pki: &Pki, image: &str| -> Value {
        https(pki, port, "POST", "/admit?timeout=10s", pod_review(image).to_string().as_bytes()).json()
    };
    let answer = ask(&pki, &format!("{PLC}:v1"));
    assert_allowed(&answer);
    assert!(answer.to_string().contains(&"07".repeat(32)), "{answer}");
    assert_denied(&ask(&pki, &format!("{PLC}:v2")), &["v2"]);

    policies.swap(&[("p.yaml", &policy_for("registry.local:9001/other", json!({ "enabled": true })).to_string())]);
    wait_until("the new policy", || ask(&pki, &format!("{PLC}:v1"))["response"]["allowed"] == false);
    let renewed = Pki::new();
    let [chain, key] = certificate(&renewed);
    certs.swap(&[("tls.crt", &chain), ("tls.key", &key)]);
    wait_until("the new certificate", || shakes_hands(&renewed, port));

    signal(&serving.0, "TERM");
    assert_eq!(wait(&mut serving.0, std::time::Duration::from_secs(20)), Some(Some(0)));
}

/// Does a server with a certificate of this CA answer?
fn shakes_hands(pki: &Pki, port: u16) -> bool {
    connect_tls(pki, port).is_ok_and(|mut stream| stream.conn.complete_io(&mut stream.sock).is_ok())
}

/// A running image, killed on drop.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_cannot_run_in_an_empty_root_becomes_no_image() {
    let dir = TempDir::new();
    let archive = dir.path().join("x.tar");
    // The executable that is built for the tests is linked with glibc.
    for (file, words) in [
        (PathBuf::from(env!("CARGO_BIN_EXE_portreeve")), "is not static"),
        (dir.write("text", "a text that is long enough for a head\n"), "is no 64-bit Linux executable"),
        (dir.path().join("absent"), "is not a file"),
    ] {
        let refusal = run(tool().arg(file).arg(&archive), "").expect(1);
        assert!(refusal.stderr.contains(words), "{refusal:?}");
    }
    assert!(!archive.exists());
    let there = dir.write("there.tar", "something");
    let refusal = run(tool().arg(env!("CARGO_BIN_EXE_portreeve")).arg(&there), "").expect(1);
    assert!(refusal.stderr.contains("is there already"), "{refusal:?}");
    assert_eq!(fs::read(there).unwrap(), b"something");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tool() -> Command {
    Command::new(root().join("tools/oci-archive"))
}

fn is_debug(binary: &Path) -> bool {
    binary.components().any(|part| part.as_os_str() == "debug")
}

/// The static binary. `None` if it or another program is missing; the test is then skipped, and in CI it fails.
#[track_caller]
fn needed() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let built = ["release", "debug"].map(|profile| target.join(&triple).join(profile).join("portreeve"));
    let given = std::env::var_os("PORTREEVE_STATIC").map(PathBuf::from);
    let binary = given.into_iter().chain(built).find(|path| path.exists());
    let is_root = || run(Command::new("id").arg("-u"), "").stdout.trim() == "0";
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let missing = match &binary {
        None => "a static binary: tools/build-static <machine> portreeve, or PORTREEVE_STATIC",
        Some(_) if !has("docker-registry") => "docker-registry (Debian package docker-registry)",
        Some(_) if !has("skopeo") => "skopeo (Debian package skopeo)",
        Some(_) if !is_root() => "root, for an empty root directory",
        Some(_) => return binary,
    };
    skip_for_want_of(missing);
    None
}

/// A real registry on loopback without TLS, killed on drop.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    fn start(dir: &TempDir) -> Self {
        let port = free_port();
        let config = json!({
            "version": 0.1,
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": dir.directory("registry") } },
            "http": { "addr": format!("127.0.0.1:{port}") },
        });
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.write("registry.yaml", config.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { child, port };
        wait_until("the registry to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
