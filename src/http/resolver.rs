//! Host names for ureq, which resolves before it looks for an open connection, each time on a thread of its own: five
//! lookups for one refresh. Addresses need no lookup, and a name's are kept for a few seconds, which covers a refresh
//! and is shorter than any change of DNS takes to arrive.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long a name's addresses are used.
const KEEP: Duration = Duration::from_secs(5);
/// Most names that are kept.
const MAX_NAMES: usize = 64;

/// The resolver.
#[derive(Debug, Default)]
pub(crate) struct Names {
    system: DefaultResolver,
    known: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    host: String,
    port: u16,
    addresses: Vec<SocketAddr>,
    asked: Instant,
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(self.listed(&[SocketAddr::new(address, port)]));
        }
        if let Some(addresses) = self.known(host, port) {
            return Ok(self.listed(&addresses));
        }
        let asked = Instant::now();
        let found = self.system.resolve(uri, config, timeout)?;
        let addresses = found.iter().copied().collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.asked.elapsed() < KEEP && !(known.host == host && known.port == port));
        if known.len() < MAX_NAMES {
            known.push(Known { host: host.to_owned(), port, addresses, asked });
        }
        Ok(found)
    }
}

impl Names {
    fn known(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |known: &&Known| known.host == host && known.port == port && known.asked.elapsed() < KEEP;
        known.iter().find(fits).map(|known| known.addresses.clone())
    }

    fn listed(&self, addresses: &[SocketAddr]) -> ResolvedSocketAddrs {
        let mut list = self.empty();
        // The list has room for sixteen; the system's own answer was cut to that.
        for address in addresses.iter().take(16) {
            list.push(*address);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(names: &Names, url: &str) -> Vec<String> {
        let found = names.resolve(&url.parse().unwrap(), &Config::default(), NextTimeout::default()).unwrap();
        found.iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn addresses_need_no_lookup_and_names_one() {
        let names = Names::default();
        assert_eq!(resolve(&names, "https://127.0.0.1/x"), ["127.0.0.1:443"]);
        assert_eq!(resolve(&names, "http://[::1]:8080/x"), ["[::1]:8080"]);
        assert!(names.known.lock().unwrap().is_empty());
        let made_up: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let known = |asked| Known { host: "localhost".to_owned(), port: 443, addresses: vec![made_up], asked };
        names.known.lock().unwrap().push(known(Instant::now()));
        assert_eq!(resolve(&names, "https://localhost/x"), ["192.0.2.1:443"]);
        // What is too old is asked for again.
        let names = Names::default();
        let long_ago = Instant::now().checked_sub(KEEP).unwrap();
        names.known.lock().unwrap().push(known(long_ago));
        assert!(resolve(&names, "https://localhost/x").contains(&"127.0.0.1:443".to_owned()));
        assert_eq!(names.known.lock().unwrap().len(), 1);
        assert_ne!(names.known.lock().unwrap()[0].addresses, [made_up]);
    }
}
