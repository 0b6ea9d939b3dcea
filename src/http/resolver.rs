//! Name lookup for ureq. ureq looks up a name before it looks for an open connection, and starts a thread each time: five
//! lookups for one refresh. This resolver keeps a name's addresses for five seconds, which covers a refresh, and is less
//! than a change in DNS needs to arrive anyway. An IP address needs no lookup.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::url;

/// How long a name's addresses are used.
const KEEP: Duration = Duration::from_secs(5);
/// Most names whose addresses are kept.
const MAX_NAMES: usize = 64;

/// The resolver, with the addresses that it keeps.
#[derive(Debug, Default)]
pub(crate) struct Names {
    system: DefaultResolver,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    host: String,
    port: u16,
    addresses: Vec<SocketAddr>,
    looked_up: Instant,
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let (host, port) = (url::host(uri), url::port(uri));
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(self.list(&[SocketAddr::new(address, port)]));
        }
        if let Some(addresses) = self.kept(host, port) {
            return Ok(self.list(&addresses));
        }
        let looked_up = Instant::now();
        let found = self.system.resolve(uri, config, timeout).map_err(|error| match error {
            // An error of the system, such as too many open files, has a number. One of getaddrinfo has a text alone.
            Error::Io(error) if error.raw_os_error().is_none() => Error::HostNotFound,
            other => other,
        })?;
        let addresses = found.iter().copied().collect();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|name| name.looked_up.elapsed() < KEEP && !(name.host == host && name.port == port));
        if kept.len() < MAX_NAMES {
            kept.push(Kept { host: host.to_owned(), port, addresses, looked_up });
        }
        Ok(found)
    }
}

impl Names {
    fn kept(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |name: &&Kept| name.host == host && name.port == port && name.looked_up.elapsed() < KEEP;
        kept.iter().find(fits).map(|name| name.addresses.clone())
    }

    fn list(&self, addresses: &[SocketAddr]) -> ResolvedSocketAddrs {
        let mut list = self.empty();
        // The list has room for sixteen addresses, to which the system's own result was cut as well.
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
        assert!(names.kept.lock().unwrap().is_empty());
        let made_up: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let kept = |looked_up| Kept { host: "localhost".to_owned(), port: 443, addresses: vec![made_up], looked_up };
        names.kept.lock().unwrap().push(kept(Instant::now()));
        assert_eq!(resolve(&names, "https://localhost/x"), ["192.0.2.1:443"]);
        // Addresses that are too old are looked up again.
        let names = Names::default();
        let long_ago = Instant::now().checked_sub(KEEP).unwrap();
        names.kept.lock().unwrap().push(kept(long_ago));
        assert!(resolve(&names, "https://localhost/x").contains(&"127.0.0.1:443".to_owned()));
        assert_eq!(names.kept.lock().unwrap().len(), 1);
        assert_ne!(names.kept.lock().unwrap()[0].addresses, [made_up]);
    }

    #[test]
    fn a_name_that_has_no_address_is_not_found() {
        let url = "https://notary.invalid/v2/".parse().unwrap();
        let error = Names::default().resolve(&url, &Config::default(), NextTimeout::default()).unwrap_err();
        assert!(matches!(error, Error::HostNotFound), "{error:?}");
    }
}
