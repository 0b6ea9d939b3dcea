//! Named threads. All of them are started through one boxed closure type: the standard library's `spawn` is compiled again
//! for every closure, which costs kilobytes of code each time.

use std::io;
use std::thread::{Builder, JoinHandle};

/// The work of a thread.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// Starts a thread. An error means that the system has none.
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
