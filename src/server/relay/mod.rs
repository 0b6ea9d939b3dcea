//! The relay from the gateway to tiny_http and back. Only this folder uses tiny_http: [`Relay::exchange`] takes a complete
//! request and returns its response, and a [`Dispatch`] function is given each request that arrives on the other side.
//!
//! A [`Loopback`] is one tiny_http server with a fixed number of private streams. A stream carries one request at a time.
//! When all streams are in use, another loopback is opened. Loopbacks stay open: there are as many as the highest number of
//! requests in progress has needed. One stream is reserved for health probes. When the system has no thread or descriptor
//! for another loopback, requests wait for a stream to become free.
//!
//! A request that arrives at tiny_http without the loopback's secret is foreign. It is never dispatched.

mod exchange;
mod incoming;
mod loopback;
mod opening;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use self::exchange::Stream;
use self::loopback::Loopback;
use self::opening::Opening;
use super::threads::spawn;
use crate::metrics::Metrics;

pub(super) use self::exchange::{RelayError, RelayRequest, RelayResponse};
pub(super) use self::incoming::{Incoming, reason_phrase};

/// Is given each request that arrives at tiny_http, on a thread of the relay. It must not wait: the requests of a loopback
/// share one thread.
pub(super) type Dispatch = Box<dyn Fn(Incoming) + Send + Sync>;

/// The relay. All connections share it.
pub(super) struct Relay {
    dispatch: Dispatch,
    metrics: Arc<Metrics>,
    streams: Mutex<Streams>,
    changed: Condvar,
    stopping: AtomicBool,
    #[cfg(test)]
    fails_to_open: AtomicBool,
    #[cfg(test)]
    attempts: std::sync::atomic::AtomicUsize,
}

/// The streams that carry no request now.
#[derive(Default)]
struct Streams {
    free: Vec<Stream>,
    for_probes: Option<Stream>,
    /// A probe uses the stream that is reserved for probes.
    is_probing: bool,
    /// A thread is opening a loopback.
    opening: bool,
    /// When the last attempt to open a loopback failed, if it did.
    failed: Option<Instant>,
    loopbacks: Vec<Weak<Loopback>>,
}

/// A stream in use, and whether it is the one reserved for probes.
struct Leased {
    stream: Stream,
    for_probes: bool,
}

/// The pause after a failed attempt to open a loopback. Descriptors and threads take a moment to become free.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest that opening a loopback may take. It takes microseconds, unless the machine is overloaded.
const OPENING_TIME: Duration = Duration::from_secs(5);

impl Relay {
    /// Opens the first loopback.
    pub(super) fn open(dispatch: Dispatch, metrics: Arc<Metrics>) -> io::Result<Arc<Self>> {
        let (streams, changed, stopping) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        let relay = Arc::new(Self {
            dispatch,
            metrics,
            streams,
            changed,
            stopping,
            #[cfg(test)]
            fails_to_open: AtomicBool::new(false),
            #[cfg(test)]
            attempts: std::sync::atomic::AtomicUsize::new(0),
        });
        relay.add_loopback()?;
        Ok(relay)
    }

    /// The response to a request, by `deadline`.
    pub(super) fn exchange(
        self: &Arc<Self>,
        request: RelayRequest<'_>,
        deadline: Instant,
    ) -> Result<RelayResponse, RelayError> {
        let mut leased = self.lease(request.is_probe, deadline)?;
        let response = leased.stream.exchange(request, deadline);
        let mut streams = self.lock();
        streams.is_probing &= !leased.for_probes;
        // A response may still arrive on a stream that failed, so that stream is closed.
        if response.is_ok() {
            streams.put(leased.stream);
        }
        drop(streams);
        self.changed.notify_all();
        response
    }

    /// Ends the dispatching threads. No request may come any more.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for loopback in self.lock().loopbacks.iter().filter_map(Weak::upgrade) {
            loopback.unblock();
        }
    }

    fn lease(self: &Arc<Self>, is_probe: bool, deadline: Instant) -> io::Result<Leased> {
        let mut streams = self.lock();
        loop {
            if let Some(stream) = streams.free.pop() {
                return Ok(Leased { stream, for_probes: false });
            }
            if is_probe && let Some(stream) = streams.for_probes.take() {
                streams.is_probing = true;
                return Ok(Leased { stream, for_probes: true });
            }
            if !streams.opening && streams.failed.is_none_or(|failed| failed.elapsed() >= PAUSE) {
                streams.opening = true;
                drop(streams);
                let added = self.add_loopback();
                streams = self.lock();
                streams.opening = false;
                streams.failed = added.is_err().then(Instant::now);
                match added {
                    Ok(()) => continue,
                    Err(error) => log::error!("no more streams to the internal HTTP server: {error}"),
                }
            }
            let left = deadline.saturating_duration_since(Instant::now()).min(PAUSE);
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            streams = self.changed.wait_timeout(streams, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Opens a loopback on the thread that will dispatch its requests. If the system has no thread, no tiny_http server is
    /// left behind without one. If tiny_http gets no thread of its own and panics, only that thread ends.
    fn add_loopback(self: &Arc<Self>) -> io::Result<()> {
        #[cfg(test)]
        {
            self.attempts.fetch_add(1, Ordering::SeqCst);
            if self.fails_to_open.load(Ordering::SeqCst) {
                return Err(io::Error::other("a test lets it fail"));
            }
        }
        let relay = Arc::clone(self);
        let (send, receive) = sync_channel(1);
        let opening = Arc::new(Opening::default());
        let opening_there = Arc::clone(&opening);
        let run = move || {
            let opened = Loopback::open(&opening_there);
            let loopback = opened.as_ref().map(|(loopback, _)| Arc::clone(loopback)).ok();
            // The receiver is gone if this took too long. Then the streams are closed, and the loopback ends.
            drop(send.send(opened));
            drop(send);
            if let Some(loopback) = loopback {
                relay.dispatch_all(&loopback);
            }
        };
        spawn("dispatch".to_owned(), Box::new(run))?;
        let opened = receive.recv_timeout(OPENING_TIME).unwrap_or_else(|error| {
            opening.abandon();
            Err(io::Error::other(match error {
                RecvTimeoutError::Timeout => "the internal socket could not be connected to",
                RecvTimeoutError::Disconnected => "the internal HTTP server got no thread",
            }))
        });
        let (loopback, mut opened) = opened?;
        for stream in &mut opened {
            stream.greet().map_err(|error| io::Error::other(error.to_string()))?;
        }
        let mut streams = self.lock();
        opened.into_iter().for_each(|stream| streams.put(stream));
        streams.loopbacks.retain(|loopback| loopback.strong_count() > 0);
        streams.loopbacks.push(Arc::downgrade(&loopback));
        drop(streams);
        self.changed.notify_all();
        Ok(())
    }

    fn dispatch_all(&self, loopback: &Loopback) {
        loop {
            // A panic must not end the only thread that dispatches the requests of this loopback.
            match catch_unwind(AssertUnwindSafe(|| loopback.receive().map(|incoming| incoming.map(&self.dispatch)))) {
                Ok(Ok(_)) => {}
                // The server and the last stream unblock the thread when it is to end.
                Ok(Err(_)) if self.stopping.load(Ordering::SeqCst) || loopback.is_closed() => return,
                Ok(Err(_)) => {}
                Err(_) => {
                    self.metrics.panic();
                    log::error!("a request hit a bug on its way to the workers");
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    fn put(&mut self, stream: Stream) {
        if self.for_probes.is_none() && !self.is_probing {
            self.for_probes = Some(stream);
        } else {
            self.free.push(stream);
        }
    }
}

#[cfg(test)]
impl Relay {
    /// Makes every attempt to open a loopback fail, or no longer.
    pub(super) fn fail_to_open(&self, fails: bool) {
        self.fails_to_open.store(fails, Ordering::SeqCst);
    }

    /// The number of attempts to open a loopback.
    pub(super) fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }

    /// Closes all free streams, as a bug in tiny_http might.
    pub(super) fn lose_streams(&self) {
        let mut streams = self.lock();
        let lost = (std::mem::take(&mut streams.free), streams.for_probes.take());
        drop(streams);
        drop(lost);
    }
}
