//! How the private socket of a loopback is opened, so that no other process gets a connection to it.
//!
//! tiny_http needs a listening socket and has no limits: each connection that it accepts costs a thread and two descriptors
//! for as long as the other side likes. Any process in the same network namespace could connect to such a socket. So the
//! socket listens for a moment only: it is bound, our own connections are made, and it is shut before tiny_http sees it.
//! tiny_http accepts those connections and no others. If another process connects in that moment, which the kernel's table
//! of sockets shows, nothing has been accepted yet, and the socket is thrown away.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::random;

/// The most connections of a loopback. tiny_http starts this number of threads by itself. With more connections, it would
/// give two to one thread, and the second would wait until the first is closed. Threads without a connection end after five
/// seconds.
pub(in crate::server) const STREAMS: usize = 4;
/// The number of names that are tried when other processes connect to the socket.
const ATTEMPTS: usize = 30;
/// The kernel's table of Unix sockets.
const SOCKETS: &str = "/proc/self/net/unix";

/// A socket that is being opened. Another thread may abandon it: where other processes fill its queue while this process
/// gets no processor time, our own connection would wait for ever.
#[derive(Default)]
pub(in crate::server) struct Opening(Mutex<Option<UnixListener>>);

impl Opening {
    /// A socket that has `count` connections of ours and will never get another one, with those connections.
    pub(super) fn connect(&self, count: usize) -> io::Result<(UnixListener, Vec<UnixStream>)> {
        for _ in 0..ATTEMPTS {
            let name = format!("portreeve-{}", random::word()?);
            let address = SocketAddr::from_abstract_name(&name)?;
            *self.lock() = Some(UnixListener::bind_addr(&address)?);
            let streams = (0..count).map(|_| UnixStream::connect_addr(&address)).collect::<io::Result<Vec<_>>>()?;
            let Some(listener) = self.lock().take() else { return Err(io::ErrorKind::TimedOut.into()) };
            // A socket that is shut refuses new connections, and still yields those that were made before.
            UnixStream::from(OwnedFd::from(listener.try_clone()?)).shutdown(Shutdown::Both)?;
            // The listening socket and our connections have this name.
            if sockets_named(&name) <= 1 + count {
                return Ok((listener, streams));
            }
            log::warn!("another process connected to the internal socket while it was opened; the socket is replaced");
        }
        Err(io::Error::other("other processes of this network namespace connect to the internal socket all the time"))
    }

    /// Closes the socket. Connections that wait for it are refused.
    pub(in crate::server) fn abandon(&self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<UnixListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of sockets with this name: a listening one, and those of its connections. Zero if the table cannot be read.
fn sockets_named(name: &str) -> usize {
    let Ok(table) = File::open(SOCKETS) else { return 0 };
    let end = format!("@{name}").into_bytes();
    BufReader::new(table).split(b'\n').map_while(Result::ok).filter(|line| line.ends_with(&end)).count()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    /// The names of all listening sockets of this kind.
    fn listening() -> Vec<String> {
        let table = std::fs::read(SOCKETS).unwrap();
        let table = String::from_utf8_lossy(&table);
        let named = table.lines().filter_map(|line| line.split_once("@portreeve-"));
        named.map(|(_, word)| format!("portreeve-{word}")).collect()
    }

    #[test]
    fn nobody_else_gets_a_connection() {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let intruder = scope.spawn(|| {
                let mut got = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    for name in listening() {
                        got.extend(UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()));
                    }
                }
                got.len()
            });
            let mut opened = 0;
            for _ in 0..100 {
                // If the intruder spoils every attempt, there is an error and no socket.
                let Ok((listener, streams)) = Opening::default().connect(STREAMS) else { continue };
                opened += 1;
                listener.set_nonblocking(true).unwrap();
                for mut ours in streams {
                    ours.write_all(b"ours").unwrap();
                    let (mut accepted, _) = listener.accept().unwrap();
                    accepted.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
                    let mut word = [0; 4];
                    accepted.read_exact(&mut word).unwrap();
                    assert_eq!(&word, b"ours");
                }
                assert!(listener.accept().is_err(), "there is another one");
            }
            over.store(true, Ordering::SeqCst);
            assert!(opened > 0);
            eprintln!("another process got in between {} times; {opened} of 100 opened", intruder.join().unwrap());
        });
    }
}
