//! The gateway between the network and tiny_http, which has neither limits nor timeouts.
//!
//! It accepts TCP connections on the TLS listener and on the plain listener for metrics and probes, with a limit on their
//! number. It speaks TLS, holds every phase to its time and every part to its size, reads a whole request, and only then passes
//! on the parts that it has parsed. It never passes on a byte that it has not parsed, and it knows nothing of admissions.
//!
//! One thread ([`event_loop`]) polls all sockets. An open connection costs its state and no thread, so that kube-apiserver can
//! open a thousand at once. Handshakes have a few threads of their own ([`handshakes`]). The thread that has a response also
//! sends it.

mod body_budget;
mod bound;
mod client_stream;
mod connection;
mod connections;
mod context;
mod event_loop;
mod handshakes;
mod head;
mod outgoing;
mod poller;
mod refusal;
mod request_reader;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

pub(super) use self::bound::Bound;
use self::context::Context;
use self::event_loop::EventLoop;
use self::handshakes::Handshakes;
#[cfg(feature = "fuzzing")]
use self::head::end_of_head;
use self::poller::Poller;
#[cfg(feature = "fuzzing")]
use self::{body_budget::BodyBudget, request_reader::ReadError};
use super::dispatcher::Dispatcher;
use super::settings::Limits;
use super::threads::spawn;
use super::tls::TlsStore;
use crate::base::context::Deadline;
use crate::metrics::{Listener, Metrics};

/// Both listeners and all connections.
pub(super) struct Gateway {
    context: Arc<Context>,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
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
        let (poller, has_plain) = (Poller::new()?, plain.is_some());
        let (metrics, dispatcher) = (Arc::clone(metrics), Arc::clone(dispatcher));
        let context = Arc::new(Context::new(limits.clone(), has_plain, metrics, dispatcher, poller));
        let stopped = Arc::new(AtomicBool::new(false));
        let mut listeners = vec![(Listener::Tls, tls.listener, Some(Arc::clone(store)))];
        listeners.extend(plain.map(|plain| (Listener::Plain, plain.listener, None)));
        let event_loop = EventLoop::new(Arc::clone(&context), listeners, Arc::clone(&stopped))?;
        // From now on dropping it ends the threads that were started.
        let mut gateway = Self { context, stopped, threads: Vec::new() };
        gateway.threads = Handshakes::start(&gateway.context.handshakes)?;
        gateway.threads.push(spawn("gateway".to_owned(), Box::new(move || event_loop.run()))?);
        Ok(gateway)
    }

    /// From now on each connection is closed after its next response, so that clients connect to another instance.
    pub(super) fn start_draining(&self) {
        self.context.connections.start_draining();
    }

    /// Stops to accept, closes idle connections, waits until `deadline` for those in use, and closes the rest. Returns how
    /// many those were.
    pub(super) fn close(&mut self, deadline: Deadline) -> usize {
        self.context.connections.close();
        self.context.poller.wake();
        let left = self.context.connections.wait_until_empty(deadline);
        if left > 0 {
            self.context.connections.close_all();
        }
        self.stop();
        left
    }

    fn stop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.context.poller.wake();
        self.context.handshakes.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread of the gateway had panicked");
            }
        }
        self.context.connections.clear();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
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
/// in turn, and before each of them there is nothing to read. A head may have `head_bytes` bytes, a body `body_bytes`.
#[cfg(feature = "fuzzing")]
pub fn fuzz_requests(
    bytes: &[u8],
    cuts: &[usize],
    head_bytes: usize,
    body_bytes: usize,
) -> Vec<(String, String, Vec<u8>)> {
    struct Cut<'a>(&'a [u8], std::iter::Cycle<std::slice::Iter<'a, usize>>, bool);
    impl io::Read for Cut<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let most = self.1.next().copied().unwrap_or(usize::MAX).clamp(1, buffer.len());
            io::Read::read(&mut self.0, buffer.get_mut(..most).unwrap_or_default())
        }
    }
    let budget = Arc::new(BodyBudget::new(usize::MAX >> 1));
    fn whole<T>(mut read: impl FnMut() -> Result<T, ReadError>) -> Result<T, ReadError> {
        loop {
            match read() {
                Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }
    let mut stream = Cut(bytes, cuts.iter().cycle(), false);
    let mut reader = request_reader::RequestReader::new(head_bytes);
    let mut requests = Vec::new();
    while let Ok(head) = whole(|| reader.head(&mut stream)) {
        let mut body = budget.body(head.content_length);
        if head.content_length > body_bytes || whole(|| reader.body(&mut stream, &mut body)).is_err() {
            break;
        }
        requests.push((head.method, head.target, body.take()));
    }
    requests
}
