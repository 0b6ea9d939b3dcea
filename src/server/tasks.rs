//! One thread for all periodic tasks, most of which check whether files have changed.
//!
//! It decides nothing. The panic of a task is contained and counted, and the task runs again the next time.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::threads::spawn;
use crate::metrics::Metrics;

/// A task that runs every interval. It should be short: all tasks share one thread.
pub struct PeriodicTask {
    name: &'static str,
    run: Box<dyn FnMut() + Send>,
}

impl PeriodicTask {
    /// A task. Its name is logged if it panics.
    pub fn new(name: &'static str, run: impl FnMut() + Send + 'static) -> Self {
        Self { name, run: Box::new(run) }
    }
}

impl fmt::Debug for PeriodicTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeriodicTask").field(&self.name).finish()
    }
}

/// The running thread. Dropping it stops the thread, after the task that is running.
#[derive(Debug)]
pub struct TaskThread {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TaskThread {
    /// The interval between two rounds of tasks. A round costs a few `stat` calls, and kubelet needs up to a minute itself to
    /// change a mounted file.
    pub const INTERVAL: Duration = Duration::from_secs(2);

    /// Starts the thread. The first round begins after one interval.
    pub fn start(interval: Duration, mut tasks: Vec<PeriodicTask>, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel::<()>(0);
        let run = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                for task in &mut tasks {
                    if catch_unwind(AssertUnwindSafe(&mut task.run)).is_err() {
                        metrics.panic();
                        log::error!("the periodic task \"{}\" panicked; it runs again in {interval:?}", task.name);
                    }
                }
            }
        };
        let thread = spawn("tasks".to_owned(), Box::new(run))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for TaskThread {
    fn drop(&mut self) {
        // The thread ends when its channel is closed.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of the periodic tasks had panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_panicking_chore_hurts_no_other_and_stopping_stops() {
        let calls = Arc::new(AtomicUsize::new(0));
        let metrics = Arc::new(Metrics::new());
        let (send, receive) = std::sync::mpsc::channel();
        let counted = Arc::clone(&calls);
        let tasks = vec![
            PeriodicTask::new("bad", || panic!("a task's bug")),
            PeriodicTask::new("good", move || {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = send.send(());
            }),
        ];
        let thread = TaskThread::start(Duration::from_millis(5), tasks, Arc::clone(&metrics)).unwrap();
        for _ in 0..3 {
            receive.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        drop(thread);
        let after = calls.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(calls.load(Ordering::SeqCst), after);
        assert!(!metrics.render().contains("portreeve_panics_total 0"));
    }
}
