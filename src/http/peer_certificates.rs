//! When the certificates of other servers end: noted at each handshake, for people. Decides nothing.

use std::sync::{Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use ureq::http::Uri;

use super::url;
use portreeve_verify::Validity;

/// The most servers that are kept. A policy names any number of them.
const MAX_SERVERS: usize = 256;

/// The soonest end of each server's chain, by host and port.
#[derive(Debug, Default)]
pub(crate) struct PeerCertificates(Mutex<Vec<(String, i64)>>);

impl PeerCertificates {
    /// Notes the chain that the server of a URL sent.
    pub(super) fn note(&self, uri: &Uri, chain: &[CertificateDer<'_>]) {
        let ends = chain.iter().filter_map(|certificate| Validity::of(certificate));
        let Some(end) = ends.map(|validity| validity.not_after).min() else { return };
        let server = host_and_port(uri);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = known.len() < MAX_SERVERS;
        match known.iter_mut().find(|(name, _)| *name == server) {
            Some((_, noted)) => *noted = end,
            None if has_room => known.push((server, end)),
            None => {}
        }
    }

    /// All that is noted.
    pub(super) fn ends(&self) -> Vec<(String, i64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn host_and_port(uri: &Uri) -> String {
    format!("{}:{}", url::host(uri), url::port(uri))
}
