//! The private way from the gateway to tiny_http and back: an abstract Unix socket with a random name.
//!
//! Other processes in the same network namespace can see that name. So a request that does not carry the secret of
//! this process is refused, and an answer that does not carry the seal is not believed: whoever took over a name that
//! had become free could otherwise let workloads in.
//!
//! tiny_http stops accepting for good when one accept fails, and its `Server` must never be dropped while it listens
//! on an abstract socket (its `Drop` expects a path). So a dead link is replaced by a new one under a new name, with
//! new secrets; the old one is kept just long enough to answer what it had taken.
//!
//! tiny_http also hands two connections to one free thread if they come at once, and the second then waits until the
//! first is closed. So connections are opened one at a time, each greeted before the next: once the greeting is
//! answered, the thread is taken.

use std::io;
#[cfg(test)]
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::gateway::Timed;
use super::http::Dispatcher;
use super::link::{Link, LinkError, Outgoing, Reply};
use super::threads::spawn;

/// The bridge; shared by all connections.
pub(super) struct Bridge {
    dispatcher: Arc<Dispatcher>,
    current: Mutex<Arc<Link>>,
    stopping: AtomicBool,
}

impl Bridge {
    /// Opens the first link.
    pub(super) fn open(dispatcher: Arc<Dispatcher>) -> io::Result<Arc<Self>> {
        let link = Link::open()?;
        let bridge =
            Arc::new(Self { dispatcher, current: Mutex::new(Arc::clone(&link)), stopping: AtomicBool::new(false) });
        bridge.dispatch(link)?;
        Ok(bridge)
    }

    /// Has a request answered, by `deadline`.
    pub(super) fn exchange(self: &Arc<Self>, request: Outgoing<'_>, deadline: Instant) -> Result<Reply, LinkError> {
        let mut link = self.current();
        let stream = match link.connect() {
            // Nobody listens any more: the accept loop has died without telling.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                link = self.renew(&link)?;
                link.connect()?
            }
            connected => connected?,
        };
        let mut stream = Timed::new(stream, deadline);
        let reply = link.exchange(&mut stream, request)?;
        link.put_back(stream.socket);
        Ok(reply)
    }

    /// No more requests will come: ends the dispatching threads.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.current().server.unblock();
    }

    /// Replaces `failed`, unless that has been done meanwhile.
    fn renew(self: &Arc<Self>, failed: &Arc<Link>) -> io::Result<Arc<Link>> {
        let mut current = self.lock();
        if !Arc::ptr_eq(&current, failed) {
            return Ok(Arc::clone(&current));
        }
        let link = self.open_elsewhere()?;
        *current = Arc::clone(&link);
        drop(current);
        log::error!("the internal HTTP server stopped accepting; it was replaced");
        failed.retired.store(true, Ordering::SeqCst);
        failed.server.unblock();
        Ok(link)
    }

    /// Opens a link on the thread that is to take requests off it. So if there is no thread to be had, no tiny_http is
    /// left behind that nobody serves; and if tiny_http finds none for itself and panics, it is that thread which ends.
    fn open_elsewhere(self: &Arc<Self>) -> io::Result<Arc<Link>> {
        let bridge = Arc::clone(self);
        let (tell, told) = sync_channel(1);
        let run = move || match Link::open() {
            Ok(link) => {
                let heard = tell.send(Ok(Arc::clone(&link)));
                drop(tell);
                if heard.is_ok() {
                    bridge.receive(&link);
                }
            }
            // Nobody listens if the asking thread is gone, which cannot be.
            Err(error) => drop(tell.send(Err(error))),
        };
        spawn("dispatch".to_owned(), Box::new(run))?;
        told.recv().unwrap_or_else(|_| Err(io::Error::other("the internal HTTP server got no threads")))
    }

    /// Starts the thread that takes requests off a link.
    fn dispatch(self: &Arc<Self>, link: Arc<Link>) -> io::Result<()> {
        let bridge = Arc::clone(self);
        spawn("dispatch".to_owned(), Box::new(move || bridge.receive(&link))).map(drop)
    }

    fn receive(self: &Arc<Self>, link: &Arc<Link>) {
        while !link.retired.load(Ordering::SeqCst) {
            match link.server.recv() {
                Ok(request) => self.dispatch_one(link, request),
                Err(_) if self.stopping.load(Ordering::SeqCst) => return,
                Err(error) => {
                    log::error!("the internal HTTP server: {error}");
                    while self.renew(link).is_err() && !self.stopping.load(Ordering::SeqCst) {
                        thread::sleep(RENEWAL_PAUSE);
                    }
                }
            }
        }
        // What the dead link had taken is still answered: as long as an exchange holds it, besides this thread.
        while Arc::strong_count(link) > 1 {
            if let Ok(Some(request)) = link.server.recv_timeout(RENEWAL_PAUSE) {
                self.dispatch_one(link, request);
            }
        }
    }

    /// A bug here must not end the only thread that takes requests in.
    fn dispatch_one(&self, link: &Arc<Link>, request: tiny_http::Request) {
        if catch_unwind(AssertUnwindSafe(|| self.dispatcher.receive(link, request))).is_err() {
            self.dispatcher.count_panic();
            log::error!("a request hit a bug on its way to the workers");
        }
    }

    fn current(&self) -> Arc<Link> {
        Arc::clone(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Link>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two attempts to replace a dead link: what it lacks (descriptors, memory) takes others a moment to free.
const RENEWAL_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
impl Bridge {
    /// Makes tiny_http's next accept fail, as a full descriptor table would.
    pub(super) fn break_accepting(&self) {
        let listener = std::os::fd::OwnedFd::from(self.current().listener.try_clone().unwrap());
        UnixStream::from(listener).shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// A connection of another process in the same network namespace.
    pub(super) fn stranger(&self) -> UnixStream {
        let stream = UnixStream::connect_addr(&self.current().address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}
