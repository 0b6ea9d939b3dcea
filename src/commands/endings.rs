//! All that ends of a configuration and its engine. `serve` makes metrics and a daily line of it, `doctor` prints it.

mod remembered;
mod watch;

use std::path::Path;

use jiff::Timestamp;

use crate::admission::children::Children;
use crate::base::ending::{self, Ending, EndingKind};
use crate::config::{AskApi, Config};
use crate::policy::PolicySet;
use crate::schemes::Check;
use crate::webhook::Engine;
use portreeve_verify::ordered;
use portreeve_verify::tuf::RootPin;

pub(crate) use watch::EndingsWatch;

/// All that ends, the soonest first: the certificates in the files that the configuration names, the pins of the policies in
/// force, trust stores, revocation lists and trusted roots, and the trust data in use, in memory and in `trust.cache`. Files that
/// cannot be read are left out.
pub(crate) fn collect(config: &Config, engine: &Engine, now: Timestamp) -> Vec<Ending> {
    let mut endings = Vec::new();
    for file in files(config) {
        endings.extend(file.endings());
    }
    endings.extend(engine.policies().get().iter().flat_map(|policies| of_policies(policies)));
    let stored = engine.evaluator().schemes.notary_v1.service.stored_endings(now);
    endings.extend(of_memory(engine, &stored, now));
    ordered::sort_by(&mut endings, |a: &Ending, b| a.at.cmp(&b.at));
    endings
}

/// A file with certificates.
struct CertificateFile<'a> {
    kind: EndingKind,
    path: &'a Path,
    advice: &'static str,
}

impl CertificateFile<'_> {
    fn endings(&self) -> Vec<Ending> {
        ending::of_file(self.kind, self.path, self.advice)
    }
}

/// The files with certificates that the configuration names.
fn files(config: &Config) -> Vec<CertificateFile<'_>> {
    const RENEW: &str = "renew it: certs-gen --renew, or find out why cert-manager does not renew it";
    const CA: &str = "put the certificate of the renewed CA into the file, beside this one or in its place";
    const API_CA: &str = "the cluster's CA must be renewed";
    let tls = &config.server.tls;
    let asks = config.ask_api == AskApi::Yes || config.children == Children::Compare;
    let named = [
        (EndingKind::ServingCertificate, Some(tls.certificate.as_path()), RENEW),
        (EndingKind::ClientCa, tls.client_ca.as_deref(), CA),
        (EndingKind::TrustCa, Some(config.trust.ca.as_path()), CA),
        (EndingKind::ApiCa, Some(config.api.ca.as_path()).filter(|_| asks), API_CA),
    ];
    named.into_iter().filter_map(|(kind, path, advice)| Some(CertificateFile { kind, path: path?, advice })).collect()
}

/// The pinned certificates and CAs of the policies in force. A pin that several rules have is there once.
fn of_policies(policies: &PolicySet) -> Vec<Ending> {
    const PIN: &str = "pin what the repository's owner renews it to, beside this one, before the root is rotated";
    let mut endings = Vec::new();
    let mut known = ordered::set([]);
    for rule in policies.rules() {
        for check in rule.signed().into_iter().flat_map(|signed| signed.any_of.iter().flatten()) {
            let Check::NotaryV1(notary) = check else { continue };
            for kind in [EndingKind::PinnedCertificate, EndingKind::PinnedCa] {
                let pinned = notary.roots.iter().filter_map(|pin| match (kind, pin) {
                    (EndingKind::PinnedCertificate, RootPin::Certificate(der))
                    | (EndingKind::PinnedCa, RootPin::Ca(der)) => Some(der.as_slice()),
                    _ => None,
                });
                let new: Vec<&[u8]> = pinned.filter(|der| known.insert(*der)).collect();
                if !new.is_empty() {
                    endings.extend(ending::of_certificates(kind, new.into_iter(), &rule.describe(), PIN));
                }
            }
        }
    }
    endings
}

/// The trust data in memory, what is stored of repositories that memory does not have, and the certificates and
/// revocation lists of trust stores, and trusted roots.
fn of_memory(engine: &Engine, stored: &[Ending], now: Timestamp) -> Vec<Ending> {
    let mut endings = engine.evaluator().schemes.notary_v1.service.endings(now);
    endings.extend_from_slice(engine.evaluator().schemes.notation.stores.current().endings());
    endings.extend(engine.evaluator().schemes.cosign.trusted_roots.current().endings(now));
    let known = ordered::set(endings.iter().map(|ending| ending.what.clone()));
    endings.extend(stored.iter().filter(|ending| !known.contains(&ending.what)).cloned());
    endings
}
