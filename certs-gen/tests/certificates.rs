//! What certs-gen makes, judged by webpki and by the file system.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use certs_gen::{Options, files, issue};
use pki_types::pem::PemObject as _;
use pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

fn in_days(days: u64) -> UnixTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::since_unix_epoch(now + Duration::from_secs(days * 86_400))
}

#[test]
fn the_chain_holds_for_every_name_and_no_longer_than_asked() {
    let options =
        Options { extra: vec!["127.0.0.1".into(), "gate.example.com".into()], days: 30, ..Options::default() };
    let issued = issue::issue(&options).unwrap();
    let ca = CertificateDer::from_pem_slice(issued.ca_certificate.as_bytes()).unwrap();
    let anchor = anchor_from_trusted_cert(&ca).unwrap();
    let leaf = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let leaf = EndEntityCert::try_from(&leaf).unwrap();
    let verify = |when, usage| {
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            std::slice::from_ref(&anchor),
            &[],
            when,
            usage,
            None,
            None,
        )
        .map(drop)
    };
    assert_eq!(verify(in_days(0), KeyUsage::server_auth()), Ok(()));
    assert_eq!(verify(in_days(29), KeyUsage::server_auth()), Ok(()));
    assert!(verify(in_days(31), KeyUsage::server_auth()).is_err());
    assert!(verify(in_days(0), KeyUsage::client_auth()).is_err());
    for name in options.names() {
        let name = ServerName::try_from(name).unwrap();
        assert_eq!(leaf.verify_is_valid_for_subject_name(&name), Ok(()), "{name:?}");
    }
    let stranger = ServerName::try_from("portreeve.other.svc").unwrap();
    assert!(leaf.verify_is_valid_for_subject_name(&stranger).is_err());

    let another = issue::issue(&options).unwrap();
    let another = CertificateDer::from_pem_slice(another.ca_certificate.as_bytes()).unwrap().into_owned();
    let another = anchor_from_trusted_cert(&another).unwrap();
    let usage = KeyUsage::server_auth();
    assert!(
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[another], &[], in_days(0), usage, None, None).is_err()
    );
    for key in [&issued.key, &issued.ca_key] {
        assert!(PrivateKeyDer::from_pem_slice(key.as_bytes()).is_ok());
        assert!(!format!("{issued:?}").contains("PRIVATE"));
    }
    let bundle = base64::prelude::BASE64_STANDARD.decode(files::ca_bundle(&issued)).unwrap();
    assert_eq!(bundle, issued.ca_certificate.as_bytes());
}

#[test]
fn the_command_writes_once_unless_forced() {
    let dir = Dir::new();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_certs-gen")).args(arguments).arg("--out").arg(&dir.0).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let read = |name: &str| std::fs::read_to_string(dir.0.join(name)).unwrap();
    let mode = |name: &str| std::fs::metadata(dir.0.join(name)).unwrap().permissions().mode() & 0o777;

    let (status, out, error) = run(&["--service", "gate"]);
    assert_eq!((status, error.as_str()), (Some(0), ""));
    assert!(out.contains("tls.key\n") && out.contains("gate.portreeve.svc,") && out.contains("\ncaBundle: "), "{out}");
    assert!(!out.contains("PRIVATE"));
    assert_eq!((mode("tls.key"), mode("ca.key")), (0o600, 0o600));
    let first = read("tls.crt");

    std::fs::remove_file(dir.0.join("tls.crt")).unwrap();
    let (status, _, error) = run(&[]);
    assert_eq!(status, Some(1));
    assert!(error.contains("tls.key") && !error.contains("tls.crt") && error.contains("--force"), "{error}");
    assert!(!dir.0.join("tls.crt").exists(), "half a set is worth less than none");

    // Whatever mode the old file had, the new key is private.
    std::fs::set_permissions(dir.0.join("tls.key"), std::fs::Permissions::from_mode(0o666)).unwrap();
    let (status, _, error) = run(&["--force"]);
    assert_eq!((status, error.as_str()), (Some(0), ""));
    assert_ne!(read("tls.crt"), first);
    assert_eq!(mode("tls.key"), 0o600);
    assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 4, "nothing else is left behind");
}

#[test]
fn bad_usage_has_its_own_status() {
    let run = |argument: &str| Command::new(env!("CARGO_BIN_EXE_certs-gen")).arg(argument).output().unwrap();
    assert_eq!(run("--nonsense").status.code(), Some(2));
    let help = run("--help");
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("--namespace"));
}

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("certs-gen-{}", std::process::id())))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
