//! A socket that listens: both families under `[::]`, whatever the system's default for such sockets is.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// The connections that may wait to be accepted. The kernel takes less if `net.core.somaxconn` is less.
const BACKLOG: i32 = 4096;

/// A bound listener.
pub(in crate::server) struct Bound {
    pub(super) listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Binds. From now on the kernel queues connections. A system without IPv6 listens on `0.0.0.0` in place of `[::]`.
    pub(in crate::server) fn to(address: SocketAddr) -> io::Result<Self> {
        let listener = match bind_to(address) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if address.is_ipv6() && address.ip().is_unspecified() => {
                bind_to(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
            }
            bound => bound,
        }?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// The address on which it listens.
    pub(in crate::server) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// As the standard library does it, with two differences: IPv4 is served under `[::]` also where `net.ipv6.bindv6only` is
/// set, and the backlog is longer. Its 128 are less than what kube-apiserver opens at once.
fn bind_to(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr, TcpStream};

    use super::*;

    /// CASES.md, F17.
    #[test]
    fn both_families_are_served_under_the_default() {
        let bound = Bound::to("[::]:0".parse().unwrap()).unwrap();
        assert!(!bound.address().is_ipv6() || !sockopt::ipv6_v6only(&bound.listener).unwrap());
        let mut addresses = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
        // A system without IPv6 has no such address.
        addresses.extend(TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok().map(|_| IpAddr::from(Ipv6Addr::LOCALHOST)));
        for address in addresses {
            let client = TcpStream::connect((address, bound.address().port())).unwrap();
            let (_, from) = bound.listener.accept().unwrap();
            assert_eq!((from.ip().to_canonical(), from.port()), (address, client.local_addr().unwrap().port()));
        }
    }

    #[test]
    fn one_address_is_one_address() {
        let bound = Bound::to("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(bound.address().ip().is_loopback());
        assert_eq!(Bound::to(bound.address()).err().unwrap().kind(), io::ErrorKind::AddrInUse);
    }
}
