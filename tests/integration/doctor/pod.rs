//! `doctor` in the pod, as `kubectl exec` runs it: nothing but the executable, a root file system that cannot be written, no HOME,
//! another user, the files where the manifests mount them, and the configuration found without an option.

use std::fs;
use std::path::Path;
use std::process::Command;

use portreeve_test_support::temp::TempDir;
use serde_json::json;

use super::stored::may_mount;
use super::*;
use crate::product::executable;
use crate::review::policy_for;
use crate::stage::Stage;

/// Copies the executable, and the libraries that it needs if it is not static.
fn install(root: &Path) {
    let program = executable().get_program().to_owned();
    fs::copy(&program, root.join("portreeve")).unwrap();
    let libraries = run(Command::new("/usr/bin/ldd").arg(&program), "").stdout;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let copy = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(library, copy).unwrap();
    }
}

#[test]
fn it_works_in_the_pod() {
    if !may_mount() {
        return;
    }
    let stage = Stage::new();
    let root = TempDir::new();
    install(root.path());
    let (chain, key) = Authority::new().server(&[SERVICE]);
    let trust = json!({ "enabled": true, "trustServer": stage.server.url() });
    let policy = policy_for("registry.local:9001/plant/*", trust);
    let config = json!({
        "namespace": "portreeve",
        "tls": { "certificate": "/etc/certs/tls.crt", "key": "/etc/certs/tls.key" },
        "trust": { "ca": "/etc/portreeve/trust-ca/ca.pem", "cache": "/var/cache/portreeve" },
        "limits": { "trustCache": "128MiB" },
    });
    for (name, content) in [
        ("etc/certs/tls.crt", &chain),
        ("etc/certs/tls.key", &key),
        ("etc/certs/ca.crt", &chain),
        ("etc/portreeve/trust-ca/ca.pem", &stage.server.ca_pem().to_owned()),
        ("etc/portreeve/trust-ca/harbor.pem", &stage.server.ca_pem().to_owned()),
        ("etc/portreeve/policies/plant.yaml", &policy.to_string()),
        ("etc/portreeve/config/portreeve.yaml", &config.to_string()),
        ("etc/portreeve/registries/none", &String::new()),
        ("var/cache/portreeve/none", &String::new()),
        ("proc/none", &String::new()),
    ] {
        root.write(name, content);
    }
    let run = |root_options: &str| {
        let mut command = Command::new("/usr/bin/unshare");
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").args(["--mount", "/bin/sh", "-c"]);
        command.arg(format!(
            "set -e; mount --bind \"$0\" \"$0\"; mount -t tmpfs -o size=200m,mode=0770,gid=65532 none \"$0/var/cache/portreeve\"; \
             mount -t proc proc \"$0/proc\"; mount -o remount,bind{root_options} \"$0\"; \
             exec env -i KUBERNETES_SERVICE_HOST=10.96.0.1 /usr/sbin/chroot --userspec=65532:65532 \"$0\" \
             /portreeve doctor --output json"
        ));
        command.arg(root.path());
        command
    };
    // The user of the pod may read what fsGroup lets it read.
    let chmod = Command::new("/bin/chmod").args(["-R", "a+rX"]).arg(root.path()).status().unwrap();
    assert!(chmod.success());
    let report = Report::of(&mut run(",ro"), WELL);
    report.is_well_but_for(&[]);
    report.has("ok", "serving_certificate", &format!("it is for {SERVICE}"));
    report.has("ok", "trust_ca", "can be used");
    report.has("ok", "policies", "/etc/portreeve/policies 1 can be used");
    report.has("ok", "trust_server", "reached, a Notary server");
    report.has("ok", "trust_cache", "0 repositories");
    // The certificate of the wrong name in the ConfigMap: trust.ca names another file.
    report.has("note", "configuration", "/etc/portreeve/trust-ca/harbor.pem");
    assert!(!format!("{report:?}").contains("ca.crt"), "nobody has to name it");
}
