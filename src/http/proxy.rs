//! Proxies from the environment, by the rules of Go programs, which kubelet, containerd and Notary's own client follow:
//! `HTTPS_PROXY` for https, `HTTP_PROXY` for http. `NO_PROXY` lists hosts with their subdomains, `.suffixes`, addresses,
//! CIDR blocks and ports; ureq's own parser supports neither suffixes without a dot nor CIDR blocks nor ports. Requests to
//! this machine itself never go through a proxy.

use std::fmt;
use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

use super::url::{host, port, without_brackets};

/// The environment's proxies.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    exceptions: Vec<Exception>,
}

impl Proxies {
    /// Reads this process's environment.
    pub(crate) fn from_environment() -> Result<Self, ProxyError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    pub(crate) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        // As in Go, the upper-case name comes first.
        let either = |upper: &'static str, lower: &'static str| {
            variable(upper)
                .filter(|value| !value.trim().is_empty())
                .or_else(|| variable(lower).filter(|value| !value.trim().is_empty()))
                .map(|value| (upper, value))
        };
        let proxy = |found: Option<(&'static str, String)>| match found {
            None => Ok(None),
            Some((name, url)) => {
                let url = url.trim();
                let proxy = Proxy::new(url).map_err(|_| ProxyError::Url { variable: name })?;
                match url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).as_deref() {
                    None | Some("http" | "https") => Ok(Some(proxy)),
                    Some(_) => Err(ProxyError::Scheme { variable: name }),
                }
            }
        };
        let exceptions = either("NO_PROXY", "no_proxy").map(|(_, list)| list).unwrap_or_default();
        Ok(Self {
            https: proxy(either("HTTPS_PROXY", "https_proxy"))?,
            http: proxy(either("HTTP_PROXY", "http_proxy"))?,
            exceptions: exceptions.split([',', ' ']).filter_map(Exception::parse).collect(),
        })
    }

    /// The proxy for requests to this URL.
    pub(crate) fn to(&self, url: &Uri) -> Option<&Proxy> {
        let proxy = match url.scheme_str() {
            Some("https") => self.https.as_ref()?,
            _ => self.http.as_ref()?,
        };
        let host = host(url).to_ascii_lowercase();
        let host = host.trim_end_matches('.');
        let address = host.parse::<IpAddr>().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return None;
        }
        (!self.exceptions.iter().any(|exception| exception.covers(host, address, port(url)))).then_some(proxy)
    }
}

/// One entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    Block { network: u128, prefix: u32, v6: bool },
    Address { address: IpAddr, port: Option<u16> },
    Domain { name: String, itself: bool, port: Option<u16> },
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, prefix)) = text.split_once('/') {
            let address = address.parse::<IpAddr>().ok()?;
            let prefix = prefix.parse::<u32>().ok().filter(|prefix| *prefix <= width(&address))?;
            let network = bits(&address) & mask(prefix, width(&address));
            return Some(Self::Block { network, prefix, v6: address.is_ipv6() });
        }
        if let Ok(address) = without_brackets(&text).parse::<IpAddr>() {
            return Some(Self::Address { address, port: None });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name.to_owned(), Some(port.parse::<u16>().ok()?)),
            None => (text, None),
        };
        if let Ok(address) = without_brackets(&name).parse::<IpAddr>() {
            return Some(Self::Address { address, port });
        }
        let (name, itself) = match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
            Some(below) => (below.to_owned(), false),
            None => (name, true),
        };
        let name = name.trim_end_matches('.').to_owned();
        (!name.is_empty()).then_some(Self::Domain { name, itself, port })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        match self {
            Self::Everything => true,
            Self::Block { network, prefix, v6 } => address.is_some_and(|address| {
                address.is_ipv6() == *v6 && bits(&address) & mask(*prefix, width(&address)) == *network
            }),
            Self::Address { address: wanted, port: only } => {
                address == Some(*wanted) && only.is_none_or(|only| only == port)
            }
            Self::Domain { name, itself, port: only } => {
                let below = host.strip_suffix(name.as_str()).is_some_and(|front| front.ends_with('.'));
                (below || (*itself && host == name)) && only.is_none_or(|only| only == port)
            }
        }
    }
}

fn width(address: &IpAddr) -> u32 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn bits(address: &IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn mask(prefix: u32, width: u32) -> u128 {
    u128::MAX.checked_shl(width.saturating_sub(prefix)).unwrap_or(0)
}

/// A proxy variable that cannot be used. Its value may hold a password and is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// It is not a URL.
    Url {
        /// Its name.
        variable: &'static str,
    },
    /// It names another kind of proxy than an HTTP proxy.
    Scheme {
        /// Its name.
        variable: &'static str,
    },
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { variable } => write!(f, "{variable} is not the URL of a proxy, such as http://proxy:3128"),
            Self::Scheme { variable } => write!(f, "{variable}: only http:// and https:// proxies are supported"),
        }
    }
}

impl std::error::Error for ProxyError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(no_proxy: &str) -> Proxies {
        Proxies::from_variables(|name| match name {
            "HTTPS_PROXY" => Some("http://proxy:3128".to_owned()),
            "no_proxy" => Some(no_proxy.to_owned()),
            _ => None,
        })
        .unwrap()
    }

    #[test]
    fn no_proxy_means_what_it_means_in_go() {
        const TABLE: [(&str, &str, bool); 26] = [
            ("", "https://notary.local:4443/x", true),
            ("", "https://localhost:4443/x", false),
            ("", "https://127.0.0.2/x", false),
            ("", "https://[::1]:4443/x", false),
            ("*", "https://notary.local/x", false),
            ("notary.local", "https://notary.local/x", false),
            ("notary.local", "https://a.notary.local/x", false),
            ("notary.local", "https://mynotary.local/x", true),
            (".notary.local", "https://a.notary.local/x", false),
            (".notary.local", "https://notary.local/x", true),
            ("*.notary.local", "https://a.notary.local/x", false),
            ("a, notary.local ,b", "https://NOTARY.local/x", false),
            ("notary.local:4443", "https://notary.local:4443/x", false),
            ("notary.local:443", "https://notary.local/x", false),
            ("notary.local:4443", "https://notary.local/x", true),
            ("10.0.0.0/8", "https://10.96.3.4:4443/x", false),
            ("10.0.0.0/8", "https://11.96.3.4:4443/x", true),
            ("10.0.0.7/8", "https://10.1.1.1/x", false),
            ("0.0.0.0/0", "https://11.96.3.4/x", false),
            ("10.1.1.1", "https://10.1.1.1:4443/x", false),
            ("10.1.1.1:4443", "https://10.1.1.1/x", true),
            ("fd00::/8", "https://[fd00::5]/x", false),
            ("fd00::/8", "https://[fe00::5]/x", true),
            ("::/0", "https://10.1.1.1/x", true),
            ("10.0.0.0/33,x:y", "https://10.1.1.1/x", true),
            ("", "http://notary.local/x", false),
        ];
        for (no_proxy, url, expected) in TABLE {
            let proxies = proxies(no_proxy);
            assert_eq!(proxies.to(&url.parse().unwrap()).is_some(), expected, "NO_PROXY={no_proxy} {url}");
        }
    }

    #[test]
    fn a_bad_proxy_is_an_error_that_keeps_its_password() {
        for (url, expected) in [
            ("http://u:secret@ proxy", ProxyError::Url { variable: "HTTPS_PROXY" }),
            ("socks5://u:secret@proxy", ProxyError::Scheme { variable: "HTTPS_PROXY" }),
        ] {
            let error = Proxies::from_variables(|name| (name == "https_proxy").then(|| url.to_owned())).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("secret"));
        }
        assert!(Proxies::from_variables(|_| Some(" ".to_owned())).unwrap().https.is_none());
    }
}
