//! Threads with a name, by one way in: the standard library's own is compiled anew for every closure, which costs
//! kilobytes of code each.

use std::io;
use std::thread::{Builder, JoinHandle};

/// What a thread does.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// Starts a thread; an error if the system gives none.
pub(super) fn spawn(name: String, work: Work) -> io::Result<JoinHandle<()>> {
    spawn_with(Builder::new(), name, work)
}

/// Starts a thread with a small stack.
pub(super) fn spawn_small(stack_bytes: usize, name: String, work: Work) -> io::Result<JoinHandle<()>> {
    spawn_with(Builder::new().stack_size(stack_bytes), name, work)
}

fn spawn_with(builder: Builder, name: String, work: Work) -> io::Result<JoinHandle<()>> {
    builder.name(name).spawn(work)
}
