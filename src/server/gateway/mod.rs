//! The gateway between the network and tiny_http, which has neither limits nor timeouts.
//!
//! It accepts TCP connections on the TLS listener and on the plain listener for metrics and probes, with one small thread a
//! connection and a limit on their number. It speaks TLS, holds every phase to its time and every part to its size, reads a
//! whole request, and only then passes on the parts that it has parsed. It never passes on a byte that it has not parsed,
//! and it knows nothing of admissions.

mod acceptor;
mod body_budget;
mod connection;
pub(super) mod connections;
mod head;
mod request_reader;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::acceptor::{AcceptLoop, Acceptor};
use self::body_budget::BodyBudget;
use self::connection::Context;
use self::connections::Connections;
pub(super) use self::head::end_of_head;
use super::dispatcher::Dispatcher;
use super::settings::Limits;
use super::tls::TlsStore;
use crate::base::context::Deadline;
use crate::metrics::{Listener, Metrics};

/// Both listeners and all connections.
pub(super) struct Gateway {
    acceptors: Vec<Acceptor>,
    connections: Arc<Connections>,
    closing: Arc<AtomicBool>,
}

/// A bound listener.
pub(super) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Binds. From now on the kernel queues connections.
    pub(super) fn to(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// The address on which it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Gateway {
    /// Starts to accept connections.
    pub(super) fn open(
        tls: Bound,
        plain: Option<Bound>,
        store: &Arc<TlsStore>,
        limits: &Limits,
        dispatcher: &Arc<Dispatcher>,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let connections = Arc::new(Connections::new(limits.connections, plain.is_some(), Arc::clone(metrics)));
        let budget = Arc::new(BodyBudget::new(limits.body_memory));
        let closing = Arc::new(AtomicBool::new(false));
        let accept_loop = |listener, store| AcceptLoop {
            context: Arc::new(Context {
                listener,
                limits: limits.clone(),
                metrics: Arc::clone(metrics),
                dispatcher: Arc::clone(dispatcher),
                budget: Arc::clone(&budget),
            }),
            connections: Arc::clone(&connections),
            closing: Arc::clone(&closing),
            store,
        };
        let mut gateway =
            Self { acceptors: Vec::new(), connections: Arc::clone(&connections), closing: Arc::clone(&closing) };
        gateway.acceptors.push(Acceptor::open(tls, accept_loop(Listener::Tls, Some(Arc::clone(store))))?);
        if let Some(plain) = plain {
            gateway.acceptors.push(Acceptor::open(plain, accept_loop(Listener::Plain, None))?);
        }
        Ok(gateway)
    }

    /// From now on each connection is closed after its next response, so that clients connect to another instance.
    pub(super) fn start_draining(&self) {
        self.connections.start_draining();
    }

    /// Stops to accept, closes idle connections, waits until `deadline` for those in use, and closes the rest. Returns how
    /// many those were.
    pub(super) fn close(&mut self, deadline: Deadline) -> usize {
        self.closing.store(true, Ordering::SeqCst);
        for acceptor in self.acceptors.drain(..) {
            acceptor.close();
        }
        self.connections.close();
        let left = self.connections.wait_until_empty(deadline);
        if left > 0 {
            self.connections.close_all();
        }
        left
    }
}

/// For a fuzz target: method, target and body length of the head at the beginning of `bytes`, and where it ends.
#[cfg(feature = "fuzzing")]
pub fn fuzz_head(bytes: &[u8]) -> Option<(String, String, usize, usize)> {
    let end = end_of_head(bytes, 0)?;
    let head = head::parse(bytes.get(..end)?).ok()?;
    Some((head.method, head.target, head.content_length, end))
}

/// For a fuzz target: the requests (method, target, body) that are read from a stream. Its reads give at most `cuts` bytes,
/// in turn. A head may have `head_bytes` bytes, a body `body_bytes`.
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
    let budget = BodyBudget::new(usize::MAX >> 1);
    let mut stream = Cut(bytes, cuts.iter().cycle());
    let mut reader = request_reader::RequestReader::new(head_bytes);
    let mut requests = Vec::new();
    while let Ok(head) = reader.head(&mut stream) {
        let mut body = budget.body(head.content_length);
        if head.content_length > body_bytes || reader.body(&mut stream, &mut body).is_err() {
            break;
        }
        requests.push((head.method, head.target, body.take()));
    }
    requests
}
