//! The gateway: what stands between the network and tiny_http, which has neither limits nor timeouts.
//!
//! It accepts TCP on the TLS listener and on the plain one for metrics and probes, with one small thread a connection
//! and a cap on their number; it speaks TLS, holds every phase to its time and every part to its size, reads a whole
//! request, and only then passes on what it understood of it. It never passes on a byte that it did not understand,
//! and knows nothing of admissions.

mod body_budget;
mod connection;
pub(super) mod connections;
mod head;
mod request_reader;

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::stream::Wire;
use body_budget::BodyMemory;
use connection::Context;
use connections::{Slot, Slots};
pub(super) use head::end_of_head;

use super::relay::Bridge;
use super::settings::Limits;
use super::threads::{spawn, spawn_small};
use super::tls::TlsStore;
use crate::base::context::Deadline;
use crate::metrics::{Limit, Listener, Metrics};

/// The fuzz target's door: method, target and length of the body of the head that begins here, and where it ends.
#[cfg(feature = "fuzzing")]
pub fn fuzz_head(bytes: &[u8]) -> Option<(String, String, usize, usize)> {
    let end = end_of_head(bytes, 0)?;
    let head = head::parse(bytes.get(..end)?).ok()?;
    Some((head.method, head.target, head.content_length, end))
}

/// The fuzz target's door: the requests (method, target, body) that are read, one after the other, off a stream that
/// gives at most so many bytes a read, by turns; a head may have `head_bytes` bytes, a body `body_bytes`.
#[cfg(feature = "fuzzing")]
pub fn fuzz_requests(
    bytes: &[u8],
    cuts: &[usize],
    head_bytes: usize,
    body_bytes: usize,
) -> Vec<(String, String, Vec<u8>)> {
    struct Cut<'a>(&'a [u8], std::iter::Cycle<std::slice::Iter<'a, usize>>);
    impl io::Read for Cut<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = self.1.next().copied().unwrap_or(usize::MAX).clamp(1, buffer.len());
            io::Read::read(&mut self.0, buffer.get_mut(..most).unwrap_or_default())
        }
    }
    let memory = BodyMemory::new(usize::MAX >> 1);
    let mut stream = Cut(bytes, cuts.iter().cycle());
    let mut intake = request_reader::Intake::new(head_bytes);
    let mut requests = Vec::new();
    while let Ok(head) = intake.head(&mut stream) {
        let mut body = memory.body(head.content_length);
        if head.content_length > body_bytes || intake.body(&mut stream, &mut body).is_err() {
            break;
        }
        requests.push((head.method, head.target, body.take()));
    }
    requests
}

/// Both listeners and all connections.
pub(super) struct Gateway {
    doors: Vec<Door>,
    slots: Arc<Slots>,
    closing: Arc<AtomicBool>,
}

/// A bound listener.
pub(super) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Binds; connections queue up in the kernel from here on.
    pub(super) fn to(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Gateway {
    /// Starts accepting.
    pub(super) fn open(
        tls: Bound,
        plain: Option<Bound>,
        store: &Arc<TlsStore>,
        limits: &Limits,
        bridge: &Arc<Bridge>,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let slots = Arc::new(Slots::new(limits.connections, plain.is_some(), Arc::clone(metrics)));
        let bodies = Arc::new(BodyMemory::new(limits.body_memory));
        let closing = Arc::new(AtomicBool::new(false));
        let context = |listener| Context {
            listener,
            limits: limits.clone(),
            metrics: Arc::clone(metrics),
            bridge: Arc::clone(bridge),
            bodies: Arc::clone(&bodies),
        };
        let porter = |listener, store| Porter {
            context: Arc::new(context(listener)),
            slots: Arc::clone(&slots),
            closing: Arc::clone(&closing),
            store,
        };
        let mut gateway = Self { doors: Vec::new(), slots: Arc::clone(&slots), closing: Arc::clone(&closing) };
        gateway.doors.push(Door::open(tls, porter(Listener::Tls, Some(Arc::clone(store))))?);
        if let Some(plain) = plain {
            gateway.doors.push(Door::open(plain, porter(Listener::Plain, None))?);
        }
        Ok(gateway)
    }

    /// From here on each connection ends with its next answer, so that clients turn elsewhere by themselves.
    pub(super) fn part(&self) {
        self.slots.part();
    }

    /// Stops accepting, ends idle connections, waits for those in use until `deadline`, and cuts the rest. Returns how
    /// many those were.
    pub(super) fn close(&mut self, deadline: Deadline) -> usize {
        self.closing.store(true, Ordering::SeqCst);
        for door in self.doors.drain(..) {
            door.close();
        }
        self.slots.close();
        let left = self.slots.wait_until_empty(deadline);
        if left > 0 {
            self.slots.cut();
        }
        left
    }
}

/// A listener with the thread that accepts on it.
struct Door {
    /// The listening socket once more: shutting it down is what wakes the accepting thread.
    closer: TcpStream,
    thread: JoinHandle<()>,
}

impl Door {
    fn open(bound: Bound, porter: Porter) -> io::Result<Self> {
        let closer = TcpStream::from(OwnedFd::from(bound.listener.try_clone()?));
        let name = format!("accept-{}", porter.context.listener.as_str());
        let thread = spawn(name, Box::new(move || porter.accept(&bound.listener)))?;
        Ok(Self { closer, thread })
    }

    fn close(self) {
        // On Linux this ends listening and fails the accept that is waiting.
        if let Err(error) = self.closer.shutdown(Shutdown::Both) {
            log::warn!("a listener could not be shut: {error}");
            return;
        }
        if self.thread.join().is_err() {
            log::error!("an accepting thread had died");
        }
    }
}

/// Enough for TLS and our own buffers; nothing is parsed recursively here.
const STACK_BYTES: usize = 256 << 10;
/// After a failed accept: what it lacks (descriptors, memory) takes others a moment to free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Lets connections in at one door.
struct Porter {
    context: Arc<Context>,
    slots: Arc<Slots>,
    closing: Arc<AtomicBool>,
    store: Option<Arc<TlsStore>>,
}

impl Porter {
    fn accept(&self, listener: &TcpListener) {
        let mut failing = false;
        loop {
            let accepted = listener.accept();
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            match accepted {
                Ok((stream, from)) => {
                    failing = false;
                    self.admit(stream, from.ip());
                }
                Err(error) => {
                    self.context.metrics.limit(Limit::Accept);
                    // Once a series: a full descriptor table would fill the log too.
                    if !failing {
                        log::error!("a connection could not be accepted: {error}; trying on");
                    }
                    failing = true;
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Gives the connection a slot and a thread, or closes it by dropping it.
    fn admit(&self, stream: TcpStream, from: IpAddr) {
        let stream = Arc::new(stream);
        let context = Arc::clone(&self.context);
        let Some(slot) = self.slots.take(context.listener, Arc::clone(&stream), from) else {
            return;
        };
        let tls = self.store.as_ref().map(|store| store.current());
        let name = format!("{}-client", context.listener.as_str());
        let work = move || {
            let served = catch_unwind(AssertUnwindSafe(|| serve(&context, stream, tls, &slot)));
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

fn serve(context: &Context, stream: Arc<TcpStream>, tls: Option<Arc<rustls::ServerConfig>>, slot: &Slot) {
    // Answers are single writes; waiting for more would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("a connection was gone before it began: {error}");
        return;
    }
    let wire = match tls {
        None => Wire::plain(stream),
        Some(config) => match Wire::handshake(stream, config, Instant::now() + context.limits.handshake_time, slot) {
            Ok(wire) => wire,
            Err(error) => {
                if error.kind() == io::ErrorKind::TimedOut {
                    context.metrics.limit(Limit::HandshakeTime);
                }
                log::debug!("a TLS handshake failed: {error}");
                return;
            }
        },
    };
    connection::serve(context, wire, slot);
}
