//! The threads that do TLS handshakes. A handshake costs as much as several admissions, so it is done neither on the thread
//! that polls all connections nor by the workers: a thousand new connections do not delay those that are kept.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::connection::Connection;
use crate::server::threads::spawn_small;

/// The number of threads. More than there are processors would only take time from admissions.
const THREADS: usize = 2;
/// The stack of a thread: enough for TLS and our own buffers. Nothing is parsed recursively there.
const STACK_BYTES: usize = 256 << 10;

/// The connections whose handshake can go on.
#[derive(Default)]
pub(super) struct Handshakes {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Those that have begun. They come first: they hold memory, and little is left to do.
    begun: VecDeque<Arc<Connection>>,
    new: VecDeque<Arc<Connection>>,
    closed: bool,
}

impl Handshakes {
    /// Starts the threads.
    pub(super) fn start(handshakes: &Arc<Self>) -> io::Result<Vec<JoinHandle<()>>> {
        let start = |_| {
            let handshakes = Arc::clone(handshakes);
            let work = move || {
                while let Some(connection) = handshakes.next() {
                    connection.go_on();
                }
            };
            spawn_small(STACK_BYTES, "handshake".to_owned(), Box::new(work))
        };
        (0..THREADS).map(start).collect()
    }

    /// Queues a connection. There are at most as many as there are connections.
    pub(super) fn push(&self, connection: Arc<Connection>, has_begun: bool) {
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        if has_begun { &mut queue.begun } else { &mut queue.new }.push_back(connection);
        drop(queue);
        self.changed.notify_one();
    }

    /// Lets the threads end.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        (queue.begun, queue.new) = (VecDeque::new(), VecDeque::new());
        drop(queue);
        self.changed.notify_all();
    }

    fn next(&self) -> Option<Arc<Connection>> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(connection) = queue.begun.pop_front().or_else(|| queue.new.pop_front()) {
                return Some(connection);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner) // nothing panics while it is held
    }
}
