//! The thread that accepts the connections of one listener.

use std::io;
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Bound;
use super::connection::{self, Context};
use super::connections::{ConnectionGuard, Connections};
use crate::metrics::Limit;
use crate::server::stream::ClientStream;
use crate::server::threads::{spawn, spawn_small};
use crate::server::tls::TlsStore;

/// The stack of a connection's thread: enough for TLS and our own buffers. Nothing is parsed recursively there.
const STACK_BYTES: usize = 256 << 10;
/// The pause after a failed accept. Descriptors and memory take a moment to become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener with the thread that accepts its connections.
pub(super) struct Acceptor {
    /// A second handle of the listening socket. Shutting it down wakes the accepting thread.
    closer: TcpStream,
    thread: JoinHandle<()>,
}

impl Acceptor {
    pub(super) fn open(bound: Bound, accept_loop: AcceptLoop) -> io::Result<Self> {
        let closer = TcpStream::from(OwnedFd::from(bound.listener.try_clone()?));
        let name = format!("accept-{}", accept_loop.context.listener.as_str());
        let thread = spawn(name, Box::new(move || accept_loop.run(&bound.listener)))?;
        Ok(Self { closer, thread })
    }

    pub(super) fn close(self) {
        // On Linux this ends listening and fails the `accept` that is waiting.
        if let Err(error) = self.closer.shutdown(Shutdown::Both) {
            log::warn!("a listener could not be shut: {error}");
            return;
        }
        if self.thread.join().is_err() {
            log::error!("an accepting thread had panicked");
        }
    }
}

/// What the accepting thread of a listener works with.
pub(super) struct AcceptLoop {
    pub(super) context: Arc<Context>,
    pub(super) connections: Arc<Connections>,
    pub(super) closing: Arc<AtomicBool>,
    pub(super) store: Option<Arc<TlsStore>>,
}

impl AcceptLoop {
    fn run(&self, listener: &TcpListener) {
        let mut failing = false;
        loop {
            let accepted = listener.accept();
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            match accepted {
                Ok((stream, from)) => {
                    failing = false;
                    self.start(stream, from.ip());
                }
                Err(error) => {
                    self.context.metrics.limit(Limit::Accept);
                    // Logged once for a series of failures: otherwise a full descriptor table would fill the log as well.
                    if !failing {
                        log::error!("a connection could not be accepted: {error}; trying on");
                    }
                    failing = true;
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Gives the connection a place and a thread, or closes it by dropping it.
    fn start(&self, stream: TcpStream, from: IpAddr) {
        let stream = Arc::new(stream);
        let context = Arc::clone(&self.context);
        let Some(guard) = self.connections.admit(context.listener, Arc::clone(&stream), from) else {
            return;
        };
        let tls = self.store.as_ref().map(|store| store.current());
        let name = format!("{}-client", context.listener.as_str());
        let work = move || {
            let served = catch_unwind(AssertUnwindSafe(|| serve(&context, stream, tls, &guard)));
            if served.is_err() {
                context.metrics.panic();
                log::error!("a connection hit a bug and was closed");
            }
        };
        if let Err(error) = spawn_small(STACK_BYTES, name, Box::new(work)) {
            self.context.metrics.limit(Limit::Accept);
            log::error!("a connection got no thread: {error}");
        }
    }
}

fn serve(context: &Context, stream: Arc<TcpStream>, tls: Option<Arc<rustls::ServerConfig>>, guard: &ConnectionGuard) {
    // A response is a single write. Waiting for more bytes would only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("a connection was closed before it began: {error}");
        return;
    }
    let stream = match tls {
        None => ClientStream::plain(stream),
        Some(config) => {
            let deadline = Instant::now() + context.limits.handshake_time;
            match ClientStream::handshake(stream, config, deadline, guard) {
                Ok(stream) => stream,
                Err(error) => {
                    if error.kind() == io::ErrorKind::TimedOut {
                        context.metrics.limit(Limit::HandshakeTime);
                    }
                    log::debug!("a TLS handshake failed: {error}");
                    return;
                }
            }
        }
    };
    connection::serve(context, stream, guard);
}
