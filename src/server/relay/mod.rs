//! The private way from the gateway to tiny_http and back: streams of links, each lent to one request at a time.
//!
//! A link has few streams and gets no more, so that nobody else can have one (`link`): where all are in use, another link
//! is opened. Links stay: there are as many as there were ever requests in hand at once, divided by their streams. One
//! stream is for health probes alone. Where the system has no thread or descriptor for another link, requests wait for a
//! stream that comes back.

pub(crate) mod loopback;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use self::loopback::{Link, LinkError, Opening, Outgoing, Reply, Stream};
use super::dispatcher::Dispatcher;
use super::threads::spawn;

/// The bridge; shared by all connections.
pub(crate) struct Bridge {
    dispatcher: Arc<Dispatcher>,
    streams: Mutex<Streams>,
    changed: Condvar,
    stopping: AtomicBool,
    #[cfg(test)]
    opens_none: AtomicBool,
    #[cfg(test)]
    attempts: std::sync::atomic::AtomicUsize,
}

/// The streams that nobody uses now.
#[derive(Default)]
struct Streams {
    free: Vec<Stream>,
    for_probes: Option<Stream>,
    /// A probe has the stream that is for probes.
    is_lent: bool,
    /// Somebody opens a link.
    opening: bool,
    /// When it was last found that none can be had.
    failed: Option<Instant>,
    links: Vec<Weak<Link>>,
}

/// A stream, and whether it is the one for probes.
struct Lent {
    stream: Stream,
    for_probes: bool,
}

/// After a failed attempt to open a link: what it lacks (descriptors, threads) takes others a moment to free.
const PAUSE: Duration = Duration::from_millis(100);
/// Opening a link takes microseconds; this is for machines with no time to spare.
const OPENING_TIME: Duration = Duration::from_secs(5);

impl Bridge {
    /// Opens the first link.
    pub(crate) fn open(dispatcher: Arc<Dispatcher>) -> io::Result<Arc<Self>> {
        let (streams, changed, stopping) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        let bridge = Arc::new(Self {
            dispatcher,
            streams,
            changed,
            stopping,
            #[cfg(test)]
            opens_none: AtomicBool::new(false),
            #[cfg(test)]
            attempts: std::sync::atomic::AtomicUsize::new(0),
        });
        bridge.add_link()?;
        Ok(bridge)
    }

    /// Has a request answered, by `deadline`.
    pub(crate) fn exchange(self: &Arc<Self>, request: Outgoing<'_>, deadline: Instant) -> Result<Reply, LinkError> {
        let mut lent = self.take(request.is_probe, deadline)?;
        let reply = lent.stream.exchange(request, deadline);
        let mut streams = self.lock();
        streams.is_lent &= !lent.for_probes;
        // On a stream that failed, an answer may still be on its way: it is closed.
        if reply.is_ok() {
            streams.put(lent.stream);
        }
        drop(streams);
        self.changed.notify_all();
        reply
    }

    /// No more requests will come: ends the dispatching threads.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for link in self.lock().links.iter().filter_map(Weak::upgrade) {
            link.server.unblock();
        }
    }

    fn take(self: &Arc<Self>, is_probe: bool, deadline: Instant) -> io::Result<Lent> {
        let mut streams = self.lock();
        loop {
            if let Some(stream) = streams.free.pop() {
                return Ok(Lent { stream, for_probes: false });
            }
            if is_probe && let Some(stream) = streams.for_probes.take() {
                streams.is_lent = true;
                return Ok(Lent { stream, for_probes: true });
            }
            if !streams.opening && streams.failed.is_none_or(|failed| failed.elapsed() >= PAUSE) {
                streams.opening = true;
                drop(streams);
                let added = self.add_link();
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

    /// Opens a link on the thread that is to take requests off it. So if there is no thread to be had, no tiny_http is
    /// left behind that nobody serves; and if tiny_http finds none for itself and panics, it is that thread which ends.
    fn add_link(self: &Arc<Self>) -> io::Result<()> {
        #[cfg(test)]
        {
            self.attempts.fetch_add(1, Ordering::SeqCst);
            if self.opens_none.load(Ordering::SeqCst) {
                return Err(io::Error::other("a test lets it fail"));
            }
        }
        let bridge = Arc::clone(self);
        let (tell, told) = sync_channel(1);
        let opening = Arc::new(Opening::default());
        let there = Arc::clone(&opening);
        let run = move || {
            let opened = Link::open(&there);
            let link = opened.as_ref().map(|(link, _)| Arc::clone(link)).ok();
            // Nobody listens if it took too long: then the streams are closed, and the link ends.
            drop(tell.send(opened));
            drop(tell);
            if let Some(link) = link {
                bridge.receive(&link);
            }
        };
        spawn("dispatch".to_owned(), Box::new(run))?;
        let opened = told.recv_timeout(OPENING_TIME).unwrap_or_else(|error| {
            opening.give_up();
            Err(io::Error::other(match error {
                RecvTimeoutError::Timeout => "the internal socket could not be connected to",
                RecvTimeoutError::Disconnected => "the internal HTTP server got no thread",
            }))
        });
        let (link, mut opened) = opened?;
        for stream in &mut opened {
            stream.greet().map_err(|error| io::Error::other(error.to_string()))?;
        }
        let mut streams = self.lock();
        opened.into_iter().for_each(|stream| streams.put(stream));
        streams.links.retain(|link| link.strong_count() > 0);
        streams.links.push(Arc::downgrade(&link));
        drop(streams);
        self.changed.notify_all();
        Ok(())
    }

    fn receive(&self, link: &Arc<Link>) {
        loop {
            match link.server.recv() {
                Ok(request) => self.dispatch_one(link, request),
                // Once it is told that no more connections come, which is as it should be.
                Err(_) if self.stopping.load(Ordering::SeqCst) || link.is_closed() => return,
                Err(_) => {}
            }
        }
    }

    /// A bug here must not end the only thread that takes requests in.
    fn dispatch_one(&self, link: &Link, request: tiny_http::Request) {
        if catch_unwind(AssertUnwindSafe(|| self.dispatcher.receive(link, request))).is_err() {
            self.dispatcher.count_panic();
            log::error!("a request hit a bug on its way to the workers");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    fn put(&mut self, stream: Stream) {
        if self.for_probes.is_none() && !self.is_lent {
            self.for_probes = Some(stream);
        } else {
            self.free.push(stream);
        }
    }
}

#[cfg(test)]
impl Bridge {
    /// Lets opening a link fail, or no more.
    pub(crate) fn open_none(&self, none: bool) {
        self.opens_none.store(none, Ordering::SeqCst);
    }

    /// How often one was to be opened.
    pub(crate) fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }

    /// Closes all streams that nobody uses, as a bug in tiny_http might.
    pub(crate) fn lose_streams(&self) {
        let mut streams = self.lock();
        let lost = (std::mem::take(&mut streams.free), streams.for_probes.take());
        drop(streams);
        drop(lost);
    }
}
