//! All that ends of a configuration and its engine. `serve` makes metrics and a daily line of it, `doctor` prints it.

mod watch;

use jiff::Timestamp;

use crate::admission::children::Children;
use crate::base::ending::{self, Ending, EndingKind};
use crate::config::{AskApi, Config};
use crate::schemes::Check;
use crate::webhook::Engine;
use portreeve_verify::ordered;
use portreeve_verify::tuf::RootPin;

pub(crate) use watch::EndingsWatch;

/// All that ends, the soonest first: the certificates in the files that the configuration names, the pins of the policies in
/// force, and the trust data in use, in memory and in `trust.cache`. Files that cannot be read are left out.
pub(crate) fn collect(config: &Config, engine: &Engine, now: Timestamp) -> Vec<Ending> {
    let mut endings = of_files(config);
    endings.extend(of_policies(engine));
    let stored = engine.evaluator().schemes.notary_v1.service.stored_endings(now);
    endings.extend(of_memory(engine, &stored, now));
    ordered::sort_by(&mut endings, |a: &Ending, b| a.at.cmp(&b.at));
    endings
}

/// The certificates of files.
fn of_files(config: &Config) -> Vec<Ending> {
    const RENEW: &str = "renew it: certs-gen --renew, or find out why cert-manager does not renew it";
    const CA: &str = "put the certificate of the renewed CA into the file, beside this one or in its place";
    const API_CA: &str = "the cluster's CA must be renewed";
    let tls = &config.server.tls;
    let mut endings = ending::of_file(EndingKind::ServingCertificate, &tls.certificate, RENEW);
    if let Some(client_ca) = &tls.client_ca {
        endings.extend(ending::of_file(EndingKind::ClientCa, client_ca, CA));
    }
    endings.extend(ending::of_file(EndingKind::TrustCa, &config.trust.ca, CA));
    if config.ask_api == AskApi::Yes || config.children == Children::Compare {
        endings.extend(ending::of_file(EndingKind::ApiCa, &config.api.ca, API_CA));
    }
    endings
}

/// The pinned certificates and CAs of the policies in force. A pin that several rules have is there once.
fn of_policies(engine: &Engine) -> Vec<Ending> {
    const PIN: &str = "pin what the repository's owner renews it to, beside this one, before the root is rotated";
    let Some(policies) = engine.policies().get() else { return Vec::new() };
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

/// The trust data in memory, and what is stored of repositories that memory does not have.
fn of_memory(engine: &Engine, stored: &[Ending], now: Timestamp) -> Vec<Ending> {
    let mut endings = engine.evaluator().schemes.notary_v1.service.endings(now);
    let known = ordered::set(endings.iter().map(|ending| ending.what.clone()));
    endings.extend(stored.iter().filter(|ending| !known.contains(&ending.what)).cloned());
    endings
}
