//! The files that are mounted in a pod: the serving certificate, the CA bundle, credentials, directories. On a workstation they
//! are not there, and that is no fault.

use std::path::Path;

use rustls::CertificateError;
use rustls::pki_types::ServerName;

use super::finding::{Findings, State};
use super::servers::Directory;
use crate::config::Config;
use crate::http::roots::{BuiltInRoots, verifier};
use crate::http::server_verifier::{check_name, describe};
use crate::keychain::MountedCredentials;
use crate::server::serving_leaf;
use portreeve_verify::Validity;

/// Where the manifests mount what a pod of Portreeve reads.
const MOUNTS: [&str; 3] = ["/etc/portreeve", "/etc/certs", "/var/cache/portreeve"];
/// Kubernetes sets it in every pod.
const POD_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";
/// The configuration of the manifests.
pub(super) const CONFIGURATION: &str = "/etc/portreeve/config";
/// Where a file is that is not here.
pub(super) const IN_THE_POD: &str = "is a path of the pod, and is not on this machine";

/// Says once how all that was left out can be looked at.
pub(super) fn left_out(findings: &mut Findings) {
    if findings.list.iter().any(|finding| finding.found == IN_THE_POD) {
        let action = "run doctor in the pod as well: kubectl -n portreeve exec deploy/portreeve -- /portreeve doctor";
        findings.add(State::Skipped, "pod", "", "what is only there was not looked at", action);
    }
}
/// The Service of the manifests.
const SERVICE: &str = "portreeve";

/// Is this a path of a pod, and this machine a workstation without it?
pub(super) fn is_elsewhere(path: &Path) -> bool {
    let is_absent = |mount: &&&str| path.starts_with(mount) && !Path::new(mount).exists();
    std::env::var_os(POD_VARIABLE).is_none() && MOUNTS.iter().find(is_absent).is_some()
}

/// Certificate, key and client CA: can they be used together, and is the Service's name among the names? When they end is
/// another finding.
pub(super) fn serving_certificate(config: &Config, findings: &mut Findings) {
    const CHECK: &str = "serving_certificate";
    let files = &config.server.tls;
    let subject = files.certificate.display().to_string();
    if is_elsewhere(&files.certificate) {
        return findings.add(
            State::Skipped,
            CHECK,
            &subject,
            IN_THE_POD,
            "name another in a --config: tls.certificate, tls.key",
        );
    }
    let leaf = match serving_leaf(files) {
        Ok(leaf) => leaf,
        Err(error) => {
            let action =
                "put the right files there: certs-gen, or cert-manager; the webhook does not start without them";
            return findings.add(State::Wrong, CHECK, &subject, &error.to_string(), action);
        }
    };
    findings.ok(CHECK, &subject, "the key belongs to it");
    let begins = Validity::of(&leaf).map_or(0, |validity| validity.not_before);
    if begins > findings.now.as_second() {
        let begins = super::finding::moment(begins).to_string();
        let action = "set this machine's clock by NTP, or issue the certificate again";
        findings.add(State::Wrong, CHECK, &subject, &format!("it is valid only from {begins} on"), action);
    }
    let service = format!("{SERVICE}.{}.svc", config.namespace);
    let Ok(name) = ServerName::try_from(service.as_str()) else { return };
    let refused = match check_name(&leaf, &name) {
        Ok(()) => return findings.ok(CHECK, &subject, &format!("it is for {service}")),
        Err(rustls::Error::InvalidCertificate(why)) => why,
        Err(error) => return findings.add(State::Wrong, CHECK, &subject, &error.to_string(), ""),
    };
    let other_service = format!(".{}.svc\"", config.namespace);
    let is_of_another = matches!(
        &refused,
        CertificateError::NotValidForNameContext { presented, .. }
            if presented.iter().any(|name| name.contains(&other_service))
    );
    let (state, action) = match is_of_another {
        true => (State::Note, "make sure that the Service and the webhook configurations have that name"),
        false => (State::Wrong, "issue it again (certs-gen --renew): kube-apiserver calls the webhook by that name"),
    };
    findings.add(state, CHECK, &subject, &describe(&refused), action);
}

/// The CA bundle for trust servers and registries. Returns whether servers can be asked under it.
pub(super) fn trust_ca(config: &Config, findings: &mut Findings) -> bool {
    const CHECK: &str = "trust_ca";
    let path = &config.trust.ca;
    let subject = path.display().to_string();
    if is_elsewhere(path) {
        findings.add(State::Skipped, CHECK, &subject, IN_THE_POD, "name another: --trust-ca FILE");
        return true;
    }
    if !path.exists() {
        findings.ok(CHECK, &subject, "is not there: the built-in public roots alone are trusted");
        return true;
    }
    match verifier(BuiltInRoots::Trusted, Some(path)) {
        Ok(_) => findings.ok(CHECK, &subject, "can be used"),
        Err(error) => {
            let action = "correct it: the webhook goes on with what it read before, and does not start so";
            findings.add(State::Wrong, CHECK, &subject, &error.to_string(), action);
            return false;
        }
    }
    true
}

/// The mounted docker configs.
pub(super) fn credentials(config: &Config, credentials: &MountedCredentials, findings: &mut Findings) {
    const CHECK: &str = "credentials";
    let subject = config.mounted_credentials.display().to_string();
    if is_elsewhere(&config.mounted_credentials) {
        return findings.add(
            State::Skipped,
            CHECK,
            &subject,
            IN_THE_POD,
            "name another in a --config: credentials.mounted",
        );
    }
    match credentials.count() {
        0 => findings.ok(CHECK, &subject, "there are none: servers are asked anonymously"),
        count => findings.ok(CHECK, &subject, &format!("{count} can be used")),
    }
    for problem in credentials.problems() {
        findings.add(State::Wrong, CHECK, "", &problem, "correct the Secret that is mounted there");
    }
}

/// A directory that a policy or the configuration names in place of a server.
pub(super) fn named_directory(Directory { path, named_by }: &Directory, findings: &mut Findings) {
    const CHECK: &str = "directory";
    let subject = path.display().to_string();
    if is_elsewhere(path) {
        return findings.add(State::Skipped, CHECK, &subject, IN_THE_POD, "");
    }
    let first = std::fs::read_dir(path).map(|mut entries| entries.next());
    match first {
        Ok(Some(Ok(_))) => findings.ok(CHECK, &subject, &format!("can be read ({named_by})")),
        Ok(None) => {
            let action = "carry trust data or signatures in (portreeve export)";
            findings.add(State::Wrong, CHECK, &subject, &format!("is empty ({named_by})"), action);
        }
        Ok(Some(Err(error))) | Err(error) => {
            let action = "mount it, or carry it in: until then what it is named for is denied";
            findings.add(State::Wrong, CHECK, &subject, &format!("cannot be read: {error} ({named_by})"), action);
        }
    }
}
